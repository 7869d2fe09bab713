// What a Llama-shaped model is: extents, norm placement, presets of the SmolLM family, parameter counts.
// Assumes nothing of backends or tensors.
// Presets: SmolLM v1 (huggingface/smollm), Kapl et al. 2025, Table 2.
#pragma once

#include <cmath>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "depthgrow/core/error.hpp"

namespace depthgrow {

/// Where the norms stand: before each sublayer; the same with outputs divided by sqrt(slot + 1)
/// (LayerNorm scaling, Sun et al. 2025); or post-norm in the first `post_layers` slots (Mix-LN, Li et al. 2024).
enum class norm_placement { pre, ln_scaling, mix };

inline std::string_view name_of(norm_placement norms) {
    return norms == norm_placement::pre ? "pre" : norms == norm_placement::ln_scaling ? "ln_scaling" : "mix";
}

/// Extents of a Llama-shaped decoder: RMSNorm, grouped-query attention with RoPE, SwiGLU, no biases.
struct decoder_config {
    std::string name = "custom";
    std::size_t vocab = 0;     // V
    std::size_t width = 0;     // C
    std::size_t ffn = 0;       // F
    std::size_t layers = 0;    // L
    std::size_t heads = 0;     // H
    std::size_t kv_heads = 0;  // H_kv, divides H
    std::size_t context = 0;   // longest sequence
    double rms_eps = 1e-5;
    double rope_theta = 1e4;
    bool tied = true;  // the head is the embedding
    norm_placement norms = norm_placement::pre;
    std::size_t post_layers = 0;  // post-norm slots of `mix`

    std::size_t head_width() const { return width / heads; }
    std::size_t kv_width() const { return kv_heads * head_width(); }
    std::size_t qkv_width() const { return width + 2 * kv_width(); }

    /// The same model with another number of layers (`mix` keeps a quarter of them post-norm).
    decoder_config with_depth(std::size_t depth) const {
        decoder_config other = *this;
        other.layers = depth;
        if (norms == norm_placement::mix) other.post_layers = depth / 4;
        return other;
    }

    /// Parameters of one layer.
    std::size_t layer_parameters() const {
        return 2 * width + qkv_width() * width + width * width + 3 * ffn * width;
    }
    /// Parameters of the embedding, the final norm and, when untied, the head.
    std::size_t outer_parameters() const { return vocab * width * (tied ? 1 : 2) + width; }
    std::size_t parameters() const { return layers * layer_parameters() + outer_parameters(); }

    /// Factor on the sublayer norms' output in slot `slot`.
    double norm_scale(std::size_t slot) const {
        return norms == norm_placement::ln_scaling ? 1.0 / std::sqrt(static_cast<double>(slot + 1)) : 1.0;
    }
    /// Whether slot `slot` is post-norm.
    bool post_norm(std::size_t slot) const { return norms == norm_placement::mix && slot < post_layers; }

    /// Throws a sentence naming the first impossible extent.
    void validate() const {
        require(vocab >= 2, "[decoder_config] expected a vocabulary of at least 2 tokens, got ", vocab);
        require(width > 0 && ffn > 0, "[decoder_config] expected width and ffn above 0, got ", width, " and ", ffn);
        require(layers > 0, "[decoder_config] expected at least one layer, got 0");
        require(context >= 2, "[decoder_config] expected a context of at least 2 tokens, got ", context);
        require(heads > 0 && width % heads == 0, "[decoder_config] expected heads to divide width ", width, ", got ", heads, " heads");
        require(head_width() % 2 == 0, "[decoder_config] expected an even head width for RoPE, got ", head_width());
        require(kv_heads > 0 && heads % kv_heads == 0, "[decoder_config] expected kv_heads to divide heads ", heads, ", got ", kv_heads);
        require(rms_eps > 0 && rope_theta > 0, "[decoder_config] expected rms_eps and rope_theta above 0, got ", rms_eps, " and ", rope_theta);
        require(post_layers <= layers, "[decoder_config] expected post_layers within ", layers, " layers, got ", post_layers);
    }
};

inline decoder_config smollm_135m() { return {"smollm-135m", 49152, 576, 1536, 30, 9, 3, 2048}; }
inline decoder_config smollm_360m() { return {"smollm-360m", 49152, 960, 2560, 32, 15, 5, 2048}; }
inline decoder_config smollm_1_7b() { return {"smollm-1.7b", 49152, 2048, 8192, 24, 32, 32, 2048}; }
/// 24 layers of width 256: the paper in miniature.
inline decoder_config mini() { return {"mini", 8192, 256, 768, 24, 4, 4, 512}; }
/// 12 layers of width 64 over bytes: two minutes on a laptop.
inline decoder_config small() { return {"small", 256, 64, 192, 12, 4, 2, 128}; }
/// 8 layers of width 32 over bytes: tests, seconds.
inline decoder_config tiny() { return {"tiny", 256, 32, 96, 8, 4, 2, 64}; }

/// All presets, smallest first.
inline std::vector<decoder_config> presets() {
    return {tiny(), small(), mini(), smollm_135m(), smollm_360m(), smollm_1_7b()};
}

}  // namespace depthgrow
