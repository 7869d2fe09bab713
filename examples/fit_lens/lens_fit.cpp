#include "fit_lens/lens_fit.hpp"

#include <algorithm>
#include <cstdio>

#include "depthgrow/analysis/lens_statistics.hpp"
#include "depthgrow/io/model_checkpoint.hpp"
#include "depthgrow/tasks/corpus.hpp"
#include "support/any_backend.hpp"
#include "support/console.hpp"
#include "support/depth_files.hpp"
#include "support/text_tokens.hpp"
#include "support/training_data.hpp"

namespace tools {

namespace {

dg::training_data load_data(const lens_fit_settings& s, const text_tokens& text, const dg::decoder_config& config,
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
    options.items = item_sizes(length);
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

template <class T, class Backend> dg::json run(const lens_fit_settings& s, Backend& backend) {
    const dg::checkpoint_reader checkpoint(s.model);
    auto model = load_finite_model<T>(backend, checkpoint);
    unroll(model, checkpoint, s.order);  // a translator for every layer that runs
    const auto& config = model.config();
    const std::size_t length = s.context ? s.context : config.context;
    dg::require(length >= 2 && length <= config.context, "--context: expected 2 to ", config.context,
                " (the model's context), found ", length);
    dg::require(s.tokens_per_step >= length, "--tokens-per-step: expected at least one sequence of ", length,
                " tokens, found ", s.tokens_per_step);
    const text_tokens text(s.tokenizer, s.model, config.vocab);
    const auto data = load_data(s, text, config, length);
    const std::size_t batch = s.tokens_per_step / length;

    dg::lens_fit_options options;
    options.steps = s.steps, options.rate = s.rate;
    if (s.backend == "cuda") options.max_rows = options.logit_rows = std::min<std::size_t>(s.tokens_per_step, 16384);
    options.optimizer = s.optimizer == "adam" ? dg::lens_optimizer::adam : dg::lens_optimizer::sgd_nesterov;
    dg::tuned_lens<T, Backend> warm;
    if (!s.warm.empty()) {
        warm = read_lens_unchecked<T>(s.warm, backend);
        if (!s.warm_order.empty())
            warm =
                dg::grow(std::move(warm), dg::layer_order(parse_numbers("--warm-order", s.warm_order), warm.layers()));
        dg::require(warm.layers() == config.layers && warm.width == config.width, s.warm, ": expected a lens of ",
                    config.layers, " layers of width ", config.width, " (after --warm-order), found ", warm.layers(),
                    " of width ", warm.width);
    }
    dg::lens_fitter<T, Backend> fitter(model, options, std::move(warm));
    progress_bar bar(s.steps);
    stopwatch watch;
    dg::token_batch rows;
    double first = 0, last = 0;
    for (std::size_t step = 0; step < s.steps; ++step) {
        data.sample(step, batch, rows);
        const auto losses = fitter.step(inputs(rows), batch);
        last = 0;
        for (double loss : losses) last += loss / static_cast<double>(losses.size());
        if (step == 0) first = last;
        if (s.progress) bar.update(step + 1, format("KL %.4f", last));
    }
    bar.clear();
    const double seconds = watch.seconds();
    write_lens(s.out, fitter.wide_lens(), s.model, s.torch);

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
    if (s.told) {
        std::printf("fitted %zu translators in %zu steps of %zu tokens, %.1f s (%s tok/s); mean KL %.4f -> %.4f\n",
                    config.layers, s.steps, batch * length, seconds,
                    human(static_cast<double>(s.steps * batch * length) / seconds).c_str(), first, last);
        std::printf(
            "held out, %zu sequences of %zu tokens; brackets: 95 %% bootstrap intervals over them\n%6s %50s %28s\n%6s "
            "%13s %13s %23s %13s %13s\n",
            held_out.size(), length, "", "KL(final || lens), nats", "top-5 overlap", "layer", "logit lens",
            "tuned lens", "closer by", "logit lens", "tuned lens");
        std::size_t better = 0;
        for (std::size_t l = 0; l < config.layers; ++l) {
            better += tuned_kl[l] < logit_kl[l];
            std::printf("%6zu %13.4f %13.4f %23s %13.3f %13.3f\n", l, logit_kl[l], tuned_kl[l],
                        format("%+.4f [%+.4f, %+.4f]", saved[l].mean, saved[l].low, saved[l].high).c_str(),
                        logit_overlap[l], tuned_overlap[l]);
        }
        std::printf("the tuned lens is closer at %zu of %zu layers; written to %s\n", better, config.layers,
                    s.out.c_str());
    }
    return record;
}

}  // namespace

dg::json fit_lens(const lens_fit_settings& settings) {
    lens_fit_settings s = settings;
    s.out = dg::output_directory(s.out).string();
    dg::require(!std::filesystem::exists(std::filesystem::symlink_status(s.out)),
                "--out: expected a new directory, found ", s.out, " there already");
    dg::require(s.steps > 0, "--steps: expected at least 1, found 0");
    dg::require(s.warm_order.empty() || !s.warm.empty(),
                "--warm-order: expected --warm-start (a lens to grow), found none");
    dg::json record;
    with_backend(s.backend, s.precision, s.threads, false,
                 [&]<class T>(auto& backend) { record = run<T>(s, backend); });
    return record;
}

}  // namespace tools
