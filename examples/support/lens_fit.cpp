#include "support/lens_fit.hpp"

#include <algorithm>
#include <filesystem>
#include <optional>

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

/// The lens that the fit starts from; empty where none is named.
template <class T, class Backend>
dg::tuned_lens<T, Backend> warm_lens(const lens_fit_settings& s, Backend& backend, const dg::decoder_config& config) {
    dg::tuned_lens<T, Backend> warm;
    if (s.warm.empty()) return warm;
    warm = read_lens_unchecked<T>(s.warm, backend);
    if (!s.warm_order.empty())
        warm = dg::grow(std::move(warm), dg::layer_order(parse_numbers("--warm-order", s.warm_order), warm.layers()));
    dg::require(warm.layers() == config.layers && warm.width == config.width, s.warm, ": expected a lens of ",
                config.layers, " layers of width ", config.width, " (after --warm-order), found ", warm.layers(),
                " of width ", warm.width);
    return warm;
}

/// Held-out sequences of every source.
std::vector<dg::prompt> held_out_prompts(const dg::training_data& data, std::size_t count) {
    std::vector<dg::prompt> out;
    dg::token_batch rows;
    for (std::size_t source = 0; count > 0 && source < data.sources(); ++source) {
        data.held_out(source, 0, std::max<std::size_t>(1, count / data.sources()), rows);
        const auto tokens = inputs_of(rows);
        for (std::size_t r = 0; r < rows.rows; ++r) {
            const auto begin = tokens.begin() + static_cast<std::ptrdiff_t>(r * rows.length);
            out.push_back({{begin, begin + static_cast<std::ptrdiff_t>(rows.length)}, {}, {}});
        }
    }
    return out;
}

template <class T, class Backend>
lens_fit_result fit(Backend& backend, dg::communicator& comm, const lens_fit_settings& s,
                    const dg::training_data* given, const std::function<void(std::size_t, double)>& progress) {
    dg::require(!std::filesystem::exists(std::filesystem::symlink_status(s.out)),
                "--out: expected a new directory, found ", s.out, " there already");
    dg::require(s.steps > 0, "--steps: expected at least 1, found 0");
    dg::require(s.warm_order.empty() || !s.warm.empty(),
                "--warm-order: expected --warm-start (a lens to grow), found none");
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
    std::optional<dg::training_data> own;
    if (!given) own = load_data(s, text, config, length);
    const auto& data = given ? *given : *own;
    const std::size_t batch = s.tokens_per_step / length;

    dg::lens_fit_options options;
    options.steps = s.steps, options.rate = s.rate;
    options.optimizer = s.optimizer == "adam" ? dg::lens_optimizer::adam : dg::lens_optimizer::sgd_nesterov;
    dg::lens_fitter<T, Backend> fitter(model, options, warm_lens<T>(s, backend, config), comm);
    lens_fit_result out;
    out.layers = config.layers, out.length = length, out.tokens = s.steps * batch * length;
    stopwatch watch;
    dg::token_batch rows;
    for (std::size_t step = 0; step < s.steps; ++step) {
        data.sample(step, batch, rows);
        const auto losses = fitter.step(inputs_of(rows), batch);
        out.last = 0;
        for (double loss : losses) out.last += loss / static_cast<double>(losses.size());
        if (step == 0) out.first = out.last;
        progress(step + 1, out.last);
    }
    out.seconds = watch.seconds();
    dg::together(comm, [&] {
        if (comm.first()) write_lens(s.out, fitter.wide_lens(), s.model, s.torch);
    });
    const auto held_out = held_out_prompts(data, s.held_out);
    out.prompts = held_out.size();
    if (held_out.empty()) return out;
    out.logit = dg::logit_lens(model, held_out, {}, comm),
    out.tuned = dg::tuned_lens_statistics(model, held_out, fitter.lens, {}, comm);
    return out;
}

}  // namespace

std::vector<dg::token> inputs_of(const dg::token_batch& batch) {
    std::vector<dg::token> out;
    for (std::size_t row = 0; row < batch.rows; ++row) {
        const auto first = batch.tokens.begin() + static_cast<std::ptrdiff_t>(row * (batch.length + 1));
        out.insert(out.end(), first, first + static_cast<std::ptrdiff_t>(batch.length));
    }
    return out;
}

lens_fit_result fit_lens(const lens_fit_settings& settings, const dg::training_data* data,
                         const std::function<void(std::size_t, double)>& progress) {
    lens_fit_result out;
    with_backend(
        settings.backend, settings.precision, settings.threads, false, settings.ranks, "lower --tokens-per-step",
        [&]<class T>(auto& backend, dg::communicator& comm) { out = fit<T>(backend, comm, settings, data, progress); });
    return out;
}

}  // namespace tools
