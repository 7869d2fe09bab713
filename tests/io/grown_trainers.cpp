// Growth in the trainer by any growth: the bytes of growth on disk, for each beginning, each state policy, each
// optimiser, and families whose stored tensors are fused. Files of another optimiser; low-precision weights follow
// their masters.
#include "depthgrow/backend/blas.hpp"
#include "depthgrow/growth/operators.hpp"
#include "depthgrow/growth/plan_text.hpp"
#include "depthgrow/io/grow_directory.hpp"
#include "depthgrow/optim/muon.hpp"
#include "depthgrow/optim/sgd_nesterov.hpp"
#include "depthgrow/train/trainer.hpp"
#include "io/temporary.hpp"
#include "support/catch.hpp"
#include "support/fixture.hpp"

namespace dg = depthgrow;
using temporary::content_of;
using temporary::refusal;
using temporary::says;

namespace {

using plain_backend = dg::reference;
template <template <class, class> class Optimizer>
using trainer_with = dg::trainer<float, plain_backend, Optimizer<float, plain_backend>>;

dg::decoder_config config_of(const std::string& family) {
    if (family == "llama") {
        auto config = dg::tiny().with_depth(4);
        config.vocab = 48, config.context = 16;
        return config;
    }
    const fixture::family_values files(DEPTHGROW_FIXTURES, family);
    return dg::checkpoint_reader(files.directory).config().with_depth(4);
}

template <class Trainer> void step(Trainer& trainer) {
    std::vector<dg::token> ids(16), targets(16);
    const auto vocab = trainer.model.config().vocab;
    for (std::size_t i = 0; i < 16; ++i)
        ids[i] = static_cast<dg::token>(7 * i % vocab), targets[i] = static_cast<dg::token>(5 * i % vocab);
    const std::vector<float> weights(16, 1.0f);
    trainer.step({ids, targets, weights, 1}, 1, 1e-2);
}

template <class Trainer>
void write(const std::filesystem::path& path, const Trainer& trainer,
           const std::map<std::string, std::string>& metadata = {}) {
    std::filesystem::create_directories(path);
    dg::write_model(path, trainer.model, dg::dtype::f32, metadata);
    dg::write_optimizer(path / "optimizer.safetensors", trainer.model.config(), trainer.optimizer);
}

template <class Trainer> void grows_as_on_disk(const std::string& family, const std::string& how) {
    INFO(family << ": " << how);
    plain_backend backend;
    const temporary::folder folder;
    Trainer trainer(backend, config_of(family), 3, 4);
    for (int i = 0; i < 2; ++i) step(trainer);
    write(folder.path / "before", trainer);
    const auto growth = dg::parse_growth(how, 4);
    trainer.grow(growth);
    write(folder.path / "memory", trainer,
          {{dg::growth_metadata_key, dg::weights_record(dg::json::array({dg::growth_entry(growth)})).dump()}});
    dg::grow_directory(dg::model_directory(folder.path / "before"), folder.path / "disk", growth);
    for (const char* file : {"config.json", "model.safetensors", "optimizer.safetensors"})
        CHECK(content_of(folder.path / "disk" / file) == content_of(folder.path / "memory" / file));
    Trainer back(backend, trainer.model.config());
    dg::read_model(dg::checkpoint_reader(folder.path / "disk"), back.model);
    dg::read_optimizer(folder.path / "disk" / "optimizer.safetensors", back.model.config(), back.optimizer);
    step(trainer), step(back);
    write(folder.path / "one", trainer), write(folder.path / "two", back);
    for (const char* file : {"model.safetensors", "optimizer.safetensors"})
        CHECK(content_of(folder.path / "one" / file) == content_of(folder.path / "two" / file));
}

}  // namespace

