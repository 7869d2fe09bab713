// Growth on disk: equal to growth in the trainer, byte for byte; kept files, shards, provenance, refusals.
#include "depthgrow/io/grow_directory.hpp"

#include "depthgrow/backend/reference.hpp"
#include "depthgrow/growth/operators.hpp"
#include "depthgrow/io/streamed_logits.hpp"
#include "depthgrow/train/trainer.hpp"
#include "io/temporary.hpp"
#include "support/catch.hpp"

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
        for (std::size_t i = 0; i < 16; ++i)
            ids[i] = static_cast<dg::token>(7 * i % 48), targets[i] = static_cast<dg::token>(5 * i % 48);
        const std::vector<float> weights(16, 1.0f);
        for (int step = 0; step < 2; ++step) trainer.step({ids, targets, weights, 1}, 1, 1e-2);
        before = folder.path / "before", after = folder.path / "after";
        write(before, trainer, {}, shard_bytes);
        dg::write_file(
            before / "trainer_state.json",
            dg::json_text({{"step", 2}, {"layers", 4}, {"growth", dg::json::array()}, {"fp8_scales", {3}}}, 2));
        trainer.grow(order, policy);
        write(after, trainer,
              {{dg::growth_metadata_key, dg::json::array({{{"order", order.sources()}, {"step", 2}}}).dump()}},
              shard_bytes);
    }
    static void write(const std::filesystem::path& path, const dg::trainer<float, dg::reference>& trainer,
                      const std::map<std::string, std::string>& metadata, std::size_t shard_bytes) {
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
    const auto order =
        GENERATE(dg::lidas{2}(4), dg::midas{2}(4), dg::doubling{}(4), dg::layer_order{{3, 1, 1, 0, 2}, 4});
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
    CHECK_FALSE(state.contains("fp8_scales"));  // of the layers before
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
    const auto grow_to = [&](const std::filesystem::path& out) {
        return refusal([&] { dg::grow_directory(in, out, dg::lidas{2}(4)); });
    };
    CHECK(says(grow_to(made.before), "expected a new directory, found a directory of that name"));
    CHECK(says(grow_to(made.folder.file("file", "x")), "expected a new directory, found a file of that name"));
    std::filesystem::create_symlink(made.folder.path / "nowhere", made.folder.path / "link");
    CHECK(says(grow_to(made.folder.path / "link"), "expected a new directory, found a link of that name"));
    CHECK_FALSE(std::filesystem::exists(made.folder.path / "nowhere"));
    const auto out = made.folder.path / "out";
    const auto before = temporary::entries(made.folder.path);
    CHECK(says(
        refusal([&] { dg::grow_directory(in, out, dg::lidas{2}(4), {}, [](const auto&) { dg::fail("refused"); }); }),
        "refused"));
    CHECK(temporary::entries(made.folder.path) == before);
    CHECK(says(refusal([&] { dg::grow_directory(in, out, dg::lidas{2}(6)); }),
               "expected an order for 4 layers, got one for 6"));
    CHECK(says(refusal([&] {
                   dg::grow_directory(in, out, dg::layer_order{{1, 0, 2, 3, 3}, 4}, {true, dg::state_policy::copy});
               }),
               "expected an order that keeps every layer in place"));
    CHECK(temporary::entries(made.folder.path) == before);
}

TEST_CASE("an optimizer file that lacks a moment, and a record that does not fit, are refused") {
    const grown_in_memory made(dg::lidas{2}(4), dg::state_policy::copy, true, 0);
    const auto out = made.folder.path / "out";
    {
        const dg::safetensors_file whole(made.before / "optimizer.safetensors");
        dg::safetensors_writer part(made.before / "part.safetensors", {{"exp_avg.model.norm.weight", "F32", {32}}},
                                    whole.metadata());
        part.copy("exp_avg.model.norm.weight", whole, "exp_avg.model.norm.weight");
        part.commit();
    }
    std::filesystem::rename(made.before / "part.safetensors", made.before / "optimizer.safetensors");
    CHECK(says(refusal([&] { dg::grow_directory(dg::checkpoint_reader(made.before), out, dg::lidas{2}(4)); }),
               "optimizer.safetensors: expected a tensor exp_avg.model.embed_tokens.weight"));
    CHECK(says(refusal([&] { dg::make_lineage(dg::json::parse(R"([{"order": [0, 1, 1]}])"), 4, "x"); }),
               "x: expected growths that end at 4 layers, found 3"));
    CHECK(says(refusal([&] { dg::make_lineage(dg::json::parse(R"([{"order": [0, 1]}, {"order": [2]}])"), 1, "x"); }),
               "x: expected an order for 2 layers, found one that names layer 2"));
}

