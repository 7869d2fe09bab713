// A run in one call: the steps of a loop of one's own, stopped, saved and gone on with.
#include "depthgrow/train/run_plan.hpp"

#include "depthgrow/backend/blas.hpp"
#include "io/temporary.hpp"
#include "support/catch.hpp"

namespace dg = depthgrow;
using temporary::refusal;
using temporary::says;

namespace {

constexpr std::size_t length = 16, batch = 4, steps = 12;

dg::training_data letters() {
    dg::training_data data(7, length);
    dg::token_list tokens(256);
    dg::rng random(3, 0);
    for (int i = 0; i < 2000; ++i) tokens.push_back(static_cast<std::uint32_t>(97 + random.below(26)));
    data.add_tokens("letters", std::move(tokens));
    return data;
}

dg::growth_plan plan() {
    return dg::plan_growth(dg::lidas{2},
                           {.initial_layers = 2, .final_layers = 6, .plateau_steps = 9, .total_steps = steps});
}

dg::run_options quiet() {
    dg::run_options options;
    options.rate = {.peak = 1e-2, .warmup = 2, .plateau = 9, .total = steps};
    options.batch = batch;
    options.held_out = 4;
    options.report = {};
    return options;
}

dg::decoder_config shape() {
    auto config = dg::tiny().with_depth(2);
    config.context = length;
    return config;
}

template <class Trainer> std::vector<float> numbers(Trainer& run) {
    std::vector<float> out;
    const auto add = [&](const auto& set) {
        for (std::size_t b = 0; b <= run.model.layers(); ++b) {
            const auto flat = dg::block_of(set, b).flat();
            out.insert(out.end(), flat.data(), flat.data() + flat.size());
        }
    };
    add(run.model.weights);
    for (const auto& state : run.optimizer.states()) add(*state.numbers);
    return out;
}

}  // namespace

TEST_CASE("a plan answers whether to grow before a step, by an order where it is one") {
    const auto stages = plan();
    std::size_t grown = 0;
    for (std::size_t step = 0; step < steps; ++step) {
        const auto order = stages.order_before(step);
        const auto at = stages.growth_steps();
        REQUIRE(order.has_value() == (std::find(at.begin(), at.end(), step) != at.end()));
        if (order) CHECK(*order == stages.stages[++grown].order);
    }
    CHECK(grown == 2);
    auto zeroed = stages;
    zeroed.stages[1].how = {zeroed.stages[1].order, {}, dg::state_policy::zero};
    CHECK(zeroed.growth_before(zeroed.stages[1].first_step)->state == dg::state_policy::zero);
    CHECK(says(refusal([&] { zeroed.order_before(zeroed.stages[1].first_step); }), "growth_before tells all of it"));
}

TEST_CASE("a run in one call takes the steps of a loop of one's own") {
    const auto data = letters();
    const auto stages = plan();
    const auto options = quiet();
    dg::blas cpu({.threads = 1});
    dg::trainer<float, dg::blas> loop(cpu, shape(), 1, 6), call(cpu, shape(), 1, 6);
    std::vector<dg::token> inputs, targets;
    dg::token_batch rows;
    for (std::size_t step = 0; step < steps; ++step) {
        if (const auto order = stages.order_before(step)) loop.grow(*order);
        data.sample(step, batch, rows);
        rows.split(inputs, targets);
        loop.step({inputs, targets, rows.weights, batch}, batch, options.rate(static_cast<std::int64_t>(step)));
    }
    const double held_out = dg::run_plan(call, stages, data, options);
    CHECK(call.model.layers() == 6);
    CHECK(call.growths.size() == 2);
    CHECK(numbers(call) == numbers(loop));
    CHECK(held_out == dg::held_out_loss(loop, data, 4));
    CHECK(dg::run_plan(call, stages, data, options) == held_out);  // nothing is left to do
}

TEST_CASE("a run that was saved goes on as if it had not stopped") {
    const temporary::folder folder;
    const auto data = letters();
    const auto stages = plan();
    dg::blas cpu({.threads = 1});
    auto options = quiet();
    options.out = folder.path / "run";
    dg::trainer<float, dg::blas> whole(cpu, shape(), 1, 6);
    dg::run_plan(whole, stages, data, quiet());

    for (const std::size_t stop :
         {stages.stages[1].first_step, stages.stages[1].first_step + 1, stages.stages[2].first_step}) {
        dg::trainer<float, dg::blas> first(cpu, shape(), 1, 6), second(cpu, shape(), 2, 6);
        dg::token_batch rows;
        for (std::size_t step = 0; step < stop; ++step) {
            if (const auto order = stages.order_before(step)) first.grow(*order);
            data.sample(step, batch, rows);
            first.step(rows, options.rate(static_cast<std::int64_t>(step)), 2);
        }
        dg::save_run(options.out, first);
        CHECK(dg::resume_run(options.out, second) == stop);
        CHECK(second.growths.size() == first.growths.size());
        CHECK(numbers(second) == numbers(first));
    }
    dg::trainer<float, dg::blas> half(cpu, shape(), 1, 6), rest(cpu, shape(), 5, 6);
    options.save_every = 4;
    std::size_t saves = 0;
    options.report = [&](const dg::run_event& event) {
        if (event.what == dg::run_event::kind::saved && ++saves == 2) throw std::runtime_error("pulled the plug");
    };
    CHECK_THROWS(dg::run_plan(half, stages, data, options));
    CHECK(dg::resume_run(options.out, rest) == 8);
    options.report = {};
    dg::run_plan(rest, stages, data, options);
    CHECK(numbers(rest) == numbers(whole));

    dg::trainer<float, dg::blas> deeper(cpu, shape().with_depth(4), 1, 6);
    CHECK(says(refusal([&] { dg::resume_run(options.out, deeper); }),
               "expected a trainer of 2 layers, as the saved run began, got one of 4"));
    dg::trainer<float, dg::blas> fresh(cpu, shape().with_depth(3), 1, 6);
    CHECK(says(refusal([&] { dg::run_plan(fresh, stages, data, quiet()); }),
               "expected a trainer of 2 layers at step 0 of the plan, got one of 3"));
}
