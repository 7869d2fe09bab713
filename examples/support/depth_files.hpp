// Files of the depth tools: prompts, and lens directories (config.json, params.safetensors, params.pt on request).
// Layout of a lens: the tuned-lens Python package, {i}.weight (C, C) and {i}.bias (C); the weights are A, not I + A.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "depthgrow/analysis/prompts.hpp"
#include "depthgrow/analysis/tuned_lens.hpp"
#include "depthgrow/io/atomic_file.hpp"
#include "depthgrow/io/growth_record.hpp"
#include "depthgrow/io/model_checkpoint.hpp"
#include "depthgrow/io/safetensors.hpp"
#include "depthgrow/io/tokens.hpp"
#include "support/finite.hpp"

namespace tools {

namespace dg = depthgrow;

/// A prompt of a file; `answer_from` is where its answer starts.
struct file_prompt : dg::prompt {
    std::optional<std::size_t> answer_from;
};

/// How prompts become tokens, and what they must fit.
struct prompt_format {
    std::size_t vocab = 0, context = 0;
    dg::encode_function encode = dg::encode_bytes;
    std::vector<std::size_t> boundaries;  // of prompts that name none
};

/// Reads `{"tokens": [...]}` or `{"text": "..."}` lines, with optional `boundaries`, `answer_from` and `weights`. Every
/// error names file and line; an empty file, prompts of one token or longer than the context, ids outside the
/// vocabulary are errors.
std::vector<file_prompt> read_prompts(const std::filesystem::path& file, const prompt_format& format);

/// "8,16" as numbers.
std::vector<std::size_t> parse_numbers(const std::string& flag, const std::string& list);

/// A model as a checkpoint directory holds it; a weight that is NaN or infinite is refused with its file and tensor.
template <class T, class Backend>
dg::decoder<T, Backend> load_finite_model(Backend& backend, const dg::checkpoint_reader& checkpoint) {
    dg::decoder<T, Backend> model(backend, checkpoint.config());
    dg::read_model(checkpoint, model);
    require_finite(model, checkpoint);
    return model;
}

/// The same with the layers of `wanted` (empty: those that the checkpoint records, if any) as its own: running a list
/// of layers is being the model whose layers are that list. Gives that list; empty: the model as it is stored.
template <class T, class Backend>
std::vector<std::size_t> unroll(dg::decoder<T, Backend>& model, const dg::checkpoint_reader& checkpoint,
                                const std::string& wanted) {
    auto sources = wanted.empty() ? dg::recorded_order(checkpoint) : parse_numbers("--order", wanted);
    if (sources.empty()) return sources;
    dg::require(model.config().norms != dg::norm_placement::mix,
                "--order: expected a model without post-norm layers, found norm placement mix");
    model.grow(dg::layer_order(sources, model.layers()));
    return sources;
}

/// What a lens directory's config.json says.
struct lens_facts {
    std::size_t width = 0, layers = 0;
    std::string fingerprint;
};
lens_facts read_lens_config(const std::filesystem::path& directory);
void write_lens_config(const std::filesystem::path& directory, const lens_facts& facts, const std::string& model);

/// Writes the translators as the pickle in a zip that torch.save would write: `translators` holds weight then bias of
/// every layer, (C * C) and (C) numbers.
void write_torch_lens(const std::filesystem::path& file, std::size_t width,
                      const std::vector<std::vector<float>>& translators);

/// The lens of a directory, whatever model it belongs to (a warm start).
template <class T, class Backend>
dg::tuned_lens<T, Backend> read_lens_unchecked(const std::filesystem::path& directory, Backend& backend) {
    const lens_facts facts = read_lens_config(directory);
    const auto file_name = directory / "params.safetensors";
    dg::require(std::filesystem::exists(file_name), directory.string(),
                ": expected params.safetensors (written by fit_lens), found none");
    const dg::safetensors_file file(file_name);
    dg::tuned_lens<T, Backend> lens{{}, facts.width, facts.fingerprint};
    for (std::size_t l = 0; l < facts.layers; ++l) {
        const std::vector<std::size_t> square = {facts.width, facts.width}, line = {facts.width};
        std::vector<T> A(facts.width * facts.width), b(facts.width);
        const auto read = [&](const std::string& name, const std::vector<std::size_t>& shape, std::vector<T>& out) {
            const auto& info = file.find(name);
            dg::require(info.shape == shape, file_name.string(), ": expected tensor ", name, " of shape ",
                        dg::shape_text(shape), ", found ", dg::shape_text(info.shape));
            file.read(name, out.data(), out.size());
            const bool good =
                std::all_of(out.begin(), out.end(), [](T value) { return std::isfinite(static_cast<float>(value)); });
            dg::require(good, file_name.string(), ": expected finite numbers in tensor ", name,
                        ", found NaN or infinity");
        };
        read(std::to_string(l) + ".weight", square, A);
        read(std::to_string(l) + ".bias", line, b);
        lens.translators.push_back({dg::tensor<T, Backend>::from_host(backend, {facts.width, facts.width}, A),
                                    dg::tensor<T, Backend>::from_host(backend, {facts.width}, b)});
    }
    return lens;
}

/// The lens of a directory; refused unless it was fitted to this model, or to it running an order of `slots` layers.
template <class T, class Backend>
dg::tuned_lens<T, Backend> read_lens(const std::filesystem::path& directory, const dg::decoder<T, Backend>& model,
                                     std::size_t slots = 0) {
    auto lens = read_lens_unchecked<T>(directory, model.backend());
    try {
        lens.check(model, slots);
    } catch (const dg::error& problem) { dg::fail(directory.string(), ": ", problem.what()); }
    return lens;
}

/// Writes a lens directory, whole or not at all; with `torch` also params.pt.
template <class T, class Backend>
void write_lens(const std::filesystem::path& directory, const dg::tuned_lens<T, Backend>& lens,
                const std::string& model, bool torch) {
    dg::atomic_directory out(directory);
    std::vector<dg::tensor_entry> entries;
    for (std::size_t l = 0; l < lens.layers(); ++l) {
        entries.push_back({std::to_string(l) + ".weight", "F32", {lens.width, lens.width}});
        entries.push_back({std::to_string(l) + ".bias", "F32", {lens.width}});
    }
    dg::safetensors_writer file(out.path() / "params.safetensors", entries);
    std::vector<std::vector<float>> all;
    for (std::size_t l = 0; l < lens.layers(); ++l) {
        const auto A = lens.translators[l].A.to_host(), b = lens.translators[l].b.to_host();
        file.write(std::to_string(l) + ".weight", A.data(), A.size());
        file.write(std::to_string(l) + ".bias", b.data(), b.size());
        if (torch) all.emplace_back(A.begin(), A.end()), all.emplace_back(b.begin(), b.end());
    }
    file.commit();
    write_lens_config(out.path(), {lens.width, lens.layers(), lens.fingerprint}, model);
    if (torch) write_torch_lens(out.path() / "params.pt", lens.width, all);
    out.commit();
}

}  // namespace tools
