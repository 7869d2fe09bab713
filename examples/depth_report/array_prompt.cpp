#include "depth_report/array_prompt.hpp"

#include <algorithm>
#include <cmath>

namespace tools {

namespace fs = std::filesystem;

array_source::array_source(const fs::path& path) : path_(path) {
    if (!fs::is_directory(path)) file_.emplace(path);
}

bool array_source::has(const std::string& name) const { return file_ ? file_->contains(name) : fs::exists(npy(name)); }

std::string array_source::label(const std::string& name) const {
    return file_ ? path_.string() + ": tensor " + name : npy(name).string();
}

dg::npy_array<double> array_source::numbers(const std::string& name, std::size_t axes) const {
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

dg::npy_array<double> array_source::numbers(const std::string& name, const std::vector<std::size_t>& shape) const {
    auto out = numbers(name, shape.size());
    dg::require(out.shape == shape, label(name), ": expected shape ", dg::shape_text(shape), ", found ",
                dg::shape_text(out.shape));
    return out;
}

std::vector<std::int64_t> array_source::integers(const std::string& name) const {
    if (!file_) return dg::read_npy<std::int64_t>(npy(name)).values;
    const auto& info = file_->find(name);
    std::vector<std::int64_t> out(info.elements());
    dg::require(info.type_name == "I64", label(name), ": expected I64, found ", info.type_name);
    file_->read_bytes(name, out.data(), info.bytes());
    return out;
}

void prompt_arrays::keep_counted(dg::npy_array<double>& array) const {
    if (positions.size() == given || array.values.empty()) return;
    const std::size_t width = array.shape[2];
    std::vector<double> kept;
    kept.reserve(array.shape[0] * positions.size() * width);
    for (std::size_t l = 0; l < array.shape[0]; ++l)
        for (const std::size_t u : positions) {
            const double* row = array.values.data() + (l * given + u) * width;
            kept.insert(kept.end(), row, row + width);
        }
    array.values = std::move(kept), array.shape[1] = positions.size();
}

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

namespace {

/// The residual after the last layer, where it was not given: h + a + m.
void complete(prompt_arrays& p, std::size_t layers) {
    const std::size_t size = p.given * p.h.shape[2], last = (layers - 1) * size;
    for (std::size_t i = last; i < last + size; ++i)
        p.h.values.push_back(p.h.values[i] + p.a.values[i] + p.m.values[i]);
    p.h.shape[0] = layers + 1;
}

void require_alike(const array_source& from, const std::string& name, bool expected) {
    dg::require(
        from.has(name) == expected, from.label(name), ": expected ",
        expected ? "an array, as for the first prompt, found none" : "none, as for the first prompt, found one");
}

/// Which rows count: all, or those where `mask` is not 0.
void read_mask(const array_source& from, prompt_arrays& p) {
    std::vector<std::int64_t> mask(p.given, 1);
    if (from.has("mask")) mask = from.integers("mask");
    dg::require(mask.size() == p.given, from.label("mask"), ": expected ", p.given, " numbers, found ", mask.size());
    for (std::size_t u = 0; u < p.given; ++u)
        if (mask[u] != 0) p.positions.push_back(u);
    p.length = p.positions.size();
    dg::require(p.length >= 2, from.label("mask"), ": expected at least 2 tokens that count, found ", p.length);
}

/// The token that follows each row, where both count.
void read_targets(const array_source& from, prompt_arrays& p, const extents& all) {
    p.targets.assign(p.length, prompt_arrays::no_target);
    if (!all.tokens) return;
    const auto tokens = from.integers("tokens");
    dg::require(tokens.size() == p.given, from.label("tokens"), ": expected ", p.given, " tokens, found ",
                tokens.size());
    for (const std::size_t u : p.positions)
        dg::require(tokens[u] >= 0 && static_cast<std::size_t>(tokens[u]) < all.vocab, from.label("tokens"),
                    ": expected ids below the vocabulary of ", all.vocab, ", found ", tokens[u]);
    for (std::size_t row = 0; row + 1 < p.length; ++row)
        if (p.positions[row + 1] == p.positions[row] + 1)
            p.targets[row] = static_cast<std::size_t>(tokens[p.positions[row + 1]]);
}

}  // namespace

prompt_arrays read_prompt(const array_source& from, extents& all, bool first) {
    prompt_arrays p;
    p.a = from.numbers("attn_out", 3);
    if (first) {
        all = {p.a.shape[0], p.a.shape[2], 0, from.has("lens_logits"), from.has("tokens"), false, false};
        all.current = from.has("current/skip_0/attn_out"), all.future = from.has("boundaries");
        dg::require(all.layers > 0 && all.width > 0, from.label("attn_out"), ": expected shape (L, T, C), found ",
                    dg::shape_text(p.a.shape));
    }
    p.given = p.a.shape[1];
    const std::vector<std::size_t> shape = {all.layers, p.given, all.width};
    dg::require(p.given >= 2, from.label("attn_out"), ": expected at least 2 tokens, found ", p.given);
    dg::require(p.a.shape == shape, from.label("attn_out"), ": expected shape ", dg::shape_text(shape), ", found ",
                dg::shape_text(p.a.shape));
    p.m = from.numbers("mlp_out", shape);
    p.h = from.numbers("resid_pre", 3);
    if (p.h.shape == shape) complete(p, all.layers);
    const std::vector<std::size_t> one_more = {all.layers + 1, p.given, all.width};
    dg::require(p.h.shape == one_more, from.label("resid_pre"), ": expected shape ", dg::shape_text(one_more),
                ", found ", dg::shape_text(p.h.shape));
    require_alike(from, "lens_logits", all.lens);
    require_alike(from, "tokens", all.tokens);
    require_alike(from, "current/skip_0/attn_out", all.current);
    require_alike(from, "boundaries", all.future);
    dg::require(all.lens || !(all.current || all.future), from.label("lens_logits"),
                ": expected an array beside skipped runs, found none");
    read_mask(from, p);
    if (all.lens) {
        p.logits = from.numbers("lens_logits", 3);
        if (first) all.vocab = p.logits.shape[2];
        const std::vector<std::size_t> lens = {all.layers + 1, p.given, all.vocab};
        dg::require(p.logits.shape == lens, from.label("lens_logits"), ": expected shape ", dg::shape_text(lens),
                    ", found ", dg::shape_text(p.logits.shape));
        read_targets(from, p, all);
    }
    for (auto* array : {&p.h, &p.a, &p.m, &p.logits}) p.keep_counted(*array);
    return p;
}

}  // namespace tools
