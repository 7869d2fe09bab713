// Growth on disk: equal to growth in the trainer, byte for byte; kept files, shards, provenance, refusals.
#include "support/catch.hpp"

#include "depthgrow/backend/reference.hpp"
#include "depthgrow/growth/operators.hpp"
#include "depthgrow/io/grow_directory.hpp"
#include "depthgrow/io/streamed_logits.hpp"
#include "depthgrow/train/trainer.hpp"
#include "io/temporary.hpp"

namespace dg = depthgrow;
using temporary::content_of;
using temporary::refusal;
using temporary::says;

namespace {

/// A trained model of 4 layers with its optimizer, and its growth in memory by `order`, both in directories.
struct grown_in_memory {
    grown_in_memory(const dg::layer_order& order, dg::state_policy policy, bool tied, std::size_t shard_bytes) {
        auto config = dg::tiny().with_depth(4);
        config.tied = tied, config.vocab = 48;
        dg::trainer<float, dg::reference> trainer(backend, config, 3, 4);
        std::vector<dg::token> ids(16), targets(16);
        for (std::size_t i = 0; i < 16; ++i) ids[i] = static_cast<dg::token>(7 * i % 48), targets[i] = static_cast<dg::token>(5 * i % 48);
        const std::vector<float> weights(16, 1.0f);
        for (int step = 0; step < 2; ++step) trainer.step({ids, targets, weights, 1}, 1, 1e-2);
        before = folder.path / "before", after = folder.path / "after";
        write(before, trainer, {}, shard_bytes);
        dg::write_file(before / "trainer_state.json", dg::json_text({{"step", 2}, {"layers", 4}, {"growth", dg::json::array()}}, 2));
        trainer.grow(order, policy);
        write(after, trainer, {{dg::growth_metadata_key, dg::json::array({{{"order", order.sources()}, {"step", 2}}}).dump()}}, shard_bytes);
    }
    static void write(const std::filesystem::path& path, const dg::trainer<float, dg::reference>& trainer, const std::map<std::string, std::string>& metadata, std::size_t shard_bytes) {
        std::filesystem::create_directories(path);
        dg::write_model(path, trainer.model, dg::dtype::f32, metadata, dg::json::object(), shard_bytes);
        dg::write_optimizer(path / "optimizer.safetensors", trainer.model.config(), trainer.optimizer);
    }
    temporary::folder folder;
    dg::reference backend;
    std::filesystem::path before, after;
};

}  // namespace

TEST_CASE("growing on disk gives the bytes of growing in the trainer") {
    const auto policy = GENERATE(dg::state_policy::copy, dg::state_policy::zero);
    const bool tied = GENERATE(true, false);
    const std::size_t shard_bytes = GENERATE(std::size_t{0}, std::size_t{40000});
    const auto order = GENERATE(dg::lidas{2}(4), dg::midas{2}(4), dg::doubling{}(4), dg::layer_order{{3, 1, 1, 0, 2}, 4});
    const grown_in_memory made(order, policy, tied, shard_bytes);
    const auto out = made.folder.path / "out";
    dg::grow_directory(dg::checkpoint_reader(made.before), out, order, {false, policy});
    const dg::checkpoint_reader wanted(made.after), got(out);
    CHECK(content_of(out / "config.json") == content_of(made.after / "config.json"));
    CHECK(content_of(out / "optimizer.safetensors") == content_of(made.after / "optimizer.safetensors"));
    if (shard_bytes == 0) CHECK(content_of(out / "model.safetensors") == content_of(made.after / "model.safetensors"));
    CHECK(got.sharded() == wanted.sharded());
    REQUIRE(got.names() == wanted.names());
    for (const auto& name : got.names()) {
        std::vector<char> a(got.find(name).bytes()), b(wanted.find(name).bytes());
        got.file_of(name).read_bytes(name, a.data(), a.size());
        wanted.file_of(name).read_bytes(name, b.data(), b.size());
        CHECK(a == b);
    }
    const auto state = dg::read_json_file(out / "trainer_state.json");
    CHECK(state["layers"] == order.size());
    CHECK(state["growth"][0]["step"] == 2);
    CHECK(dg::read_lineage(got).orders().back() == order);
}

TEST_CASE("new layers of zero effect leave the logits unchanged bit for bit") {
    const grown_in_memory made(dg::lidas{2}(4), dg::state_policy::copy, true, 0);
    const auto zero = made.folder.path / "zero", copied = made.folder.path / "copied";
    const dg::checkpoint_reader in(made.before);
    dg::grow_directory(in, zero, dg::lidas{2}(4), {true, dg::state_policy::copy});
    dg::grow_directory(in, copied, dg::lidas{2}(4));
    dg::reference backend;
    const std::vector<dg::token> ids = {3, 1, 4, 1, 5, 9, 2, 6};
    const auto before = dg::streamed_logits<float>(backend, in, ids);
    CHECK(dg::streamed_logits<float>(backend, dg::checkpoint_reader(zero), ids) == before);
    CHECK(dg::streamed_logits<float>(backend, dg::checkpoint_reader(copied), ids) != before);
    CHECK(dg::read_growth(dg::checkpoint_reader(zero))[0]["zero_new"] == true);
}

TEST_CASE("logits of a streamed model are those of the model in memory") {
    dg::reference backend;
    for (const char* name : {"plain", "grouped"}) {
        const dg::checkpoint_reader in(std::filesystem::path(DEPTHGROW_FIXTURES) / name);
        dg::decoder<float, dg::reference> model(backend, in.config());
        dg::read_model(in, model);
        dg::tape<float, dg::reference> tape(backend);
        const std::vector<dg::token> ids = {3, 1, 4, 1, 5, 9, 2, 6};
        const auto whole = dg::logits<float, dg::reference>(model, tape, ids, 1);
        const auto streamed = dg::streamed_logits<float>(backend, in, ids);
        REQUIRE(streamed.size() == whole.size());
        CHECK(std::equal(streamed.begin(), streamed.end(), whole.data));
    }
}

