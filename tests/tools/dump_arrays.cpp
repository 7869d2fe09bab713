// Writes a model's activations as depth_report --activations reads them: dump_arrays MODEL PROMPTS DIRECTORY
#include "depthgrow/analysis/skip_effects.hpp"
#include "depthgrow/analysis/trace.hpp"
#include "depthgrow/io/npy.hpp"
#include "depthgrow/io/safetensors.hpp"
#include "support/any_backend.hpp"
#include "support/cli.hpp"
#include "support/depth_files.hpp"

namespace {

namespace dg = depthgrow;

template <class Model> std::vector<float> lens_logits(const Model& model, const std::vector<float>& residuals) {
    auto& backend = model.backend();
    const std::size_t width = model.config().width, rows = residuals.size() / width;
    dg::tape<float, dg::blas> head(backend);
    head.start(false);
    const auto x = head.make(rows, width);
    std::copy(residuals.begin(), residuals.end(), x.value.data);
    const auto z = dg::ops::linear(head, model.final_norm(head, x, nullptr), model.head());
    return {z.value.data, z.value.data + z.value.size()};
}

void write(const std::filesystem::path& file, const std::vector<std::size_t>& shape, const std::vector<float>& of) {
    const std::vector<double> wide(of.begin(), of.end());
    dg::write_npy(file, shape, wide.data());
}

template <class Number> void write_integers(const std::filesystem::path& file, const std::vector<Number>& numbers) {
    const std::vector<double> wide(numbers.begin(), numbers.end());
    dg::write_npy(file, {numbers.size()}, wide.data());
    std::string content = dg::read_text_file(file);
    content.replace(content.find("<f8"), 3, "<i8");
    for (std::size_t i = 0; i < numbers.size(); ++i) {
        const auto one = static_cast<std::int64_t>(numbers[i]);
        std::memcpy(content.data() + content.size() - 8 * (numbers.size() - i), &one, 8);
    }
    dg::write_file(file, content);
}

void append(std::vector<float>& to, dg::matrix<const float> rows) {
    to.insert(to.end(), rows.data, rows.data + rows.size());
}

/// A run whose layer `skipped` adds nothing at positions [1, until).
template <class Model>
void write_skipped(const Model& model, const std::vector<dg::token>& tokens, std::size_t skipped, std::size_t until,
                   const std::filesystem::path& folder) {
    const std::size_t L = model.layers(), T = tokens.size(), C = model.config().width;
    dg::tape<float, dg::blas> tape(model.backend());
    tape.start(false);
    std::vector<float> h, a, m;
    append(h, model.embedding(tape, dg::span<const dg::token>(tokens), model.extents(T, 1)).value);
    for (std::size_t l = 0; l < L; ++l) {
        tape.start(false);
        const auto x = tape.make(T, C);
        std::copy(h.begin(), h.end(), x.value.data);
        auto between =
            model.attention_sublayer(tape, {{x.value, nullptr, true}, {}}, l, l, model.extents(T, 1), nullptr);
        between.pending.kept = true;
        const auto attention = between.pending.value;
        const auto after = model.mlp_sublayer(tape, between, l, l, nullptr);
        for (std::size_t u = 0; u < T; ++u)
            for (std::size_t i = 0; i < C; ++i) {
                const bool left_out = l == skipped && u >= 1 && u < until;
                a.push_back(left_out ? 0 : attention(u, i));
                m.push_back(left_out ? 0 : after.pending.value(u, i));
                if (!left_out) h[u * C + i] = after.h.value(u, i) + after.pending.value(u, i);
            }
    }
    std::filesystem::create_directories(folder);
    write(folder / "attn_out.npy", {L, T, C}, a);
    write(folder / "mlp_out.npy", {L, T, C}, m);
    write(folder / "logits.npy", {T, model.config().vocab}, lens_logits(model, h));
}

template <class Model>
void write_skips(const Model& model, const dg::prompt& prompt, std::size_t index, const std::filesystem::path& folder) {
    const auto boundaries = dg::detail::boundaries_of(prompt, index, dg::skip_options{}.seed);
    write_integers(folder / "boundaries.npy", boundaries);
    for (std::size_t l = 0; l < model.layers(); ++l) {
        const std::string name = "skip_" + std::to_string(l);
        write_skipped(model, prompt.tokens, l, prompt.tokens.size(), folder / "current" / name);
        for (const std::size_t t : boundaries)
            write_skipped(model, prompt.tokens, l, t, folder / "future" / std::to_string(t) / name);
    }
}

}  // namespace

int main(int argc, char** argv) {
    return tools::run_tool([&] {
        dg::require(argc == 4, "usage: dump_arrays MODEL PROMPTS DIRECTORY");
        dg::blas backend;
        const dg::checkpoint_reader checkpoint(argv[1]);
        const auto model = tools::load_finite_model<float, dg::blas>(backend, checkpoint);
        const std::size_t L = model.layers(), C = model.config().width, V = model.config().vocab;
        const auto prompts = tools::read_prompts(argv[2], {V, model.config().context, {}, {}});
        for (std::size_t p = 0; p < prompts.size(); ++p) {
            const auto& tokens = prompts[p].tokens;
            std::vector<float> h, a, m;
            dg::tape<float, dg::blas> tape(backend);
            dg::visit_layers(
                model, tape, dg::span<const dg::token>(tokens),
                [&](std::size_t, dg::matrix<const float> in, dg::matrix<const float> attention,
                    dg::matrix<const float> mlp) { append(h, in), append(a, attention), append(m, mlp); },
                [&](dg::matrix<const float> last) { append(h, last); });
            const auto folder = std::filesystem::path(argv[3]) / std::to_string(p);
            std::filesystem::create_directories(folder);
            const std::size_t T = tokens.size();
            write(folder / "resid_pre.npy", {L + 1, T, C}, h);
            write(folder / "attn_out.npy", {L, T, C}, a);
            write(folder / "mlp_out.npy", {L, T, C}, m);
            write(folder / "lens_logits.npy", {L + 1, T, V}, lens_logits(model, h));
            write_integers(folder / "tokens.npy", tokens);
            write_skips(model, prompts[p], p, folder);
        }
    });
}
