// Muon against a PyTorch script in float64 (tests/real_model/muon.py): six steps, grown after three. What it does to
// matrices and to bad gradients; states that grow.
#include "depthgrow/optim/muon.hpp"

#include "depthgrow/backend/blas.hpp"
#include "depthgrow/growth/operators.hpp"
#include "depthgrow/optim/sgd_nesterov.hpp"
#include "depthgrow/train/trainer.hpp"
#include "support/catch.hpp"
#include "support/fixture.hpp"

namespace dg = depthgrow;

namespace {

template <class T, class Backend> void matches_the_script(double bound) {
    Backend backend;
    const fixture::expectations plain("plain");
    const std::string folder = std::string(DEPTHGROW_FIXTURES) + "/muon";
    const auto values = dg::read_json_file(folder + "/expected.json");
    const dg::safetensors_file tensors(folder + "/expected.safetensors");
    const dg::checkpoint_reader checkpoint(plain.directory);
    for (const std::string op : {"midas", "lidas"}) {
        dg::trainer<T, Backend, dg::muon<T, Backend>> trainer(backend, checkpoint.config());
        dg::read_model(checkpoint, trainer.model);
        for (std::size_t step = 0; step < 6; ++step) {
            if (step == 3)
                trainer.grow(dg::make_operator(op, plain.values["block"].get<std::size_t>())(trainer.model.layers()));
            const auto result =
                trainer.step({plain.ids, plain.targets, plain.weights, plain.sequences}, plain.sequences, 3e-3);
            CHECK(result.loss == Approx(values[op]["loss"][step].get<double>()).epsilon(bound));
            if (bound < 1e-8)
                CHECK(result.gradient_norm == Approx(values[op]["grad_norm"][step].get<double>()).epsilon(bound));
        }
        if (bound > 1e-8) continue;  // float rounds what Newton-Schulz blows up
        std::size_t compared = 0;
        const auto compare = [&](const std::string& name, const auto& block, const dg::tensor_place& place) {
            if (!tensors.contains(name)) return;
            INFO(name);
            std::vector<double> want(tensors.find(name).elements());
            tensors.read(name, want.data(), want.size());
            CHECK(fixture::distance(fixture::values_of(block, place), want) < bound);
            ++compared;
        };
        for (const auto& tensor : dg::model_tensors(trainer.model.config())) {
            compare(op + "." + tensor.name, dg::block_of(trainer.model.weights, tensor.block), tensor.place);
            for (const auto& state : trainer.optimizer.states())
                if (const auto place = dg::detail::place_in(state, tensor))
                    compare(dg::text(op, ".", state.name, ".", tensor.name), dg::block_of(*state.numbers, tensor.block),
                            *place);
        }
        CHECK(compared == 15);
    }
}

struct sample {
    std::vector<dg::token> ids, targets;
    std::vector<float> weights;
    explicit sample(std::size_t vocab) : ids(32), targets(32), weights(32, 1.0f) {
        dg::rng random(4);
        for (auto* list : {&ids, &targets})
            for (auto& id : *list) id = static_cast<dg::token>(random.below(vocab));
    }
    dg::training_batch batch() const { return {ids, targets, weights, 2}; }
};
template <class Set> std::vector<double> flat(const Set& set) {
    std::vector<double> all;
    set.each([&](const auto& block) { all.insert(all.end(), block.flat().begin(), block.flat().end()); });
    return all;
}

}  // namespace

TEST_CASE("six grown Muon steps are those of the PyTorch script: reference in double") {
    matches_the_script<double, dg::reference>(1e-9);
}
TEST_CASE("six grown Muon steps are those of the PyTorch script: blas in double") {
    matches_the_script<double, dg::blas>(1e-9);
}
TEST_CASE("losses of six grown Muon steps are those of the PyTorch script: reference in float") {
    matches_the_script<float, dg::reference>(2e-5);
}
TEST_CASE("losses of six grown Muon steps are those of the PyTorch script: blas in float") {
    matches_the_script<float, dg::blas>(2e-5);
}

TEMPLATE_TEST_CASE("a gradient that is not finite changes neither weights nor states", "", (dg::adamw<float, dg::blas>),
                   (dg::sgd_nesterov<float, dg::blas>), (dg::muon<float, dg::blas>)) {
    dg::blas backend;
    const auto config = dg::tiny();
    dg::trainer<float, dg::blas, TestType> trainer(backend, config, 1, config.layers);
    const sample data(config.vocab);
    const auto first = trainer.step(data.batch(), 2, 1e-3);
    for (int step = 0; step < 3; ++step) CHECK(trainer.step(data.batch(), 2, 1e-3).loss < first.loss);
    const auto& place = dg::layer_layout(config).at(dg::part::down);
    const auto states = [&] {
        std::vector<std::vector<double>> all;
        for (const auto& state : trainer.optimizer.states()) all.push_back(flat(*state.numbers));
        return all;
    };
    trainer.model.weights.layers[3].at(place)(0, 0) = INFINITY;
    const auto weights = flat(trainer.model.weights);
    const auto before = states();
    CHECK_FALSE(std::isfinite(trainer.step(data.batch(), 2, 1e-3).loss));
    CHECK(flat(trainer.model.weights) == weights);
    CHECK(states() == before);
}

