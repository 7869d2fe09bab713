// Refusals of streamed runs; their numbers are tested with growth on disk.
#include "depthgrow/io/streamed_logits.hpp"

#include "depthgrow/backend/reference.hpp"
#include "io/temporary.hpp"
#include "support/catch.hpp"

namespace dg = depthgrow;

TEST_CASE("a streamed run refuses tokens outside the vocabulary and sequences that do not fit") {
    dg::reference backend;
    const dg::checkpoint_reader in(std::filesystem::path(DEPTHGROW_FIXTURES) / "plain");
    const auto run = [&](std::vector<dg::token> ids) {
        return temporary::refusal([&] { dg::streamed_logits<float>(backend, in, ids); });
    };
    CHECK(temporary::says(run({0, 100000}), "expected token ids below"));
    CHECK(temporary::says(run({1}), "expected 2 to"));
    CHECK(temporary::says(run(std::vector<dg::token>(100000, 1)), "expected 2 to"));
}
