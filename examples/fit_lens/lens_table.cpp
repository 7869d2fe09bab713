#include "fit_lens/lens_table.hpp"

#include <cstdio>

#include "depthgrow/io/atomic_file.hpp"
#include "depthgrow/metrics/statistics.hpp"
#include "support/console.hpp"

namespace tools {

namespace {

constexpr auto kl = dg::lens_quantity::kl_final_lens, overlap = dg::lens_quantity::top5_overlap;

/// The KL that the fit saved in each layer, held-out sequence by sequence.
std::vector<dg::mean_interval> kl_saved(const lens_fit_result& fit) {
    std::vector<dg::mean_interval> saved;
    for (std::size_t l = 0; l < fit.layers; ++l)
        saved.push_back(dg::paired_difference(fit.logit.table(kl), fit.logit.column(kl, l), fit.tuned.table(kl),
                                              fit.tuned.column(kl, l)));
    return saved;
}

void print_table(const lens_fit_result& fit, const std::vector<dg::mean_interval>& saved, const std::string& out) {
    const auto logit_kl = fit.logit.quantity(kl), tuned_kl = fit.tuned.quantity(kl),
               logit_overlap = fit.logit.quantity(overlap), tuned_overlap = fit.tuned.quantity(overlap);
    std::printf(
        "held out, %zu sequences of %zu tokens; brackets: 95 %% bootstrap intervals over them\n%6s %50s %28s\n%6s "
        "%13s %13s %23s %13s %13s\n",
        fit.prompts, fit.length, "", "KL(final || lens), nats", "top-5 overlap", "layer", "logit lens", "tuned lens",
        "closer by", "logit lens", "tuned lens");
    std::size_t better = 0;
    for (std::size_t l = 0; l < fit.layers; ++l) {
        better += tuned_kl[l] < logit_kl[l];
        std::printf("%6zu %13.4f %13.4f %23s %13.3f %13.3f\n", l, logit_kl[l], tuned_kl[l],
                    format("%+.4f [%+.4f, %+.4f]", saved[l].mean, saved[l].low, saved[l].high).c_str(),
                    logit_overlap[l], tuned_overlap[l]);
    }
    std::printf("the tuned lens is closer at %zu of %zu layers; written to %s\n", better, fit.layers, out.c_str());
}

dg::json held_out_json(const lens_fit_result& fit, const std::vector<dg::mean_interval>& saved) {
    dg::json out = {{"prompts", fit.prompts},
                    {"logit_lens", fit.logit.quantity(kl)},
                    {"tuned_lens", fit.tuned.quantity(kl)},
                    {"logit_overlap", fit.logit.quantity(overlap)},
                    {"tuned_overlap", fit.tuned.quantity(overlap)}};
    for (const auto& one : saved) {
        out["kl_saved"]["mean"].push_back(one.mean);
        out["kl_saved"]["low"].push_back(one.low), out["kl_saved"]["high"].push_back(one.high);
    }
    return out;
}

}  // namespace

dg::json fit_and_tell(lens_table_settings s) {
    s.out = dg::output_directory(s.out).string();
    s.held_out = std::max<std::size_t>(1, s.held_out);
    progress_bar bar(s.steps);
    const auto fit = fit_lens(s, nullptr, [&](std::size_t step, double loss) {
        if (s.progress) bar.update(step, format("KL %.4f", loss));
    });
    bar.clear();
    const auto saved = kl_saved(fit);
    if (s.told) {
        std::printf("fitted %zu translators in %zu steps of %zu tokens, %.1f s (%s tok/s); mean KL %.4f -> %.4f\n",
                    fit.layers, s.steps, fit.tokens / s.steps, fit.seconds,
                    human(static_cast<double>(fit.tokens) / fit.seconds).c_str(), fit.first, fit.last);
        print_table(fit, saved, s.out);
    }
    return {{"steps", s.steps},      {"tokens", fit.tokens}, {"seconds", fit.seconds},
            {"kl_first", fit.first}, {"kl_last", fit.last},  {"held_out", held_out_json(fit, saved)}};
}

}  // namespace tools
