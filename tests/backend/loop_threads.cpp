// Loops over threads: every part once, memory by thread, what a body throws; products that are shared out.
#include <dlfcn.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "depthgrow/backend/blas.hpp"
#include "support/catch.hpp"
#include "support/random.hpp"

namespace dg = depthgrow;

TEST_CASE("a loop runs every part once, on threads below its count") {
    for (int threads : {1, 2, 3, 8}) {
        const dg::loop_threads loops(threads);
        std::vector<std::atomic<int>> runs(100), inside(static_cast<std::size_t>(threads));
        std::atomic<int> shared = 0;
        loops.run(runs.size(), [&](std::size_t part, std::size_t thread) {
            if (inside[thread]++ != 0) ++shared;
            ++runs[part];
            std::this_thread::sleep_for(std::chrono::microseconds(100));  // so that threads meet, if they can
            --inside[thread];
        });
        CHECK(shared == 0);
        for (const auto& count : runs) CHECK(count == 1);
        loops.run(0, [&](std::size_t, std::size_t) { ++shared; });
        CHECK(shared == 0);
    }
    CHECK_THROWS_AS(dg::loop_threads(0), dg::error);
}

TEST_CASE("what a part throws is thrown by the loop, and the next loop runs") {
    const dg::loop_threads loops(2);
    CHECK_THROWS_AS(loops.run(8, [](std::size_t part, std::size_t) { dg::require(part != 5, "part five"); }),
                    dg::error);
    std::atomic<int> runs = 0;
    loops.run(8, [&](std::size_t, std::size_t) { ++runs; });
    CHECK(runs == 8);
}

TEST_CASE("products of a few rows have the same bits whatever the number of rows and of threads") {
    for (std::size_t inner : {3u, 64u, 193u, 960u}) {
        const std::size_t out = 131, most = 32;
        const auto x = normal_numbers<float>(most * inner, 1), w = normal_numbers<float>(out * inner, 2);
        std::vector<float> alone(most * out);
        dg::blas one({.threads = 1});
        for (std::size_t r = 0; r < most; ++r)
            one.gemm<float>(dg::transpose::no, dg::transpose::yes, 1, {x.data() + r * inner, 1, inner},
                            {w.data(), out, inner}, 0, {alone.data() + r * out, 1, out});
        for (int threads : {1, 2, 3}) {
            dg::blas several({.threads = threads});
            for (std::size_t rows : {1u, 2u, 7u, 32u}) {
                std::vector<float> together(rows * out);
                several.gemm<float>(dg::transpose::no, dg::transpose::yes, 1, {x.data(), rows, inner},
                                    {w.data(), out, inner}, 0, {together.data(), rows, out});
                CHECK(std::equal(together.begin(), together.end(), alone.begin()));
            }
        }
    }
}

TEST_CASE("products that are shared out are those of the definition, at every number of threads") {
    const float bound = 1e-5f;  // below the epsilon of float times the 300 numbers of a sum
    for (int threads : {1, 2, 3, 4, 6, 7})
        for (const auto& [rows, cols] : {std::pair<std::size_t, std::size_t>{301, 77}, {40, 515}, {33, 33}, {1000, 1}})
            for (const bool ta : {false, true})
                for (const bool tb : {false, true}) {
                    const std::size_t inner = 300;
                    const auto a = normal_numbers<float>(rows * inner, 3), b = normal_numbers<float>(inner * cols, 4);
                    auto want = normal_numbers<float>(rows * cols, 5), got = want;
                    const dg::matrix<const float> left(a.data(), ta ? inner : rows, ta ? rows : inner);
                    const dg::matrix<const float> right(b.data(), tb ? cols : inner, tb ? inner : cols);
                    const auto turn = [](bool yes) { return yes ? dg::transpose::yes : dg::transpose::no; };
                    dg::reference definition;
                    definition.gemm<float>(turn(ta), turn(tb), 0.125f, left, right, 2, {want.data(), rows, cols});
                    dg::blas shared({.threads = threads});
                    shared.gemm<float>(turn(ta), turn(tb), 0.125f, left, right, 2, {got.data(), rows, cols});
                    float worst = 0;
                    for (std::size_t i = 0; i < got.size(); ++i)
                        worst = std::max(worst, std::abs(got[i] - want[i]) / std::max(1.0f, std::abs(want[i])));
                    CHECK(worst <= bound);
                }
}

TEST_CASE("products leave the caller's number of OpenMP threads as it was") {
    const auto threads = reinterpret_cast<int (*)()>(dlsym(RTLD_DEFAULT, "omp_get_max_threads"));
    const auto set = reinterpret_cast<void (*)(int)>(dlsym(RTLD_DEFAULT, "omp_set_num_threads"));
    if (!threads || !set) return;  // no library here has OpenMP
    const int before = threads();
    set(5);
    const auto x = normal_numbers<float>(64 * 64, 6);
    std::vector<float> y(64 * 64);
    dg::blas cpu({.threads = 2});
    cpu.gemm<float>(dg::transpose::no, dg::transpose::no, 1, {x.data(), 64, 64}, {x.data(), 64, 64}, 0,
                    {y.data(), 64, 64});
    CHECK(threads() == 5);
    set(before);
}
