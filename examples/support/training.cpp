#include "support/training.hpp"

#include <algorithm>
#include <cstdio>

#include "support/console.hpp"
#include "support/training_data.hpp"

namespace tools {

bool resolved_run::losses_by_source() const {
    const auto& s = settings;
    const std::size_t sources = s.data.size() + (s.mix.empty() ? 0 : dg::parse_mix(s.mix).size());
    return sources > 1 && (s.mix_loss.empty() ? s.answer_loss : s.mix_loss == "source");
}

dg::json resolved_run::identity() const {
    const auto& s = settings;
    dg::json stages = dg::json::array();
    for (const auto& stage : plan.stages)
        stages.push_back({{"layers", stage.layers}, {"first_step", stage.first_step}});
    dg::json out = {{"vocab", model.vocab},
                    {"width", model.width},
                    {"ffn", model.ffn},
                    {"layers", model.layers},
                    {"heads", model.heads},
                    {"kv_heads", model.kv_heads},
                    {"context", length},
                    {"norm", dg::name_of(model.norms)},
                    {"growth", s.growth},
                    {"block", s.block},
                    {"stages", stages},
                    {"optimizer_state", s.optimizer_state},
                    {"steps", steps},
                    {"batch", batch},
                    {"micro_batch", micro_batch},
                    {"lr", rate.peak},
                    {"warmup", rate.warmup},
                    {"plateau", rate.plateau},
                    {"weight_decay", s.weight_decay},
                    {"clip", s.clip},
                    {"precision", s.precision},
                    {"seed", s.seed},
                    {"data", s.data},
                    {"mix", s.mix},
                    {"tasks", tasks},
                    {"answer_loss", s.answer_loss},
                    {"loop", loop_order},
                    {"cooldown_loop", cooldown_order},
                    {"tokenizer", tokenizer ? format("%zu tokens, %016zx", tokenizer->size(),
                                                     std::hash<std::string>()(tokenizer->text()))
                                            : s.tokenizer}};
    if (losses_by_source()) out["mix_loss"] = "source";
    if (s.skip_outliers > 0) out["skip_outliers"] = s.skip_outliers;
    if (s.residual_init != "auto") out["residual_init"] = s.residual_init;
    if (s.optimizer != "adamw") out["optimizer"] = s.optimizer;
    if (!s.growth_plan.empty()) out["growth_plan"] = plan_lines();
    if (!s.init.empty()) out["init"] = s.init, out["init_optimizer"] = s.init_optimizer;
    return out;
}

std::string resolved_run::plan_lines() const {
    std::string lines;
    for (std::size_t i = 1; i < plan.stages.size(); ++i)
        lines += dg::text(i > 1 ? "\n" : "", plan.stages[i].first_step, " ", plan.stages[i].applied().to_string());
    return lines;
}

std::size_t resolved_run::most_layers() const {
    std::size_t most = 0;
    for (const auto& stage : plan.stages) most = std::max(most, stage.layers);
    return most;
}

double resolved_run::flops_until(std::size_t end) const {
    double sum = 0;
    for (std::size_t step = 0; step < end; ++step) sum += dg::step_flops(shape(), layers_run(step), tokens_per_step());
    return sum;
}

dg::encode_function resolved_run::encoder() const {
    if (!tokenizer) return dg::encode_bytes;
    return [held = tokenizer](std::string_view text, std::vector<std::int32_t>& out) { held->encode(text, out); };
}

dg::json training_summary::to_json() const {
    dg::json out = {{"steps", steps},
                    {"tokens", tokens},
                    {"layers", layers},
                    {"loss", loss},
                    {"validation_loss", validation_loss},
                    {"flops", flops},
                    {"flops_ratio", flops_ratio},
                    {"tokens_per_second", tokens_per_second},
                    {"seconds", seconds},
                    {"growth", growth},
                    {"answer_accuracy", answer_accuracy},
                    {"late_top5_overlap", late_overlap},
                    {"swap_loss_added", swap_loss},
                    {"save_seconds", save_seconds},
                    {"last_save_seconds", last_save_seconds},
                    {"loss_spikes", spikes},
                    {"skipped_steps", skipped_steps},
                    {"interrupted", interrupted}};
    if (joules) out["joules"] = *joules;
    return out;
}

training_summary train(const resolved_run& run, const training_watch& watch) {
#if DEPTHGROW_USES_CUDA
    if (run.settings.backend == "cuda") return train_on_cuda(run, watch);
#endif
    dg::require(run.settings.backend == "blas",
                "--backend cuda: expected a build with CUDA (cmake -DDEPTHGROW_CUDA=ON), found one without");
    return train_on_cpu(run, watch);
}

void print_plan(const resolved_run& run, const dg::training_data& data, std::size_t memory) {
    const auto& m = run.model;
    const auto& s = run.settings;
    const auto number = [](std::size_t n) { return static_cast<double>(n); };
    std::printf("model      %s: %zu layers, width %zu, ffn %zu, heads %zu/%zu, vocabulary %zu, context %zu, norm %s\n",
                m.name.c_str(), m.layers, m.width, m.ffn, m.heads, m.kv_heads, m.vocab, m.context,
                std::string(dg::name_of(m.norms)).c_str());
    if (!s.init.empty())
        std::printf("init       %s: weights%s of %zu layers, %zu growths recorded\n", s.init.c_str(),
                    s.init_optimizer ? " and moments" : "", run.plan.stages.front().layers, run.history.size());
    std::printf("parameters %s in all, %s without embeddings\n", human(number(m.parameters())).c_str(),
                human(number(m.parameters() - m.outer_parameters())).c_str());
    for (std::size_t i = 0; i < data.sources(); ++i)
        std::printf("data       %s%s\n", data.name(i).c_str(),
                    data.training_tokens(i)
                        ? format(": %s training tokens, %zu held-out windows",
                                 human(number(data.training_tokens(i))).c_str(), data.held_out_windows(i))
                              .c_str()
                        : ": generated reasoning primitives, training and held-out items disjoint");
    std::printf(
        "training   %zu steps of %zu sequences (%zu at a time) x %zu tokens = %s tokens; peak rate %g, warm-up %lld, "
        "cooldown from step %lld; seed %zu\n",
        run.steps, run.batch, run.micro_batch, run.length, human(number(run.steps * run.tokens_per_step())).c_str(),
        run.rate.peak, static_cast<long long>(run.rate.warmup), static_cast<long long>(run.rate.plateau), s.seed);
    const double plain = dg::training_flops(run.shape(), run.steps, run.tokens_per_step());
    std::printf("optimiser  %s\n", s.optimizer.c_str());
    std::printf(
        "growth     %s%s\n", s.growth.c_str(),
        s.growth == "none" || !s.growth_plan.empty()
            ? ""
            : format(", block %zu, PROP-%g, optimiser state: %s", s.block, s.alpha, s.optimizer_state.c_str()).c_str());
    std::printf("           stage  layers   steps from       to     FLOPs\n");
    for (std::size_t i = 0; i < run.plan.stages.size(); ++i) {
        const auto& stage = run.plan.stages[i];
        const double flops =
            static_cast<double>(stage.steps) * dg::step_flops(run.shape(), stage.layers, run.tokens_per_step());
        std::printf("           %5zu  %6zu   %10zu %8zu  %8s\n", i + 1, stage.layers, stage.first_step,
                    stage.first_step + stage.steps, human(flops).c_str());
    }
    if (!s.growth_plan.empty() && run.plan.stages.size() > 1) {
        std::string lines = run.plan_lines();
        for (std::size_t at = 0; (at = lines.find('\n', at)) != lines.npos; ++at)
            lines.replace(at, 1, "\n           step ");
        std::printf("           step %s\n", lines.c_str());
    }
    if (!run.loop_order.empty())
        std::printf("loop       %s: %zu layers run, %zu of their own\n",
                    dg::layer_order(run.loop_order, m.layers).to_string().c_str(), run.loop_order.size(), m.layers);
    if (!run.cooldown_order.empty())
        std::printf("cooldown   %s\n", dg::layer_order(run.cooldown_order, m.layers).to_string().c_str());
    const double flops = run.flops();
    std::printf("           %sFLOP in all, %.3f of a plain run's %sFLOP (%.1f %% saved)\n", human(flops).c_str(),
                flops / plain, human(plain).c_str(), 100 * (1 - flops / plain));
    std::printf(
        "memory     %sB%s for the program, weights, gradients, moments and activations of %zu sequences at %zu "
        "layers\n",
        human(number(memory)).c_str(), s.backend == "cuda" ? " on the device" : "", run.micro_batch, run.most_layers());
    std::printf("backend    %s%s, %d threads, %s\n", s.backend.c_str(),
                s.backend == "cuda" && !has_cuda() ? " (not in this build: cmake -DDEPTHGROW_CUDA=ON)" : "",
                run.threads, s.precision.c_str());
}

dg::json stages_json(const resolved_run& run) {
    dg::json stages = dg::json::array();
    for (const auto& stage : run.plan.stages)
        stages.push_back({{"layers", stage.layers},
                          {"first_step", stage.first_step},
                          {"steps", stage.steps},
                          {"flops", static_cast<double>(stage.steps) *
                                        dg::step_flops(run.shape(), stage.layers, run.tokens_per_step())}});
    return stages;
}

dg::json growths_json(const resolved_run& run) {
    dg::json growths = dg::json::array();
    for (std::size_t i = 1; i < run.plan.stages.size(); ++i)
        growths.push_back(
            {{"step", run.plan.stages[i].first_step}, {"growth", run.plan.stages[i].applied().to_string()}});
    return growths;
}

dg::json plan_json(const resolved_run& run, const dg::training_data& data, std::size_t memory) {
    const auto& m = run.model;
    dg::json sources = dg::json::array();
    for (std::size_t i = 0; i < data.sources(); ++i)
        sources.push_back({{"name", data.name(i)},
                           {"training_tokens", data.training_tokens(i)},
                           {"held_out_windows", data.held_out_windows(i)}});
    return {{"dry_run", true},
            {"model", {{"name", m.name}, {"width", m.width}, {"vocab", m.vocab}, {"context", m.context}}},
            {"layers", m.layers},
            {"parameters", m.parameters()},
            {"data", sources},
            {"steps", run.steps},
            {"tokens", run.steps * run.tokens_per_step()},
            {"stages", stages_json(run)},
            {"growth", growths_json(run)},
            {"flops", run.flops()},
            {"flops_ratio", run.flops_ratio()},
            {"memory_bytes", memory},
            {"backend", run.settings.backend},
            {"precision", run.settings.precision},
            {"optimizer", run.settings.optimizer},
            {"seed", run.settings.seed}};
}

dg::json dry_run(const resolved_run& run) {
    const auto data = load_data(run);
    const std::size_t memory = planned_memory(run);
    if (!run.settings.quiet) print_plan(run, data, memory);
    return plan_json(run, data, memory);
}

}  // namespace tools
