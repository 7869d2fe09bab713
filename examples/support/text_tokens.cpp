#include "support/text_tokens.hpp"

#include <filesystem>

namespace tools {

text_tokens::text_tokens(std::string choice, const std::string& model_directory, std::size_t vocab)
    : choice_(std::move(choice)), vocab_(vocab) {
    if (choice_ != "auto") return;
    const auto beside = std::filesystem::path(model_directory) / "tokenizer.json";
    choice_ = std::filesystem::exists(beside) ? beside.string() : "bytes";
}

const dg::tokenizer* text_tokens::file() const {
    if (choice_ == "bytes") {
        dg::require(vocab_ >= 256, "--tokenizer bytes: expected a model with a vocabulary of at least 256, found ",
                    vocab_);
        return nullptr;
    }
    if (!file_) {
        file_ = std::make_shared<const dg::tokenizer>(dg::read_tokenizer(choice_));
        dg::require(file_->size() <= vocab_, choice_, ": expected at most ", vocab_,
                    " tokens (the model's vocabulary), found ", file_->size());
    }
    return file_.get();
}

void text_tokens::encode(std::string_view text, std::vector<std::int32_t>& out) const {
    if (const auto* opened = file()) opened->encode(text, out);
    else dg::encode_bytes(text, out);
}

std::string text_tokens::decode(dg::span<const std::int32_t> ids) const {
    std::string out;
    const auto* opened = file();
    for (std::int32_t id : ids) {
        if (id < 0 || static_cast<std::size_t>(id) >= (opened ? opened->size() : 256)) out += "\xef\xbf\xbd";
        else if (opened) out += opened->token(id);
        else out += static_cast<char>(static_cast<unsigned char>(id));
    }
    return out;
}

}  // namespace tools
