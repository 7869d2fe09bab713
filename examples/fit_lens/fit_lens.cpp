// Fits a tuned lens to a checkpoint and shows, layer by layer, how much closer than the logit lens it comes.
#include <algorithm>
#include <cstdio>

#include "depthgrow/analysis/lens_statistics.hpp"
#include "depthgrow/io/model_checkpoint.hpp"
#include "depthgrow/tasks/corpus.hpp"
#include "support/any_backend.hpp"
#include "support/cli.hpp"
#include "support/console.hpp"
#include "support/depth_files.hpp"
#include "support/depth_measure.hpp"
#include "support/json_output.hpp"
#include "support/text_tokens.hpp"
#include "support/training_data.hpp"

namespace {

namespace dg = depthgrow;

struct settings {
    std::string model, out, tokenizer = "auto", optimizer = "sgd", warm, warm_order, order, json, backend = "blas",
                            precision = "fp32";
    std::vector<std::string> data;
    std::size_t steps = 250, tokens_per_step = 8192, context = 0, held_out = 16, seed = 1;
    double rate = 0;
    int threads = 0;
    bool torch = false, quiet = false;
};

dg::training_data load_data(const settings& s, const tools::text_tokens& text, const dg::decoder_config& config,
                            std::size_t length) {
    dg::training_data data(s.seed, length);
    for (const auto& file : s.data) {
        dg::token_options options;
        options.vocab = config.vocab;
        options.encode = text.encoder();
        auto tokens = dg::load_tokens(file, options);
        const auto weight = static_cast<double>(tokens.size());
        data.add_tokens(file, std::move(tokens), weight);
    }
    if (!s.data.empty()) return data;
    dg::corpus_options options;
    options.items = tools::item_sizes(length);
    const dg::primitive_corpus corpus(s.seed, options);
    data.add_documents(
        "built-in", [corpus](std::uint64_t i) { return corpus.document(i); },
        [corpus](std::uint64_t i) { return corpus.held_out_document(i); }, 1, false, text.encoder());
    return data;
}

/// The first T tokens of every row.
std::vector<dg::token> inputs(const dg::token_batch& batch) {
    std::vector<dg::token> out;
    for (std::size_t row = 0; row < batch.rows; ++row) {
        const auto first = batch.tokens.begin() + static_cast<std::ptrdiff_t>(row * (batch.length + 1));
        out.insert(out.end(), first, first + static_cast<std::ptrdiff_t>(batch.length));
    }
    return out;
}

template <class T, class Backend> void run(const settings& s, Backend& backend) {
    const dg::checkpoint_reader checkpoint(s.model);
    auto model = tools::load_finite_model<T>(backend, checkpoint);
    tools::unroll(model, checkpoint, s.order);  // a translator for every layer that runs
    const auto& config = model.config();
    const std::size_t length = s.context ? s.context : config.context;
    dg::require(length >= 2 && length <= config.context, "--context: expected 2 to ", config.context,
                " (the model's context), found ", length);
    dg::require(s.tokens_per_step >= length, "--tokens-per-step: expected at least one sequence of ", length,
                " tokens, found ", s.tokens_per_step);
    const tools::text_tokens text(s.tokenizer, s.model, config.vocab);
    const auto data = load_data(s, text, config, length);
    const std::size_t batch = s.tokens_per_step / length;

    dg::lens_fit_options options;
    options.steps = s.steps, options.rate = s.rate;
    if (s.backend == "cuda") options.max_rows = options.logit_rows = std::min<std::size_t>(s.tokens_per_step, 16384);
    options.optimizer = s.optimizer == "adam" ? dg::lens_optimizer::adam : dg::lens_optimizer::sgd_nesterov;
    dg::tuned_lens<T, Backend> warm;
    if (!s.warm.empty()) {
        warm = tools::read_lens_unchecked<T>(s.warm, backend);
        if (!s.warm_order.empty())
            warm = dg::grow(std::move(warm),
                            dg::layer_order(tools::parse_numbers("--warm-order", s.warm_order), warm.layers()));
        dg::require(warm.layers() == config.layers && warm.width == config.width, s.warm, ": expected a lens of ",
                    config.layers, " layers of width ", config.width, " (after --warm-order), found ", warm.layers(),
                    " of width ", warm.width);
    }
    dg::lens_fitter<T, Backend> fitter(model, options, std::move(warm));
    tools::progress_bar bar(s.steps);
    tools::stopwatch watch;
    dg::token_batch rows;
    double first = 0, last = 0;
    for (std::size_t step = 0; step < s.steps; ++step) {
        data.sample(step, batch, rows);
        const auto losses = fitter.step(inputs(rows), batch);
        last = 0;
        for (double loss : losses) last += loss / static_cast<double>(losses.size());
        if (step == 0) first = last;
        if (!s.quiet) bar.update(step + 1, tools::format("KL %.4f", last));
    }
    bar.clear();
    const double seconds = watch.seconds();
    tools::write_lens(s.out, fitter.wide_lens(), s.model, s.torch);

    // the table: on tokens that neither fit has seen
    std::vector<dg::prompt> held_out;
    for (std::size_t source = 0; source < data.sources(); ++source) {
        data.held_out(source, 0, std::max<std::size_t>(1, s.held_out / data.sources()), rows);
        const auto tokens = inputs(rows);
        for (std::size_t r = 0; r < rows.rows; ++r) {
            const auto begin = tokens.begin() + static_cast<std::ptrdiff_t>(r * length);
            held_out.push_back({{begin, begin + static_cast<std::ptrdiff_t>(length)}, {}, {}});
        }
    }
    const auto logit = dg::logit_lens(model, held_out), tuned = dg::tuned_lens_statistics(model, held_out, fitter.lens);
    constexpr auto kl = dg::lens_quantity::kl_final_lens, overlap = dg::lens_quantity::top5_overlap;
    const auto logit_kl = logit.quantity(kl), tuned_kl = tuned.quantity(kl), logit_overlap = logit.quantity(overlap),
               tuned_overlap = tuned.quantity(overlap);
    std::vector<dg::mean_interval> saved;  // KL, sequence by sequence
    for (std::size_t l = 0; l < config.layers; ++l)
        saved.push_back(
            dg::paired_difference(logit.table(kl), logit.column(kl, l), tuned.table(kl), tuned.column(kl, l)));
    dg::json record = {{"steps", s.steps},
                       {"tokens", s.steps * batch * length},
                       {"seconds", seconds},
                       {"kl_first", first},
                       {"kl_last", last},
                       {"held_out",
                        {{"prompts", held_out.size()},
                         {"logit_lens", logit_kl},
                         {"tuned_lens", tuned_kl},
                         {"logit_overlap", logit_overlap},
                         {"tuned_overlap", tuned_overlap}}}};
    for (const auto& one : saved) {
        record["held_out"]["kl_saved"]["mean"].push_back(one.mean);
        record["held_out"]["kl_saved"]["low"].push_back(one.low),
            record["held_out"]["kl_saved"]["high"].push_back(one.high);
    }
    if (!s.quiet && s.json != "-") {
        std::printf("fitted %zu translators in %zu steps of %zu tokens, %.1f s (%s tok/s); mean KL %.4f -> %.4f\n",
                    config.layers, s.steps, batch * length, seconds,
                    tools::human(static_cast<double>(s.steps * batch * length) / seconds).c_str(), first, last);
        std::printf(
            "held out, %zu sequences of %zu tokens; brackets: 95 %% bootstrap intervals over them\n%6s %50s %28s\n%6s "
            "%13s %13s %23s %13s %13s\n",
            held_out.size(), length, "", "KL(final || lens), nats", "top-5 overlap", "layer", "logit lens",
            "tuned lens", "closer by", "logit lens", "tuned lens");
        std::size_t better = 0;
        for (std::size_t l = 0; l < config.layers; ++l) {
            better += tuned_kl[l] < logit_kl[l];
            std::printf("%6zu %13.4f %13.4f %23s %13.3f %13.3f\n", l, logit_kl[l], tuned_kl[l],
                        tools::format("%+.4f [%+.4f, %+.4f]", saved[l].mean, saved[l].low, saved[l].high).c_str(),
                        logit_overlap[l], tuned_overlap[l]);
        }
        std::printf("the tuned lens is closer at %zu of %zu layers; written to %s\n", better, config.layers,
                    s.out.c_str());
    }
    tools::write_json(s.json, record);
}

}  // namespace

int main(int argc, char** argv) {
    return tools::run_tool([&] {
        settings s;
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
        flags.add_json(s.json);
        flags.add_quiet(s.quiet);
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
        tools::with_backend(s.backend, s.precision, s.threads, false,
                            [&]<class T>(auto& backend) { run<T>(s, backend); });
    });
}