namespace {

/// The numbers of a tensor.
std::vector<double> numbers(const dg::weight_files& weights, const std::string& name) {
    std::vector<double> out(weights.find(name).elements());
    weights.file_of(name).read(name, out.data(), out.size());
    return out;
}
std::vector<double> numbers(const std::filesystem::path& file, const std::string& name) {
    const dg::safetensors_file in(file);
    std::vector<double> out(in.find(name).elements());
    in.read(name, out.data(), out.size());
    return out;
}

/// A directory of a family that the library does not know: three layers of bfloat16 weights with a mask and integers.
struct foreign_model {
    explicit foreign_model(std::size_t shard_bytes = 0) {
        std::filesystem::create_directories(path);
        std::vector<dg::tensor_entry> entries = {{"transformer.wte.weight", "F32", {2}}};
        for (int layer = 0; layer < 3; ++layer) {
            const auto in = [&](const char* part) { return dg::text("transformer.h.", layer, ".", part); };
            entries.push_back({in("attn.bias"), "F32", {1, 1, 2, 2}});
            entries.push_back({in("mlp.weight"), "BF16", {2, 2}});
            entries.push_back({in("kind"), "I64", {1}});
        }
        dg::checkpoint_writer files(path, entries, shard_bytes, {{"format", "pt"}});
        for (const auto& entry : entries) {
            std::vector<float> values(4, 1.0f);
            if (entry.type_name == "I64") {
                const std::int64_t kind = entry.name[14] - '0';
                files.file_of(entry.name).write_bytes(entry.name, &kind, 8);
                continue;
            }
            if (entry.type_name == "BF16") values = {1, 2, 3, static_cast<float>(entry.name[14] - '0')};
            files.write(entry.name, values.data(), entry.shape.size() == 1 ? 2 : 4);
        }
        files.commit();
        here.file("in/config.json", R"({"model_type": "bloom", "n_layer": 3, "layer_types": ["a", "a", "b"]})");
    }
    temporary::folder here;
    std::filesystem::path path = here.path / "in", out = here.path / "out";
};

}  // namespace

TEST_CASE("a family without a known graph grows by its tensors, whole or in shards") {
    const foreign_model made(GENERATE(std::size_t{0}, std::size_t{30}));
    const dg::model_directory in(made.path);
    const auto plan = dg::grow_directory(in, made.out, {dg::layer_order({0, 2, 2, 1}, 3)});
    CHECK_FALSE(plan.before);
    CHECK((plan.layers_before == 3 && plan.layers_after == 4));
    CHECK((plan.tensors_before == 10 && plan.tensors_after == 13));
    CHECK((plan.numbers_before == 29 && plan.numbers_after == 38));
    const dg::model_directory grown(made.out);
    CHECK(grown.weights().sharded() == in.weights().sharded());
    CHECK(grown.config()["n_layer"] == 4);
    CHECK(grown.config()["layer_types"] == dg::json({"a", "b", "b", "a"}));
    const std::size_t sources[] = {0, 2, 2, 1};
    for (std::size_t slot = 0; slot < 4; ++slot)
        for (const char* part : {"attn.bias", "mlp.weight", "kind"}) {
            const auto name = dg::text("transformer.h.", slot, ".", part),
                       source = dg::text("transformer.h.", sources[slot], ".", part);
            std::vector<char> a(grown.weights().find(name).bytes()), b(a.size());
            grown.weights().file_of(name).read_bytes(name, a.data(), a.size());
            in.weights().file_of(source).read_bytes(source, b.data(), b.size());
            CHECK(a == b);
        }
    CHECK(dg::read_growth(grown.weights()) == dg::json::array({{{"order", {0, 2, 2, 1}}}}));
}

TEST_CASE("averages on disk are means rounded once, and masks and integers are copied") {
    const foreign_model made;
    dg::grow_directory(dg::model_directory(made.path), made.out,
                       {dg::layer_order({0, 0, 1, 2}, 3), {dg::init_kind::average}});
    const dg::model_directory grown(made.out);
    CHECK(numbers(grown.weights(), "transformer.h.1.mlp.weight") == std::vector<double>{1, 2, 3, 0.5});
    CHECK(numbers(grown.weights(), "transformer.h.1.attn.bias") == std::vector<double>(4, 1));
    CHECK(grown.weights().find("transformer.h.1.kind").type_name == "I64");
    CHECK(dg::read_growth(grown.weights())[0]["init"] == "average");
}

