// Numbers far from those before them, and steps that are left out for it.
#include "depthgrow/train/outliers.hpp"

#include <limits>

#include "depthgrow/backend/blas.hpp"
#include "depthgrow/backend/reference.hpp"
#include "depthgrow/optim/muon.hpp"
#include "depthgrow/optim/sgd_nesterov.hpp"
#include "depthgrow/train/trainer.hpp"
#include "support/catch.hpp"

namespace dg = depthgrow;

TEST_CASE("Z-scores are those of the numbers in the window", "[outliers]") {
    dg::recent_numbers recent(8);
    recent.add(100);
    CHECK_FALSE(recent.enough());
    CHECK(recent.z_score(1e9) == 0);
    for (double number : {2., 4., 4., 4., 5., 5., 7., 9.}) recent.add(number);  // 100 is out of the window
    CHECK(recent.enough());
    CHECK(recent.mean() == 5);
    CHECK(recent.standard_deviation() == std::sqrt(32. / 7));
    CHECK(std::abs(recent.z_score(5 + 3 * std::sqrt(32. / 7)) - 3) <= 4 * std::numeric_limits<double>::epsilon());
    CHECK(recent.at_z_score(2) == 5 + 2 * std::sqrt(32. / 7));
    recent.add(std::numeric_limits<double>::quiet_NaN());
    CHECK(recent.mean() == 5);
    dg::recent_numbers later(8);
    later.restore({50, 2, 4, 4, 4, 5, 5, 7, 9});
    CHECK(later.numbers() == recent.numbers());
    recent.clear();
    for (int i = 0; i < 8; ++i) recent.add(3);
    CHECK(recent.z_score(4) == 0);  // no spread, no judgement
}

namespace {

template <class T, class Backend> std::vector<T> numbers_of(dg::parameter_set<T, Backend>& set) {
    std::vector<T> out;
    for (std::size_t b = 0; b <= set.layers.size(); ++b) {
        const auto flat = dg::block_of(set, b).flat();
        out.insert(out.end(), flat.begin(), flat.end());
    }
    return out;
}

}  // namespace

TEMPLATE_TEST_CASE("A step above the norm changes nothing but the count of steps", "[outliers]",
                   (dg::adamw<double, dg::reference>), (dg::sgd_nesterov<double, dg::reference>),
                   (dg::muon<double, dg::reference>)) {
    dg::reference backend;
    dg::decoder_config config;
    config.layers = 2, config.width = 16, config.ffn = 32, config.heads = 2, config.kv_heads = 1, config.vocab = 32,
    config.context = 8;
    dg::trainer<double, dg::reference, TestType> trainer(backend, config, 1, 2);
    const std::vector<dg::token> inputs{1, 2, 3, 4}, targets{2, 3, 4, 5};
    const std::vector<float> weights(4, 1);
    const dg::training_batch batch{inputs, targets, weights, 1};
    const double norm = trainer.step(batch, 1, 1e-3).gradient_norm;
    const auto before = numbers_of(trainer.model.weights);
    std::vector<std::vector<double>> states;
    for (const auto& state : trainer.optimizer.states()) states.push_back(numbers_of(*state.numbers));

    trainer.skip_above(norm / 2);
    const auto skipped = trainer.step(batch, 1, 1e-3);
    CHECK(skipped.skipped);
    CHECK(skipped.gradient_norm > norm / 2);
    CHECK(trainer.steps() == 2);
    CHECK(numbers_of(trainer.model.weights) == before);
    std::size_t i = 0;
    for (const auto& state : trainer.optimizer.states()) CHECK(numbers_of(*state.numbers) == states[i++]);

    trainer.skip_above(2 * skipped.gradient_norm);
    CHECK_FALSE(trainer.step(batch, 1, 1e-3).skipped);
    CHECK(numbers_of(trainer.model.weights) != before);
}
