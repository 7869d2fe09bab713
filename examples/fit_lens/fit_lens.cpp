// Fits a tuned lens to a checkpoint and shows, layer by layer, how much closer than the logit lens it comes.
#include "fit_lens/lens_table.hpp"
#include "support/cli.hpp"
#include "support/json_output.hpp"
#include "support/measuring_ranks.hpp"
#include "support/text_tokens.hpp"

int main(int argc, char** argv) {
    return tools::run_tool([&] {
        tools::lens_table_settings s;
        tools::rank_settings processes;
        std::string json;
        bool quiet = false;
        tools::command_line flags(
            "fit_lens --model DIR --out DIR [FLAGS]",
            "Fits a tuned lens: one affine map a layer from its input to the final norm's input.");
        flags.add_model(s.model);
        flags.add("--data", s.data,
                  "Text to fit on: .txt, .jsonl with \"text\", .bin tokens (default: the built-in corpus)");
        flags.add("--tokenizer", s.tokenizer, std::string("Tokenizer of text: ") + tools::tokenizer_help);
        flags.add_required("--out", s.out, "a new lens directory to write (config.json, params.safetensors)");
        flags.add_switch("--torch", s.torch, "Write params.pt too, which the tuned-lens Python package opens");
        flags.add("--steps", s.steps, "Steps");
        flags.add("--tokens-per-step", s.tokens_per_step, "Tokens of a step (262144 at full size)");
        flags.add("--context", s.context, "Tokens of a sequence (0: the model's context)");
        flags.add_choice("--optimizer", s.optimizer, {"sgd", "adam"}, "SGD with Nesterov momentum, or Adam");
        flags.add("--lr", s.rate, "Rate (0: 0.1 for sgd, falling linearly to 0; 0.001 for adam)");
        flags.add("--warm-start", s.warm, "Lens directory to start from");
        flags.add("--warm-order", s.warm_order,
                  "Layer order that the warm start grows by, as its model did: 0,1,2,3,2,3");
        flags.add_order(s.order);
        flags.add("--held-out", s.held_out, "Held-out sequences of the table");
        flags.add("--seed", s.seed, "Seed of the data's order");
        flags.add_device(s.backend, s.precision);
        flags.add_threads(s.threads);
        processes.add(flags, "the sequences of a step");
        flags.add_json(json);
        flags.add_quiet(quiet);
        flags.examples(
            {"fit_lens --model runs/lidas --out runs/lidas-lens                          # on the built-in corpus",
             "fit_lens --model runs/lidas --data book.txt --steps 500 --out book-lens    # on your text"},
            "A model that runs an order of layers (--order, or a looped one) gets a translator for every layer that "
            "runs.");
        if (!flags.parse(argc, argv)) return;
        const tools::measuring_ranks ranks(processes, s.backend);
        s.ranks = &ranks, s.progress = !quiet && ranks.first(), s.told = s.progress && json != "-";
        const auto told = tools::fit_and_tell(s);
        if (ranks.first()) tools::write_json(json, told);
    });
}
