// Growth of a model on disk: a Hugging Face directory in, the grown model's directory out, a few megabytes at a time.
// Assumes layers that are tensors PREFIX.N.REST; dtypes, every other tensor and every other file are kept. No graph is
// needed, but for new layers of zero effect and drawn ones the description of a family is.
// By an order the result equals, byte for byte, growth in the trainer: Kapl et al. 2025, 3.1; sums: mixed_tensors.hpp.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "depthgrow/growth/optimizer_traits.hpp"
#include "depthgrow/io/checkpoint_writer.hpp"
#include "depthgrow/io/grown_tensors.hpp"
#include "depthgrow/io/growth_record.hpp"
#include "depthgrow/io/manifest.hpp"
#include "depthgrow/io/mixed_tensors.hpp"
#include "depthgrow/io/model_checkpoint.hpp"
#include "depthgrow/io/model_directory.hpp"
#include "depthgrow/io/torch/grown_states.hpp"
#include "depthgrow/nn/parameters.hpp"

namespace depthgrow {

struct directory_growth_options {
    bool zero_new = false;                      // new layers begin as identities: o_proj and down_proj zero
    state_policy moments = state_policy::copy;  // what the new layers' moments start with
};

/// What growing a directory does, known before anything is written.
struct directory_growth_plan {
    std::size_t layers_before = 0, layers_after = 0;
    std::optional<decoder_config> before, after;          // of a family that the library describes
    std::uint64_t numbers_before = 0, numbers_after = 0;  // elements of all tensors
    std::size_t tensors_before = 0, tensors_after = 0;
    std::uint64_t bytes_before = 0, bytes_after = 0;          // weights
    std::uint64_t optimizer_before = 0, optimizer_after = 0;  // moments; 0 without an optimizer file of ours
    std::size_t shard_bytes = 0;                              // bound on an output shard; 0: one file
    json config, history;                                     // of the grown model; recorded growths with this one
    std::vector<std::string> kept;                            // other files, copied
    std::vector<std::string> left_out;  // not copied: stale weights, folders, another trainer's state
    std::vector<std::string> notes;     // what was not understood, one sentence each
};

namespace detail {

inline growth_source weights_of(const model_directory& in) {
    const weight_files& files = in.weights();
    return {[&files](const std::string& name) -> const safetensors_file& { return files.file_of(name); }, in.stack()};
}
inline growth_source moments_of(const safetensors_file& file, const layer_stack& stack) {
    return {[&file](const std::string&) -> const safetensors_file& { return file; }, stack};
}

/// A head that is stored although it is the embedding is left out.
inline outer_names outer_names_of(const model_directory& in) {
    if (!in.described()) return {};
    const family& own = family_of(*in.described());
    return {own.outer.front().name, in.described()->tied ? own.head : ""};
}

/// Weights of other formats: they would be those of the model before growth.
inline bool is_stale_weight(const std::string& name) {
    for (const char* ending :
         {".safetensors", ".bin", ".pt", ".pth", ".gguf", ".h5", ".msgpack", ".onnx", ".index.json"})
        if (name.ends_with(ending)) return true;
    return false;
}
/// Files that say nothing of the weights.
inline bool is_understood(const std::string& name) {
    for (const char* known :
         {"added_tokens.json", "chat_template.jinja", "generation_config.json", "merges.txt", "special_tokens_map.json",
          "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json", "vocab.txt", ".gitattributes"})
        if (name == known) return true;
    for (const char* ending : {".md", ".txt", "LICENSE"})
        if (name.ends_with(ending)) return true;
    return false;
}
inline bool is_rewritten(const std::string& name) {
    for (const char* written : {"config.json", "optimizer.safetensors", "trainer_state.json", "growth.json",
                                "model.safetensors", "model.safetensors.index.json", manifest_name})
        if (name == written) return true;
    return false;
}

/// Every state that its optimiser keeps of a tensor must be there, or growth would make a file that cannot be resumed
/// from.
inline void check_optimizer(const safetensors_file& file, const decoder_config& config) {
    const std::string name = optimizer_of(file);
    const optimizer_entry* own = find_optimizer(name);
    require(own != nullptr, file.path().string(), ": expected the states of ", optimizer_names(), ", found those of ",
            quotable(name, 40));
    for (const state_kind& state : own->states)
        for (const auto& tensor : model_tensors(config)) {
            if (!state.kept(tensor.block > 0, tensor.place.kind)) continue;
            const tensor_info& info = file.find(text(state.name, ".", tensor.name));
            require(info.shape == tensor.shape(), file.path().string(), ": expected tensor ", state.name, ".",
                    tensor.name, " of shape ", shape_text(tensor.shape()), ", found ", shape_text(info.shape));
        }
}

/// The optimizer's file, if its tensors are states of the model's, "NAME.TENSOR"; another one is not ours to grow.
inline std::optional<safetensors_file> open_moments(const model_directory& in) {
    const auto path = in.directory() / "optimizer.safetensors";
    if (!std::filesystem::exists(path)) return {};
    std::optional<safetensors_file> file(std::in_place, path);
    if (in.described()) {
        check_optimizer(*file, *in.described());
        return file;
    }
    for (const auto& [name, info] : file->tensors()) {
        const auto dot = name.find('.');
        if (dot == name.npos || !in.weights().contains(name.substr(dot + 1))) return {};
    }
    return file;
}

/// torch's optimizer file beside a model of a described family; no path without one.
inline std::filesystem::path torch_states_of(const model_directory& in) {
    for (const char* name : {"optimizer.pt", "optimizer.bin"})
        if (in.described() && std::filesystem::is_regular_file(in.directory() / name)) return in.directory() / name;
    return {};
}
/// Files by which transformers' Trainer goes on, which say nothing of single layers.
inline bool is_trainer_file(const std::string& name) {
    return name == "scheduler.pt" || name == "training_args.bin" || name == "trainer_state.json" ||
           (name.starts_with("rng_state") && name.ends_with(".pth"));
}

/// The trainer's state, if it is ours: another trainer's has no "step".
inline std::optional<json> read_trainer_state(const std::filesystem::path& directory) {
    const auto path = directory / "trainer_state.json";
    if (!std::filesystem::exists(path)) return {};
    json value = read_json_file(path);
    if (!value.is_object() || !value.contains("step")) return {};
    return value;
}

/// Refuses what this model cannot begin with.
inline void check_growth(const model_directory& in, const growth& how) {
    const std::string label = in.directory().string();
    require(how.layers.source_depth() == in.layers(), label, ": expected an order for ", in.layers(),
            " layers, got one for ", how.layers.source_depth());
    require(!how.layers.empty(), label, ": expected an order of at least one layer, got an empty one");
    const bool zero = how.init.kind == init_kind::zero_residual;
    require(in.described() || !zero, in.why_unknown(), "; new layers cannot begin as ", how.init.name(),
            ", since the library does not know which tensors of model_type ", in.model_type(),
            " write to the residual stream");
    require(in.described() || how.init.kind != init_kind::random, in.why_unknown(), "; new layers cannot begin as ",
            how.init.name(), ", since the library does not know how model_type ", in.model_type(), " is initialised");
    if (zero)
        require(in.described()->norms == norm_placement::pre, label,
                ": expected norm placement pre for new layers that begin as identities, found ",
                name_of(in.described()->norms), " (its layers depend on their slot)");
    require(!zero || how.keeps_every_layer(), label,
            ": expected an order that keeps every layer in place for new layers that begin as identities, got ",
            how.layers.to_string());
    require((how.rows().is_order() && !how.draws()) || !in.config().contains("quantization_config"), label,
            ": expected plain weights to compute new layers from, found quantization_config");
}

/// The description before and after, and the config.json that says it.
inline void plan_config(directory_growth_plan& plan, const model_directory& in, const growth& how) {
    const std::string label = in.directory().string();
    plan.config = in.grown_config(how.rows());
    if (!in.described()) return;
    plan.before = *in.described();
    plan.after = told_of(label, [&] { return grown_config(*plan.before, how); });
    if (plan.after->norms == norm_placement::mix) plan.config["post_layers"] = plan.after->post_layers;
    // where the file says by a rule of its number what a layer is, the grown one needs the list
    if (parse_hf_config(plan.config, label).model.kinds != plan.after->kinds)
        family_of(*plan.after).write(*plan.after, plan.config);
}

/// Tensors, numbers and bytes of the weights before and after, and the size of a file of them.
inline void plan_weights(directory_growth_plan& plan, const model_directory& in, const growth& how) {
    const mixture rows = how.rows(), same = layer_order::identity(in.layers());
    const std::string label = in.directory().string();
    const auto outer = outer_names_of(in);
    const auto weights = weights_of(in);
    const auto names = in.weights().names();
    const auto now = grow_names(names, in.stack(), same, outer, label);
    const auto then = grow_names(names, in.stack(), rows, outer, label);
    plan.bytes_before = weights.bytes(now), plan.bytes_after = weights.bytes(then);
    plan.tensors_before = now.size(), plan.tensors_after = then.size();
    for (const auto& tensor : now) plan.numbers_before += weights.find(tensor.source).elements();
    for (const auto& tensor : then) {
        plan.numbers_after += weights.find(tensor.source).elements();
        if (!weights.is_sum(tensor, rows) && how.draws() && tensor.slot && how.begins(*tensor.slot) &&
            !is_buffer(tensor.part, weights.find(tensor.source)))
            weights.require_numbers(tensor.source);
    }
    if (!in.weights().sharded()) return;
    for (const auto& file : in.weights().files()) {
        std::size_t bytes = 0;
        for (const auto& [name, info] : file.tensors()) bytes += info.bytes();
        plan.shard_bytes = std::max(plan.shard_bytes, std::max<std::size_t>(bytes, 1));
    }
}

/// Bytes of the optimizer's states before and after; states that cannot be summed are refused.
inline void plan_moments(directory_growth_plan& plan, const model_directory& in, const safetensors_file& moments,
                         const mixture& rows) {
    const auto outer = outer_names_of(in);
    const std::string label = moments.path().string();
    const auto source = moments_of(moments, in.stack());
    const auto now = grow_names(moments.names(), in.stack(), layer_order::identity(in.layers()), outer, label);
    const auto then = grow_names(moments.names(), in.stack(), rows, outer, label);
    plan.optimizer_before = source.bytes(now), plan.optimizer_after = source.bytes(then);
    for (const auto& tensor : then) source.is_sum(tensor, rows);
}

/// What becomes of the directory's other files; `foreign` names those of another trainer.
inline void plan_files(directory_growth_plan& plan, const model_directory& in, const std::set<std::string>& foreign) {
    const auto states = torch_states_of(in);
    std::set<std::string> weight_names;
    for (const auto& file : in.weights().files()) weight_names.insert(file.path().filename().string());
    for (const auto& entry : std::filesystem::directory_iterator(in.directory())) {
        const std::string name = entry.path().filename().string();
        if (name.rfind(".tmp-", 0) == 0 || name.rfind(".old-", 0) == 0 || weight_names.count(name)) continue;
        if ((is_rewritten(name) && !foreign.count(name)) || (!states.empty() && name == states.filename())) continue;
        const bool resumes = !states.empty() && is_trainer_file(name);
        const bool copied = entry.is_regular_file() && (resumes || (!is_stale_weight(name) && !foreign.count(name)));
        (copied ? plan.kept : plan.left_out).push_back(name);
        if (copied && !is_understood(name) && !resumes)
            plan.notes.push_back(text(quotable(name), " is of no kind that growth knows; copied as it is"));
    }
    std::sort(plan.kept.begin(), plan.kept.end());
    std::sort(plan.left_out.begin(), plan.left_out.end());
}

}  // namespace detail

/// Checks that a growth fits the model, and says what growing its directory will do.
inline directory_growth_plan plan_directory_growth(const model_directory& in, const growth& how) {
    detail::check_growth(in, how);
    const mixture rows = how.rows();
    directory_growth_plan plan;
    plan.layers_before = in.layers(), plan.layers_after = rows.size();
    plan.notes = in.notes();
    detail::plan_config(plan, in, how);
    detail::plan_weights(plan, in, how);
    const auto state = detail::read_trainer_state(in.directory());
    const auto moments = detail::open_moments(in);
    if (moments) detail::plan_moments(plan, in, *moments, rows);
    const auto torch = detail::torch_states_of(in);
    if (!torch.empty()) torch_states(torch, *in.described());  // refuses what cannot be proved

    std::optional<std::uint64_t> step;
    if (state) step = json_fields(*state, (in.directory() / "trainer_state.json").string()).count("step");
    plan.history = read_growth(in.weights());
    make_lineage(plan.history, in.layers(), in.weights().files().front().path().string());
    plan.history.push_back(growth_entry(how, step));
    if (!moments && torch.empty()) plan.history.back().erase("state");

    std::set<std::string> foreign;
    if (!state) foreign.insert("trainer_state.json");
    if (!moments) foreign.insert("optimizer.safetensors");
    detail::plan_files(plan, in, foreign);
    return plan;
}

/// Refuses a place for a new directory that is taken, by a link too: nothing is overwritten or written through.
inline void require_new_directory(const std::filesystem::path& out) {
    std::error_code ignored;
    const auto status = std::filesystem::symlink_status(out, ignored);
    require(!std::filesystem::exists(status), out.string(), ": expected a new directory, found ",
            std::filesystem::is_symlink(status)     ? "a link"
            : std::filesystem::is_directory(status) ? "a directory"
                                                    : "a file",
            " of that name");
}

/// Sees a grown directory before it is put in place, and refuses it by throwing.
using directory_check = std::function<void(const std::filesystem::path&)>;

namespace detail {

/// A tensor of a new layer that begins with drawn numbers, part by part as in the trainer.
inline void write_begun(safetensors_writer& to, const grown_tensor& tensor, const safetensors_file& file,
                        const model_tensor& parts, const decoder_config& grown, const growth& how) {
    std::vector<double> values(parts.place.size());
    file.read(tensor.source, values.data(), values.size());
    if (!parts.plain()) values = rearranged(parts, values, false);
    std::size_t first = 0;
    for (const auto& place : parts.parts) {
        begin_part(grown, place, {values.data() + first, place.size()}, how.init, how.seed, *tensor.slot);
        first += place.size();
    }
    if (!parts.plain()) values = rearranged(parts, values, true);
    to.write(tensor.name, values.data(), values.size());
}

/// One tensor of the grown weights.
inline void write_grown(safetensors_writer& to, const grown_tensor& tensor, const growth_source& from,
                        const growth& how, const mixture& rows, const decoder_config* described) {
    const safetensors_file& file = from.file_of(tensor.source);
    if (from.is_sum(tensor, rows)) return write_sum(to, tensor.name, from.terms(tensor, rows[*tensor.slot]));
    const tensor_info& info = file.find(tensor.source);
    if (tensor.slot && how.begins(*tensor.slot) && !is_buffer(tensor.part, info)) {
        const auto parts = described ? tensor_in_layer(*described, tensor.part) : std::nullopt;
        if (how.init.kind == init_kind::zero_residual && parts && writes_residual(*described, parts->place.which))
            return to.write_zeros(tensor.name);
        if (parts && how.draws()) return write_begun(to, tensor, file, *parts, *described, how);
        if (how.init.kind == init_kind::noise)
            return write_noisy(to, tensor.name, file, tensor.source, how.init.sigma,
                               begin_stream(how.seed, *tensor.slot, tensor.part));
    }
    to.copy(tensor.name, file, tensor.source);
}

/// The grown optimizer file.
inline void write_moments(const safetensors_file& file, const std::filesystem::path& out, const layer_stack& stack,
                          const outer_names& outer, const growth& how, const mixture& rows) {
    const auto from = moments_of(file, stack);
    const mixture squares = squared(rows);
    const auto tensors = grow_names(file.names(), stack, rows, outer, file.path().string());
    safetensors_writer to(out, from.entries(tensors), file.metadata());
    for (const auto& tensor : tensors) {
        const bool reset = tensor.slot && (how.state == state_policy::all ||
                                           (how.state == state_policy::zero && rows.is_new(*tensor.slot)));
        if (reset) to.write_zeros(tensor.name);
        else if (from.is_sum(tensor, rows))
            write_sum(to, tensor.name, from.terms(tensor, (is_second_moment(tensor) ? squares : rows)[*tensor.slot]));
        else to.copy(tensor.name, file, tensor.source);
    }
    to.commit();
}

}  // namespace detail

/// Writes the grown directory, whole or not at all, with a manifest; refuses one whose files are not those of its own.
inline directory_growth_plan grow_directory(const model_directory& in, const std::filesystem::path& out,
                                            const growth& how, const directory_check& check = {}) {
    require_undamaged(in.directory());
    directory_growth_plan plan = plan_directory_growth(in, how);
    require_new_directory(out);
    atomic_directory folder(out);

    const mixture rows = how.rows();
    const auto source = detail::weights_of(in);
    const json record = weights_record(plan.history);
    auto metadata = in.weights().metadata();
    metadata[growth_metadata_key] = record.dump();
    metadata.erase(order_metadata_key);  // the order named the layers before growth
    const auto tensors =
        detail::grow_names(in.weights().names(), in.stack(), rows, detail::outer_names_of(in), in.directory().string());
    checkpoint_writer files(folder.path(), source.entries(tensors), plan.shard_bytes, metadata);
    for (const auto& tensor : tensors)
        detail::write_grown(files.file_of(tensor.name), tensor, source, how, rows, plan.after ? &*plan.after : nullptr);
    files.commit();
    if (const auto moments = detail::open_moments(in))
        detail::write_moments(*moments, folder.path() / "optimizer.safetensors", in.stack(), detail::outer_names_of(in),
                              how, rows);
    if (const auto torch = detail::torch_states_of(in); !torch.empty())
        torch_states(torch, *in.described()).write(folder.path() / torch.filename(), rows, how.state);

    for (const auto& name : plan.kept) {
        std::error_code problem;
        std::filesystem::copy_file(in.directory() / name, folder.path() / name, problem);
        require(!problem, (in.directory() / name).string(),
                ": expected a file that can be copied, found: ", problem.message());
    }
    if (auto state = detail::read_trainer_state(in.directory())) {
        (*state)["layers"] = plan.layers_after;
        state->erase(fp8_scales_field);
        (*state)["growth"] = record;
        write_file(folder.path() / "trainer_state.json", json_text(*state, 2));
    }
    write_file(folder.path() / "growth.json", json_text({{"format_version", 1}, {"growth", plan.history}}, 2));
    write_file(folder.path() / "config.json", json_text(plan.config, 2));
    if (check) check(folder.path());
    write_manifest(folder.path());
    folder.commit();
    return plan;
}

namespace detail {

inline growth growth_of(const mixture& layers, const directory_growth_options& options) {
    return {layers, {options.zero_new ? init_kind::zero_residual : init_kind::copy}, options.moments};
}

}  // namespace detail

/// The same for an open checkpoint of a family that the library describes.
inline directory_growth_plan plan_directory_growth(const checkpoint_reader& in, const layer_order& order,
                                                   const directory_growth_options& options = {}) {
    return plan_directory_growth(model_directory(in.directory()), detail::growth_of(order, options));
}
inline directory_growth_plan grow_directory(const checkpoint_reader& in, const std::filesystem::path& out,
                                            const layer_order& order, const directory_growth_options& options = {},
                                            const directory_check& check = {}) {
    return grow_directory(model_directory(in.directory()), out, detail::growth_of(order, options), check);
}

}  // namespace depthgrow
