// One prompt's arrays for depth_report --activations: files of a folder or tensors of a file, checked and masked.
// Assumes the layout of examples/depth_report/README.md. Rows are the tokens that count; no maths here.
// Used by depth_report alone.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "depthgrow/core/span.hpp"
#include "depthgrow/io/npy.hpp"
#include "depthgrow/io/safetensors.hpp"

namespace tools {

namespace dg = depthgrow;

/// The arrays of one prompt by their names, "attn_out" or "future/8/skip_0/attn_out".
class array_source {
public:
    explicit array_source(const std::filesystem::path& path);
    bool has(const std::string& name) const;
    /// How errors name an array.
    std::string label(const std::string& name) const;
    /// Finite numbers of `axes` axes.
    dg::npy_array<double> numbers(const std::string& name, std::size_t axes) const;
    /// Finite numbers of that very shape.
    dg::npy_array<double> numbers(const std::string& name, const std::vector<std::size_t>& shape) const;
    std::vector<std::int64_t> integers(const std::string& name) const;

private:
    std::filesystem::path npy(const std::string& name) const { return path_ / (name + ".npy"); }
    std::filesystem::path path_;
    std::optional<dg::safetensors_file> file_;
};

/// Extents and optional arrays that all prompts share, known from the first.
struct extents {
    std::size_t layers = 0, width = 0, vocab = 0;
    bool lens = false, tokens = false, current = false, future = false;
};

/// Rows of the tokens that count, layer by layer.
struct prompt_arrays {
    static constexpr std::size_t no_target = static_cast<std::size_t>(-1);

    std::size_t length = 0, given = 0;      // rows that count, and rows of the arrays
    std::vector<std::size_t> positions;     // of each row that counts
    std::vector<std::size_t> targets;       // the token after each row, or no_target
    dg::npy_array<double> h, a, m, logits;  // (L + 1, T, C), (L, T, C) twice, (L + 1, T, V) or nothing

    static dg::matrix<const double> layer(const dg::npy_array<double>& of, std::size_t l) {
        return {of.values.data() + l * of.shape[1] * of.shape[2], of.shape[1], of.shape[2]};
    }
    /// Leaves out the rows of an array (N, T, M) that do not count.
    void keep_counted(dg::npy_array<double>& array) const;
};

/// One prompt a folder or file, in the order of their names, shorter names first; or the folder itself is one.
std::vector<std::filesystem::path> prompts_of(const std::filesystem::path& path);

/// A prompt's arrays; the first one sets what all have. Throws a sentence that names the file.
prompt_arrays read_prompt(const array_source& from, extents& all, bool first);

}  // namespace tools
