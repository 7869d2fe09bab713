// The libraries whose matrix products this build has for the CPU backend, by name, and which of them runs.
#pragma once

#include <string>
#include <vector>

#include "depthgrow/backend/products.hpp"

namespace tools {

/// Who multiplies on the CPU.
struct cpu_product {
    std::string name;
    depthgrow::sgemm_function run = nullptr;
};

/// The libraries that this build can multiply with; the one in front is taken where nothing else is known.
std::vector<cpu_product> cpu_products();
/// The library of a name that --product gives; throws a sentence when this build lacks it.
cpu_product cpu_product_named(const std::string& name);

/// Whether --precision bf16 can run here: oneDNN in the build, and a processor that multiplies bfloat16.
bool has_cpu_bf16();
/// What runs for a --precision where no library is named.
cpu_product cpu_product_of(const std::string& precision);

}  // namespace tools
