// manifest.json: how long every file of a directory is, and its hash, so that a damaged copy is seen before it is used.
// Assumes files that nobody changes after the manifest was written; a directory without one is taken as it is.
// Hash: XXH3 of 64 bits (github.com/Cyan4973/xxHash), hexadecimal; "xxhsum -H3" prints the same.
#pragma once

#define XXH_INLINE_ALL
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // g++ 12 warns falsely of its own AVX-512 intrinsics
#include <xxhash.h>
#pragma GCC diagnostic pop

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "depthgrow/io/atomic_file.hpp"
#include "depthgrow/io/json.hpp"

namespace depthgrow {

inline constexpr const char* manifest_name = "manifest.json";

/// The XXH3 hash of a file's bytes, 16 hexadecimal digits.
inline std::string file_hash(const std::filesystem::path& file) {
    std::ifstream in(file, std::ios::binary);
    require(in.good(), file.string(), ": expected a file that can be read, found that it cannot");
    XXH3_state_t state;
    XXH3_64bits_reset(&state);
    std::vector<char> piece(std::size_t{1} << 22);
    do {
        in.read(piece.data(), static_cast<std::streamsize>(piece.size()));
        XXH3_64bits_update(&state, piece.data(), static_cast<std::size_t>(in.gcount()));
    } while (in.good());
    require(in.eof(), file.string(), ": expected a file that can be read to its end, found that reading fails");
    char digits[17];
    std::snprintf(digits, sizeof digits, "%016llx", static_cast<unsigned long long>(XXH3_64bits_digest(&state)));
    return digits;
}

/// Writes the manifest of the files that lie in a directory now.
inline void write_manifest(const std::filesystem::path& directory) {
    json files = json::object();
    for (const auto& entry : std::filesystem::directory_iterator(directory))
        if (entry.is_regular_file() && entry.path().filename() != manifest_name)
            files[entry.path().filename().string()] = {{"bytes", entry.file_size()}, {"xxh3", file_hash(entry.path())}};
    write_file(directory / manifest_name, json_text({{"format_version", 1}, {"files", files}}, 2));
}

/// What a directory's manifest finds wrong, in a sentence that names the file; empty: nothing, or there is no manifest.
inline std::string damage_in(const std::filesystem::path& directory) {
    const auto file = directory / manifest_name;
    std::error_code ignored;
    if (!std::filesystem::exists(file, ignored)) return {};
    try {
        const json value = read_json_file(file);
        const std::string label = file.string();
        const json_fields fields(value, label);
        for (const auto& [name, entry] : fields.object("files").items()) {
            const auto listed = directory / name;
            const json_fields said(entry, label);
            const auto bytes = static_cast<std::uintmax_t>(said.count("bytes"));
            if (!std::filesystem::is_regular_file(listed, ignored))
                return text(listed.string(), ": expected a file of ", bytes,
                            " bytes, as manifest.json says, found none");
            if (const auto found = std::filesystem::file_size(listed); found != bytes)
                return text(listed.string(), ": expected ", bytes, " bytes, as manifest.json says, found ", found);
            if (const auto found = file_hash(listed); found != said.string("xxh3"))
                return text(listed.string(), ": expected the XXH3 hash ", said.string("xxh3"),
                            ", as manifest.json says, found ", found);
        }
    } catch (const error& problem) { return problem.what(); }
    return {};
}

/// Refuses a directory whose files are not those of its manifest.
inline void require_undamaged(const std::filesystem::path& directory) {
    if (const auto damage = damage_in(directory); !damage.empty())
        fail(damage, " (if you changed it yourself, remove manifest.json)");
}

}  // namespace depthgrow
