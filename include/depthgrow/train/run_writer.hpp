// A run's weights and optimiser states on their way to the disk: whole blocks on the host, each one rank's to write.
// Assumes a directory that is not yet visible; ranks that see one file system write one file together, each its
// tensors. The files are those of one rank (io/model_checkpoint.hpp), whatever the number of ranks.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "depthgrow/io/model_checkpoint.hpp"
#include "depthgrow/train/trainer.hpp"

namespace depthgrow {

/// model.safetensors and optimizer.safetensors of a run, written block by block. Kind 0 are the weights, kind 1 + s the
/// optimiser's state s. Knows nothing of devices, so that a thread of its own may write.
template <class Wide> class run_writer {
public:
    /// `weight_facts` go into the model's string map.
    template <class T, class Backend, class Optimizer>
    run_writer(const std::filesystem::path& directory, const trainer<T, Backend, Optimizer>& run,
               const std::map<std::string, std::string>& weight_facts)
        : tensors_(model_tensors(run.model.config())),
          kinds_(1),
          model_(directory / "model.safetensors", model_entries(run.model.config(), dtype::f32), weight_facts,
                 writers_of(run)),
          optimizer_(directory / "optimizer.safetensors",
                     optimizer_entries(run.model.config(), run.optimizer.states(), dtype_of<Wide>::value),
                     optimizer_metadata(run.optimizer), writers_of(run)) {
        for (const auto& state : run.optimizer.states())
            kinds_.push_back({std::string(state.name) + ".", {state.name, nullptr, state.outer, state.layer}});
    }

    /// The tensors of one block; `numbers` are all of it.
    void write(std::size_t kind, std::size_t block, const std::vector<Wide>& numbers) {
        for (const auto& tensor : tensors_) {
            if (tensor.block != block) continue;
            const auto place = kind == 0 ? tensor.place : detail::place_in(kinds_[kind].places, tensor);
            if (!place) continue;
            const auto first = numbers.begin() + static_cast<std::ptrdiff_t>(place->offset);
            std::vector<Wide> values(first, first + static_cast<std::ptrdiff_t>(place->size()));
            if (!tensor.plain()) values = detail::rearranged(tensor, values, true);
            (kind == 0 ? model_ : optimizer_).write(kinds_[kind].prefix + tensor.name, values.data(), values.size());
        }
    }
    void commit() {
        model_.commit();
        optimizer_.commit();
    }

private:
    struct stored_kind {
        std::string prefix;
        optimizer_state<const void> places;
    };
    template <class Trainer> static atomic_file::writers writers_of(const Trainer& run) {
        return run.ranks().alone() ? atomic_file::writers::one : atomic_file::writers::several;
    }

    std::vector<model_tensor> tensors_;
    std::vector<stored_kind> kinds_;
    safetensors_writer model_, optimizer_;
};

namespace detail {

/// Brings the numbers of a block of which this rank has its share (whole where `whole`) to the host of rank `owner`.
template <class U, class Backend>
void bring_numbers(std::size_t owner, const parameter_block<U, Backend>& block, bool whole, std::size_t size,
                   communicator& comm, std::vector<U>* numbers) {
    const auto to_host = [&](const parameter_block<U, Backend>& all) {
        if (comm.rank() != owner) return;
        numbers->resize(size);
        all.backend().template to_host<U>(all.flat().data(), numbers->data(), size);
    };
    if (whole || comm.alone()) to_host(block);
    else to_host(whole_block(block, comm));
}

}  // namespace detail

/// body(kind, block, numbers) for those blocks of the weights and states that are this rank's to write, kinds as
/// run_writer has them; `buffer(kind, block)` gives the memory that each block's numbers go to, whatever was in it. All
/// ranks call it at once: a block is made whole from the ranks' shares.
template <class T, class Backend, class Optimizer, class Buffer, class Body>
void each_own_block(trainer<T, Backend, Optimizer>& run, const Buffer& buffer, const Body& body) {
    communicator& comm = run.ranks();
    std::size_t next = 0;
    const auto give = [&](std::size_t kind, auto& set, bool whole, std::size_t outer, std::size_t layer) {
        for (std::size_t b = 0; b <= run.model.layers(); ++b) {
            const std::size_t owner = next++ % comm.size();
            std::vector<wide_t<T>>* numbers = owner == comm.rank() ? &buffer(kind, b) : nullptr;
            detail::bring_numbers(owner, block_of(set, b), whole, b == 0 ? outer : layer, comm, numbers);
            if (numbers) body(kind, b, *numbers);
        }
    };
    const auto& config = run.model.config();
    give(0, run.trained(), !run.mixed, outer_layout(config).size, layer_layout(config).size);
    std::size_t kind = 0;
    for (const auto& state : run.optimizer.states())
        give(++kind, *state.numbers, false, state.outer.size, state.layer.size);
}

}  // namespace depthgrow
