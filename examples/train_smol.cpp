// Trains a SmolLM-shaped model from text, plain or grown, and leaves a Hugging Face checkpoint and a page of plots.
#include "support/json_output.hpp"
#include "support/training.hpp"

int main(int argc, char** argv) {
    return tools::run_tool([&] {
        tools::training_settings settings;
        tools::command_line flags("train_smol", "Trains a SmolLM-shaped Transformer from text, plain or growing in depth while it trains.");
        tools::add_training_flags(flags, settings);
        flags.footer("Examples:\n"
                     "  train_smol --growth lidas                       the built-in corpus, a small model, minutes\n"
                     "  train_smol --data book.txt --growth midas       your text, as bytes\n"
                     "  train_smol --preset mini --dry-run              what it would do, and take\n"
                     "  train_smol --growth lidas --resume auto         go on after a stop");
        if (!flags.parse(argc, argv)) return;
        const auto run = tools::resolve(settings);
        if (settings.dry_run) return tools::print_plan(run, tools::load_data(run));
        tools::write_json(settings.json, tools::train(run).to_json());
    });
}
