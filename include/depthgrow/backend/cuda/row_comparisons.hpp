// The analyses' comparison of rows on a device: targets and results lie on the host.
// Assumes the declarations of launch.hpp and a backend that copies from and to the device.
// What is compared: analysis/row_operations.hpp, `compare`.
#pragma once

#include <cstddef>
#include <vector>

#include "depthgrow/backend/cuda/launch.hpp"
#include "depthgrow/backend/cuda/memory.hpp"

namespace depthgrow::cuda_detail {

class row_comparisons {
public:
    template <class Backend, class T, class Comparison>
    void operator()(Backend& backend, const kernels::launch_context& context, matrix<const T> q, matrix<const T> y,
                    span<const token> targets, std::size_t k, span<Comparison> out) {
        const std::size_t rows = q.rows;
        memory_.resize(rows * (sizeof(kernels::row_comparison) + sizeof(token)));
        auto* results = static_cast<kernels::row_comparison*>(memory_.data());
        auto* wanted = reinterpret_cast<token*>(results + rows);
        backend.template from_host<token>(targets.data(), wanted, rows);
        kernels::row_compare<T>(context, q, y, {wanted, rows}, k, {results, rows});
        std::vector<kernels::row_comparison> host(rows);
        backend.template to_host<kernels::row_comparison>(results, host.data(), rows);
        for (std::size_t r = 0; r < rows; ++r)
            out[r] = {static_cast<double>(host[r].kl_lens_final),
                      static_cast<double>(host[r].kl_final_lens),
                      static_cast<double>(host[r].cross_entropy),
                      static_cast<double>(host[r].overlap),
                      host[r].agrees != 0,
                      host[r].hits != 0};
    }

private:
    device_bytes memory_;
};

}  // namespace depthgrow::cuda_detail
