// Models and optimisers through files, bit for bit; the byte tokenizer's alphabet.
#include "depthgrow/io/model_checkpoint.hpp"

#include <filesystem>
#include <set>

#include "depthgrow/backend/reference.hpp"
#include "depthgrow/io/byte_tokenizer.hpp"
#include "depthgrow/optim/adamw.hpp"
#include "support/catch.hpp"
#include "support/fixture.hpp"

namespace dg = depthgrow;

namespace {

struct folder {
    folder() : path(std::filesystem::temp_directory_path() / ("depthgrow-checkpoint-" + std::to_string(::getpid()))) {
        std::filesystem::create_directories(path);
    }
    ~folder() { std::filesystem::remove_all(path); }
    std::filesystem::path path;
};

template <class Set> std::vector<float> flat(const Set& set) {
    std::vector<float> all;
    set.each([&](const auto& block) { all.insert(all.end(), block.flat().begin(), block.flat().end()); });
    return all;
}

}  // namespace

TEST_CASE("a model written and read back is the same, bit for bit, tied and untied") {
    const folder out;
    dg::reference backend;
    auto config = dg::tiny();
    config.tied = GENERATE(true, false);
    const dg::decoder<float, dg::reference> model(backend, config, 3);
    dg::write_model(out.path, model, dg::dtype::f32, {{"depthgrow.growth", "[]"}});
    const auto back = dg::load_model<float>(backend, out.path);
    CHECK(flat(back.weights) == flat(model.weights));
    CHECK(dg::checkpoint_reader(out.path).contains("lm_head.weight") == !config.tied);
    CHECK(dg::safetensors_file(out.path / "model.safetensors").metadata().at("depthgrow.growth") == "[]");
}

TEST_CASE("both moments and the step count come back") {
    const folder out;
    dg::reference backend;
    const auto config = dg::tiny();
    dg::adamw<float, dg::reference> optimizer(backend, config);
    float next = 0;
    optimizer.first.each([&](auto& block) {
        for (auto& x : block.flat()) x = next += 1;
    });
    optimizer.second.each([&](auto& block) {
        for (auto& x : block.flat()) x = next += 1;
    });
    optimizer.set_steps(41);
    dg::write_optimizer(out.path / "optimizer.safetensors", config, optimizer);
    dg::adamw<float, dg::reference> back(backend, config);
    dg::read_optimizer(out.path / "optimizer.safetensors", config, back);
    CHECK(back.steps() == 41);
    dg::each_tensor(config, [&](const dg::tensor_place& place, std::size_t block) {
        CHECK(fixture::values_of(dg::block_of(back.first, block), place) ==
              fixture::values_of(dg::block_of(optimizer.first, block), place));
        CHECK(fixture::values_of(dg::block_of(back.second, block), place) ==
              fixture::values_of(dg::block_of(optimizer.second, block), place));
    });
}

TEST_CASE("an optimiser file of another depth is refused by name") {
    const folder out;
    dg::reference backend;
    dg::adamw<float, dg::reference> optimizer(backend, dg::tiny());
    dg::write_optimizer(out.path / "optimizer.safetensors", dg::tiny(), optimizer);
    const auto deeper = dg::tiny().with_depth(9);
    dg::adamw<float, dg::reference> other(backend, deeper);
    CHECK_THROWS_WITH(dg::read_optimizer(out.path / "optimizer.safetensors", deeper, other),
                      Catch::Contains("model.layers.8"));
}

TEST_CASE("the byte alphabet has 256 letters, printable bytes stand for themselves") {
    std::set<std::string> letters;
    for (unsigned byte = 0; byte < 256; ++byte)
        letters.insert(dg::to_byte_letters(std::string(1, static_cast<char>(static_cast<unsigned char>(byte)))));
    CHECK(letters.size() == 256);
    CHECK(dg::to_byte_letters("A") == "A");
    CHECK(dg::to_byte_letters(" ") == "\xc4\xa0");   // U+0120
    CHECK(dg::to_byte_letters("\n") == "\xc4\x8a");  // U+010A
}
