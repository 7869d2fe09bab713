// Trains a SmolLM-shaped model from text, plain or grown, and leaves a Hugging Face checkpoint and a page of plots.
#include "support/json_output.hpp"
#include "support/ranks.hpp"
#include "support/scale_plan.hpp"
#include "support/stop_signal.hpp"
#include "support/training_data.hpp"

int main(int argc, char** argv) {
    return tools::run_tool([&] {
        tools::catch_warning_signal();
        tools::training_settings settings;
        tools::command_line flags(
            "train_smol [FLAGS]",
            "Trains a SmolLM-shaped Transformer from text, plain or growing in depth while it trains.");
        tools::add_training_flags(flags, settings);
        flags.examples(
            {"train_smol --growth lidas                              # the built-in corpus, a small model, minutes",
             "train_smol --data book.txt --growth midas              # your text, as bytes",
             "train_smol --initial-layers 2 --growth-plan plan.txt --optimizer muon   # growths line by line, as in: "
             "300 doubling init=noise:0.01 seed=4",
             "train_smol --preset mini --dry-run                     # what it would do, and take",
             "train_smol --preset smollm-1.7b --growth midas --precision bf16 --backend cuda --plan --gpus 128    # "
             "on many GPUs, on paper",
             "train_smol --growth lidas --resume auto                # go on after a stop, by the same flags",
             "train_smol --backend cuda --precision bf16 --ranks all --data book.txt     # on every GPU of this "
             "machine",
             "mpirun -n 2 train_smol --growth lidas                  # on two processes",
             "train_smol --init SmolLM2-135M --data book.txt --lr 3e-4 --context 512 --out runs/tuned    # from "
             "weights that are there"});
        if (!flags.parse(argc, argv)) return;
        if (settings.json == "-") settings.quiet = true;  // the numbers alone
        if (!settings.dry_run && !settings.plan) tools::launch_ranks(settings.ranks, settings.backend);
        const auto run = tools::resolve(settings);
        const bool first = tools::launched().rank == 0;
        if ((settings.dry_run || settings.plan) && !first) return;
        if (settings.plan) return tools::write_json(settings.json, tools::scale_plan(run));
        const auto result = settings.dry_run ? tools::dry_run(run) : tools::train(run).to_json();
        if (first) tools::write_json(settings.json, result);
    });
}