TEST_CASE("collapse on disk merges layers and undoes copies bit for bit") {
    const grown_in_memory made(dg::loop(4, 1, 1, 2), dg::state_policy::copy, true, 0);
    const auto grown = made.folder.path / "grown", back = made.folder.path / "back";
    dg::grow_directory(dg::model_directory(made.before), grown, {dg::loop(4, 1, 1, 2)});
    const auto plan = dg::grow_directory(dg::model_directory(grown), back, {dg::collapse{1, 2}(6)});
    CHECK(plan.layers_after == 4);
    const dg::weight_files was(made.before), is(back);
    REQUIRE(was.names() == is.names());
    for (const auto& name : was.names()) CHECK(numbers(was, name) == numbers(is, name));
    const auto moment = [&](const char* name) {
        return std::pair(numbers(made.before / "optimizer.safetensors", name),
                         numbers(back / "optimizer.safetensors", name));
    };
    const auto first = moment("exp_avg.model.layers.1.mlp.up_proj.weight"),
               second = moment("exp_avg_sq.model.layers.1.mlp.up_proj.weight");
    CHECK(first.first == first.second);
    for (std::size_t i = 0; i < second.first.size(); ++i)
        CHECK(second.second[i] == Approx(3 * second.first[i]));  // 1 + 1 + 1 of (1 - 2), 1, 1
    const auto lineage = dg::read_lineage(dg::checkpoint_reader(back));
    CHECK(lineage.ancestors(1) == dg::mixture_row{{1, 1}});
}

TEST_CASE("moments on disk are reset in new layers or in all") {
    const grown_in_memory made(dg::lidas{2}(4), dg::state_policy::copy, true, 0);
    const dg::model_directory in(made.before);
    const auto zero = [](const std::vector<double>& values) {
        return std::all_of(values.begin(), values.end(), [](double x) { return x == 0; });
    };
    for (const auto policy : {dg::state_policy::zero, dg::state_policy::all}) {
        const auto out = made.folder.path / dg::name_of(policy);
        dg::grow_directory(in, out, {dg::interleave{}(4), {dg::init_kind::average}, policy});
        for (const char* moment : {"exp_avg.", "exp_avg_sq."}) {
            const auto of = [&](int layer) {
                return numbers(out / "optimizer.safetensors",
                               dg::text(moment, "model.layers.", layer, ".mlp.up_proj.weight"));
            };
            CHECK(zero(of(1)));
            CHECK(zero(of(2)) == (policy == dg::state_policy::all));
            CHECK_FALSE(zero(numbers(out / "optimizer.safetensors", std::string(moment) + "model.norm.weight")));
        }
        CHECK(dg::read_json_file(out / "growth.json")["growth"][0]["state"] == std::string(dg::name_of(policy)));
        CHECK_FALSE(dg::read_growth(dg::weight_files(out))[0].contains("state"));
    }
}

TEST_CASE("noise and draws on disk follow seed, slot and part") {
    const grown_in_memory made(dg::lidas{2}(4), dg::state_policy::copy, true, 0);
    const dg::model_directory in(made.before);
    const std::string part = "mlp.down_proj.weight", name = "model.layers.3." + part;
    const auto grow_with = [&](const char* out, const dg::growth& how) {
        dg::grow_directory(in, made.folder.path / out, how);
        return dg::weight_files(made.folder.path / out);
    };
    const auto noisy = grow_with("noisy", {dg::lidas{2}(4), {dg::init_kind::noise, 0.1}, dg::state_policy::copy, 5});
    const auto source = numbers(in.weights(), "model.layers.1." + part), got = numbers(noisy, name);
    double squares = 0, difference = 0;
    for (std::size_t i = 0; i < source.size(); ++i)
        squares += source[i] * source[i], difference += (got[i] - source[i]) * (got[i] - source[i]);
    CHECK(std::sqrt(difference / squares) == Approx(0.1).epsilon(0.1));
    CHECK(numbers(noisy, "model.layers.1." + part) == source);
    const auto drawn = grow_with("drawn", {dg::lidas{2}(4), {dg::init_kind::random}, dg::state_policy::copy, 5});
    const double deviation = dg::initial_deviation(*in.described(), dg::role::residual_out, 6);
    auto random = dg::begin_stream(5, 3, "down");
    const auto values = numbers(drawn, name);
    for (std::size_t i = 0; i < 5; ++i)
        CHECK(values[i] == static_cast<double>(static_cast<float>(deviation * random.normal())));
    CHECK(numbers(drawn, "model.layers.4.input_layernorm.weight") == std::vector<double>(in.described()->width, 1));
    CHECK(dg::read_growth(drawn)[0] ==
          dg::json{{"order", {0, 1, 2, 1, 2, 3}}, {"init", "random"}, {"seed", 5}, {"step", 2}});
}

