// Decoders of other families against values that the transformers library gives in float64 throughout (its RoPE tables,
// norms and softmax too, which it computes in float32 by itself): tests/real_model/families.py makes them.
#include <cstdlib>

#include "depthgrow/analysis/cached_decoder.hpp"
#include "depthgrow/backend/blas.hpp"
#include "depthgrow/nn/forward.hpp"
#include "support/catch.hpp"
#include "support/fixture.hpp"

namespace dg = depthgrow;

namespace {

/// Bounds follow from the format: 1e-9 for double, 2e-5 for float.
template <class T> constexpr double bound = std::is_same_v<T, double> ? 1e-9 : 2e-5;

template <class T> std::vector<T> host(dg::matrix<const T> m) { return {m.data, m.data + m.size()}; }

template <class T, class Backend> void matches_transformers(Backend& backend, const std::string& name) {
    INFO(name);
    const char* elsewhere =
        std::getenv("DEPTHGROW_FAMILIES");  // values of other seeds and shapes, by tests/real_model/families.py
    const fixture::family_values want(elsewhere ? elsewhere : DEPTHGROW_FIXTURES, name);
    const dg::checkpoint_reader checkpoint(want.directory);
    auto model = dg::load_model<T>(backend, want.directory);
    dg::tape<T, Backend> tape(backend);
    const auto ids = want.tokens("tokens"), longer = want.tokens("long");
    const std::size_t batch = 2, length = ids.size() / batch, layers = model.layers(), width = model.config().width;
    const auto run = [&](const std::vector<dg::token>& tokens, std::size_t sequences, dg::span<const std::size_t> order,
                         auto&& watch) {
        return host<T>(dg::logits(model, tape, dg::span<const dg::token>(tokens), sequences, order, watch));
    };

    // logits, and what every sublayer adds
    const auto sites = [&](dg::site where, std::size_t slot, dg::matrix<T> rows) {
        const std::string key = where == dg::site::resid_pre                          ? dg::text("resid/", slot)
                                : where == dg::site::attn_out                         ? dg::text("attn/", slot)
                                : where == dg::site::mlp_out                          ? dg::text("mlp/", slot)
                                : where == dg::site::resid_post && slot + 1 == layers ? std::string("resid/last")
                                                                                      : std::string();
        INFO(key);
        if (!key.empty()) CHECK(fixture::distance(host<T>(rows), want.tensor(key)) < bound<T>);
    };
    CHECK(fixture::distance(run(ids, batch, {}, sites), want.tensor("logits")) < bound<T>);
    CHECK(fixture::distance(run(longer, 1, {}, dg::no_observer()), want.tensor("long_logits")) < bound<T>);
    const auto order = want.values["order"].get<std::vector<std::size_t>>();
    CHECK(fixture::distance(run(ids, batch, order, dg::no_observer()), want.tensor("order_logits")) < bound<T>);
    for (std::size_t skipped = 0; skipped < layers; ++skipped) {
        INFO("skip " << skipped);
        const auto skip = [&](dg::site where, std::size_t slot, dg::matrix<T> rows) {
            if (slot != skipped || (where != dg::site::attn_out && where != dg::site::mlp_out)) return;
            for (std::size_t r = 0; r < rows.rows; ++r)
                if (r % length > 0) std::fill_n(rows.row(r), width, T(0));
        };
        CHECK(fixture::distance(run(ids, batch, {}, skip), want.tensor(dg::text("skip/", skipped))) < bound<T>);
    }

    // the loss and every gradient, whole and recomputed
    std::vector<dg::token> targets(ids.size(), -1);
    for (std::size_t i = 0; i < ids.size(); ++i)
        if ((i + 1) % length) targets[i] = ids[i + 1];
    const std::vector<T> weights(ids.size(), static_cast<T>(1.0 / static_cast<double>(batch * (length - 1))));
    for (bool recompute : {false, true}) {
        INFO((recompute ? "recomputed" : "kept"));
        dg::parameter_set<T, Backend> gradients(backend, model.config(), layers);
        tape.recompute(recompute);
        const auto losses = dg::token_losses<T, Backend>(model, tape, ids, targets, weights, batch, &gradients);
        double loss = 0;
        for (std::size_t i = 0; i < ids.size(); ++i)
            loss += static_cast<double>(weights[i]) * static_cast<double>(losses[i]);
        CHECK(loss == Approx(want.values["loss"].get<double>()).epsilon(bound<T>));
        for (const auto& stored : dg::model_tensors(model.config())) {
            INFO(stored.name);
            auto got = fixture::values_of(dg::block_of(gradients, stored.block), stored.place);
            if (!stored.plain()) got = dg::detail::rearranged(stored, got, true);
            CHECK(fixture::distance(got, want.tensor(want.gradient_of(stored.name))) < bound<T>);
        }
    }
    tape.recompute(false);

    // token by token behind cached keys and values, past the window
    dg::cached_decoder<T, Backend> decoder(model);
    const auto whole = want.tensor("long_logits");
    const std::size_t vocab = model.config().vocab;
    for (std::size_t at = 0; at < longer.size();) {
        const std::size_t count = at == 0 ? 3 : at == 5 ? 9 : 1, taken = std::min(count, longer.size() - at);
        const auto z = decoder.append({longer.data() + at, taken});
        at += taken;
        const std::vector<double> last(whole.begin() + static_cast<std::ptrdiff_t>((at - 1) * vocab),
                                       whole.begin() + static_cast<std::ptrdiff_t>(at * vocab));
        INFO("position " << at - 1);
        CHECK(fixture::distance(std::vector<T>(z.begin(), z.end()), last) < bound<T>);
    }
}

}  // namespace

TEST_CASE("reference in double agrees with transformers to 1e-9 for every family") {
    dg::reference backend;
    for (const char* name : fixture::families) matches_transformers<double>(backend, name);
}
TEST_CASE("blas in double agrees with transformers to 1e-9 for every family") {
    dg::blas backend;
    for (const char* name : fixture::families) matches_transformers<double>(backend, name);
}
TEST_CASE("blas in float agrees with transformers to 2e-5 for every family") {
    dg::blas backend;
    for (const char* name : fixture::families) matches_transformers<float>(backend, name);
}
