// The model, its gradients and six grown AdamW steps against the float64 PyTorch oracle, on both CPU backends.
#include "support/fixture.hpp"

#include "depthgrow/backend/blas.hpp"
#include "depthgrow/growth/operators.hpp"
#include "depthgrow/nn/forward.hpp"
#include "depthgrow/train/trainer.hpp"
#include "support/catch.hpp"

namespace dg = depthgrow;

namespace {

/// Bounds follow from the format: 1e-9 for double, 2e-5 for float.
template <class T> constexpr double bound = std::is_same_v<T, double> ? 1e-9 : 2e-5;

template <class T, class Backend> void matches_the_oracle(Backend& backend, const std::string& name) {
    const fixture::expectations want(name);
    const dg::checkpoint_reader checkpoint(want.directory);

    SECTION("logits and loss, for the three norm placements") {
        for (const std::string kind : {"pre", "ln_scaling", "mix"}) {
            auto config = checkpoint.config();
            if (kind == "ln_scaling") config.norms = dg::norm_placement::ln_scaling;
            if (kind == "mix") config.norms = dg::norm_placement::mix, config.post_layers = config.layers / 4;
            dg::decoder<T, Backend> model(backend, config);
            dg::read_model(checkpoint, model);
            dg::tape<T, Backend> tape(backend);
            const auto out = dg::logits(model, tape, dg::span<const dg::token>(want.ids), want.sequences);
            const std::vector<T> got(out.data, out.data + out.size());
            const std::string suffix = kind == "pre" ? "" : "." + kind;
            CHECK(fixture::distance(got, want.tensor("logits" + suffix)) < bound<T>);
            dg::trainer<T, Backend> trainer(backend, config);
            dg::read_model(checkpoint, trainer.model);
            const double loss = trainer.loss({want.ids, want.targets, want.weights, want.sequences}, 1);
            CHECK(loss == Approx(want.values[kind == "pre" ? "loss" : "loss_" + kind].get<double>()).epsilon(bound<T>));
        }
    }
    SECTION("the gradient of every tensor") {
        dg::decoder<T, Backend> model(backend, checkpoint.config());
        dg::read_model(checkpoint, model);
        dg::parameter_set<T, Backend> gradients(backend, model.config(), model.layers());
        dg::tape<T, Backend> tape(backend);
        const auto scale = static_cast<T>(1.0 / static_cast<double>(want.ids.size() - want.sequences));
        std::vector<T> weights(want.weights.begin(), want.weights.end());
        for (T& weight : weights) weight *= scale;
        dg::token_losses<T, Backend>(model, tape, want.ids, want.targets, weights, want.sequences, &gradients);
        for (const auto& stored : dg::model_tensors(model.config())) {
            const std::string& tensor = stored.name;
            const std::size_t block = stored.block;
            const dg::tensor_place& place = stored.place;
            INFO(tensor);
            CHECK(fixture::distance(fixture::values_of(dg::block_of(gradients, block), place),
                                    want.tensor("grad." + tensor)) < bound<T>);
        }
    }
    for (const std::string op : {"midas", "lidas"})
        SECTION("three AdamW steps, growth with moments by " + op + ", three more") {
            dg::trainer<T, Backend> trainer(backend, checkpoint.config());
            dg::read_model(checkpoint, trainer.model);
            const dg::training_batch batch{want.ids, want.targets, want.weights, want.sequences};
            const auto& expected = want.values[op];
            for (std::size_t step = 0; step < 6; ++step) {
                if (step == 3) {
                    const auto block = want.values["block"].get<std::size_t>();
                    const auto order = dg::make_operator(op, block)(trainer.model.layers());
                    CHECK(order.sources() == expected["source"].get<std::vector<std::size_t>>());
                    trainer.grow(order);
                }
                const auto result = trainer.step(batch, want.sequences, 3e-3);
                CHECK(result.loss == Approx(expected["loss"][step].get<double>()).epsilon(bound<T>));
                CHECK(result.gradient_norm == Approx(expected["grad_norm"][step].get<double>()).epsilon(bound<T>));
            }
            for (const auto& stored : dg::model_tensors(trainer.model.config())) {
                const std::string& tensor = stored.name;
                const std::size_t block = stored.block;
                const dg::tensor_place& place = stored.place;
                INFO(tensor);
                CHECK(fixture::distance(fixture::values_of(dg::block_of(trainer.model.weights, block), place),
                                        want.tensor(op + "." + tensor)) < bound<T>);
                if (!want.tensors.contains(op + ".exp_avg." + tensor)) continue;
                CHECK(fixture::distance(fixture::values_of(dg::block_of(trainer.optimizer.first, block), place),
                                        want.tensor(op + ".exp_avg." + tensor)) < bound<T>);
                CHECK(fixture::distance(fixture::values_of(dg::block_of(trainer.optimizer.second, block), place),
                                        want.tensor(op + ".exp_avg_sq." + tensor)) < bound<T>);
            }
        }
}

}  // namespace

TEST_CASE("reference in double agrees with the oracle to 1e-9") {
    dg::reference backend;
    matches_the_oracle<double>(backend, GENERATE("plain", "grouped"));
}
TEST_CASE("reference in float agrees with the oracle to 2e-5") {
    dg::reference backend;
    matches_the_oracle<float>(backend, GENERATE("plain", "grouped"));
}
TEST_CASE("blas in double agrees with the oracle to 1e-9") {
    dg::blas backend;
    matches_the_oracle<double>(backend, GENERATE("plain", "grouped"));
}
TEST_CASE("blas in float agrees with the oracle to 2e-5") {
    dg::blas backend;
    matches_the_oracle<float>(backend, GENERATE("plain", "grouped"));
}
