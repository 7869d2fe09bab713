// Files of the depth tools: prompts, growth records, sweeps on the command line.
#include "support/depth_files.hpp"

#include "depthgrow/backend/blas.hpp"
#include "io/temporary.hpp"
#include "support/catch.hpp"
#include "support/depth_measure.hpp"
#include "support/model_names.hpp"

namespace dg = depthgrow;
using temporary::refusal;

TEST_CASE("prompts are read with their boundaries and answers, and lines are counted from 1") {
    const temporary::folder here;
    const auto file = here.path / "p.jsonl";
    dg::write_file(
        file,
        "{\"tokens\": [1, 2, 3, 4], \"boundaries\": [2, 3]}\n\n{\"text\": \"abcdefghijklmnop\", "
        "\"answer_from\": 15}\r\n{\"text\": \"\\u00e9bc\", \"boundaries\": [2], \"weights\": [0, 0.5, 0, 1]}");
    const auto prompts = tools::read_prompts(file, {256, 16, dg::encode_bytes, {8}});
    REQUIRE(prompts.size() == 3);
    CHECK(prompts[0].tokens == std::vector<dg::token>{1, 2, 3, 4});
    CHECK(prompts[0].boundaries == std::vector<std::size_t>{2, 3});
    CHECK_FALSE(prompts[0].answer_from);
    CHECK(prompts[1].tokens.size() == 16);
    CHECK(prompts[1].tokens[0] == 'a');
    CHECK(prompts[1].boundaries == std::vector<std::size_t>{8});  // the flag's
    CHECK(prompts[1].answer_from == 15u);
    CHECK(prompts[1].name == file.string() + " line 3");
    CHECK(prompts[1].weights.empty());
    CHECK(prompts[2].weights == std::vector<double>{0, 0.5, 0, 1});
    CHECK(prompts[2].tokens == std::vector<dg::token>{0xc3, 0xa9, 'b', 'c'});
    CHECK(refusal([&] {
              tools::read_prompts(file, {256, 15, dg::encode_bytes, {8}});
          }) == file.string() + " line 3: expected at most 15 tokens (the model's context), found 16");
    CHECK(refusal([&] {
              tools::read_prompts(file, {3, 16, dg::encode_bytes, {}});
          }) == file.string() + " line 1: expected token ids below the vocabulary of 3, found 3 at position 2");
}

TEST_CASE("lists of numbers and of sweeps are read, anything else is refused") {
    CHECK(tools::parse_numbers("--x", "") == std::vector<std::size_t>{});
    CHECK(tools::parse_numbers("--x", "8,16") == std::vector<std::size_t>{8, 16});
    for (const char* bad : {"8,,16", "-1", "a", "1.5", "99999999999"})
        CHECK(refusal([&] { tools::parse_numbers("--x", bad); }) ==
              std::string("--x: expected numbers separated by commas, found \"") + bad + "\"");
    const auto some = tools::parse_sweeps("--sweep", "swap:1,2;loop:4x2", 8);
    CHECK(some.size() == 7 + 5 + 5);
    CHECK(some[0].order.sources() == std::vector<std::size_t>{1, 0, 2, 3, 4, 5, 6, 7});
    CHECK(some.back().times == 2);
    CHECK(some.back().order.size() == 16);
    CHECK(tools::parse_sweeps("--sweep", "none", 8).empty());
    CHECK(tools::parse_sweeps("--sweep", "standard", 8).size() == dg::standard_interventions(8).size());
    CHECK(refusal([&] {
              tools::parse_sweeps("--sweep", "swap", 8);
          }).find("--sweep: expected kinds and lengths like") == 0);
    CHECK(refusal([&] {
              tools::parse_sweeps("--sweep", "loop:4x0", 8);
          }).find("expected a number of extra repetitions after x") != std::string::npos);
    CHECK(refusal([&] { tools::parse_sweeps("--sweep", "skip:0", 8); }) ==
          "[interventions] expected a length of at least 1, got 0");
}

