#include "depth_report/array_measure.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "depthgrow/io/npy.hpp"
#include "depthgrow/io/safetensors.hpp"
#include "depthgrow/metrics/divergence.hpp"
#include "depthgrow/metrics/overlap.hpp"
#include "support/console.hpp"

namespace tools {

namespace {

namespace fs = std::filesystem;
using rows = dg::matrix<const double>;

/// The arrays of one prompt: files of a folder, or tensors of a file.
class array_source {
public:
    explicit array_source(const fs::path& path) : path_(path) {
        if (!fs::is_directory(path)) file_.emplace(path);
    }
    bool has(const std::string& name) const { return file_ ? file_->contains(name) : fs::exists(npy(name)); }
    /// How errors name an array.
    std::string label(const std::string& name) const {
        return file_ ? path_.string() + ": tensor " + name : npy(name).string();
    }
    /// Finite numbers of `axes` axes.
    dg::npy_array<double> numbers(const std::string& name, std::size_t axes) const {
        dg::require(has(name), label(name), ": expected an array, found none");
        dg::npy_array<double> out;
        if (file_) {
            const auto& info = file_->find(name);
            out.shape = info.shape, out.values.resize(info.elements());
            file_->read(name, out.values.data(), out.values.size());
        } else {
            out = dg::read_npy<double>(npy(name));
        }
        dg::require(out.shape.size() == axes, label(name), ": expected ", axes, " axes, found shape ",
                    dg::shape_text(out.shape));
        for (std::size_t i = 0; i < out.values.size(); ++i)
            dg::require(std::isfinite(out.values[i]), label(name), ": expected finite numbers, found NaN or infinity ",
                        "at element ", i);
        return out;
    }
    std::vector<std::int64_t> tokens() const {
        if (!file_) return dg::read_npy<std::int64_t>(npy("tokens")).values;
        const auto& info = file_->find("tokens");
        std::vector<std::int64_t> out(info.elements());
        dg::require(info.type_name == "I64", label("tokens"), ": expected I64, found ", info.type_name);
        file_->read_bytes("tokens", out.data(), info.bytes());
        return out;
    }

private:
    fs::path npy(const std::string& name) const { return path_ / (name + ".npy"); }
    fs::path path_;
    std::optional<dg::safetensors_file> file_;
};

/// One prompt a folder or file, in the order of their names, shorter names first; or the folder itself is one.
std::vector<fs::path> prompts_of(const fs::path& path) {
    dg::require(fs::exists(path), "--activations: expected a folder or a .safetensors file, found none at ",
                path.string());
    std::vector<fs::path> out;
    if (fs::is_directory(path) && !fs::exists(path / "attn_out.npy"))
        for (const auto& entry : fs::directory_iterator(path))
            if (entry.is_directory() || entry.path().extension() == ".safetensors") out.push_back(entry.path());
    if (out.empty()) return {path};
    std::sort(out.begin(), out.end(), [](const fs::path& a, const fs::path& b) {
        const std::string x = a.filename().string(), y = b.filename().string();
        return x.size() != y.size() ? x.size() < y.size() : x < y;
    });
    return out;
}

/// Extents that all prompts share, known from the first.
struct extents {
    std::size_t layers = 0, width = 0, vocab = 0;
    bool lens = false, tokens = false;
};

struct prompt_arrays {
    std::size_t length = 0;
    dg::npy_array<double> h, a, m, logits;  // (L + 1, T, C), (L, T, C) twice, (L + 1, T, V) or nothing
    std::vector<std::int64_t> tokens;

