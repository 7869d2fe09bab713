// Which unembedding a lens belongs to: SHA-256 of its float32 numbers.
// Assumes a little-endian machine; the numbers are rounded to float32 first, so that a model loaded as double agrees.
// Source: FIPS 180-4.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "depthgrow/nn/decoder.hpp"

namespace depthgrow {

/// SHA-256 of bytes that come piece by piece.
class sha256 {
public:
    void add(const void* data, std::size_t bytes) {
        const auto* next = static_cast<const unsigned char*>(data);
        length_ += bytes;
        while (bytes > 0) {
            const std::size_t part = std::min(bytes, block_.size() - filled_);
            std::memcpy(block_.data() + filled_, next, part);
            filled_ += part, next += part, bytes -= part;
            if (filled_ == block_.size()) compress(), filled_ = 0;
        }
    }
    /// The digest in 64 hexadecimal digits; nothing may be added after it.
    std::string hex() {
        const std::uint64_t bits = length_ * 8;
        const unsigned char end = 0x80, zero = 0;
        add(&end, 1);
        while (filled_ != 56) add(&zero, 1);
        for (int shift = 56; shift >= 0; shift -= 8) {
            const auto byte = static_cast<unsigned char>(bits >> shift);
            add(&byte, 1);
        }
        std::string out;
        for (std::uint32_t word : state_)
            for (int shift = 28; shift >= 0; shift -= 4) out += "0123456789abcdef"[(word >> shift) & 15u];
        return out;
    }

private:
    static std::uint32_t turned(std::uint32_t x, unsigned by) { return (x >> by) | (x << (32 - by)); }
    void compress() {
        static const std::array<std::uint32_t, 64> constants = roots();
        std::uint32_t w[64];
        for (std::size_t i = 0; i < 16; ++i)
            w[i] = (std::uint32_t{block_[4 * i]} << 24) | (std::uint32_t{block_[4 * i + 1]} << 16) |
                   (std::uint32_t{block_[4 * i + 2]} << 8) | block_[4 * i + 3];
        for (std::size_t i = 16; i < 64; ++i) {
            const std::uint32_t a = w[i - 15], b = w[i - 2];
            w[i] = w[i - 16] + (turned(a, 7) ^ turned(a, 18) ^ (a >> 3)) + w[i - 7] +
                   (turned(b, 17) ^ turned(b, 19) ^ (b >> 10));
        }
        auto s = state_;
        for (std::size_t i = 0; i < 64; ++i) {
            const std::uint32_t one = s[7] + (turned(s[4], 6) ^ turned(s[4], 11) ^ turned(s[4], 25)) +
                                      ((s[4] & s[5]) ^ (~s[4] & s[6])) + constants[i] + w[i];
            const std::uint32_t two = (turned(s[0], 2) ^ turned(s[0], 13) ^ turned(s[0], 22)) +
                                      ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
            s = {one + two, s[0], s[1], s[2], s[3] + one, s[4], s[5], s[6]};
        }
        for (std::size_t i = 0; i < 8; ++i) state_[i] += s[i];
    }
    /// First 32 bits of the fractional parts of the cube roots of the first 64 primes.
    static std::array<std::uint32_t, 64> roots() {
        std::array<std::uint32_t, 64> out{};
        std::size_t count = 0;
        for (std::uint64_t candidate = 2; count < 64; ++candidate) {
            bool prime = true;
            for (std::uint64_t d = 2; d * d <= candidate; ++d) prime = prime && candidate % d != 0;
            if (!prime) continue;
            // floor(cbrt(candidate) 2^32): the largest x with x^3 <= candidate 2^96, digit by digit in long double and
            // exact below
            const long double root = std::cbrt(static_cast<long double>(candidate));
            out[count++] =
                static_cast<std::uint32_t>(static_cast<std::uint64_t>(std::floor(root * 4294967296.0L)) & 0xffffffffu);
        }
        return out;
    }

    std::array<std::uint32_t, 8> state_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                        0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    std::array<unsigned char, 64> block_{};
    std::size_t filled_ = 0;
    std::uint64_t length_ = 0;
};

/// SHA-256 of W_U (V, C) as float32.
template <decoder_model Model, class T = typename Model::number, class Backend = typename Model::backend_type>
std::string unembedding_fingerprint(const Model& model) {
    const auto head = model.head().value;
    std::vector<T> row(head.cols);
    std::vector<float> rounded(head.cols);
    sha256 hash;
    for (std::size_t r = 0; r < head.rows; ++r) {
        model.backend().template to_host<T>(head.row(r), row.data(), row.size());
        for (std::size_t c = 0; c < row.size(); ++c) rounded[c] = static_cast<float>(row[c]);
        hash.add(rounded.data(), rounded.size() * sizeof(float));
    }
    return hash.hex();
}

}  // namespace depthgrow
