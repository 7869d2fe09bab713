// Work shared out among ranks: shares, tables in the order of the items, failures, and a lens fitted by several ranks.
#include "depthgrow/analysis/shared_prompts.hpp"

#include <cmath>
#include <limits>

#include "depthgrow/analysis/samples.hpp"
#include "depthgrow/analysis/tuned_lens.hpp"
#include "depthgrow/backend/reference.hpp"
#include "depthgrow/nn/presets.hpp"
#include "support/catch.hpp"
#include "support/thread_ranks.hpp"

namespace dg = depthgrow;

TEST_CASE("shares follow each other, cover all items and differ by one at most") {
    for (std::size_t items : {0u, 1u, 2u, 7u, 12u})
        thread_ranks::run(5, [&](dg::communicator& comm) {
            const auto own = dg::own_share(items, comm);
            std::vector<double> ends(5);
            ends[comm.rank()] = static_cast<double>(own.end());
            comm.sum(ends);
            const double before = comm.first() ? 0 : ends[comm.rank() - 1];
            if (static_cast<double>(own.first) != before || ends[4] != static_cast<double>(items) ||
                own.count > items / 5 + 1 || own.count < items / 5)
                dg::fail("a share of ", items, " from ", own.first, " to ", own.end());
        });
}

TEST_CASE("every rank is given every item's numbers in order, whoever measured them; intervals are the same bits") {
    for (std::size_t items : {2u, 7u}) {
        const auto table_on = [&](dg::communicator& comm) {
            dg::sample_table table(2, items, {7, 100, 0.95});
            std::size_t expected = 0;
            dg::share_out(
                comm, items, 2,
                [&](std::size_t i, dg::span<double> row) {
                    row[0] = std::sin(static_cast<double>(i)), row[1] = 1.0 / (3.0 + static_cast<double>(i));
                },
                [&](std::size_t i, dg::span<const double> row) {
                    dg::require(i == expected++, "item ", i, " came as number ", expected);
                    table.add(row, static_cast<double>(i + 1));
                });
            const auto a = table.interval(0), b = table.interval(1);
            return std::vector<double>{a.mean, a.low, a.high, b.mean, b.low, b.high};
        };
        dg::single alone;
        const auto want = table_on(alone);
        std::vector<std::vector<double>> got(3);
        thread_ranks::run(3, [&](dg::communicator& comm) { got[comm.rank()] = table_on(comm); });
        for (const auto& one : got) CHECK(one == want);
    }
}

TEST_CASE("one rank's failure ends all: its sentence there, through bodies that nest, and no other elsewhere") {
    std::vector<std::string> said(3);
    std::vector<int> elsewhere(3);
    thread_ranks::run(3, [&](dg::communicator& comm) {
        try {
            dg::together(comm, [&] {
                dg::share_out(
                    comm, 3, 1,
                    [](std::size_t i, dg::span<double>) { dg::require(i == 0, "expected item 0, got ", i); },
                    [](std::size_t, dg::span<const double>) { std::abort(); });
            });
        } catch (const dg::failed_elsewhere&) { elsewhere[comm.rank()] = 1; } catch (const dg::error& problem) {
            said[comm.rank()] = problem.what();
        }
    });
    CHECK(said == std::vector<std::string>{"", "expected item 0, got 1", ""});
    CHECK(elsewhere == std::vector<int>{1, 0, 1});
}

TEST_CASE("without other ranks a failure ends the list too: of a measurement, of what takes its numbers") {
    dg::single alone;
    const auto run = [&](std::size_t measured, std::size_t taken) {
        std::vector<std::size_t> order;
        std::string said;
        try {
            dg::share_out(
                alone, 5, 1,
                [&](std::size_t i, dg::span<double> row) {
                    dg::require(i != measured, "item ", i, " cannot be measured");
                    row[0] = static_cast<double>(i);
                },
                [&](std::size_t i, dg::span<const double> row) {
                    dg::require(i != taken && row[0] == static_cast<double>(i), "item ", i, " cannot be taken");
                    order.push_back(i);
                });
        } catch (const dg::error& problem) { said = problem.what(); }
        return std::pair{order, said};
    };
    using order = std::vector<std::size_t>;
    CHECK(run(9, 9) == std::pair{order{0, 1, 2, 3, 4}, std::string{}});
    CHECK(run(3, 9) == std::pair{order{0, 1, 2}, std::string{"item 3 cannot be measured"}});
    CHECK(run(3, 2) == std::pair{order{0, 1}, std::string{"item 2 cannot be taken"}});
    CHECK(run(9, 2) == std::pair{order{0, 1}, std::string{"item 2 cannot be taken"}});
    CHECK(run(9, 4) == std::pair{order{0, 1, 2, 3}, std::string{"item 4 cannot be taken"}});
}

TEST_CASE("several ranks fit the lens that one fits, the same on each of them, also where some have no sequence") {
    constexpr std::size_t length = 8;
    auto config = dg::tiny().with_depth(2);
    config.context = length;
    for (std::size_t batch : {2u, 5u}) {
        const auto fit = [&](dg::communicator& comm) {
            dg::reference backend;
            const dg::decoder<double, dg::reference> model(backend, config, 3);
            dg::lens_fit_options options;
            options.steps = 3;
            dg::lens_fitter<double, dg::reference> fitter(model, options, {}, comm);
            std::vector<double> out;
            for (std::size_t step = 0; step < options.steps; ++step) {
                std::vector<dg::token> tokens(batch * length);
                dg::rng random(5, step);
                for (auto& id : tokens) id = static_cast<dg::token>(random.below(256));
                for (double loss : fitter.step(tokens, batch)) out.push_back(loss);
            }
            for (const auto& map : fitter.lens.translators)
                for (const auto* part : {&map.A, &map.b})
                    for (double value : part->to_host()) out.push_back(value);
            return out;
        };
        dg::single alone;
        const auto want = fit(alone);
        std::vector<std::vector<double>> got(3);
        thread_ranks::run(3, [&](dg::communicator& comm) { got[comm.rank()] = fit(comm); });
        REQUIRE(got[1] == got[0]);
        REQUIRE(got[2] == got[0]);
        REQUIRE(got[0].size() == want.size());
        double most = 0;
        for (std::size_t i = 0; i < want.size(); ++i) most = std::max(most, std::abs(got[0][i] - want[i]));
        CHECK(most < 4096 * std::numeric_limits<double>::epsilon());  // sums in another order, three times over
    }
}
