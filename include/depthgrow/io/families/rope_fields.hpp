// RoPE in config.json: rope_parameters of transformers 5, rope_scaling and rope_theta of transformers 4.
// Assumes the order in which transformers 5 looks: a dictionary's own rope_theta counts before the field beside it.
// Source: huggingface/transformers, modeling_rope_utils.
#pragma once

#include "depthgrow/io/families/family.hpp"

namespace depthgrow::families {

/// What stands beside the dictionaries: defaults for what they leave out.
struct rope_defaults {
    double theta = 1e4, share = 1;
    std::size_t context = 0;
};

/// One dictionary of RoPE parameters; `key` names it in errors.
inline rope_description read_rope(const json_fields& outer, const json* dictionary, const std::string& key,
                                  const rope_defaults& defaults, std::string_view file) {
    rope_description rope;
    rope.theta = defaults.theta, rope.share = defaults.share;
    if (!dictionary) return rope;
    require(dictionary->is_object(), file, ": expected ", key, " to be an object, found ", describe(dictionary));
    const json_fields fields(*dictionary, file);
    rope.theta = fields.positive_number("rope_theta", defaults.theta);
    rope.share = fields.positive_number("partial_rotary_factor", defaults.share);
    const std::string kind = fields.string("rope_type", fields.string("type", "default"));
    if (kind == "default") return rope;
    for (rope_scaling known : {rope_scaling::linear, rope_scaling::llama3, rope_scaling::yarn})
        if (kind == name_of(known)) rope.scaling = known;
    require(rope.scaling != rope_scaling::none, file, ": expected RoPE of type default, linear, llama3 or yarn, found ",
            key, " of type ", detail::quotable(kind, 40));
    if (rope.scaling == rope_scaling::llama3 || rope.scaling == rope_scaling::yarn) {
        const char* original = "original_max_position_embeddings";
        rope.original_context = outer.find(original)
                                    ? outer.positive_number(original)
                                    : fields.positive_number(original, static_cast<double>(defaults.context));
    }
    rope.factor = rope.scaling == rope_scaling::yarn && !fields.find("factor")
                      ? static_cast<double>(defaults.context) / rope.original_context
                      : fields.positive_number("factor");
    require(rope.factor >= 1, file, ": expected the factor of ", key, " to be at least 1, found ", rope.factor);
    if (rope.scaling == rope_scaling::llama3) {
        rope.low_frequency = fields.positive_number("low_freq_factor");
        rope.high_frequency = fields.positive_number("high_freq_factor");
        require(rope.high_frequency > rope.low_frequency, file,
                ": expected high_freq_factor above low_freq_factor, found ", rope.high_frequency, " and ",
                rope.low_frequency);
    }
    if (rope.scaling == rope_scaling::yarn) {
        rope.beta_fast = fields.positive_number("beta_fast", 32);
        rope.beta_slow = fields.positive_number("beta_slow", 1);
        require(rope.beta_fast >= rope.beta_slow, file, ": expected beta_fast of at least beta_slow, found ",
                rope.beta_fast, " and ", rope.beta_slow);
        rope.truncate = fields.boolean("truncate", true);
        const auto grown = [&](double by) { return rope.factor <= 1 ? 1.0 : 0.1 * by * std::log(rope.factor) + 1.0; };
        const double of_all = fields.number("mscale_all_dim", 0), own = fields.number("mscale", 0);
        rope.attention_factor =
            fields.positive_number("attention_factor", own != 0 && of_all != 0 ? grown(own) / grown(of_all) : grown(1));
    }
    return rope;
}
/// The one RoPE of a model.
inline rope_description read_rope(const json_fields& fields, rope_defaults defaults, std::string_view file) {
    defaults.theta = fields.positive_number("rope_theta", defaults.theta);
    defaults.share = fields.positive_number("partial_rotary_factor", defaults.share);
    const char* key = fields.find("rope_scaling") ? "rope_scaling" : "rope_parameters";
    const json* dictionary = fields.find(key);
    return read_rope(fields, dictionary, key, defaults, file);
}
/// Writes it where the file has it: rope_theta beside, inside, or both; a scaled one without a place goes to
/// rope_parameters.
inline void write_rope(const rope_description& rope, json& fields) {
    bool inside = false;
    for (const char* key : {"rope_scaling", "rope_parameters"})
        if (fields.contains(key) && fields[key].is_object()) {
            if (fields[key].contains("rope_theta") || key == std::string_view("rope_parameters"))
                fields[key]["rope_theta"] = rope.theta;
            inside = true;
        }
    if (!inside && rope.scaling != rope_scaling::none) {
        json parameters = {
            {"rope_type", std::string(name_of(rope.scaling))}, {"rope_theta", rope.theta}, {"factor", rope.factor}};
        if (rope.scaling != rope_scaling::linear)
            parameters["original_max_position_embeddings"] = static_cast<std::size_t>(rope.original_context);
        if (rope.scaling == rope_scaling::llama3)
            parameters["low_freq_factor"] = rope.low_frequency, parameters["high_freq_factor"] = rope.high_frequency;
        if (rope.scaling == rope_scaling::yarn)
            parameters["beta_fast"] = rope.beta_fast, parameters["beta_slow"] = rope.beta_slow,
            parameters["attention_factor"] = rope.attention_factor, parameters["truncate"] = rope.truncate;
        fields["rope_parameters"] = parameters;
    }
    fields["rope_theta"] = rope.theta;
}

/// The fields of Llama's closest relatives: one RoPE, SwiGLU's activation under hidden_act.
inline void write_llama_like(const decoder_config& c, json& fields) {
    write_common(c, fields);
    write_activation(c, fields, "hidden_act");
    write_rope(c.ropes.front(), fields);
}

}  // namespace depthgrow::families
