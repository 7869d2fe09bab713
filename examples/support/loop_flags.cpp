#include "support/loop_flags.hpp"

#include "depthgrow/core/error.hpp"
#include "depthgrow/growth/operators.hpp"

namespace tools {

namespace dg = depthgrow;

namespace {

/// Digits at `at`, moved past them; false when there are none.
bool read_number(const std::string& text, std::size_t& at, std::size_t& value) {
    const std::size_t first = at;
    for (value = 0; at < text.size() && text[at] >= '0' && text[at] <= '9' && at - first < 6; ++at)
        value = value * 10 + static_cast<std::size_t>(text[at] - '0');
    return at > first;
}

}  // namespace

std::optional<loop_shape> parse_loop(const std::string& flag) {
    if (flag.empty()) return std::nullopt;
    loop_shape out;
    std::size_t at = 0;
    bool good = read_number(flag, at, out.shared);
    if (good && at < flag.size() && flag[at] == '-')
        out.own_first = out.shared, good = read_number(flag, ++at, out.shared);
    good = good && at < flag.size() && flag[at] == 'x' && read_number(flag, ++at, out.times);
    if (good && at < flag.size() && flag[at] == '-') good = read_number(flag, ++at, out.own_last);
    dg::require(good && at == flag.size() && out.shared > 0 && out.times > 0,
                "--loop: expected own-shared x times-own like 4-4x6-4, or 4x6, found \"", flag, "\"");
    return out;
}

std::vector<std::size_t> parse_cooldown_loop(const std::string& flag, std::size_t depth) {
    std::size_t at = 0, start = 0, length = 0, more = 1;
    bool good = read_number(flag, at, start) && at < flag.size() && flag[at] == ':' && read_number(flag, ++at, length);
    if (good && at < flag.size() && flag[at] == 'x') good = read_number(flag, ++at, more);
    dg::require(good && at == flag.size() && more > 0 && length > 0 && start + length <= depth,
                "--cooldown-loop: expected start:length or start:lengthxtimes within ", depth, " layers, found \"",
                flag, "\"");
    return dg::loop(depth, start, length, more).sources();
}

}  // namespace tools
