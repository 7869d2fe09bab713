// Tensors on disk that are sums of tensors, or drawn: read, computed in double and written a few megabytes at a time.
// Assumes floating-point dtypes of the safetensors format; every number is rounded to its dtype once.
// Maths: rounding to odd before a narrower rounding is exact, Boldo & Melquiond 2008 (IEEE Trans. Computers 57).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "depthgrow/core/dtype.hpp"
#include "depthgrow/core/error.hpp"
#include "depthgrow/core/rng.hpp"
#include "depthgrow/io/safetensors.hpp"

namespace depthgrow {

/// Part of a sum: a tensor of an open file and its coefficient.
struct tensor_term {
    const safetensors_file* file = nullptr;
    std::string name;
    double coefficient = 1;
};

/// The float nearest to `value` that loses nothing in a later rounding to 16 bits: truncated, with the last bit set
/// where something was cut off.
inline float round_to_odd(double value) {
    const float near = static_cast<float>(value);
    if (static_cast<double>(near) == value || std::isnan(value)) return near;
    std::uint32_t bits = detail::float_bits(near);
    if (std::fabs(static_cast<double>(near)) > std::fabs(value)) --bits;  // one step towards zero
    return detail::bits_float(bits | 1u);
}

/// Stores doubles as `type`, each rounded once (to nearest, ties to even).
inline void store_rounded(dtype type, const double* from, void* to, std::size_t count) {
    if (type == dtype::f64 || type == dtype::f32) return convert_to(type, from, to, count);
    std::vector<float> odd(count);
    for (std::size_t i = 0; i < count; ++i) odd[i] = round_to_odd(from[i]);
    convert_to(type, odd.data(), to, count);
}

namespace detail {

/// Writes the tensor `name` of `info` from compute(values, count, first): elements from `first` on, in order.
template <class Compute>
void write_computed(safetensors_writer& to, const std::string& name, const tensor_info& info, Compute compute) {
    const auto type = info.number_type();
    require(type.has_value(), "tensor ", quotable(name), ": expected floating-point numbers to compute with, found ",
            info.type_name);
    const std::size_t width = size_of(*type);
    std::vector<double> values(1 << 16);
    to.write_pieces(name, [&](std::vector<char>& piece, std::size_t first_byte) {
        const std::size_t count = piece.size() / width, first = first_byte / width;
        for (std::size_t done = 0; done < count;) {
            const std::size_t part = std::min(count - done, values.size());
            compute(values.data(), part, first + done);
            store_rounded(*type, values.data(), piece.data() + done * width, part);
            done += part;
        }
    });
}

}  // namespace detail

/// Writes sum of coefficient * tensor; all have one dtype and shape.
inline void write_sum(safetensors_writer& to, const std::string& name, const std::vector<tensor_term>& terms) {
    std::vector<double> numbers(1 << 16);
    detail::write_computed(to, name, terms.front().file->find(terms.front().name),
                           [&](double* values, std::size_t count, std::size_t first) {
                               std::fill_n(values, count, 0.0);
                               for (const tensor_term& term : terms) {
                                   term.file->read_range(term.name, numbers.data(), count, first);
                                   for (std::size_t i = 0; i < count; ++i) values[i] += term.coefficient * numbers[i];
                               }
                           });
}

/// The root of the mean square of a tensor's numbers.
inline double root_mean_square(const safetensors_file& file, const std::string& name) {
    const std::size_t size = file.find(name).elements();
    std::vector<double> numbers(1 << 16);
    double squares = 0;
    for (std::size_t done = 0; done < size;) {
        const std::size_t part = std::min(size - done, numbers.size());
        file.read_range(name, numbers.data(), part, done);
        for (std::size_t i = 0; i < part; ++i) squares += numbers[i] * numbers[i];
        done += part;
    }
    return size > 0 ? std::sqrt(squares / static_cast<double>(size)) : 0;
}

/// Writes a tensor plus normal noise of `sigma` times its own root mean square.
inline void write_noisy(safetensors_writer& to, const std::string& name, const safetensors_file& file,
                        const std::string& source, double sigma, rng random) {
    const double scale = sigma * root_mean_square(file, source);
    detail::write_computed(to, name, file.find(source), [&](double* values, std::size_t count, std::size_t first) {
        file.read_range(source, values, count, first);
        for (std::size_t i = 0; i < count; ++i) values[i] += scale * random.normal();
    });
}

/// Writes normal numbers of standard deviation `deviation`, or ones when it is 0.
inline void write_drawn(safetensors_writer& to, const std::string& name, const tensor_info& info, double deviation,
                        rng random) {
    detail::write_computed(to, name, info, [&](double* values, std::size_t count, std::size_t) {
        for (std::size_t i = 0; i < count; ++i) values[i] = deviation > 0 ? deviation * random.normal() : 1;
    });
}

/// Whether a layer's tensor is no parameter, so that it is copied and never computed with: integers, masks and angles
/// that older checkpoints of GPT-2, GPT-NeoX and Llama carry.
inline bool is_buffer(std::string_view part, const tensor_info& info) {
    const auto ends = [&](std::string_view ending) {
        return part.size() >= ending.size() && part.substr(part.size() - ending.size()) == ending;
    };
    if (!info.number_type() && info.type_name.find("F8") != 0) return true;
    if (ends("rotary_emb.inv_freq") || ends("masked_bias")) return true;
    return info.shape.size() == 4 && (ends("attn.bias") || ends("attention.bias"));
}

}  // namespace depthgrow
