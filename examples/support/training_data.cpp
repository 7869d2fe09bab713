#include "support/training_data.hpp"

#include <algorithm>

#include "depthgrow/io/bpe_trainer.hpp"
#include "depthgrow/tasks/corpus.hpp"

namespace tools {

namespace {

/// The built-in corpus of a run.
dg::primitive_corpus built_in_corpus(const training_settings& s, const std::vector<std::string>& tasks,
                                     std::size_t length) {
    dg::corpus_options options;
    for (const auto& task : tasks) options.tasks.emplace_back(task, 1.0);
    options.items = item_sizes(length);
    return dg::primitive_corpus(s.seed, options);
}

}  // namespace

dg::primitive_options item_sizes(std::size_t length) {
    dg::primitive_options sizes;
    if (length < 1024) sizes = {6, 3, 4, 9, true};
    return sizes;
}

std::shared_ptr<const dg::tokenizer> make_tokenizer(const training_settings& s) {
    if (s.tokenizer == "bytes") return nullptr;
    if (s.tokenizer.rfind("train:", 0) != 0)
        return std::make_shared<const dg::tokenizer>(dg::read_tokenizer(s.tokenizer));
    const std::string size = s.tokenizer.substr(6);
    dg::require(!size.empty() && size.size() < 8 && size.find_first_not_of("0123456789") == size.npos,
                "--tokenizer: expected train: and a number of tokens, found \"", s.tokenizer, "\"");
    std::vector<std::string> files = s.data;
    for (const auto& entry : s.mix.empty() ? std::vector<dg::mix_entry>{} : dg::parse_mix(s.mix))
        if (entry.source != "built-in") files.push_back(entry.source);
    std::erase_if(files, [](const std::string& file) { return file.ends_with(".bin"); });
    std::size_t bytes = 0;
    auto texts = read_texts(files, bytes);
    if (texts.empty()) {
        const auto corpus = built_in_corpus(s, dg::primitive_names(), 1024);
        for (std::uint64_t i = 0; i < 4000; ++i) texts.push_back(corpus.document(i).text);
    }
    return std::make_shared<const dg::tokenizer>(
        dg::train_bpe(texts, {std::stoul(size), {"<|endoftext|>"}, true, 2, resolve_threads(s.threads)}));
}

std::vector<std::string> read_texts(const std::vector<std::string>& files, std::size_t& bytes) {
    std::vector<std::string> out;
    for (const auto& file : files)
        dg::each_text(file, "\n\n", [&](const std::string&, std::string_view text) {
            out.emplace_back(text);
            bytes += text.size();
        });
    return out;
}

dg::training_data load_data(const resolved_run& run) {
    const auto& s = run.settings;
    dg::training_data data(s.seed, run.length);
    std::vector<dg::mix_entry> entries;
    if (!s.mix.empty()) entries = dg::parse_mix(s.mix);
    for (const auto& file : s.data) entries.push_back({file, 0});
    if (entries.empty()) entries.push_back({"built-in", 1});
    if (run.losses_by_source()) data.add_losses_by(dg::mix_loss::by_source);
    for (const auto& entry : entries) {
        if (entry.source == "built-in") {
            const auto corpus = built_in_corpus(s, run.tasks, run.length);
            data.add_documents(
                "built-in", [corpus](std::uint64_t i) { return corpus.document(i); },
                [corpus](std::uint64_t i) { return corpus.held_out_document(i); }, entry.weight, s.answer_loss,
                run.encoder());
            continue;
        }
        dg::token_options options;
        options.vocab = run.model.vocab;
        options.encode = run.encoder();
        auto tokens = dg::load_tokens(entry.source, options);
        const double weight = entry.weight > 0 ? entry.weight : static_cast<double>(tokens.size());
        data.add_tokens(entry.source, std::move(tokens), weight);
    }
    return data;
}

}  // namespace tools
