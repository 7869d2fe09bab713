// Writes a model's activations as depth_report --activations reads them: dump_arrays MODEL PROMPTS DIRECTORY
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
            const auto add = [](std::vector<float>& to, dg::matrix<const float> rows) {
                to.insert(to.end(), rows.data, rows.data + rows.size());
            };
            dg::tape<float, dg::blas> tape(backend);
            dg::visit_layers(
                model, tape, dg::span<const dg::token>(tokens),
                [&](std::size_t, dg::matrix<const float> in, dg::matrix<const float> attention,
                    dg::matrix<const float> mlp) { add(h, in), add(a, attention), add(m, mlp); },
                [&](dg::matrix<const float> last) { add(h, last); });
            const auto folder = std::filesystem::path(argv[3]) / std::to_string(p);
            std::filesystem::create_directories(folder);
            const std::size_t T = tokens.size();
            write(folder / "resid_pre.npy", {L + 1, T, C}, h);
            write(folder / "attn_out.npy", {L, T, C}, a);
            write(folder / "mlp_out.npy", {L, T, C}, m);
            write(folder / "lens_logits.npy", {L + 1, T, V}, lens_logits(model, h));
            const std::string ids = "tokens.npy";
            const std::vector<double> wide(tokens.begin(), tokens.end());
            dg::write_npy(folder / "tokens_as_numbers.npy", {T}, wide.data());
            std::string content = dg::read_text_file(folder / "tokens_as_numbers.npy");
            content.replace(content.find("<f8"), 3, "<i8");
            for (std::size_t u = 0; u < T; ++u) {
                const std::int64_t id = tokens[u];
                std::memcpy(content.data() + content.size() - 8 * (T - u), &id, 8);
            }
            dg::write_file(folder / ids, content);
            std::filesystem::remove(folder / "tokens_as_numbers.npy");
        }
    });
}