TEST_CASE("other files stay, weights of other formats and folders do not, links are followed on reading only") {
    const grown_in_memory made(dg::lidas{2}(4), dg::state_policy::copy, true, 0);
    const temporary::folder elsewhere;
    dg::write_file(made.before / "tokenizer.json", "{}");
    dg::write_file(made.before / "pytorch_model.bin", "old");
    std::filesystem::create_directory(made.before / "folder");
    std::filesystem::create_symlink(elsewhere.file("note", "linked"), made.before / "note.txt");
    const auto out = made.folder.path / "out";
    const auto plan = dg::grow_directory(dg::checkpoint_reader(made.before), out, dg::lidas{2}(4));
    CHECK(plan.kept == std::vector<std::string>{"note.txt", "tokenizer.json"});
    CHECK(plan.left_out == std::vector<std::string>{"folder", "pytorch_model.bin"});
    CHECK(content_of(out / "note.txt") == "linked");
    CHECK_FALSE(std::filesystem::is_symlink(out / "note.txt"));
    CHECK(dg::read_json_file(out / "growth.json")["growth"].size() == 1);
}

TEST_CASE("a second growth adds to the record, and unknown fields of config.json stay") {
    const grown_in_memory made(dg::lidas{2}(4), dg::state_policy::copy, true, 0);
    auto config = dg::read_json_file(made.before / "config.json");
    config["of_ours"] = {1, 2, 3};
    config["layer_types"] = {"a", "b", "c", "d"};
    dg::write_file(made.before / "config.json", dg::json_text(config));
    const auto one = made.folder.path / "one", two = made.folder.path / "two";
    dg::grow_directory(dg::checkpoint_reader(made.before), one, dg::lidas{2}(4));
    dg::grow_directory(dg::checkpoint_reader(one), two, dg::layer_order{{0, 2, 2}, 6});
    const dg::checkpoint_reader last(two);
    const auto lineage = dg::read_lineage(last);
    CHECK(lineage.initial_depth() == 4);
    CHECK(lineage.depth() == 3);
    CHECK(lineage.composition().sources() == std::vector<std::size_t>{0, 2, 2});
    CHECK(last.config_fields()["of_ours"] == dg::json({1, 2, 3}));
    CHECK(last.config_fields()["layer_types"] == dg::json({"a", "c", "c"}));
}

TEST_CASE("nothing is overwritten, written through a link or left half done") {
    const grown_in_memory made(dg::lidas{2}(4), dg::state_policy::copy, true, 0);
    const dg::checkpoint_reader in(made.before);
    const auto grow_to = [&](const std::filesystem::path& out) { return refusal([&] { dg::grow_directory(in, out, dg::lidas{2}(4)); }); };
    CHECK(says(grow_to(made.before), "expected a new directory, found a directory of that name"));
    CHECK(says(grow_to(made.folder.file("file", "x")), "expected a new directory, found a file of that name"));
    std::filesystem::create_symlink(made.folder.path / "nowhere", made.folder.path / "link");
    CHECK(says(grow_to(made.folder.path / "link"), "expected a new directory, found a link of that name"));
    CHECK_FALSE(std::filesystem::exists(made.folder.path / "nowhere"));
    const auto out = made.folder.path / "out";
    const auto before = temporary::entries(made.folder.path);
    CHECK(says(refusal([&] { dg::grow_directory(in, out, dg::lidas{2}(4), {}, [](const auto&) { dg::fail("refused"); }); }), "refused"));
    CHECK(temporary::entries(made.folder.path) == before);
    CHECK(says(refusal([&] { dg::grow_directory(in, out, dg::lidas{2}(6)); }), "expected an order for 4 layers, got one for 6"));
    CHECK(says(refusal([&] { dg::grow_directory(in, out, dg::layer_order{{1, 0, 2, 3, 3}, 4}, {true, dg::state_policy::copy}); }), "expected an order that keeps every layer in place"));
    CHECK(temporary::entries(made.folder.path) == before);
}

TEST_CASE("an optimizer file that lacks a moment, and a record that does not fit, are refused") {
    const grown_in_memory made(dg::lidas{2}(4), dg::state_policy::copy, true, 0);
    const auto out = made.folder.path / "out";
    {
        const dg::safetensors_file whole(made.before / "optimizer.safetensors");
        dg::safetensors_writer part(made.before / "part.safetensors", {{"exp_avg.model.norm.weight", "F32", {32}}}, whole.metadata());
        part.copy("exp_avg.model.norm.weight", whole, "exp_avg.model.norm.weight");
        part.commit();
    }
    std::filesystem::rename(made.before / "part.safetensors", made.before / "optimizer.safetensors");
    CHECK(says(refusal([&] { dg::grow_directory(dg::checkpoint_reader(made.before), out, dg::lidas{2}(4)); }), "optimizer.safetensors: expected a tensor exp_avg.model.embed_tokens.weight"));
    CHECK(says(refusal([&] { dg::make_lineage(dg::json::parse(R"([{"order": [0, 1, 1]}])"), 4, "x"); }), "x: expected growths that end at 4 layers, found 3"));
    CHECK(says(refusal([&] { dg::make_lineage(dg::json::parse(R"([{"order": [0, 1]}, {"order": [2]}])"), 1, "x"); }), "x: expected an order for 2 layers, found one that names layer 2"));
}
