// What a backend scales by from step to step: saved with a run by the places of weights, a list a rank.
#include "depthgrow/train/kept_scales.hpp"

#include "depthgrow/backend/reference.hpp"
#include "depthgrow/train/background_save.hpp"
#include "io/temporary.hpp"
#include "support/catch.hpp"
#include "support/thread_ranks.hpp"

namespace dg = depthgrow;
using temporary::refusal;
using temporary::says;

namespace {

/// Scales nothing, but keeps what a test says it does.
struct keeping : dg::reference {
    std::vector<dg::scale_state> scales() const {
        if (!problem.empty()) dg::fail(problem);
        return kept;
    }
    void restore_scales(const std::vector<dg::scale_state>& scales) { kept = scales; }
    std::vector<dg::scale_state> kept;
    std::string problem;
};
using trainer = dg::trainer<float, keeping>;

const std::vector<float> numbers = {1.0f / 3, 0, std::numeric_limits<float>::infinity(),
                                    std::numeric_limits<float>::denorm_min(), std::numeric_limits<float>::max()};
const float* place_in(const trainer& run, std::size_t block, std::size_t offset) {
    return dg::block_of(run.model.weights, block).flat().data() + offset;
}
dg::decoder_config shape() { return dg::tiny().with_depth(2); }

}  // namespace

TEST_CASE("a run goes on with the scales that its backend kept, by the places of weights, to the bit") {
    temporary::folder here;
    keeping before, after;
    trainer run(before, shape(), 3, 4);
    run.grow(dg::doubling{}(2));
    const std::size_t last = dg::layer_layout(shape()).size - 1;
    const float elsewhere = 0;
    before.kept = {{place_in(run, 0, 0), {0, 6, 2}, numbers},
                   {&elsewhere, {1, 1, 0}, numbers},  // of a weight that is gone
                   {place_in(run, 4, last), {1, 1, 0}, {2}},
                   {place_in(run, 2, 5), {2, 8, 0}, numbers}};
    dg::save_run(here.path / "now", run);
    dg::background_save<float> saver(run.ranks());
    CHECK(saver.begin(here.path / "meanwhile", run, {}, [] {}).empty());
    before.kept.clear();  // does not reach what is being written
    CHECK(saver.wait().empty());
    CHECK(temporary::content_of(here.path / "now" / "trainer_state.json") ==
          temporary::content_of(here.path / "meanwhile" / "trainer_state.json"));

    trainer back(after, shape(), 9, 4);
    dg::resume_run(here.path / "now", back);
    REQUIRE(after.kept.size() == 3);
    CHECK(after.kept[0].weight == place_in(back, 0, 0));
    CHECK(after.kept[1].weight == place_in(back, 4, last));
    CHECK(after.kept[2].weight == place_in(back, 2, 5));
    CHECK(after.kept[0].use == std::array<std::size_t, 3>{0, 6, 2});
    CHECK(after.kept[2].use == std::array<std::size_t, 3>{2, 8, 0});
    CHECK(after.kept[0].numbers == numbers);
    CHECK(after.kept[1].numbers == std::vector<float>{2});
}

TEST_CASE("a run without scales has no field for them, and goes on without") {
    temporary::folder here;
    keeping backend;
    trainer run(backend, shape(), 3, 2);
    dg::save_run(here.path / "run", run);
    CHECK_FALSE(dg::read_json_file(here.path / "run" / "trainer_state.json").contains("fp8_scales"));
    backend.kept = {{place_in(run, 0, 0), {}, {1}}};
    trainer back(backend, shape(), 9, 2);
    dg::resume_run(here.path / "run", back);
    CHECK(backend.kept.size() == 1);  // nobody has touched them
}

TEST_CASE("each rank has scales of its own; of another number of ranks they take turns") {
    temporary::folder here;
    thread_ranks::run(2, [&](dg::communicator& comm) {
        keeping backend;
        trainer run(backend, shape(), 3, 2, {}, comm);
        for (std::size_t i = 0; i <= comm.rank(); ++i)
            backend.kept.push_back({place_in(run, 1, i), {i, 0, 0}, {static_cast<float>(comm.rank())}});
        dg::save_run(here.path / "run", run);
    });
    for (const std::size_t ranks : {1, 3}) {
        std::vector<std::vector<dg::scale_state>> got(ranks);
        std::vector<char> placed(ranks, 0);
        thread_ranks::run(ranks, [&](dg::communicator& comm) {
            keeping backend;
            trainer run(backend, shape(), 9, 2, {}, comm);
            dg::resume_run(here.path / "run", run);
            got[comm.rank()] = backend.kept;
            placed[comm.rank()] = backend.kept.back().weight == place_in(run, 1, comm.rank() % 2);
        });
        for (std::size_t r = 0; r < ranks; ++r) {
            REQUIRE(got[r].size() == 1 + r % 2);
            CHECK(got[r].back().numbers == std::vector<float>{static_cast<float>(r % 2)});
            CHECK(placed[r] == 1);
        }
    }
}

TEST_CASE("a rank that cannot tell its scales ends the save on all of them") {
    temporary::folder here;
    std::vector<std::string> said(2), said_later(2);
    thread_ranks::run(2, [&](dg::communicator& comm) {
        keeping backend;
        trainer run(backend, shape(), 3, 2, {}, comm);
        if (comm.rank() == 1) backend.problem = "no answer from the device";
        said[comm.rank()] = refusal([&] { dg::save_run(here.path / "run", run); });
        dg::background_save<float> saver(comm);
        said_later[comm.rank()] = saver.begin(here.path / "later", run, {}, [] {});
    });
    CHECK(said[1] == "no answer from the device");
    CHECK(said[0] == dg::failed_elsewhere().what());
    CHECK(said_later == said);
    CHECK_FALSE(std::filesystem::exists(here.path / "run"));
    CHECK_FALSE(std::filesystem::exists(here.path / "later"));
}

TEST_CASE("scales of a place that the model does not have are refused by name") {
    keeping backend;
    trainer run(backend, shape(), 3, 2);
    const auto said = [&](const char* scales) {
        return refusal([&] { dg::restore_scales({{"fp8_scales", dg::json::parse(scales)}}, "state.json", run); });
    };
    CHECK(said("[]") == "state.json, fp8_scales: expected a list a rank, found []");
    CHECK(said("[3]") == "state.json, fp8_scales: expected a list of scales, found 3");
    CHECK(says(said(R"([[{"block": 3, "offset": 0, "use": [0, 0, 0], "numbers": []}]])"),
               "expected blocks below 3, found 3"));
    CHECK(says(said(R"([[{"block": 0, "offset": 999999, "use": [0, 0, 0], "numbers": []}]])"), "found 999999"));
    CHECK(says(said(R"([[{"block": 0, "offset": 0, "use": [0], "numbers": []}]])"), "expected use to hold 3"));
    CHECK(says(said(R"([[{"block": 0, "offset": 0, "use": [0, 0, 0], "numbers": ["a"]}]])"), "found \"a\""));
    CHECK(backend.kept.empty());
}