TEST_CASE(
    "what needs the graph of a family that the library does not know is refused by name, before anything is written") {
    const foreign_model made;
    const dg::model_directory in(made.path);
    const auto refused = [&](const dg::growth& how) { return refusal([&] { dg::grow_directory(in, made.out, how); }); };
    CHECK(says(refused({dg::doubling{}(3), {dg::init_kind::zero_residual}}),
               "the library does not know which tensors of model_type bloom write to the residual stream"));
    CHECK(says(refused({dg::doubling{}(3), {dg::init_kind::random}}),
               "the library does not know how model_type bloom is initialised"));
    CHECK(says(refused({dg::collapse{1, 1}(4)}), "expected an order for 3 layers, got one for 4"));
    CHECK(says(refused({dg::parse_mixture("0 0.5*1+0.5*2", 3)}), "expected layers of one kind in a sum"));
    made.here.file("in/config.json", R"({"model_type": "bloom", "n_layer": 3, "quantization_config": {}})");
    const dg::model_directory quantised(made.path);
    CHECK(says(refusal([&] {
                   dg::grow_directory(quantised, made.out, {dg::collapse{0, 2}(3)});
               }),
               "expected plain weights to compute new layers from, found quantization_config"));
    CHECK_FALSE(std::filesystem::exists(made.out));
    CHECK(temporary::entries(made.here.path) == 1);
}

TEST_CASE("another trainer's files are left out by name, and what is not understood is said") {
    const foreign_model made;
    for (const char* name : {"trainer_state.json", "optimizer.pt", "rng_state.pth", "scheduler.pt", "training_args.bin",
                             "tokenizer.json", "modeling_own.py"})
        made.here.file(std::string("in/") + name, R"({"global_step": 7, "log_history": [{"step": 1}]})");
    {
        dg::safetensors_writer theirs(made.path / "optimizer.safetensors", {{"state.0.exp_avg", "F32", {1}}});
        const float one = 1;
        theirs.write("state.0.exp_avg", &one, 1);
        theirs.commit();
    }
    const auto plan = dg::grow_directory(dg::model_directory(made.path), made.out, {dg::doubling{}(3)});
    CHECK(plan.left_out == std::vector<std::string>{"optimizer.pt", "optimizer.safetensors", "rng_state.pth",
                                                    "scheduler.pt", "trainer_state.json", "training_args.bin"});
    CHECK(plan.kept == std::vector<std::string>{"modeling_own.py", "tokenizer.json"});
    CHECK(plan.notes.size() == 2);
    CHECK(plan.notes.back() == "modeling_own.py is of no kind that growth knows; copied as it is");
    CHECK_FALSE(plan.history[0].contains("step"));
    CHECK_FALSE(std::filesystem::exists(made.out / "trainer_state.json"));
    CHECK(temporary::entries(made.out) == 6);
    const auto again =
        dg::plan_directory_growth(dg::model_directory(made.path), {dg::doubling{}(3), {}, dg::state_policy::all});
    CHECK_FALSE(again.history[0].contains("state"));  // no moments of ours
}

TEST_CASE("moments of a family that the library does not know grow with its tensors") {
    const foreign_model made;
    {
        std::vector<dg::tensor_entry> entries;
        for (int layer = 0; layer < 3; ++layer)
            for (const char* moment : {"exp_avg", "exp_avg_sq"})
                entries.push_back({dg::text(moment, ".transformer.h.", layer, ".mlp.weight"), "F32", {2, 2}});
        dg::safetensors_writer moments(made.path / "optimizer.safetensors", entries);
        const float values[] = {4, 8, 12, 16};
        for (const auto& entry : entries) moments.write(entry.name, values, 4);
        moments.commit();
    }
    const auto plan = dg::grow_directory(dg::model_directory(made.path), made.out,
                                         {dg::layer_order({0, 0, 1, 2}, 3), {dg::init_kind::average}});
    CHECK((plan.optimizer_before == 96 && plan.optimizer_after == 128));
    CHECK(numbers(made.out / "optimizer.safetensors", "exp_avg.transformer.h.1.mlp.weight") ==
          std::vector<double>{4, 8, 12, 16});
    CHECK(numbers(made.out / "optimizer.safetensors", "exp_avg_sq.transformer.h.1.mlp.weight") ==
          std::vector<double>{2, 4, 6, 8});
}
