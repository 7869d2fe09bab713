// Flags of a tool as data: read from a line, a list of words or a command line, laid over each other, written again.
// Assumes long flags, "--steps 100", and values that do not begin with "--". Each flag is there once: the last wins.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "depthgrow/io/json.hpp"
#include "support/training.hpp"

namespace tools {

class flag_list {
public:
    flag_list() = default;
    /// Of words; `label` begins the refusal of a word that belongs to no flag.
    flag_list(const std::vector<std::string>& words, const std::string& label);

    /// Sets a flag, whose old values go.
    void set(const std::string& flag, std::vector<std::string> values);
    /// Sets every flag of `more`.
    void set(const flag_list& more);
    void erase(const std::string& flag);
    /// The values of a flag; null when it is not there.
    const std::vector<std::string>* find(const std::string& flag) const;

    /// The same flags with every file that a value names replaced by file(name).
    flag_list with_files(const std::function<std::string(const std::string&)>& file) const;

    std::vector<std::string> words() const;
    /// As a shell takes them.
    std::string text() const;
    /// {"--steps": "100", "--quiet": ""}, several values as a list.
    dg::json to_json() const;

private:
    std::vector<std::pair<std::string, std::vector<std::string>>> flags_;
};

/// The words of a line, split at blanks.
std::vector<std::string> split_words(const std::string& line);

/// What train_smol makes of these flags; refusals begin with `label`.
training_settings read_training_flags(const flag_list& flags, const std::string& label);

}  // namespace tools
