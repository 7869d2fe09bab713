// Fits a tuned lens to a checkpoint and shows, layer by layer, how much closer than the logit lens it comes.
#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "depthgrow/io/atomic_file.hpp"
#include "support/cli.hpp"
#include "support/console.hpp"
#include "support/json_output.hpp"
#include "support/lens_fit.hpp"
#include "support/text_tokens.hpp"

namespace {

namespace dg = depthgrow;

/// What was fitted, on the screen and for programs.
void tell(const tools::lens_fit_settings& s, const tools::lens_fit_result& fitted, const std::string& json,
          bool quiet) {
    const auto &logit = fitted.logit, &tuned = fitted.tuned;
    constexpr auto kl = dg::lens_quantity::kl_final_lens, overlap = dg::lens_quantity::top5_overlap;
    const auto logit_kl = logit.quantity(kl), tuned_kl = tuned.quantity(kl), logit_overlap = logit.quantity(overlap),
               tuned_overlap = tuned.quantity(overlap);
    std::vector<dg::mean_interval> saved;  // KL, sequence by sequence
    for (std::size_t l = 0; l < fitted.layers; ++l)
        saved.push_back(
            dg::paired_difference(logit.table(kl), logit.column(kl, l), tuned.table(kl), tuned.column(kl, l)));
    dg::json record = {{"steps", s.steps},
                       {"tokens", fitted.tokens},
                       {"seconds", fitted.seconds},
                       {"kl_first", fitted.first},
                       {"kl_last", fitted.last},
                       {"held_out",
                        {{"prompts", fitted.prompts},
                         {"logit_lens", logit_kl},
                         {"tuned_lens", tuned_kl},
                         {"logit_overlap", logit_overlap},
                         {"tuned_overlap", tuned_overlap}}}};
    for (const auto& one : saved) {
        record["held_out"]["kl_saved"]["mean"].push_back(one.mean);
        record["held_out"]["kl_saved"]["low"].push_back(one.low),
            record["held_out"]["kl_saved"]["high"].push_back(one.high);
    }
    if (!quiet && json != "-") {
        std::printf("fitted %zu translators in %zu steps of %zu tokens, %.1f s (%s tok/s); mean KL %.4f -> %.4f\n",
                    fitted.layers, s.steps, fitted.tokens / s.steps, fitted.seconds,
                    tools::human(static_cast<double>(fitted.tokens) / fitted.seconds).c_str(), fitted.first,
                    fitted.last);
        std::printf(
            "held out, %zu sequences of %zu tokens; brackets: 95 %% bootstrap intervals over them\n%6s %50s %28s\n%6s "
            "%13s %13s %23s %13s %13s\n",
            fitted.prompts, fitted.length, "", "KL(final || lens), nats", "top-5 overlap", "layer", "logit lens",
            "tuned lens", "closer by", "logit lens", "tuned lens");
        std::size_t better = 0;
        for (std::size_t l = 0; l < fitted.layers; ++l) {
            better += tuned_kl[l] < logit_kl[l];
            std::printf("%6zu %13.4f %13.4f %23s %13.3f %13.3f\n", l, logit_kl[l], tuned_kl[l],
                        tools::format("%+.4f [%+.4f, %+.4f]", saved[l].mean, saved[l].low, saved[l].high).c_str(),
                        logit_overlap[l], tuned_overlap[l]);
        }
        std::printf("the tuned lens is closer at %zu of %zu layers; written to %s\n", better, fitted.layers,
                    s.out.c_str());
    }
    tools::write_json(json, record);
}

}  // namespace

int main(int argc, char** argv) {
    return tools::run_tool([&] {
        tools::lens_fit_settings s;
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
        flags.add_json(json);
        flags.add_quiet(quiet);
        flags.examples(
            {"fit_lens --model runs/lidas --out runs/lidas-lens                          # on the built-in corpus",
             "fit_lens --model runs/lidas --data book.txt --steps 500 --out book-lens    # on your text"},
            "A model that runs an order of layers (--order, or a looped one) gets a translator for every layer that "
            "runs.");
        if (!flags.parse(argc, argv)) return;
        s.out = dg::output_directory(s.out).string();
        dg::require(!std::filesystem::exists(std::filesystem::symlink_status(s.out)),
                    "--out: expected a new directory, found ", s.out, " there already");
        dg::require(s.steps > 0, "--steps: expected at least 1, found 0");
        dg::require(s.warm_order.empty() || !s.warm.empty(),
                    "--warm-order: expected --warm-start (a lens to grow), found none");
        s.held_out = std::max<std::size_t>(1, s.held_out);
        tools::progress_bar bar(s.steps);
        const auto fitted = tools::fit_lens(s, nullptr, [&](std::size_t done, double loss) {
            if (!quiet) bar.update(done, tools::format("KL %.4f", loss));
        });
        bar.clear();
        tell(s, fitted, json, quiet);
    });
}
