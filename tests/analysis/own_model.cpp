// The analyses on a model of one's own: any class that keeps the concept decoder_model.
#include "depthgrow/analysis/contributions.hpp"
#include "depthgrow/analysis/lens_statistics.hpp"
#include "depthgrow/analysis/skip_effects.hpp"
#include "depthgrow/analysis/sweeps.hpp"
#include "depthgrow/backend/reference.hpp"
#include "support/catch.hpp"

namespace dg = depthgrow;

namespace {

/// A model whose second layer adds nothing: the library's decoder with one MLP and one attention held back.
class gated_model {
public:
    using number = double;
    using backend_type = dg::reference;
    explicit gated_model(const dg::decoder<double, dg::reference>& inner) : inner_(inner) {}

    const dg::decoder_config& config() const { return inner_.config(); }
    std::size_t layers() const { return inner_.layers(); }
    dg::reference& backend() const { return inner_.backend(); }
    dg::attention_shape extents(std::size_t ids, std::size_t batch) const { return inner_.extents(ids, batch); }
    template <class Tape> auto embedding(Tape& tape, dg::span<const dg::token> ids, dg::attention_shape s) const {
        return inner_.embedding(tape, ids, s);
    }
    template <class Tape, class Gradients>
    dg::residual_stream<double> attention_sublayer(Tape& tape, dg::residual_stream<double> in, std::size_t source,
                                                   std::size_t slot, dg::attention_shape s, Gradients gradients) const {
        return closed(inner_.attention_sublayer(tape, in, source, slot, s, gradients), source);
    }
    template <class Tape, class Gradients>
    dg::residual_stream<double> mlp_sublayer(Tape& tape, dg::residual_stream<double> in, std::size_t source,
                                             std::size_t slot, Gradients gradients) const {
        return closed(inner_.mlp_sublayer(tape, in, source, slot, gradients), source);
    }
    template <class Tape> auto final_norm(Tape& tape, dg::variable<double> h, std::nullptr_t = nullptr) const {
        return inner_.final_norm(tape, h);
    }
    dg::parameter<double> head() const { return inner_.head(); }
    template <class Tape, class Observer = dg::no_observer>
    auto residual(Tape& tape, dg::span<const dg::token> ids, std::size_t batch, std::nullptr_t,
                  dg::span<const std::size_t> order = {}, Observer&& observe = {}) const {
        return inner_.residual(tape, ids, batch, nullptr, order, observe);
    }

private:
    static dg::residual_stream<double> closed(dg::residual_stream<double> out, std::size_t source) {
        if (source == 1) std::fill_n(out.pending.value.data, out.pending.value.size(), 0.0);
        return out;
    }
    const dg::decoder<double, dg::reference>& inner_;
};
static_assert(dg::decoder_model<gated_model>);

}  // namespace

TEST_CASE("skip effects take any model that runs layer by layer") {
    dg::reference backend;
    const dg::decoder<double, dg::reference> inner(backend, dg::tiny().with_depth(4), 3);
    std::vector<dg::token> tokens;
    for (int i = 0; i < 20; ++i) tokens.push_back(static_cast<dg::token>(i * 37 % 251));
    const std::vector<dg::prompt> prompts = {{tokens, {8}, {}}};
    const auto whole = dg::current_effects(inner, prompts), gated = dg::current_effects(gated_model(inner), prompts);
    CHECK(whole.output_max[1] > 1e-3);
    CHECK(gated.output_max[1] == 0);  // skipping what adds nothing changes nothing
    CHECK(gated.output_max[0] > 1e-3);
    CHECK(dg::depth_score(dg::future_effects(gated_model(inner), prompts)) > 0);
}