TEST_CASE("a growth record becomes a lineage; one that does not end at the model's depth is refused") {
    const temporary::folder here;
    dg::blas backend;
    dg::decoder_config config{"t", 16, 8, 8, 4, 2, 2, 16};
    const dg::decoder<float, dg::blas> model(backend, config, 1);
    const auto lineage_of = [&](const std::string& record) {
        dg::write_model(here.path, model, dg::dtype::f32,
                        record.empty() ? std::map<std::string, std::string>{}
                                       : std::map<std::string, std::string>{{"depthgrow.growth", record}});
        return dg::read_lineage(dg::checkpoint_reader(here.path));
    };
    const auto grown = lineage_of("[{\"step\": 3, \"order\": [0, 1, 0, 1]}]");
    CHECK(grown.initial_depth() == 2);
    CHECK(grown.shared_until(0, 2) == 1);
    CHECK(grown.shared_until(0, 1) == 0);
    for (const char* none : {"", "[]"}) CHECK(lineage_of(none).stage() == 1);
    CHECK(refusal([&] {
              lineage_of("[{\"order\": [0, 1, 0]}]");
          }).find("model.safetensors: depthgrow.growth: expected growths that end at 4 layers, found 3") !=
          std::string::npos);
    CHECK(refusal([&] {
              lineage_of("{}");
          }).find("model.safetensors: depthgrow.growth: expected a list of growths, found") != std::string::npos);
}

TEST_CASE("a weight that is not a number is refused with its file and tensor") {
    const temporary::folder here;
    dg::blas backend;
    dg::decoder_config config{"t", 16, 8, 8, 4, 2, 2, 16};
    dg::decoder<float, dg::blas> model(backend, config, 1);
    model.weights.layers[2].at(dg::layer_layout(config).at(dg::part::o))(1, 3) = INFINITY;
    dg::write_model(here.path, model);
    CHECK(refusal([&] { tools::load_finite_model<float>(backend, dg::checkpoint_reader(here.path)); }) ==
          (here.path / "model.safetensors").string() +
              ": expected finite numbers in tensor model.layers.2.self_attn.o_proj.weight, found NaN or infinity at "
              "element 11");
}

TEST_CASE("models are told apart by the shortest ends of their paths, or by labels") {
    using names = std::vector<std::string>;
    CHECK(tools::model_names({"runs/lidas"}) == names{"lidas"});
    CHECK(tools::model_names({"runs/lidas/", "runs/plain/."}) == names{"lidas", "plain"});
    CHECK(tools::model_names({"plain/seed-1", "lidas/seed-1"}) == names{"plain/seed-1", "lidas/seed-1"});
    CHECK(tools::model_names({"plain/seed-1/", "lidas/./seed-1", "lidas/seed-2"}) ==
          names{"plain/seed-1", "lidas/seed-1", "seed-2"});
    CHECK(tools::model_names({"a/x/s", "b/x/s", "b/y/s"}) == names{"a/x/s", "b/x/s", "y/s"});
    CHECK(tools::model_names({"a", "a/../a/"}) == names{"a (1)", "a (2)"});
    CHECK(tools::model_names({"x/a", "x/a", "y/a"}) == names{"x/a (1)", "x/a (2)", "y/a"});
    const auto here = std::filesystem::current_path().filename().string();
    CHECK(tools::model_names({"."}) == names{here});
    CHECK(tools::model_names({"/"}) == names{"/"});
    CHECK(tools::model_names({"/s", "/r/s"}) == names{"s", "r/s"});
    CHECK(tools::model_names({"a/s", "b/s"}, {"plain", "grown"}) == names{"plain", "grown"});
    CHECK(refusal([] {
              tools::model_names({"a", "b"}, {"x"});
          }) == "--label: expected one for each of 2 --model, found 1");
    CHECK(refusal([] {
              tools::model_names({"a", "b"}, {"x", "x"});
          }) == "--label: expected names that differ, found x twice");
    CHECK(refusal([] { tools::model_names({"a"}, {""}); }) == "--label: expected a name, found none");
}