TEMPLATE_TEST_CASE("states in memory are those of the table, and every number of a parameter's has one", "",
                   (dg::adamw<float, dg::reference>), (dg::sgd_nesterov<float, dg::reference>),
                   (dg::muon<float, dg::reference>)) {
    dg::reference backend;
    const fixture::family_values neox(DEPTHGROW_FIXTURES, "gpt_neox"), gpt2(DEPTHGROW_FIXTURES, "gpt2");
    for (const auto& config :
         {dg::tiny(), dg::checkpoint_reader(neox.directory).config(), dg::checkpoint_reader(gpt2.directory).config()}) {
        const TestType optimizer(backend, config);
        const auto* entry = dg::find_optimizer(TestType::name);
        REQUIRE(entry != nullptr);
        const auto states = optimizer.states();
        REQUIRE(states.size() == entry->states.size());
        for (std::size_t s = 0; s < states.size(); ++s) {
            CHECK(states[s].name == entry->states[s].name);
            for (const auto& tensor : dg::model_tensors(config)) {
                const auto place = dg::detail::place_in(states[s], tensor);
                CHECK(place.has_value() == entry->states[s].kept(tensor.block > 0, tensor.place.kind));
                if (place)
                    CHECK(place->offset + place->size() <=
                          dg::block_of(*states[s].numbers, tensor.block).flat().size());
                for (std::size_t p = 0; place && p + 1 < tensor.parts.size();
                     ++p) {  // what one stored tensor holds lies together
                    const auto& layout = states[s].layout(tensor.block);
                    CHECK(layout.at(tensor.parts[p + 1].which).offset ==
                          layout.at(tensor.parts[p].which).offset + tensor.parts[p].size());
                }
            }
        }
    }
}

TEST_CASE("a matrix steps by its orthogonalised momentum, q, k and v apart, tall and wide; the rest by AdamW") {
    dg::reference backend;
    auto config = dg::tiny().with_depth(2);
    dg::trainer<double, dg::reference, dg::muon<double, dg::reference>> trainer(backend, config, 1, 2, {.decay = 0});
    dg::trainer<double, dg::reference> adam(backend, config, 1, 2, {.decay = 0});
    const auto before = flat(trainer.model.weights);
    const auto old = trainer.model.weights.clone();
    const sample data(config.vocab);
    trainer.step(data.batch(), 2, 1e-2), adam.step(data.batch(), 2, 1e-2);
    for (const auto& place : dg::layer_layout(config).places) {
        INFO(dg::name_of(place.which));
        const dg::matrix<const double> is = trainer.model.weights.layers[1].at(place), was = old.layers[1].at(place),
                                       adams = adam.model.weights.layers[1].at(place);
        double size = 0, apart = 0;
        for (std::size_t r = 0; r < place.rows; ++r)
            for (std::size_t c = 0; c < place.cols; ++c)
                size += std::pow(is(r, c) - was(r, c), 2), apart = std::max(apart, std::fabs(is(r, c) - adams(r, c)));
        if (place.vector()) {
            CHECK(apart == 0);
        } else {  // singular values near 1: the square of the Frobenius norm is near the smaller side
            const double values = size / std::pow(1e-2 * 0.2, 2) /
                                  static_cast<double>(std::max(place.rows, place.cols)) /
                                  static_cast<double>(std::min(place.rows, place.cols));
            CHECK(values > 0.5);
            CHECK(values < 1.3);
        }
    }
    CHECK(flat(trainer.model.weights) != before);
}

TEST_CASE("SGD steps as torch.optim.SGD with nesterov does, by hand") {
    dg::reference backend;
    std::vector<double> w = {1, -2}, v = {0, 0};
    const std::vector<double> g = {0.5, 0.25};
    const dg::momentum_constants constants{0.1, 0.9, 0.01, 0};
    const double squares = 0.3125;
    for (int step = 0; step < 2; ++step) backend.sgd_nesterov<double>(w, g, v, {}, &constants, &squares);
    // g' = 0.51, v = 0.51, w = 1 - 0.1 (0.51 + 0.459) = 0.9031; g' = 0.509031, v = 0.968031, w -= 0.1 (0.509031 +
    // 0.8712279)
    CHECK(w[0] == Approx(0.76507411).epsilon(1e-12));
    CHECK(v[0] == Approx(0.968031).epsilon(1e-12));
}
