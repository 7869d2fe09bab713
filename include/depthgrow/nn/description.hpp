// What a decoder is made of: extents, choices, what each layer is, and from them the places of its parameters.
// Assumes nothing of backends, tensors or file formats. A family of models is a set of these choices.
// Norm placements beside the usual: LayerNorm scaling (Sun et al. 2025), Mix-LN (Li et al. 2024); parts: Vaswani et al.
// 2017.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "depthgrow/backend/contract.hpp"
#include "depthgrow/nn/rope.hpp"

namespace depthgrow {

/// Where the norms of a pre-norm decoder stand: before each sublayer; the same with outputs divided by sqrt(slot + 1)
/// (LayerNorm scaling); or post-norm in the first `post_layers` slots (Mix-LN). It belongs to the slot, not to the
/// layer.
enum class norm_placement { pre, ln_scaling, mix };

inline std::string_view name_of(norm_placement norms) {
    return norms == norm_placement::pre ? "pre" : norms == norm_placement::ln_scaling ? "ln_scaling" : "mix";
}

/// RMSNorm (Zhang & Sennrich 2019) or LayerNorm (Ba et al. 2016).
enum class norm_kind { rms, layer };
/// Norm of queries and keys before RoPE: none, of each head, or of the whole width.
enum class query_key_norm { none, head, width };

/// What one layer is beside its numbers; growth and orders carry it along with them.
struct layer_kind {
    std::size_t window = 0;  // positions that attention sees; 0: all earlier ones
    int rope = 0;            // which of the model's ropes rotates queries and keys; no_rope: none

    static constexpr int no_rope = -1;
    friend bool operator==(const layer_kind& a, const layer_kind& b) {
        return a.window == b.window && a.rope == b.rope;
    }
    friend bool operator!=(const layer_kind& a, const layer_kind& b) { return !(a == b); }
};

/// A decoder-only Transformer. The defaults are Llama's: RMSNorm before each sublayer, grouped-query attention with
/// RoPE, SwiGLU, no biases.
struct decoder_config {
    std::string name = "custom";
    std::size_t vocab = 0;     // V
    std::size_t width = 0;     // C
    std::size_t ffn = 0;       // F
    std::size_t layers = 0;    // L
    std::size_t heads = 0;     // H
    std::size_t kv_heads = 0;  // H_kv, divides H
    std::size_t context = 0;   // longest sequence
    double norm_eps = 1e-5;
    bool tied = true;  // the head is the embedding
    norm_placement norms = norm_placement::pre;
    std::size_t post_layers = 0;  // post-norm slots of `mix`

    std::string family = "llama";  // whose names and fields its files have
    std::size_t head_size = 0;     // D; 0: width / heads
    norm_kind norm = norm_kind::rms;
    bool gain_offset = false;  // gains are 1 + the parameter
    bool norm_before = true;   // of what enters a sublayer
    bool norm_after = false;   // of what a sublayer adds
    bool parallel = false;     // attention and MLP both read what enters the layer
    query_key_norm qk_norm = query_key_norm::none;
    bool qkv_bias = false, o_bias = false, mlp_bias = false;
    bool gated = true;  // down(f(gate x) * up x), else down(f(up x))
    activation act = activation::silu;
    bool learned_positions = false;
    bool scaled_embedding = false;      // embeddings are multiplied by sqrt(C)
    double attention_scale = 0;         // of the scores q·k; 0: 1/sqrt(D)
    std::optional<bool> scaled_init{};  // of what writes to the residual stream; not set: unless norms are ln_scaling
    std::vector<rope_description> ropes = {rope_description{}};
    std::vector<layer_kind> kinds{};  // one a layer; empty: every layer the default

