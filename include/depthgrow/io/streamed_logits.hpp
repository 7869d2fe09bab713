// Logits of a model that need not fit in memory: one layer of a checkpoint at a time, the head in pieces.
// Assumes one short sequence and a norm placement without post-norm slots.
// The graph is nn/decoder.hpp's own: a one-layer model whose weights are replaced before every slot.
#pragma once

#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include "depthgrow/io/model_checkpoint.hpp"

namespace depthgrow {

/// Logits (T, V) of `ids` under the checkpoint's own layers.
template <class T, class Backend>
std::vector<T> streamed_logits(Backend& backend, const checkpoint_reader& checkpoint, span<const token> ids) {
    const decoder_config& config = checkpoint.config();
    require(config.norms != norm_placement::mix, checkpoint.directory().string(),
            ": expected norm placement pre or ln_scaling, found mix");
    require(ids.size() >= 2 && ids.size() <= config.context, checkpoint.directory().string(), ": expected 2 to ",
            config.context, " tokens, got ", ids.size());
    decoder_config one = config;
    one.layers = 1, one.tied = true, one.vocab = ids.size();  // the embedding holds the sequence's own rows
    one.kinds.clear();
    const std::vector<model_tensor> tensors = model_tensors(config);
    const auto named = [&](part which) {
        return checkpoint.stored_name(std::find_if(tensors.begin(), tensors.end(), [&](const auto& tensor) {
                                          return tensor.place.which == which;
                                      })->name);
    };
    const std::string embedding = named(part::embedding);
    const std::size_t width = config.width;
    const auto load = [&](parameter_block<T, Backend>& block, const tensor_place& place, const model_tensor& from) {
        std::vector<T> values(place.size());
        checkpoint.read(from.name, values.data(), values.size());
        if (!from.plain()) values = detail::rearranged(from, values, false);
        backend.template from_host<T>(values.data(), block.at(place).data, values.size());
    };
    decoder<T, Backend> model(backend, one);
    const block_layout outer = outer_layout(one), layer = layer_layout(one);
    std::vector<T> row(width);
    for (std::size_t t = 0; t < ids.size(); ++t) {
        require(ids[t] >= 0 && static_cast<std::size_t>(ids[t]) < config.vocab, checkpoint.directory().string(),
                ": expected token ids below ", config.vocab, ", got ", ids[t]);
        checkpoint.file_of(embedding).read_range(embedding, row.data(), width,
                                                 static_cast<std::size_t>(ids[t]) * width);
        backend.template from_host<T>(row.data(), model.weights.outer.at(outer.at(part::embedding)).row(t), width);
    }
    for (const auto& tensor : tensors)
        if (tensor.block == 0 && tensor.place.which != part::embedding && tensor.place.which != part::head)
            load(model.weights.outer, outer.at(tensor.place.which), tensor);

    std::vector<token> own(ids.size());
    std::iota(own.begin(), own.end(), token{0});
    const auto device = tensor<token, Backend>::from_host(backend, {own.size()}, own);
    tape<T, Backend> tape(backend);
    tape.start(false);
    const attention_shape extents = model.extents(ids.size(), 1);
    residual_stream<T> stream{model.embedding(tape, device.flat(), extents), {}};
    auto next = std::find_if(tensors.begin(), tensors.end(), [](const auto& tensor) { return tensor.block > 0; });
    for (std::size_t slot = 0; slot < config.layers; ++slot) {
        backend.synchronize();
        for (; next != tensors.end() && next->block == 1 + slot; ++next) {
            tensor_place place = next->place;
            place.offset = layer.at(place.which).offset;
            load(model.weights.layers[0], place, *next);
        }
        model.set_kind(0, config.kind(slot));
        stream = model.attention_sublayer(tape, stream, 0, slot, extents, nullptr);
        stream = model.mlp_sublayer(tape, stream, 0, slot, nullptr);
    }
    const auto x = model.final_norm(tape, add_pending(tape, stream)).value;  // (T, C)

    const std::string head = config.tied ? embedding : named(part::head);
    const std::size_t vocab = config.vocab, chunk = std::min<std::size_t>(vocab, 4096);
    tensor<T, Backend> piece(backend, {chunk, width}), part(backend, {ids.size(), chunk});
    std::vector<T> numbers(chunk * width), got(ids.size() * chunk), out(ids.size() * vocab);
    for (std::size_t first = 0; first < vocab; first += chunk) {
        const std::size_t count = std::min(chunk, vocab - first);
        checkpoint.file_of(head).read_range(head, numbers.data(), count * width, first * width);
        backend.template from_host<T>(numbers.data(), piece.data(), count * width);
        const matrix<T> z(part.data(), ids.size(), count);
        ops::unembed<T>(backend, x, matrix<const T>(piece.data(), count, width), z);
        backend.template to_host<T>(part.data(), got.data(), ids.size() * count);
        for (std::size_t t = 0; t < ids.size(); ++t)
            std::copy_n(got.begin() + static_cast<std::ptrdiff_t>(t * count), count,
                        out.begin() + static_cast<std::ptrdiff_t>(t * vocab + first));
    }
    return out;
}

}  // namespace depthgrow
