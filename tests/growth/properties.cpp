// Properties of orders that hold for every depth and block, on random cases.

#include <rapidcheck/catch.h>

#include "depthgrow/growth.hpp"
#include "support/catch.hpp"

using namespace depthgrow;

namespace {

std::size_t below(int lowest, int limit) { return static_cast<std::size_t>(*rc::gen::inRange(lowest, limit)); }

layer_order any_order(std::size_t source_depth) {
    std::vector<std::size_t> sources(below(0, 20));
    for (std::size_t& source : sources) source = below(0, static_cast<int>(source_depth));
    return {sources, source_depth};
}

/// Rows of one to three layers with coefficients that are eighths, so that sums are exact.
mixture any_mixture(std::size_t source_depth) {
    std::vector<mixture_row> rows(below(1, 8));
    for (mixture_row& row : rows)
        for (std::size_t n = below(1, 4), source = below(0, static_cast<int>(source_depth));
             n > 0 && source < source_depth; --n) {
            row.push_back({source, static_cast<double>(below(1, 16)) / 8});
            source += below(1, 3);
        }
    return {rows, source_depth};
}

}  // namespace

TEST_CASE("random mixtures keep their laws") {
    rc::prop("the mixture of an order is the order, and composes as it does", [] {
        const layer_order inner = any_order(below(1, 12));
        RC_PRE(inner.size() > 0u);
        const layer_order outer = any_order(inner.size());
        RC_ASSERT(mixture(inner).order() == inner);
        RC_ASSERT(compose(mixture(outer), mixture(inner)).order() == compose(outer, inner));
        const std::vector<double> layers(inner.source_depth(), 1.5);
        RC_ASSERT(grow(std::vector<double>(layers), mixture(inner)) == grow(std::vector<double>(layers), inner));
    });
    rc::prop("composition is associative, and growing twice is growing by it once", [] {
        const mixture a = any_mixture(below(1, 8)), b = any_mixture(a.size()), c = any_mixture(b.size());
        RC_ASSERT(compose(c, compose(b, a)) == compose(compose(c, b), a));
        std::vector<double> layers;
        for (std::size_t l = 0; l < a.source_depth(); ++l) layers.push_back(static_cast<double>(below(0, 100)));
        RC_ASSERT(grow(std::vector<double>(layers), compose(b, a)) == grow(grow(std::vector<double>(layers), a), b));
    });
    rc::prop("a mixture is read back from its text", [] {
        const mixture rows = any_mixture(below(1, 30));
        RC_ASSERT(parse_mixture(rows.to_string(), rows.source_depth()) == rows);
    });
    rc::prop("collapsing the copies of a layer undoes the growth that made them", [] {
        const std::size_t depth = below(1, 20), layer = below(0, static_cast<int>(depth)), times = below(1, 6);
        const mixture grown = loop(depth, layer, 1, times), back = collapse{layer, times}(depth + times);
        RC_ASSERT(compose(back, grown).order().is_identity());
    });
    rc::prop("averages keep the sum of their coefficients and the layers that stay", [] {
        const std::size_t block = below(1, 5), depth = block * below(1, 6);
        const growth how{lidas{block}(depth), {init_kind::average}};
        const mixture rows = how.rows();
        for (std::size_t slot = 0; slot < rows.size(); ++slot) {
            double sum = 0;
            for (const mixture_term& term : rows[slot]) sum += term.coefficient;
            RC_ASSERT(sum == 1);
            if (!how.begins(slot)) RC_ASSERT(rows[slot] == how.layers[slot]);
        }
    });
}

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
            const double share = static_cast<double>(total) * std::pow(static_cast<double>(i + 1), alpha) / weight_sum;
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
