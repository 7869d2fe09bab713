// The SmolLM family and smaller shapes of its kind.
// Assumes Llama's choices; names are those of train_smol --preset.
// Source: SmolLM v1 (huggingface/smollm), Kapl et al. 2025, Table 2.
#pragma once

#include "depthgrow/nn/description.hpp"

namespace depthgrow {

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
