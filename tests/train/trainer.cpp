// The trainer: growth with state, micro-batches, what a bad loss does, memory that is planned and never grows.
#include "depthgrow/train/trainer.hpp"

#include <atomic>
#include <cstdlib>
#include <map>
#include <thread>

#include "depthgrow/backend/blas.hpp"
#include "depthgrow/backend/planning.hpp"
#include "depthgrow/growth/operators.hpp"
#include "depthgrow/optim/lr_schedule.hpp"
#include "depthgrow/optim/muon.hpp"
#include "depthgrow/optim/sgd_nesterov.hpp"
#include "support/catch.hpp"

namespace dg = depthgrow;

// Every allocation of this program is counted, but for those that a product makes inside its BLAS.
extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_memalign(std::size_t, std::size_t);
}
namespace {
std::atomic<long> allocations{0}, products_running{0};
void count() {
    if (products_running == 0) ++allocations;
}
void product(bool ta, bool tb, std::size_t m, std::size_t n, std::size_t k, float alpha, const float* a,
             std::size_t lda, const float* b, std::size_t ldb, float beta, float* c, std::size_t ldc) {
    ++products_running;
    depthgrow::cblas_product(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
    --products_running;
}
}  // namespace
extern "C" void* malloc(std::size_t bytes) {
    count();
    return __libc_malloc(bytes);
}
extern "C" void* aligned_alloc(std::size_t alignment, std::size_t bytes) {
    count();
    return __libc_memalign(alignment, bytes);
}
extern "C" int posix_memalign(void** out, std::size_t alignment, std::size_t bytes) {
    count();
    *out = __libc_memalign(alignment, bytes);
    return *out ? 0 : 12;
}

namespace {

/// BLAS that counts its live bytes.
class counting_blas : public dg::blas {
public:
    using dg::blas::blas;
    template <class T> T* allocate(std::size_t count) {
        T* data = dg::blas::allocate<T>(count);
        live += sizes[data] = (std::max<std::size_t>(1, count) * sizeof(T) + 63) / 64 * 64;
        peak = std::max(peak, live);
        return data;
    }
    template <class T> void deallocate(T* data, std::size_t count) {
        live -= sizes[data];
        dg::blas::deallocate<T>(data, count);
    }
    std::map<void*, std::size_t> sizes;
    std::size_t live = 0, peak = 0;
};

struct sample {
    explicit sample(const dg::decoder_config& config, std::size_t sequences, std::size_t length)
        : ids(sequences * length), targets(ids.size()), weights(ids.size(), 1.0f), count(sequences) {
        dg::rng random(4);
        for (auto& id : ids) id = static_cast<dg::token>(random.below(config.vocab));
        for (auto& id : targets) id = static_cast<dg::token>(random.below(config.vocab));
    }
    dg::training_batch batch() const { return {ids, targets, weights, count}; }
    std::vector<dg::token> ids, targets;
    std::vector<float> weights;
    std::size_t count;
};

template <class Block> std::vector<float> host(const Block& block) {
    return {block.flat().begin(), block.flat().end()};
}

}  // namespace

TEST_CASE("a steady step allocates nothing on the heap") {
    dg::blas backend({.threads = 2, .product = &product});
    auto config = dg::tiny();
    dg::trainer<float, dg::blas> trainer(backend, config, 1, config.layers);
    const sample data(config, 4, 32);
    for (int step = 0; step < 3; ++step) trainer.step(data.batch(), 2, 1e-3);
    const long before = allocations;
    for (int step = 0; step < 3; ++step) trainer.step(data.batch(), 2, 1e-3);
    CHECK(allocations - before == 0);
    int* volatile one = new int(1);  // the counter counts
    delete one;
    CHECK(allocations - before > 0);
}

TEST_CASE("the memory plan equals what a run takes, within a hundredth") {
    auto config = dg::small();
    counting_blas backend;
    dg::planning plan;
    const sample data(config, 4, 64);
    {
        dg::trainer<float, counting_blas> real(backend, config, 1, config.layers);
        dg::trainer<float, dg::planning> planned(plan, config);
        for (int step = 0; step < 2; ++step) {
            real.step(data.batch(), 2, 1e-3);
            planned.step(data.batch(), 2, 1e-3);
        }
    }
    CHECK(static_cast<double>(plan.peak_bytes()) == Approx(static_cast<double>(backend.peak)).epsilon(0.01));
    CHECK(backend.live == 0);
    CHECK(plan.live_bytes() == 0);
}

TEMPLATE_TEST_CASE("with other optimisers too a steady step allocates nothing, and the memory plan holds", "",
                   (std::pair<dg::sgd_nesterov<float, counting_blas>, dg::sgd_nesterov<float, dg::planning>>),
                   (std::pair<dg::muon<float, counting_blas>, dg::muon<float, dg::planning>>)) {
    const auto config = dg::tiny();
    counting_blas backend({.threads = 2, .product = &product});
    dg::planning plan;
    const sample data(config, 4, 32);
    {
        dg::trainer<float, counting_blas, typename TestType::first_type> real(backend, config, 1, config.layers);
        dg::trainer<float, dg::planning, typename TestType::second_type> planned(plan, config);
        for (int step = 0; step < 3; ++step) real.step(data.batch(), 2, 1e-3), planned.step(data.batch(), 2, 1e-3);
        const long before = allocations;
        for (int step = 0; step < 3; ++step) real.step(data.batch(), 2, 1e-3);
        CHECK(allocations - before == 0);
    }
    CHECK(static_cast<double>(plan.peak_bytes()) == Approx(static_cast<double>(backend.peak)).epsilon(0.01));
}

TEST_CASE("growing holds no more memory than the final depth needs") {
    auto config = dg::tiny().with_depth(2);
    counting_blas grown_backend, plain_backend;
    const sample data(config, 2, 32);
    dg::trainer<float, counting_blas> grown(grown_backend, config, 1, 8),
        plain(plain_backend, config.with_depth(8), 1, 8);
    for (std::size_t depth = 2; depth <= 8; depth += 2) {
        if (depth > 2) grown.grow(dg::lidas{2}(depth - 2));
        for (int step = 0; step < 2; ++step) grown.step(data.batch(), 2, 1e-3);
    }
    for (int step = 0; step < 2; ++step) plain.step(data.batch(), 2, 1e-3);
    CHECK(grown.model.layers() == 8);
    CHECK(static_cast<double>(grown_backend.peak) <= 1.01 * static_cast<double>(plain_backend.peak));
}

TEST_CASE("grown layers start as equal copies with their moments, and part at the next step") {
    dg::blas backend;
    const auto config = dg::tiny().with_depth(4);
    dg::trainer<float, dg::blas> trainer(backend, config, 1, 6);
    const sample data(config, 2, 32);
    for (int step = 0; step < 3; ++step) trainer.step(data.batch(), 2, 1e-3);
    const auto policy = GENERATE(dg::state_policy::copy, dg::state_policy::zero);
    const auto* kept = trainer.model.weights.layers[1].flat().data();
    trainer.grow(dg::lidas{2}(4), policy);  // 0 1 2 1 2 3
    CHECK(trainer.model.layers() == 6);
    CHECK(trainer.optimizer.steps() == 3);
    CHECK(trainer.model.weights.layers[1].flat().data() == kept);
    CHECK(trainer.model.weights.layers[3].flat().data() != kept);
    CHECK(host(trainer.model.weights.layers[1]) == host(trainer.model.weights.layers[3]));
    const auto moment = host(trainer.optimizer.first.layers[3]), source = host(trainer.optimizer.first.layers[1]);
    if (policy == dg::state_policy::copy) {
        CHECK(moment == source);
        CHECK(host(trainer.optimizer.second.layers[4]) == host(trainer.optimizer.second.layers[2]));
    } else {
        CHECK(moment == std::vector<float>(moment.size(), 0.0f));
        CHECK(source != moment);
    }
    trainer.step(data.batch(), 2, 1e-3);
    CHECK(trainer.optimizer.steps() == 4);
    CHECK(host(trainer.model.weights.layers[1]) != host(trainer.model.weights.layers[3]));
}

TEST_CASE(
    "recomputing activations changes no bit of losses and weights, through growth and in loops, and saves memory as "
    "planned") {
    auto config = dg::tiny().with_depth(4);
    config.norms = GENERATE(dg::norm_placement::pre, dg::norm_placement::mix);
    const sample data(config, 4, 32);
    counting_blas kept_backend, again_backend({.threads = 2, .product = &product});
    dg::planning plan;
    {
        dg::trainer<float, counting_blas> kept(kept_backend, config, 1, 6), again(again_backend, config, 1, 6);
        dg::trainer<float, dg::planning> planned(plan, config);
        again.recompute(true), planned.recompute(true);
        const auto same_step = [&] {
            const auto a = kept.step(data.batch(), 2, 1e-3), b = again.step(data.batch(), 2, 1e-3);
            CHECK(a.loss == b.loss);
            CHECK(a.gradient_norm == b.gradient_norm);
            planned.step(data.batch(), 2, 1e-3);
        };
        for (int step = 0; step < 2; ++step) same_step();
        for (auto* grown : {&kept, &again}) grown->grow(dg::lidas{2}(4));
        planned.grow(dg::lidas{2}(4));
        for (int step = 0; step < 2; ++step) same_step();
        for (auto* looped : {&kept, &again}) looped->run_order({0, 1, 2, 1, 2, 5});
        planned.run_order({0, 1, 2, 1, 2, 5});
        for (int step = 0; step < 2; ++step) same_step();
        for (std::size_t l = 0; l < 6; ++l)
            CHECK(host(kept.model.weights.layers[l]) == host(again.model.weights.layers[l]));
        CHECK(10 * again.workspace().memory().bytes_reserved() < 6 * kept.workspace().memory().bytes_reserved());
        const long before = allocations;
        for (int step = 0; step < 3; ++step) again.step(data.batch(), 2, 1e-3);
        CHECK(allocations - before == 0);
    }
    CHECK(static_cast<double>(plan.peak_bytes()) == Approx(static_cast<double>(again_backend.peak)).epsilon(0.01));
}

TEST_CASE("micro-batches add up to the batch") {
    dg::blas backend;
    const auto config = dg::tiny();
    dg::trainer<double, dg::blas> whole(backend, config, 1, config.layers), parts(backend, config, 1, config.layers);
    sample data(config, 4, 16);
    data.weights[5] = 0, data.weights[20] = 3;
    const auto a = whole.step(data.batch(), 4, 1e-3), b = parts.step(data.batch(), 1, 1e-3);
    CHECK(a.loss == Approx(b.loss).epsilon(1e-12));
    CHECK(a.gradient_norm == Approx(b.gradient_norm).epsilon(1e-10));
}

TEST_CASE("a weight of zero takes a token out of the loss") {
    dg::blas backend;
    const auto config = dg::tiny();
    dg::trainer<double, dg::blas> trainer(backend, config, 1, config.layers);
    sample data(config, 1, 8);
    data.weights.assign(8, 0.0f);
    data.weights[3] = 2;
    dg::tape<double, dg::blas> tape(backend);
    const auto scores = dg::score_tokens(trainer.model, tape, data.ids, data.targets, 1);
    CHECK(trainer.loss(data.batch(), 1) == Approx(static_cast<double>(scores.loss[3])));
    data.weights[3] = 0;
    CHECK_THROWS_WITH(trainer.step(data.batch(), 1, 1e-3), Catch::Contains("positive total weight"));
}

TEST_CASE("a gradient that is not finite changes no weight, and the first bad tensor is named") {
    dg::blas backend;
    const auto config = dg::tiny();
    dg::trainer<float, dg::blas> trainer(backend, config, 1, config.layers);
    const sample data(config, 2, 16);
    trainer.step(data.batch(), 2, 1e-3);
    const auto& place = dg::layer_layout(config).at(dg::part::down);
    trainer.model.weights.layers[3].at(place)(0, 0) = INFINITY;
    const auto before = host(trainer.model.weights.layers[0]);
    const auto result = trainer.step(data.batch(), 2, 1e-3);
    CHECK_FALSE(std::isfinite(result.loss));
    CHECK(host(trainer.model.weights.layers[0]) == before);
    CHECK(trainer.first_bad_tensor(data.batch(), 2) == "weight down of layer 3");
    trainer.model.weights.layers[3].at(place)(0, 0) = 3e38f;
    trainer.model.weights.layers[3].at(place)(0, 1) = 3e38f;
    CHECK(trainer.first_bad_tensor(data.batch(), 2).find("layer") != std::string::npos);
}

TEST_CASE("the same seed gives the same losses, bit for bit, and threads are fixed by the backend") {
    const auto losses = [](std::uint64_t seed) {
        dg::blas backend({.threads = 2});
        const auto config = dg::tiny();
        dg::trainer<float, dg::blas> trainer(backend, config, seed, config.layers);
        const sample data(config, 4, 48);
        std::vector<double> all;
        for (int step = 0; step < 4; ++step) all.push_back(trainer.step(data.batch(), 2, 1e-3).loss);
        return all;
    };
    CHECK(losses(1) == losses(1));
    CHECK(losses(1) != losses(2));
}

TEST_CASE("the learning rate warms up, stays, and falls as one minus a root; growth is not in it") {
    const dg::lr_schedule rate{3e-3, 2000, 170000, 200000};
    CHECK(rate(0) == Approx(3e-3 / 2000));
    CHECK(rate(1999) == 3e-3);
    CHECK(rate(2000) == 3e-3);
    CHECK(rate(169999) == 3e-3);
    CHECK(rate(170000) == 3e-3);
    CHECK(rate(177500) == Approx(1.5e-3));
    CHECK(rate(199999) == Approx(3e-3 * (1 - std::sqrt(29999.0 / 30000))));
    CHECK(dg::lr_schedule{1, 0, 10, 10}(9) == 1);
}

TEST_CASE("a looped model computes what its unrolled copy computes, and its gradients are the sums over the copies") {
    dg::blas backend;
    const auto config = dg::tiny().with_depth(4);
    dg::trainer<double, dg::blas> looped(backend, config, 1, 4), unrolled(backend, config, 1, 4);
    const auto order = dg::loop(4, 1, 2, 2);  // 0 1 2 1 2 1 2 3
    looped.run_order(order.sources());
    unrolled.grow(order);
    const sample data(config, 4, 16);
    CHECK(looped.loss(data.batch(), 2) == Approx(unrolled.loss(data.batch(), 2)).epsilon(1e-12));
    const auto a = looped.step(data.batch(), 2, 1e-3), b = unrolled.step(data.batch(), 2, 1e-3);
    CHECK(a.loss == Approx(b.loss).epsilon(1e-12));
    for (std::size_t l = 0; l < 4; ++l) {
        const auto got = host(looped.gradients.layers[l]);
        std::vector<double> sum(got.size(), 0.0);
        double size = 0, error = 0;
        for (std::size_t slot = 0; slot < order.size(); ++slot) {
            if (order[slot] != l) continue;
            const auto part = host(unrolled.gradients.layers[slot]);
            for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += part[i];
        }
        for (std::size_t i = 0; i < sum.size(); ++i)
            size += sum[i] * sum[i], error += (got[i] - sum[i]) * (got[i] - sum[i]);
        CHECK(std::sqrt(error / size) < 1e-6);  // host() rounds to float
    }
    CHECK_THROWS_WITH(looped.run_order({0, 4}), Catch::Contains("expected layer indices below 4"));
    looped.grow(dg::lidas{2}(4));
    CHECK(looped.run_order().empty());
}
