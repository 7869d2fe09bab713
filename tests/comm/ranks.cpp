// Training on several ranks: the same losses and weights as on one, for every optimiser, through growth and back.
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "depthgrow/backend/blas.hpp"
#include "depthgrow/backend/reference.hpp"
#include "depthgrow/growth/operators.hpp"
#include "depthgrow/optim/muon.hpp"
#include "depthgrow/optim/sgd_nesterov.hpp"
#include "depthgrow/train/trainer.hpp"
#include "support/catch.hpp"
#include "support/thread_ranks.hpp"

namespace dg = depthgrow;

namespace {

constexpr std::size_t rows = 12, length = 8;

dg::token_batch batch_of(std::size_t step) {
    dg::token_batch batch;
    batch.resize(rows, length);
    dg::rng random(5, step);
    for (auto& id : batch.tokens) id = static_cast<dg::token>(random.below(256));
    for (auto& weight : batch.weights) weight = static_cast<float>(random.below(3));
    return batch;
}

/// What is compared: losses and norms of all steps, then every weight.
using numbers = std::vector<double>;

struct course {
    std::size_t micro = 2;
    bool recompute = false;
    std::vector<std::size_t> order = {};
    dg::growth how = dg::growth{dg::layer_order({0, 1, 1, 2}, 3)};
};

/// Three steps, a growth, three more; the tenth row's loss last.
template <class T, class Backend, class Optimizer> numbers train(dg::communicator& comm, const course& path) {
    Backend backend;
    auto config = dg::tiny().with_depth(3);
    config.context = length;
    dg::trainer<T, Backend, Optimizer> run(backend, config, 3, 4, {}, comm);
    run.recompute(path.recompute);
    run.run_order(path.order);
    numbers out;
    for (std::size_t step = 0; step < 6; ++step) {
        if (step == 3) run.grow(path.how);
        const auto result = run.step(batch_of(step), 1e-2, path.micro);
        out.push_back(result.loss), out.push_back(result.gradient_norm);
    }
    out.push_back(run.loss(batch_of(9), 5));
    for (std::size_t b = 0; b <= run.model.layers(); ++b) {
        const auto& block = dg::block_of(run.model.weights, b);
        std::vector<T> values(b == 0 ? dg::outer_layout(config).size : dg::layer_layout(config).size);
        backend.template to_host<T>(block.flat().data(), values.data(), values.size());
        for (T value : values) out.push_back(static_cast<double>(static_cast<dg::wide_t<T>>(value)));
    }
    return out;
}

template <class T, class Backend, class Optimizer> numbers on_ranks(std::size_t count, const course& path) {
    std::vector<numbers> each(count);
    thread_ranks::run(count,
                      [&](dg::communicator& comm) { each[comm.rank()] = train<T, Backend, Optimizer>(comm, path); });
    for (std::size_t r = 1; r < count; ++r) REQUIRE(each[r] == each[0]);  // every rank holds the same model
    return each[0];
}

/// The largest distance, relative to the numbers where they are above 1.
double distance(const numbers& a, const numbers& b) {
    REQUIRE(a.size() == b.size());
    double most = 0;
    for (std::size_t i = 0; i < a.size(); ++i)
        most = std::max(most, std::abs(a[i] - b[i]) / std::max(1.0, std::abs(b[i])));
    return most;
}

// Sums over 96 tokens in another order, six times over, into AdamW's quotient: some thousand roundings at most.
constexpr double bound = 4096 * std::numeric_limits<double>::epsilon();

template <class Optimizer> void agrees(const course& path = {}) {
    dg::single alone;
    const auto one = train<double, dg::reference, Optimizer>(alone, path);
    for (std::size_t ranks : {2, 3}) {
        INFO(ranks << " ranks");
        CHECK(distance(on_ranks<double, dg::reference, Optimizer>(ranks, path), one) < bound);
    }
    course whole = path;  // three rows a rank leave no micro-batch of two
    whole.micro = 3;
    CHECK(distance(on_ranks<double, dg::reference, Optimizer>(4, whole), one) < bound);
}

}  // namespace

