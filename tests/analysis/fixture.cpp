// Every diagnostic against the float64 PyTorch oracle: double to 1e-9, float to the tolerance of its report.
#include "analysis/analysis.hpp"
#include "depthgrow/analysis/contributions.hpp"
#include "depthgrow/analysis/integrated_gradients.hpp"
#include "depthgrow/analysis/lens_statistics.hpp"
#include "depthgrow/analysis/local_effects.hpp"
#include "depthgrow/analysis/skip_effects.hpp"
#include "depthgrow/analysis/sweeps.hpp"
#include "support/catch.hpp"

namespace dg = depthgrow;

namespace {

/// |got − want| / (1e-3 + |want|) as the oracle's comparison: 2e-4 for float; rounding of sums for double.
template <class T> constexpr double bound = std::is_same_v<T, double> ? 1e-9 : 2e-4;

template <class T> double worst(const std::vector<double>& got, const dg::json& want) {
    std::vector<double> flat;
    for (const auto& value : want)
        if (value.is_array())
            for (const auto& inner : value) flat.push_back(inner.get<double>());
        else flat.push_back(value.get<double>());
    if (flat.size() != got.size()) return INFINITY;
    double error = 0;
    for (std::size_t i = 0; i < flat.size(); ++i)
        error = std::max(error, std::fabs(got[i] - flat[i]) / (1e-3 + std::fabs(flat[i])));
    return error;
}

template <class T> void check_effects(const dg::effects& got, const dg::json& want) {
    CHECK(worst<T>(got.change_max, want["change_max"]) < bound<T>);
    CHECK(worst<T>(got.change_mean, want["change_mean"]) < bound<T>);
    CHECK(worst<T>(got.output_max, want["output_max"]) < bound<T>);
    CHECK(worst<T>(got.output_mean, want["output_mean"]) < bound<T>);
}

template <class T> void check_lens(const dg::lens_report& got, const dg::json& want) {
    for (const auto q : dg::lens_report::quantities) {
        INFO(dg::name_of(q));
        CHECK(worst<T>(got.quantity(q), want[dg::name_of(q)]) < bound<T>);
    }
}

/// Batch sizes to try; the slow backend tries one.
template <class Backend> std::vector<std::size_t> sizes(std::vector<std::size_t> all) {
    return std::is_same_v<Backend, dg::reference> ? std::vector<std::size_t>{all.back()} : all;
}

template <class T, class Backend> void matches_the_oracle(Backend& backend, const std::string& name) {
    const analysis_fixture<T, Backend> f(backend, name);
    const dg::json& want = f.want.values;

    SECTION("contributions, residual norms, angular distances, block similarity") {
        const auto block = want["block"].get<std::size_t>();
        const auto got = dg::contributions(f.model, f.prompts, {1, block});
        for (const auto q : dg::contribution_report::quantities) {
            INFO(dg::name_of(q));
            CHECK(worst<T>(got.quantity(q), want["contribution"][dg::name_of(q)]) < bound<T>);
        }
        CHECK(worst<T>(got.residual_norm.means(), want["contribution"]["residual_norm"]) < bound<T>);
        for (std::size_t n : {std::size_t{1}, block})
            CHECK(worst<T>(got.angular.at(n).means(), want["angular_distance"][std::to_string(n)]) < bound<T>);
        std::vector<double> flat;
        for (const auto& row : dg::block_similarity(f.model, block)) flat.insert(flat.end(), row.begin(), row.end());
        CHECK(worst<T>(flat, want["block_similarity"]) < bound<T>);
        CHECK(got.positions == 62);
    }
    SECTION("skip effects of layers, attentions and MLPs, whatever the batch") {
        for (const auto& [unit, key] : {std::pair{dg::skip_unit::layer, "skip_layer"},
                                        {dg::skip_unit::attention, "skip_attention"},
                                        {dg::skip_unit::mlp, "skip_mlp"}})
            for (std::size_t max_rows : sizes<Backend>({1, 100, 4096})) {
                INFO(key << ", " << max_rows << " rows");
                dg::skip_options options;
                options.unit = unit, options.max_rows = max_rows, options.logit_rows = max_rows == 100 ? 7 : 256,
                options.layer_rows = max_rows == 4096 ? 50 : 1024;
                const auto got = dg::skip_effects(f.model, f.prompts, options);
                check_effects<T>(got.current, want[key]["current"]);
                check_effects<T>(got.future, want[key]["future"]);
                if (unit != dg::skip_unit::layer) continue;
                const auto scores = dg::all_depth_scores(got.future);
                CHECK(worst<T>({scores.mean_layer, scores.mean_output}, want["depth_score"]["mean"]) < bound<T>);
                CHECK(worst<T>({scores.max_layer, scores.max_output}, want["depth_score"]["max"]) < bound<T>);
                CHECK(dg::depth_score(dg::future_effects(f.model, f.prompts, options)) ==
                      Approx(scores.mean_output).epsilon(bound<T>));
            }
    }
    SECTION("local effects") {
        for (std::size_t max_rows : sizes<Backend>({1, 70, 4096})) {
            dg::skip_options options;
            options.layer_rows = max_rows;
            const auto got = dg::local_effects(f.model, f.prompts, options);
            CHECK(worst<T>(got.current, want["local"]["current"]) < bound<T>);
            CHECK(worst<T>(got.future, want["local"]["future"]) < bound<T>);
        }
    }
    SECTION("logit lens, a random lens and the fitted lens") {
        check_lens<T>(dg::logit_lens(f.model, f.prompts), want["logit_lens"]);
        check_lens<T>(dg::logit_lens(f.model, f.prompts, {5, 5}), want["logit_lens"]);
        for (const std::string kind : {"random", "fitted"}) {
            INFO(kind);
            check_lens<T>(dg::tuned_lens_statistics(f.model, f.prompts, f.lens(kind)), want["tuned_lens_" + kind]);
        }
    }
    SECTION("five fitting steps, whatever the micro-batch") {
        for (std::size_t max_rows : sizes<Backend>({24, 4096})) {
            dg::lens_fit_options options;
            options.steps = 5, options.max_rows = max_rows, options.logit_rows = max_rows == 24 ? 5 : 256;
            dg::lens_fitter<T, Backend> fitter(f.model, options);
            for (std::size_t s = 0; s < 5; ++s)
                CHECK(worst<T>(fitter.step(f.want.ids, f.want.sequences), want["lens_fit_kl"][s]) < bound<T>);
            std::vector<T> A, b;
            for (const auto& t : fitter.lens.translators) {
                const auto more = t.A.to_host(), shift = t.b.to_host();
                A.insert(A.end(), more.begin(), more.end()), b.insert(b.end(), shift.begin(), shift.end());
            }
            const double exact = std::is_same_v<T, double> ? 1e-6 : 1e-4;
            CHECK(fixture::distance(A, f.want.tensor("lens_fitted.A")) < exact);
            CHECK(fixture::distance(b, f.want.tensor("lens_fitted.b")) < exact);
        }
    }
    SECTION("integrated gradients") {
        const dg::json& ig = want["integrated_gradients"];
        for (std::size_t max_rows : sizes<Backend>({1, 300})) {
            const auto got = dg::integrated_gradients(
                f.model, f.prompts[ig["prompt"].get<std::size_t>()], ig["answer_from"].get<std::size_t>(),
                ig["layers"].get<std::vector<std::size_t>>(), {ig["steps"].get<std::size_t>(), max_rows});
            for (std::size_t i = 0; i < got.size(); ++i) CHECK(worst<T>(got[i], ig["value"][i]) < bound<T>);
        }
    }
    SECTION("losses under interventions") {
        std::vector<dg::prompt> sequences;
        const std::size_t length = f.want.ids.size() / f.want.sequences;
        for (std::size_t s = 0; s < f.want.sequences; ++s)
            sequences.push_back({{f.want.ids.begin() + static_cast<std::ptrdiff_t>(s * length),
                                  f.want.ids.begin() + static_cast<std::ptrdiff_t>((s + 1) * length)},
                                 {},
                                 {}});
        std::vector<dg::layer_order> orders;
        std::vector<double> losses;
        for (const auto& one : want["interventions"]) {
            const auto start = one["start"].get<std::size_t>(), size = one["length"].get<std::size_t>(),
                       times = one["times"].get<std::size_t>();
            const auto all = dg::interventions(one["kind"].get<std::string>(), size, f.model.layers(), times);
            CHECK(all.at(start).order.sources() == one["plan"].get<std::vector<std::size_t>>());
            orders.push_back(all.at(start).order);
            losses.push_back(one["loss"].get<double>());
        }
        CHECK(worst<T>(dg::order_losses(f.model, sequences, orders).means(), losses) < bound<T>);
    }
}

}  // namespace

TEST_CASE("diagnostics: reference in double agrees with the oracle") {
    dg::reference backend;
    matches_the_oracle<double>(backend, GENERATE("plain", "grouped"));
}
TEST_CASE("diagnostics: blas in double agrees with the oracle") {
    dg::blas backend;
    matches_the_oracle<double>(backend, GENERATE("plain", "grouped"));
}
TEST_CASE("diagnostics: blas in float agrees with the oracle") {
    dg::blas backend;
    matches_the_oracle<float>(backend, GENERATE("plain", "grouped"));
}
