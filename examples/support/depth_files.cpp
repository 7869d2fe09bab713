#include "support/depth_files.hpp"

#include <algorithm>
#include <array>

#include "depthgrow/io/json.hpp"

namespace tools {

std::vector<std::size_t> parse_numbers(const std::string& flag, const std::string& list) {
    std::vector<std::size_t> out;
    for (std::size_t first = 0; first < list.size();) {
        const std::size_t end = std::min(list.find(',', first), list.size());
        const std::string word = list.substr(first, end - first);
        dg::require(!word.empty() && word.size() < 10 && word.find_first_not_of("0123456789") == word.npos, flag,
                    ": expected numbers separated by commas, found \"", list, "\"");
        out.push_back(std::stoul(word));
        first = end + 1;
    }
    return out;
}

std::vector<file_prompt> read_prompts(const std::filesystem::path& file, const prompt_format& format) {
    const std::string content = dg::read_text_file(file);
    std::vector<file_prompt> out;
    dg::each_json_line(content, file.string(), [&](const std::string& label, const dg::json_fields& fields) {
        file_prompt one;
        one.name = label;
        if (fields.find("tokens")) {
            for (std::size_t id : fields.indices("tokens")) {
                dg::require(id < format.vocab, label, ": expected token ids below the vocabulary of ", format.vocab,
                            ", found ", id, " at position ", one.tokens.size());
                one.tokens.push_back(static_cast<dg::token>(id));
            }
        } else {
            dg::require(fields.find("text") != nullptr, label, ": expected \"tokens\" or \"text\", found neither");
            format.encode(fields.string("text"), one.tokens);
        }
        if (fields.find("boundaries")) one.boundaries = fields.indices("boundaries");
        else one.boundaries = format.boundaries;
        if (fields.find("answer_from")) {
            one.answer_from = static_cast<std::size_t>(fields.count("answer_from"));
            dg::require(*one.answer_from >= 1 && *one.answer_from < one.tokens.size(), label,
                        ": expected answer_from from 1 to ", one.tokens.size() - 1, " (the last position), found ",
                        *one.answer_from);
        }
        if (fields.find("weights")) one.weights = fields.numbers("weights");
        dg::detail::check_prompt(one, out.size(), format.context, format.vocab);
        dg::detail::boundaries_of(one, out.size(), 0);
        out.push_back(std::move(one));
        return true;
    });
    dg::require(!out.empty(), file.string(), ": expected at least one prompt, found only empty lines");
    return out;
}

lens_facts read_lens_config(const std::filesystem::path& directory) {
    dg::require(std::filesystem::is_directory(directory), directory.string(), ": expected a lens directory, found ",
                std::filesystem::exists(directory) ? "a file" : "nothing of that name");
    const auto file = directory / "config.json";
    const std::string label = file.string();
    const dg::json value = dg::read_json_file(file);
    const dg::json_fields fields(value, label);
    const std::string kind = fields.string("lens_type");
    dg::require(kind == "linear_tuned_lens", label, ": expected lens_type linear_tuned_lens, found ",
                dg::detail::quotable(kind, 40));
    return {fields.positive("d_model"), fields.positive("num_hidden_layers"), fields.string("unembed_hash")};
}

void write_lens_config(const std::filesystem::path& directory, const lens_facts& facts, const std::string& model) {
    const dg::json fields = {{"base_model_name_or_path", model},  {"d_model", facts.width},
                             {"num_hidden_layers", facts.layers}, {"bias", true},
                             {"base_model_revision", nullptr},    {"unembed_hash", facts.fingerprint},
                             {"lens_type", "linear_tuned_lens"}};
    dg::write_file(directory / "config.json", dg::json_text(fields, 2));
}

namespace {

std::uint32_t crc32(std::string_view bytes) {
    static const auto table = [] {
        std::array<std::uint32_t, 256> made{};
        for (std::uint32_t i = 0; i < 256; ++i) {
            made[i] = i;
            for (int bit = 0; bit < 8; ++bit) made[i] = made[i] & 1 ? 0xedb88320u ^ (made[i] >> 1) : made[i] >> 1;
        }
        return made;
    }();
    std::uint32_t crc = 0xffffffffu;
    for (char c : bytes) crc = table[(crc ^ static_cast<unsigned char>(c)) & 255u] ^ (crc >> 8);
    return ~crc;
}

std::string little(std::uint64_t value, int bytes) {
    std::string out;
    for (int i = 0; i < bytes; ++i) out += static_cast<char>(value >> (8 * i));
    return out;
}

/// A zip of stored members; data starts at multiples of 64 bytes, as torch writes it.
class stored_zip {
public:
    void add(const std::string& name, std::string_view data) {
        dg::require(body_.size() + data.size() < 0xf0000000u,
                    "params.pt: expected less than 4 GB of translators, got more; use params.safetensors");
        const std::size_t start = body_.size() + 30 + name.size() + 4, padding = (64 - start % 64) % 64;
        const std::string facts = little(0, 2) + little(0, 2) + little(0, 4) + little(crc32(data), 4) +
                                  little(data.size(), 4) + little(data.size(), 4) + little(name.size(), 2);
        directory_ += "PK\x01\x02" + little(20, 2) + little(20, 2) + facts + little(0, 2) + little(0, 2) +
                      little(0, 2) + little(0, 2) + little(0, 4) + little(body_.size(), 4) + name;
        body_ += "PK\x03\x04" + little(20, 2) + facts + little(4 + padding, 2) + name + "FB" + little(padding, 2) +
                 std::string(padding, 'Z');
        body_.append(data);
        ++members_;
    }
    std::string finished() const {
        return body_ + directory_ + "PK\x05\x06" + little(0, 4) + little(members_, 2) + little(members_, 2) +
               little(directory_.size(), 4) + little(body_.size(), 4) + little(0, 2);
    }

private:
    std::string body_, directory_;
    std::size_t members_ = 0;
};

/// Pickle protocol 2 of an OrderedDict-free state dict: {"0.weight": tensor, "0.bias": tensor, …}.
class state_dict_pickle {
public:
    state_dict_pickle() : text_("\x80\x02}(") {}
    void add(const std::string& name, const std::string& storage, const std::vector<std::size_t>& shape,
             std::size_t count) {
        string(name);
        text_ += "ctorch._utils\n_rebuild_tensor_v2\n((";
        string("storage");
        text_ += "ctorch\nFloatStorage\n";
        string(storage);
        string("cpu");
        integer(count);
        text_ += "tQ";  // a persistent id: the storage
        integer(0);     // offset
        sequence(shape);
        std::vector<std::size_t> strides(shape.size(), 1);
        for (std::size_t i = shape.size(); i > 1; --i) strides[i - 2] = strides[i - 1] * shape[i - 1];
        sequence(strides);
        text_ += "\x89";  // requires_grad = False
        text_ += "ccollections\nOrderedDict\n)RtR";
    }
    std::string finished() const { return text_ + "u."; }

private:
    void string(const std::string& value) { text_ += "X" + little(value.size(), 4) + value; }
    void integer(std::size_t value) { text_ += "J" + little(value, 4); }
    void sequence(const std::vector<std::size_t>& values) {
        text_ += "(";
        for (std::size_t value : values) integer(value);
        text_ += "t";
    }
    std::string text_;
};

}  // namespace

void write_torch_lens(const std::filesystem::path& file, std::size_t width,
                      const std::vector<std::vector<float>>& translators) {
    state_dict_pickle pickle;
    for (std::size_t i = 0; i < translators.size(); ++i)
        pickle.add(std::to_string(i / 2) + (i % 2 ? ".bias" : ".weight"), std::to_string(i),
                   i % 2 ? std::vector<std::size_t>{width} : std::vector<std::size_t>{width, width},
                   translators[i].size());
    stored_zip zip;
    zip.add("params/data.pkl", pickle.finished());
    zip.add("params/byteorder", "little");
    for (std::size_t i = 0; i < translators.size(); ++i)
        zip.add("params/data/" + std::to_string(i),
                std::string_view(reinterpret_cast<const char*>(translators[i].data()),
                                 translators[i].size() * sizeof(float)));
    zip.add("params/version", "3\n");
    dg::write_file(file, zip.finished());
}

}  // namespace tools