    static rows layer(const dg::npy_array<double>& of, std::size_t l) {
        return rows(of.values.data() + l * of.shape[1] * of.shape[2], of.shape[1], of.shape[2]);
    }
};

void expect_shape(const array_source& from, const std::string& name, const dg::npy_array<double>& found,
                  const std::vector<std::size_t>& shape) {
    dg::require(found.shape == shape, from.label(name), ": expected shape ", dg::shape_text(shape), ", found ",
                dg::shape_text(found.shape));
}

/// The residual after the last layer, where it was not given: h + a + m.
void complete(prompt_arrays& p, std::size_t layers) {
    const std::size_t size = p.length * p.h.shape[2], last = (layers - 1) * size;
    for (std::size_t i = last; i < last + size; ++i)
        p.h.values.push_back(p.h.values[i] + p.a.values[i] + p.m.values[i]);
    p.h.shape[0] = layers + 1;
}

prompt_arrays read_prompt(const fs::path& path, extents& all, bool first) {
    const array_source from(path);
    prompt_arrays p;
    p.a = from.numbers("attn_out", 3);
    if (first) {
        all = {p.a.shape[0], p.a.shape[2], 0, from.has("lens_logits"), from.has("tokens")};
        dg::require(all.layers > 0 && all.width > 0, from.label("attn_out"), ": expected shape (L, T, C), found ",
                    dg::shape_text(p.a.shape));
    }
    p.length = p.a.shape[1];
    const std::vector<std::size_t> shape = {all.layers, p.length, all.width},
                                   one_more = {all.layers + 1, p.length, all.width};
    dg::require(p.length >= 2, from.label("attn_out"), ": expected at least 2 tokens, found ", p.length);
    expect_shape(from, "attn_out", p.a, shape);
    p.m = from.numbers("mlp_out", 3);
    expect_shape(from, "mlp_out", p.m, shape);
    p.h = from.numbers("resid_pre", 3);
    if (p.h.shape == shape) complete(p, all.layers);
    expect_shape(from, "resid_pre", p.h, one_more);
    dg::require(
        from.has("lens_logits") == all.lens, from.label("lens_logits"), ": expected ",
        all.lens ? "an array, as for the first prompt, found none" : "none, as for the first prompt, found one");
    dg::require(
        from.has("tokens") == all.tokens, from.label("tokens"), ": expected ",
        all.tokens ? "an array, as for the first prompt, found none" : "none, as for the first prompt, found one");
    if (!all.lens) return p;
    p.logits = from.numbers("lens_logits", 3);
    if (first) all.vocab = p.logits.shape[2];
    expect_shape(from, "lens_logits", p.logits, {all.layers + 1, p.length, all.vocab});
    if (!all.tokens) return p;
    p.tokens = from.tokens();
    dg::require(p.tokens.size() == p.length, from.label("tokens"), ": expected ", p.length, " tokens, found ",
                p.tokens.size());
    for (const auto id : p.tokens)
        dg::require(id >= 0 && static_cast<std::size_t>(id) < all.vocab, from.label("tokens"),
                    ": expected ids below the vocabulary of ", all.vocab, ", found ", id);
    return p;
}

void add_contributions(const prompt_arrays& p, dg::contribution_report& out) {
    const std::size_t L = out.depth;
    const auto tokens = static_cast<double>(p.length);
    std::vector<double> sums(dg::contribution_report::quantities.size() * L), norms(L + 1);
    for (std::size_t l = 0; l < L; ++l) {
        dg::contribution_accumulator layer;
        layer.add(p.layer(p.h, l), p.layer(p.a, l), p.layer(p.m, l));
        const auto mean = layer.mean();
        const double values[] = {mean.attention_ratio, mean.mlp_ratio,    mean.layer_ratio,    mean.attention_cosine,
                                 mean.mlp_cosine,      mean.layer_cosine, mean.block_influence};
        for (const auto q : dg::contribution_report::quantities)
            sums[out.column(q, l)] = values[static_cast<std::size_t>(q)] * tokens;
    }
    const auto row = [&](std::size_t l, std::size_t u) {
        return dg::span<const double>(p.layer(p.h, l).row(u), p.h.shape[2]);
    };
    for (std::size_t l = 0; l <= L; ++l)
        for (std::size_t u = 0; u < p.length; ++u) norms[l] += dg::l2_norm(row(l, u));
    out.layers.add(sums, tokens);
    out.residual_norm.add(norms, tokens);
    for (auto& [n, table] : out.angular) {
        std::vector<double> angles;
        for (std::size_t l = 0; l + n <= L; ++l)
            angles.push_back(dg::angular_distance(row(l, p.length - 1), row(l + n, p.length - 1)));
        table.add(angles, 1);
    }
    out.positions += p.length;
}

void add_lens(const prompt_arrays& p, dg::lens_report& out) {
    const std::size_t L = out.depth, vocab = p.logits.shape[2];
    std::vector<double> sums(out.all_tokens.columns()), next(2 * (L + 1));
    for (std::size_t l = 0; l <= L; ++l)
        for (std::size_t u = 0; u < p.length; ++u) {
            const dg::span<const double> q(p.layer(p.logits, l).row(u), vocab), y(p.layer(p.logits, L).row(u), vocab);
            const std::pair<dg::lens_quantity, double> values[] = {
                {dg::lens_quantity::kl_lens_final, dg::kl_divergence(q, y)},
                {dg::lens_quantity::kl_final_lens, dg::kl_divergence(y, q)},
                {dg::lens_quantity::top5_overlap, dg::top_k_overlap(q, y, std::min<std::size_t>(5, vocab))},
                {dg::lens_quantity::agreement, dg::agreement(q, y) ? 1.0 : 0.0}};
            for (const auto& [which, value] : values) sums[out.column(which, l)] += value;
            if (p.tokens.empty() || u + 1 == p.length) continue;
            const auto target = static_cast<std::size_t>(p.tokens[u + 1]);
            next[out.column(dg::lens_quantity::accuracy, l)] += dg::argmax(q) == target ? 1 : 0;
            next[out.column(dg::lens_quantity::cross_entropy, l)] += dg::cross_entropy(q, target);
        }
    out.all_tokens.add(sums, static_cast<double>(p.length));
    if (!p.tokens.empty()) out.next_tokens.add(next, static_cast<double>(p.length - 1));
}

}  // namespace

depth_measurement measure_arrays(const report_settings& settings) {
    const dg::bootstrap_options bootstrap{settings.seed, settings.resamples, 0.95};
    const stopwatch watch;
    depth_measurement out;
    out.name = settings.names[0], out.path = settings.models[0], out.from_arrays = true;
    const auto prompts = prompts_of(out.path);
    out.prompts = prompts.size();
    out.block = settings.block.value_or(4);
    extents all;
    for (std::size_t i = 0; i < prompts.size(); ++i) {
        const auto p = read_prompt(prompts[i], all, i == 0);
        const std::size_t L = all.layers;
        if (i == 0) {
            dg::require(out.block > 0 && (!settings.block || L % out.block == 0),
                        "--block: expected a block that divides the ", L, " layers of ", out.path, ", found ",
                        out.block);
            out.config.layers = L, out.config.width = all.width;
            auto& c = out.contribution;
            c.depth = L;
            c.layers = {dg::contribution_report::quantities.size() * L, prompts.size(), bootstrap};
            c.residual_norm = {L + 1, prompts.size(), bootstrap};
            for (const std::size_t n : {std::size_t{1}, out.block})
                if (n <= L) c.angular.emplace(n, dg::sample_table(L - n + 1, prompts.size(), bootstrap));
            if (all.lens) out.logit_lens = {L, {4 * (L + 1), prompts.size(), bootstrap}, {}};
            if (all.lens && all.tokens) out.logit_lens.next_tokens = {2 * (L + 1), prompts.size(), bootstrap};
        }
        add_contributions(p, out.contribution);
        if (all.lens) add_lens(p, out.logit_lens);
    }
    out.seconds.emplace_back("arrays", watch.seconds());
    return out;
}

}  // namespace tools