TEMPLATE_TEST_CASE("several ranks train as one does, through a growth", "", (dg::adamw<double, dg::reference>),
                   (dg::sgd_nesterov<double, dg::reference>), (dg::muon<double, dg::reference>)) {
    agrees<TestType>();
}

TEST_CASE("several ranks agree with recomputed layers, loops, and layers that no step runs") {
    using adamw = dg::adamw<double, dg::reference>;
    agrees<adamw>({.recompute = true});
    agrees<adamw>({.order = {0, 1, 1, 2, 1}});
    agrees<adamw>({.order = {2, 0, 2}});
}

TEST_CASE("new layers begin alike on all ranks: random, with noise, as averages, as identities") {
    const dg::layer_order order({0, 1, 1, 2}, 3);
    for (const char* init : {"random", "noise:0.1", "average", "zero_residual"}) {
        INFO(init);
        for (auto policy : {dg::state_policy::copy, dg::state_policy::zero})
            agrees<dg::muon<double, dg::reference>>({.how = {order, dg::parse_layer_init(init), policy, 7}});
    }
}

TEST_CASE("two ranks give the same bits from run to run, with threads of their own") {
    using adamw = dg::adamw<float, dg::blas>;
    const auto once = on_ranks<float, dg::blas, adamw>(2, {});
    CHECK(on_ranks<float, dg::blas, adamw>(2, {}) == once);
}

TEST_CASE("a batch that the ranks cannot share alike is refused") {
    thread_ranks::run(1, [](dg::communicator&) {});
    struct five : dg::single {
        std::size_t size() const override { return 5; }
    } comm;
    dg::reference backend;
    dg::trainer<double, dg::reference> run(backend, dg::tiny().with_depth(1), {}, comm);
    std::string said;
    try {
        run.step(batch_of(0), 1e-2, 1);
    } catch (const dg::error& problem) { said = problem.what(); }
    CHECK(said == "[trainer] expected the micro-batch to divide the batch of 12 on 5 ranks, got 1");
}

TEST_CASE("weights are stepped and gathered in parts, every block once") {
    const auto config = dg::tiny().with_depth(3);
    using ranges = std::vector<std::pair<std::size_t, std::size_t>>;
    const auto stepped_in = [&](std::size_t part_bytes) {
        std::array<ranges, 2> stepped;
        std::array<numbers, 2> ends;  // the first and the last number of every block
        thread_ranks::run(2, [&](dg::communicator& comm) {
            dg::reference backend;
            const dg::sharding shards(comm);
            dg::parameter_set<double, dg::reference> weights(backend, shards.padded(dg::outer_layout(config).size),
                                                             shards.padded(dg::layer_layout(config).size), 3);
            dg::exchange<double, dg::reference> exchange(comm, part_bytes);
            exchange.gather(weights, [&](std::size_t from, std::size_t to) {
                stepped[comm.rank()].emplace_back(from, to);
                for (std::size_t b = from; b < to; ++b)
                    for (double& value : shards.own(dg::block_of(weights, b).flat()))
                        value = static_cast<double>(10 * b + comm.rank());
            });
            for (std::size_t b = 0; b < 4; ++b) {
                const auto all = dg::block_of(weights, b).flat();
                for (double value : {all[0], all[all.size() - 1]}) ends[comm.rank()].push_back(value);
            }
        });
        for (const auto& found : ends) CHECK(found == numbers{0, 1, 10, 11, 20, 21, 30, 31});
        CHECK(stepped[0] == stepped[1]);
        return stepped[0];
    };
    const std::size_t layer_bytes = dg::layer_layout(config).size * sizeof(double);
    CHECK(stepped_in(1) == ranges{{0, 1}, {1, 2}, {2, 3}, {3, 4}});
    CHECK(stepped_in(std::size_t{1} << 40) == ranges{{0, 4}});
    CHECK(stepped_in(dg::outer_layout(config).size * sizeof(double) + layer_bytes) == ranges{{0, 2}, {2, 4}});
}
