// Runs on the disk: what a manifest finds, and saves that go on beside the run.
#include "depthgrow/backend/blas.hpp"
#include "depthgrow/train/background_save.hpp"
#include "io/temporary.hpp"
#include "support/catch.hpp"

namespace dg = depthgrow;
using temporary::refusal;
using temporary::says;

namespace {

dg::token_batch batch_of(std::size_t step) {
    dg::token_batch batch;
    batch.resize(4, 8);
    dg::rng random(5, step);
    for (auto& id : batch.tokens) id = static_cast<dg::token>(random.below(256));
    std::fill(batch.weights.begin(), batch.weights.end(), 1.0f);
    return batch;
}

using trainer = dg::trainer<float, dg::blas>;

}  // namespace

TEST_CASE("a manifest names the first file that is not what it was: gone, shorter, or changed in one bit") {
    temporary::folder here;
    dg::write_file(here.path / "a.txt", "letters");
    CHECK(dg::damage_in(here.path).empty());  // no manifest, nothing to say
    dg::write_manifest(here.path);
    CHECK(dg::damage_in(here.path).empty());
    CHECK(says(temporary::content_of(here.path / "manifest.json"), "7893d059ad44b6d1"));  // what xxhsum -H3 prints

    dg::write_file(here.path / "a.txt", "lettess");
    CHECK(says(dg::damage_in(here.path), "a.txt: expected the XXH3 hash"));
    dg::write_file(here.path / "a.txt", "letter");
    CHECK(says(dg::damage_in(here.path), "a.txt: expected 7 bytes, as manifest.json says, found 6"));
    std::filesystem::remove(here.path / "a.txt");
    CHECK(says(refusal([&] { dg::require_undamaged(here.path); }), "a.txt: expected a file of 7 bytes"));
    dg::write_file(here.path / "manifest.json", "{\"files\": 3}");
    CHECK(says(dg::damage_in(here.path), "manifest.json: expected"));
}

TEST_CASE("a save beside the run holds the run as it was, byte for byte what a save in the foreground writes") {
    temporary::folder here;
    dg::blas backend({1});
    trainer run(backend, dg::tiny().with_depth(2), 3, 2);
    run.step(batch_of(0), 1e-2);
    dg::save_run(here.path / "now", run);
    dg::background_save<float> saver(run.ranks());
    bool published = false;
    CHECK(saver.begin(here.path / "meanwhile", run, {}, [&] { published = true; }).empty());
    CHECK(saver.busy());
    run.step(batch_of(1), 1e-2);  // does not reach the copy
    CHECK(saver.wait().empty());
    CHECK(published);
    for (const char* name : {"model.safetensors", "optimizer.safetensors", "trainer_state.json", "manifest.json"})
        CHECK(temporary::content_of(here.path / "now" / name) == temporary::content_of(here.path / "meanwhile" / name));
    trainer back(backend, dg::tiny().with_depth(2), 9, 2);
    CHECK(dg::resume_run(here.path / "meanwhile", back) == 1);
    trainer same(backend, dg::tiny().with_depth(2), 3, 2);
    same.step(batch_of(0), 1e-2);
    CHECK(back.step(batch_of(1), 1e-2).loss == same.step(batch_of(1), 1e-2).loss);
}

TEST_CASE("saves one after another, a growth between them, each hold their own state") {
    temporary::folder here;
    dg::blas backend({1});
    trainer run(backend, dg::tiny().with_depth(2), 3, 2);
    dg::background_save<float> saver(run.ranks());
    for (std::size_t i = 0; i < 3; ++i) {
        if (i == 2) run.grow(dg::doubling{}(2));
        run.step(batch_of(i), 1e-2);
        const std::string number = std::to_string(i);
        CHECK(saver.begin(here.path / ("meanwhile" + number), run, {}, [] {}).empty());
        dg::save_run(here.path / ("now" + number), run);
        run.step(batch_of(3), 1e-2);
        CHECK(saver.wait().empty());
        for (const char* name : {"model.safetensors", "optimizer.safetensors", "trainer_state.json"})
            CHECK(temporary::content_of(here.path / ("now" + number) / name) ==
                  temporary::content_of(here.path / ("meanwhile" + number) / name));
    }
}

TEST_CASE("a save that fails says why, leaves what was there, and the next one succeeds") {
    temporary::folder here;
    dg::blas backend({1});
    trainer run(backend, dg::tiny().with_depth(2), 3, 2);
    dg::background_save<float> saver(run.ranks());
    dg::write_file(here.path / "file", "x");
    CHECK(says(saver.begin(here.path / "file" / "run", run, {}, [] {}), "file"));
    CHECK_FALSE(saver.busy());
    dg::run_files fails;
    fails.more = [](const std::filesystem::path&) { dg::fail("no tokenizer today"); };
    CHECK(saver.begin(here.path / "run", run, fails, [] {}).empty());
    CHECK(saver.wait() == "no tokenizer today");
    CHECK_FALSE(std::filesystem::exists(here.path / "run"));
    CHECK(saver.begin(here.path / "run", run, {}, [] {}).empty());
    CHECK(saver.wait().empty());
    CHECK(dg::damage_in(here.path / "run").empty());
}

TEST_CASE("a damaged run is not gone on with") {
    temporary::folder here;
    dg::blas backend({1});
    trainer run(backend, dg::tiny().with_depth(2), 3, 2);
    dg::save_run(here.path / "run", run);
    auto bytes = temporary::content_of(here.path / "run" / "model.safetensors");
    bytes[bytes.size() / 2] ^= 1;
    dg::write_file(here.path / "run" / "model.safetensors", bytes);
    trainer back(backend, dg::tiny().with_depth(2), 9, 2);
    CHECK(says(refusal([&] { dg::resume_run(here.path / "run", back); }), "model.safetensors: expected the XXH3 hash"));
    CHECK(says(refusal([&] { dg::require_room(here.path, std::uintmax_t{1} << 60); }), "expected room for"));
}