    std::size_t head_width() const { return head_size > 0 ? head_size : width / heads; }
    std::size_t q_width() const { return heads * head_width(); }
    std::size_t kv_width() const { return kv_heads * head_width(); }
    std::size_t qkv_width() const { return q_width() + 2 * kv_width(); }
    double embedding_scale() const { return scaled_embedding ? std::sqrt(static_cast<double>(width)) : 1.0; }
    layer_kind kind(std::size_t layer) const { return kinds.empty() ? layer_kind{} : kinds[layer]; }
    /// Extents of attention in a layer over `batch` sequences of `length` tokens.
    attention_shape attention(std::size_t batch, std::size_t length, std::size_t layer) const {
        return {batch, length, heads, kv_heads, head_width(), kind(layer).window, attention_scale};
    }

    /// The same model with another number of layers: the first ones, or all of them again and again. `mix` keeps a
    /// quarter of the slots post-norm.
    decoder_config with_depth(std::size_t depth) const {
        decoder_config other = *this;
        other.layers = depth;
        if (norms == norm_placement::mix) other.post_layers = depth / 4;
        other.kinds.clear();
        for (std::size_t l = 0; !kinds.empty() && l < depth; ++l) other.kinds.push_back(kinds[l % kinds.size()]);
        return other;
    }
    /// The model whose layer l is this one's layer sources[l]: what growth by an order makes.
    decoder_config with_layers(span<const std::size_t> sources) const {
        decoder_config other = with_depth(sources.size());
        for (std::size_t l = 0; !kinds.empty() && l < sources.size(); ++l) other.kinds[l] = kinds.at(sources[l]);
        return other;
    }

    std::size_t layer_parameters() const;
    /// Parameters of the embeddings, the final norm and, when untied, the head.
    std::size_t outer_parameters() const;
    std::size_t parameters() const { return layers * layer_parameters() + outer_parameters(); }

    /// Factor on the sublayer norms' output in slot `slot`.
    double norm_scale(std::size_t slot) const {
        return norms == norm_placement::ln_scaling ? 1.0 / std::sqrt(static_cast<double>(slot + 1)) : 1.0;
    }
    /// Whether slot `slot` is post-norm.
    bool post_norm(std::size_t slot) const { return norms == norm_placement::mix && slot < post_layers; }