TEST_CASE("growth in the trainer gives the bytes of growth on disk, whatever new layers begin as") {
    const std::string family = GENERATE("llama", "gpt2", "gpt_neox");
    const std::string how = GENERATE(
        "lidas block=2", "interleave init=average", "lidas block=2 init=zero_residual state=zero",
        "interleave init=noise:0.1 seed=5", "lidas block=2 init=random seed=9 state=all", "collapse start=1 length=2",
        "0 1 0.25*1+0.75*2 3 3 init=noise:0.01 state=zero seed=2", "collapse start=0 length=1 state=zero", "3 1 1 0 2");
    grows_as_on_disk<trainer_with<dg::adamw>>(family, how);
}
TEST_CASE("the states of other optimisers grow in the trainer as on disk") {
    const std::string family = GENERATE("llama", "gpt2", "gpt_neox");
    const std::string how = GENERATE("interleave init=average", "lidas block=2 init=random seed=9 state=zero",
                                     "collapse start=1 length=2", "lidas block=2 state=all");
    grows_as_on_disk<trainer_with<dg::sgd_nesterov>>(family, how);
    grows_as_on_disk<trainer_with<dg::muon>>(family, how);
}

TEST_CASE("a file of another optimiser is refused by name, on reading and on growing") {
    plain_backend backend;
    const temporary::folder folder;
    trainer_with<dg::muon> muon(backend, config_of("llama"), 3, 4);
    trainer_with<dg::adamw> adam(backend, config_of("llama"), 3, 4);
    write(folder.path / "muon", muon), write(folder.path / "adamw", adam);
    const auto file = [&](const char* name) { return folder.path / name / "optimizer.safetensors"; };
    CHECK(says(refusal([&] { dg::read_optimizer(file("muon"), adam.model.config(), adam.optimizer); }),
               "expected the states of adamw, found those of muon"));
    CHECK(says(refusal([&] { dg::read_optimizer(file("adamw"), adam.model.config(), muon.optimizer); }),
               "expected the states of muon, found those of adamw"));
    CHECK(dg::safetensors_file(file("adamw")).metadata().count("optimizer") == 0);  // as files of older versions
    CHECK(dg::safetensors_file(file("muon")).metadata().at("optimizer") == "muon");
    {
        const float one = 1;
        dg::safetensors_writer other(file("adamw"), {{"x", "F32", {1}}}, {{"optimizer", "lion"}});
        other.write("x", &one, 1);
        other.commit();
    }
    CHECK(says(refusal([&] {
                   dg::grow_directory(dg::model_directory(folder.path / "adamw"), folder.path / "out",
                                      {dg::lidas{2}(4)});
               }),
               "expected the states of adamw, sgd_nesterov, muon, found those of lion"));
}

TEST_CASE("what a trainer cannot grow by is refused before anything changes") {
    plain_backend backend;
    auto config = config_of("llama");
    config.kinds = {{}, {}, {8, 0}, {}};
    dg::trainer<float, plain_backend> trainer(backend, config, 3, 4);
    const auto refused = [&](const std::string& how) {
        return refusal([&] { trainer.grow(dg::parse_growth(how, 4)); });
    };
    CHECK(says(
        refused("0 1 0.5*1+0.5*2 2 3"),
        "expected layers of one kind in a sum, got layers 1 and 2 with other windows or rotary positions at slot 2"));
    CHECK(says(refused("1 0 2 3 3 init=zero_residual"), "expected every layer kept in place"));
    CHECK(says(refusal([&] { trainer.grow(dg::lidas{2}(6)); }), "expected a growth of 4 layers, got one of 6"));
    CHECK(trainer.model.layers() == 4);
    CHECK(trainer.gradients.layers.size() == 4);
    trainer.grow(dg::parse_growth("0 1 2 2 3", 4));
    CHECK(trainer.model.config().kind(3).window == 8);
    step(trainer);
}

TEST_CASE("layers that stay are the same objects in a mixture, and new layers of zero effect change no loss") {
    plain_backend backend;
    trainer_with<dg::muon> trainer(backend, config_of("llama"), 3, 4);
    step(trainer);
    const auto* kept = trainer.model.weights.layers[2].flat().data();
    const auto* buffer = trainer.optimizer.first.layers[2].flat().data();
    const std::vector<dg::token> ids = {1, 2, 3, 4}, targets = {2, 3, 4, 5};
    const std::vector<float> ones(4, 1.0f);
    const double before = trainer.loss({ids, targets, ones, 1}, 1);
    trainer.grow(dg::parse_growth("lidas block=2 init=zero_residual", 4));
    CHECK(trainer.loss({ids, targets, ones, 1}, 1) == before);
    CHECK(trainer.model.weights.layers[2].flat().data() == kept);
    CHECK(trainer.optimizer.first.layers[2].flat().data() == buffer);
    CHECK(trainer.optimizer.steps() == 1);
}
