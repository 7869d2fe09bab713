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

namespace detail {

/// A checkpoint read into the parameter blocks of a one-layer decoder, tensor by tensor.
template <class T, class Backend> class layer_stream {
public:
    layer_stream(Backend& backend, const checkpoint_reader& checkpoint)
        : backend_(backend), checkpoint_(checkpoint), tensors_(model_tensors(checkpoint.config())) {}

    /// The file's name of a tensor outside the layers.
    std::string stored_name(part which) const {
        const auto found = std::find_if(tensors_.begin(), tensors_.end(),
                                        [&](const auto& tensor) { return tensor.place.which == which; });
        return checkpoint_.stored_name(found->name);
    }

    /// The embedding's rows of `ids`, in their order.
    void load_rows(parameter_block<T, Backend>& outer, const tensor_place& place, span<const token> ids) {
        const decoder_config& config = checkpoint_.config();
        const std::string name = stored_name(part::embedding);
        std::vector<T> row(config.width);
        for (std::size_t t = 0; t < ids.size(); ++t) {
            require(ids[t] >= 0 && static_cast<std::size_t>(ids[t]) < config.vocab, checkpoint_.directory().string(),
                    ": expected token ids below ", config.vocab, ", got ", ids[t]);
            checkpoint_.file_of(name).read_range(name, row.data(), row.size(),
                                                 static_cast<std::size_t>(ids[t]) * row.size());
            backend_.template from_host<T>(row.data(), outer.at(place).row(t), row.size());
        }
    }

    /// What is outside the layers, but for the embedding and the head.
    void load_outer(parameter_block<T, Backend>& outer, const block_layout& layout) {
        for (const auto& tensor : tensors_)
            if (tensor.block == 0 && tensor.place.which != part::embedding && tensor.place.which != part::head)
                load(outer, layout.at(tensor.place.which), tensor);
    }

    /// The tensors of layer `index`.
    void load_layer(parameter_block<T, Backend>& layer, const block_layout& layout, std::size_t index) {
        for (const auto& tensor : tensors_) {
            if (tensor.block != 1 + index) continue;
            tensor_place place = tensor.place;
            place.offset = layout.at(place.which).offset;
            load(layer, place, tensor);
        }
    }

private:
    void load(parameter_block<T, Backend>& block, const tensor_place& place, const model_tensor& from) {
        std::vector<T> values(place.size());
        checkpoint_.read(from.name, values.data(), values.size());
        if (!from.plain()) values = rearranged(from, values, false);
        backend_.template from_host<T>(values.data(), block.at(place).data, values.size());
    }

    Backend& backend_;
    const checkpoint_reader& checkpoint_;
    std::vector<model_tensor> tensors_;
};

/// Scores (T, V) of states x (T, C) by the rows (V, C) of a head on disk, some thousands of rows at a time.
template <class T, class Backend>
std::vector<T> streamed_head(Backend& backend, const checkpoint_reader& checkpoint, const std::string& head,
                             matrix<const T> x) {
    constexpr std::size_t most_rows = 4096;
    const std::size_t vocab = checkpoint.config().vocab, width = x.cols, chunk = std::min(vocab, most_rows);
    tensor<T, Backend> rows(backend, {chunk, width}), scores(backend, {x.rows, chunk});
    std::vector<T> numbers(chunk * width), got(x.rows * chunk), out(x.rows * vocab);
    for (std::size_t first = 0; first < vocab; first += chunk) {
        const std::size_t count = std::min(chunk, vocab - first);
        checkpoint.file_of(head).read_range(head, numbers.data(), count * width, first * width);
        backend.template from_host<T>(numbers.data(), rows.data(), count * width);
        ops::unembed<T>(backend, x, matrix<const T>(rows.data(), count, width),
                        matrix<T>(scores.data(), x.rows, count));
        backend.template to_host<T>(scores.data(), got.data(), x.rows * count);
        for (std::size_t t = 0; t < x.rows; ++t)
            std::copy_n(got.begin() + static_cast<std::ptrdiff_t>(t * count), count,
                        out.begin() + static_cast<std::ptrdiff_t>(t * vocab + first));
    }
    return out;
}

}  // namespace detail

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
    decoder<T, Backend> model(backend, one);
    detail::layer_stream<T, Backend> weights(backend, checkpoint);
    const block_layout outer = outer_layout(one), layer = layer_layout(one);
    weights.load_rows(model.weights.outer, outer.at(part::embedding), ids);
    weights.load_outer(model.weights.outer, outer);

    std::vector<token> own(ids.size());
    std::iota(own.begin(), own.end(), token{0});
    const auto device = tensor<token, Backend>::from_host(backend, {own.size()}, own);
    tape<T, Backend> tape(backend);
    tape.start(false);
    const attention_shape extents = model.extents(ids.size(), 1);
    residual_stream<T> stream{model.embedding(tape, device.flat(), extents), {}};
    for (std::size_t slot = 0; slot < config.layers; ++slot) {
        backend.synchronize();
        weights.load_layer(model.weights.layers[0], layer, slot);
        model.set_kind(0, config.kind(slot));
        stream = model.attention_sublayer(tape, stream, 0, slot, extents, nullptr);
        stream = model.mlp_sublayer(tape, stream, 0, slot, nullptr);
    }
    const auto x = model.final_norm(tape, add_pending(tape, stream)).value;  // (T, C)
    return detail::streamed_head<T>(backend, checkpoint,
                                    weights.stored_name(config.tied ? part::embedding : part::head), x);
}

}  // namespace depthgrow