    /// Throws a sentence naming the first impossible extent or combination.
    void validate() const {
        const char* const here = "[decoder_config] ";
        require(vocab >= 2, here, "expected a vocabulary of at least 2 tokens, got ", vocab);
        require(width > 0 && ffn > 0, here, "expected width and ffn above 0, got ", width, " and ", ffn);
        require(layers > 0, here, "expected at least one layer, got 0");
        require(context >= 2, here, "expected a context of at least 2 tokens, got ", context);
        require(heads > 0, here, "expected at least one head, got 0");
        require(head_size > 0 || width % heads == 0, here, "expected heads to divide width ", width, ", got ", heads,
                " heads");
        require(kv_heads > 0 && heads % kv_heads == 0, here, "expected kv_heads to divide heads ", heads, ", got ",
                kv_heads);
        require(norm_eps > 0, here, "expected norm_eps above 0, got ", norm_eps);
        require(post_layers <= layers, here, "expected post_layers within ", layers, " layers, got ", post_layers);
        require(norm_before || norm_after, here, "expected a norm before or after each sublayer, got none");
        require(norms == norm_placement::pre || (norm_before && !norm_after && !parallel), here,
                "expected norm placement pre for a model that is not plainly pre-norm, got ", name_of(norms));
        require(kinds.empty() || kinds.size() == layers, here, "expected ", layers, " layer kinds, got ", kinds.size());
        for (std::size_t l = 0; l < kinds.size(); ++l)
            require(kinds[l].rope == layer_kind::no_rope ||
                        (kinds[l].rope >= 0 && static_cast<std::size_t>(kinds[l].rope) < ropes.size()),
                    here, "expected layer ", l, " to name one of ", ropes.size(), " ropes, got ", kinds[l].rope);
        for (const auto& rope : ropes) rope.validate(head_width());
    }
};

/// The parameters of a decoder: first those of a layer, then the others.
enum class part {
    input_norm,
    input_norm_bias,
    q,
    k,
    v,
    q_bias,
    k_bias,
    v_bias,
    q_norm,
    k_norm,
    o,
    o_bias,
    attn_out_norm,
    mlp_norm,
    mlp_norm_bias,
    gate,
    up,
    gate_bias,
    up_bias,
    down,
    down_bias,
    mlp_out_norm,
    embedding,
    final_norm,
    head,
    positions,
    final_norm_bias,
};
inline constexpr std::size_t part_count = 27;

inline std::string_view name_of(part which) {
    static constexpr std::array<std::string_view, part_count> names = {"input_norm",
                                                                       "input_norm_bias",
                                                                       "q",
                                                                       "k",
                                                                       "v",
                                                                       "q_bias",
                                                                       "k_bias",
                                                                       "v_bias",
                                                                       "q_norm",
                                                                       "k_norm",
                                                                       "o",
                                                                       "o_bias",
                                                                       "attn_out_norm",
                                                                       "mlp_norm",
                                                                       "mlp_norm_bias",
                                                                       "gate",
                                                                       "up",
                                                                       "gate_bias",
                                                                       "up_bias",
                                                                       "down",
                                                                       "down_bias",
                                                                       "mlp_out_norm",
                                                                       "embedding",
                                                                       "final_norm",
                                                                       "head",
                                                                       "positions",
                                                                       "final_norm_bias"};
    return names[static_cast<std::size_t>(which)];
}

/// What a parameter does: how it begins, whether it decays, how its gradient arrives. `residual_out` is a matrix whose
/// products are added to the residual stream.
enum class role { matrix, residual_out, embedding, gain, bias };

/// One parameter inside an arena.
struct tensor_place {
    part which{};
    role kind{};
    std::size_t rows = 0, cols = 0;
    std::size_t offset = 0;  // elements from the start of the arena
    std::size_t size() const { return rows * cols; }
    bool vector() const { return kind == role::gain || kind == role::bias; }  // one extent, not two
};

/// The places of one block of parameters, in the order in which they lie.
struct block_layout {
    std::vector<tensor_place> places;
    std::size_t size = 0;  // elements of the arena, padding included

