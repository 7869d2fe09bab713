// Runs in eight bits that stop and go on: each rank's scales come back with the weights, so that no bit differs.
#include "depthgrow/growth/operators.hpp"
#include "depthgrow/train/run_directory.hpp"
#include "io/temporary.hpp"
#include "table.hpp"

namespace gpu_test {

namespace {

using T = dg::bfloat16;
using trainer = dg::trainer<T, dg::cuda>;
constexpr std::size_t grown_before = 3, stopped_before = 6, steps = 12;

dg::token_batch batch_of(std::size_t step) {
    dg::token_batch batch;
    batch.resize(8, 128);
    dg::rng random(4, step);
    for (auto& id : batch.tokens) id = static_cast<dg::token>(random.below(dg::small().vocab));
    std::fill(batch.weights.begin(), batch.weights.end(), 1.0f);
    return batch;
}
/// Losses and gradient norms of steps, and now and then the loss of other rows, which scales see too.
void take_steps(trainer& run, std::size_t first, std::size_t end, std::vector<double>& out) {
    for (std::size_t step = first; step < end; ++step) {
        if (step == grown_before) run.grow(dg::lidas{3}(6));
        const auto result = run.step(batch_of(step), 2e-3, 4);
        out.push_back(result.loss), out.push_back(result.gradient_norm);
        if (step % 2) out.push_back(run.loss(batch_of(steps + step), 4));
    }
}

void resumed(const char* what, std::size_t ffn, bool recompute) {
    const temporary::folder folder;
    const dg::cuda_options options{.deterministic = true, .fp8 = true};
    auto config = dg::small().with_depth(6);
    config.ffn = ffn;
    std::vector<double> whole, before, after;
    {
        dg::cuda gpu(options);
        trainer run(gpu, config, 3, 9);
        run.recompute(recompute);
        take_steps(run, 0, stopped_before, before);
        dg::save_run(folder.path / "run", run);
        whole = before;
        take_steps(run, stopped_before, steps, whole);
    }
    dg::cuda gpu(options);
    trainer run(gpu, config, 5, 9);
    dg::resume_run(folder.path / "run", run);
    run.recompute(recompute);
    take_steps(run, stopped_before, steps, after);
    before.insert(before.end(), after.begin(), after.end());
    results.row("stopped, resumed: the same bits", "fp8", what, before == whole ? 0 : 1, 0);
}

}  // namespace

void check_resumed_runs() {
    resumed("small, 6 of 12 steps, grown", dg::small().ffn, false);
    resumed("ffn 1024, 6 of 12 steps, grown", 1024, false);
    resumed("the same, recomputed", 1024, true);
}

}  // namespace gpu_test
