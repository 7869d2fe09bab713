// Stages, orders and floating-point operations of a growth schedule: the plan of train_smol without a model or data.
#include <cstdio>

#include "support/console.hpp"
#include "support/json_output.hpp"
#include "support/training.hpp"

namespace {

namespace dg = depthgrow;

/// The numbers of a plan, by the keys of train_smol's dry run; a stage also has its share of all operations.
dg::json numbers(const tools::resolved_run& run) {
    const double total = dg::training_flops(run.shape(), run.plan, run.tokens_per_step()),
                 plain = dg::training_flops(run.shape(), run.steps, run.tokens_per_step());
    dg::json stages = tools::stages_json(run);
    for (auto& stage : stages) stage["share"] = stage["flops"].get<double>() / total;
    return {{"layers", run.model.layers},
            {"steps", run.steps},
            {"tokens", run.steps * run.tokens_per_step()},
            {"stages", std::move(stages)},
            {"growth", tools::growths_json(run)},
            {"flops", total},
            {"plain_flops", plain},
            {"flops_ratio", total / plain},
            {"flop_matched_steps", dg::flop_matched_steps(run.shape(), run.plan)}};
}

void print(const tools::resolved_run& run, const dg::json& plan) {
    const auto& m = run.model;
    std::printf("%s: width %zu, ffn %zu, vocabulary %zu; steps of %zu sequences x %zu tokens\n", m.name.c_str(),
                m.width, m.ffn, m.vocab, run.batch, run.length);
    std::printf("%5s %7s %11s %10s %9s %7s  %s\n", "stage", "layers", "first step", "steps", "FLOPs", "share",
                "grown by");
    for (std::size_t i = 0; i < run.plan.stages.size(); ++i) {
        const auto& stage = plan["stages"][i];
        std::printf("%5zu %7zu %11zu %10zu %9s %6.1f%%  %s\n", i + 1, run.plan.stages[i].layers,
                    run.plan.stages[i].first_step, run.plan.stages[i].steps,
                    tools::human(stage["flops"].get<double>()).c_str(), 100 * stage["share"].get<double>(),
                    i == 0 ? "-" : plan["growth"][i - 1]["growth"].get<std::string>().c_str());
    }
    const double ratio = plan["flops_ratio"].get<double>();
    std::printf("%sFLOP in all, %.4f of a plain run's %sFLOP (%.1f %% saved); %zu plain steps cost as much\n",
                tools::human(plan["flops"].get<double>()).c_str(), ratio,
                tools::human(plan["plain_flops"].get<double>()).c_str(), 100 * (1 - ratio),
                plan["flop_matched_steps"].get<std::size_t>());
}

}  // namespace

int main(int argc, char** argv) {
    return tools::run_tool([&] {
        tools::training_settings s;
        tools::command_line flags("growth_plan [FLAGS]",
                                  "Prints stages, orders and floating-point operations of a growth schedule; needs no "
                                  "model and no data.");
        flags.group("Model");
        tools::add_model_flags(flags, s);
        tools::add_shape_flags(flags, s);
        flags.group("Growth");
        tools::add_schedule_flags(flags, s);
        flags.add("--steps", s.steps, "Optimiser steps");
        flags.add("--batch", s.batch, "Sequences in a step");
        flags.group("Where it goes");
        flags.add_json(s.json);
        flags.add_quiet(s.quiet);
        flags.examples({"growth_plan --growth lidas --preset smollm-1.7b       # 24 layers in blocks of 4",
                        "growth_plan --growth midas --layers 12 --block 3 --steps 3000 --alpha 2 --json -",
                        "growth_plan --config config.json --initial-layers 6 --growth-plan plan.txt --steps 1000"},
                       "Flags mean what they mean in train_smol; the vocabulary is the preset's or the config's own "
                       "(train_smol: the tokenizer's).");
        if (!flags.parse(argc, argv)) return;
        if (!s.vocab) s.vocab = tools::stated_model(s).vocab;
        s.micro_batch = 1;  // memory's business: any batch has a plan
        const auto run = tools::resolve(s);
        const auto plan = numbers(run);
        if (!s.quiet && s.json != "-") print(run, plan);
        tools::write_json(s.json, plan);
    });
}