    block_layout() { index_.fill(none); }
    /// Appends tensors that lie together without padding between them; those of no rows are left out.
    void append(const std::vector<tensor_place>& group) {
        for (tensor_place place : group) {
            if (place.rows == 0) continue;
            place.offset = size;
            size += place.size();
            index_[static_cast<std::size_t>(place.which)] = static_cast<unsigned char>(places.size());
            places.push_back(place);
        }
        size = (size + 63) / 64 * 64;
    }
    bool contains(part which) const { return index_[static_cast<std::size_t>(which)] != none; }
    const tensor_place& at(part which) const {
        require(contains(which), "[parameters] expected a part that the model has, got ", name_of(which));
        return places[index_[static_cast<std::size_t>(which)]];
    }

private:
    static constexpr unsigned char none = 255;
    std::array<unsigned char, part_count> index_;
};

/// The parameters of one layer.
inline block_layout layer_layout(const decoder_config& c) {
    const auto matrix = [&](part which, std::size_t rows, std::size_t cols) {
        return tensor_place{which, role::matrix, rows, cols};
    };
    const auto out = [&](part which, std::size_t cols) {
        return tensor_place{which, role::residual_out, c.width, cols};
    };
    const auto gain = [&](part which, bool there, std::size_t width) {
        return tensor_place{which, role::gain, there ? 1u : 0u, width};
    };
    const auto bias = [&](part which, bool there, std::size_t width) {
        return tensor_place{which, role::bias, there ? 1u : 0u, width};
    };
    const bool shifted = c.norm == norm_kind::layer, normed = c.qk_norm != query_key_norm::none,
               whole = c.qk_norm == query_key_norm::width;
    block_layout layout;
    layout.append({gain(part::input_norm, c.norm_before, c.width)});
    layout.append({bias(part::input_norm_bias, c.norm_before && shifted, c.width)});
    layout.append({matrix(part::q, c.q_width(), c.width), matrix(part::k, c.kv_width(), c.width),
                   matrix(part::v, c.kv_width(), c.width)});
    layout.append({bias(part::q_bias, c.qkv_bias, c.q_width()), bias(part::k_bias, c.qkv_bias, c.kv_width()),
                   bias(part::v_bias, c.qkv_bias, c.kv_width())});
    layout.append({gain(part::q_norm, normed, whole ? c.q_width() : c.head_width())});
    layout.append({gain(part::k_norm, normed, whole ? c.kv_width() : c.head_width())});
    layout.append({out(part::o, c.q_width())});
    layout.append({bias(part::o_bias, c.o_bias, c.width)});
    layout.append({gain(part::attn_out_norm, c.norm_after, c.width)});
    layout.append({gain(part::mlp_norm, c.norm_before, c.width)});
    layout.append({bias(part::mlp_norm_bias, c.norm_before && shifted, c.width)});
    layout.append({matrix(part::gate, c.gated ? c.ffn : 0, c.width), matrix(part::up, c.ffn, c.width)});
    layout.append({bias(part::gate_bias, c.gated && c.mlp_bias, c.ffn), bias(part::up_bias, c.mlp_bias, c.ffn)});
    layout.append({out(part::down, c.ffn)});
    layout.append({bias(part::down_bias, c.mlp_bias, c.width)});
    layout.append({gain(part::mlp_out_norm, c.norm_after, c.width)});
    return layout;
}

/// The parameters outside the layers.
inline block_layout outer_layout(const decoder_config& c) {
    block_layout layout;
    layout.append({{part::embedding, role::embedding, c.vocab, c.width}});
    layout.append({{part::final_norm, role::gain, 1, c.width}});
    layout.append({{part::head, role::matrix, c.tied ? 0 : c.vocab, c.width}});
    layout.append({{part::positions, role::embedding, c.learned_positions ? c.context : 0, c.width}});
    layout.append({{part::final_norm_bias, role::bias, c.norm == norm_kind::layer ? 1u : 0u, c.width}});
    return layout;
}

/// Whether a part writes to the residual stream: what new layers that begin as identities have zero. Behind a sublayer
/// with its own output norm that is the norm's gain; where gains are 1 + weight it is the matrices all the same, since
/// a norm of zeros is zero.
inline bool writes_residual(const decoder_config& c, part which) {
    if (c.norm_after && !c.gain_offset) return which == part::attn_out_norm || which == part::mlp_out_norm;
    return which == part::o || which == part::o_bias || which == part::down || which == part::down_bias;
}
/// Standard deviation of what a parameter begins with; 0 for gains and biases, which begin as ones and zeros.
/// `final_layers` is the depth that the model will grow to; ln_scaling begins plainly everywhere, unless it is told not
/// to (`scaled_init`).
inline double initial_deviation(const decoder_config& c, role kind, std::size_t final_layers) {
    if (kind == role::gain || kind == role::bias) return 0;
    const double plain = 1.0 / std::sqrt(static_cast<double>(c.width));
    const bool scaled = kind == role::residual_out && c.scaled_init.value_or(c.norms != norm_placement::ln_scaling);
    return scaled ? plain / std::sqrt(2.0 * static_cast<double>(final_layers)) : plain;
}

/// What gains and biases begin with.
inline double initial_constant(const decoder_config& c, role kind) {
    return kind == role::gain && !c.gain_offset ? 1.0 : 0.0;
}

namespace detail {

inline std::size_t numbers_of(const block_layout& layout) {
    std::size_t count = 0;
    for (const auto& place : layout.places) count += place.size();
    return count;
}

}  // namespace detail

inline std::size_t decoder_config::layer_parameters() const { return detail::numbers_of(layer_layout(*this)); }
inline std::size_t decoder_config::outer_parameters() const { return detail::numbers_of(outer_layout(*this)); }

}  // namespace depthgrow
