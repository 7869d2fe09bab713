// Properties of orders that hold for every depth and block, on random cases.

#include "support/catch.hpp"

#include <rapidcheck/catch.h>

#include "depthgrow/growth.hpp"

using namespace depthgrow;

namespace {

std::size_t below(int lowest, int limit) { return static_cast<std::size_t>(*rc::gen::inRange(lowest, limit)); }

layer_order any_order(std::size_t source_depth) {
    std::vector<std::size_t> sources(below(0, 20));
    for (std::size_t& source : sources) source = below(0, static_cast<int>(source_depth));
    return {sources, source_depth};
}

}  // namespace

TEST_CASE("random orders keep their laws") {
    rc::prop("an operator with a block adds one block and keeps every layer in order", [] {
        const std::size_t block = below(1, 9), depth = block * below(1, 9);
        for (const growth_operator& op :
             {growth_operator(midas{block}), growth_operator(lidas{block}), growth_operator(gradual{block})}) {
            const layer_order order = op(depth);
            RC_ASSERT(order.size() == depth + block);
            std::vector<std::size_t> kept;
            for (std::size_t slot = 0; slot < order.size(); ++slot)
                if (!order.is_new(slot)) kept.push_back(order[slot]);
            RC_ASSERT(kept == layer_order::identity(depth).sources());
        }
    });
    rc::prop("LIDAS grows any depth of at least one block", [] {
        const std::size_t block = below(1, 9), depth = block + below(0, 20);
        RC_ASSERT(lidas{block}(depth).size() == depth + block);
    });
    rc::prop("growing twice is growing once by the composition", [] {
        std::vector<std::size_t> layers(below(1, 12));
        for (std::size_t& layer : layers) layer = below(0, 1000);
        const layer_order inner = any_order(layers.size());
        RC_PRE(inner.size() > 0u);
        const layer_order outer = any_order(inner.size());
        auto once = grow(std::vector<std::size_t>(layers), compose(outer, inner));
        auto twice = grow(grow(std::vector<std::size_t>(layers), inner), outer);
        RC_ASSERT(once == twice);
    });
    rc::prop("an order is read back from its text", [] {
        const layer_order order = any_order(below(1, 30));
        RC_PRE(order.size() > 0u);
        RC_ASSERT(parse_layer_order(order.to_string(), order.source_depth()) == order);
    });
    rc::prop("stage lengths sum to the total and differ by less than one step from their share", [] {
        const std::size_t stages = below(1, 20), total = below(0, 1000000);
        const double alpha = static_cast<double>(below(0, 40)) / 10;
        double weight_sum = 0;
        for (std::size_t i = 1; i <= stages; ++i) weight_sum += std::pow(static_cast<double>(i), alpha);
        const auto lengths = stage_lengths(stages, total, alpha);
        std::size_t sum = 0;
        for (std::size_t i = 0; i < stages; ++i) {
            sum += lengths[i];
            const double share =
                static_cast<double>(total) * std::pow(static_cast<double>(i + 1), alpha) / weight_sum;
            RC_ASSERT(std::fabs(static_cast<double>(lengths[i]) - share) < 1 + 1e-6);
        }
        RC_ASSERT(sum == total);
    });
    rc::prop("shared stages are symmetric, and shared layers have one ancestor", [] {
        lineage history(below(1, 5));
        for (std::size_t n = below(0, 4); n > 0; --n) {
            const std::size_t depth = history.depth();
            history.record(depth % 2 == 0 ? lidas{1}(depth) : doubling{}(depth));
        }
        const auto matrix = history.layer_matrix();
        for (std::size_t a = 0; a < history.depth(); ++a)
            for (std::size_t b = 0; b < history.depth(); ++b) {
                RC_ASSERT(matrix[a][b] == matrix[b][a]);
                RC_ASSERT((matrix[a][b] > 0) == (history.descends_from(a) == history.descends_from(b)));
            }
    });
}
