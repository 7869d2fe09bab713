// Random numbers that are the same on every machine: xoshiro256** seeded through splitmix64.
// Assumes C++17. The state is four words, saved in checkpoints and restored bit for bit.
// Source: Blackman & Vigna 2018, "Scrambled linear pseudorandom number generators".
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace depthgrow {

/// One step of splitmix64: a good hash of `value`.
inline std::uint64_t mix_bits(std::uint64_t value) {
    value += 0x9e3779b97f4a7c15ull;
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ull;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebull;
    return value ^ (value >> 31);
}

/// A stream of random numbers; two streams with different (seed, stream) are independent.
class rng {
public:
    explicit rng(std::uint64_t seed, std::uint64_t stream = 0) {
        std::uint64_t word = mix_bits(seed) ^ mix_bits(~stream);
        for (auto& part : state_) part = word = mix_bits(word);
    }

    /// 64 random bits.
    std::uint64_t bits() {
        const std::uint64_t result = rotate(state_[1] * 5, 7) * 9;
        const std::uint64_t shifted = state_[1] << 17;
        state_[2] ^= state_[0];
        state_[3] ^= state_[1];
        state_[1] ^= state_[2];
        state_[0] ^= state_[3];
        state_[2] ^= shifted;
        state_[3] = rotate(state_[3], 45);
        return result;
    }
    /// Uniform integer in [0, count), without bias; count > 0.
    std::uint64_t below(std::uint64_t count) {
        const std::uint64_t limit = ~std::uint64_t{0} - (~std::uint64_t{0} % count + 1) % count;
        std::uint64_t draw = bits();
        while (draw > limit) draw = bits();
        return draw % count;
    }
    /// Uniform number in [0, 1).
    double uniform() { return static_cast<double>(bits() >> 11) * 0x1p-53; }
    /// Standard normal number (Box-Muller; one of the pair, so that the state is the whole state).
    double normal() {
        const double radius = std::sqrt(-2.0 * std::log(1.0 - uniform()));
        return radius * std::cos(6.283185307179586476925 * uniform());
    }
    /// Fisher-Yates shuffle of anything with size() and [].
    template <class Sequence> void shuffle(Sequence& items) {
        using std::swap;
        for (std::size_t i = items.size(); i > 1; --i) swap(items[i - 1], items[below(i)]);
    }

    const std::array<std::uint64_t, 4>& state() const { return state_; }
    void restore(const std::array<std::uint64_t, 4>& state) { state_ = state; }

private:
    static std::uint64_t rotate(std::uint64_t word, int by) { return (word << by) | (word >> (64 - by)); }
    std::array<std::uint64_t, 4> state_{};
};

}  // namespace depthgrow
