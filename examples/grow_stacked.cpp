// Grow a GPT-2 that lies in memory as in llm.c, one array of kinds of tensor, with AdamW's m and v: 4 layers become 6.
// Needs C++17, the standard library and the headers of depthgrow; no build step.
// The operator is LIDAS of Kapl et al. 2025 (arXiv 2512.08819), section 3.1.
#include <cstdio>
#include <depthgrow/adapt/stacked.hpp>
#include <depthgrow/lidas.hpp>
#include <vector>

namespace dg = depthgrow;

int main() {
    const std::size_t V = 50, T = 8, C = 4, layers = 4;
    const auto once = [](std::size_t elements) { return dg::stacked_tensor{elements, false}; };
    const auto each = [](std::size_t elements) { return dg::stacked_tensor{elements}; };
    const dg::stacked_layout gpt2{once(V * C),     once(T * C),  // wte, wpe
                                  each(C),         each(C),      // ln1w, ln1b
                                  each(3 * C * C), each(3 * C),  // qkvw, qkvb
                                  each(C * C),     each(C),      // attprojw, attprojb
                                  each(C),         each(C),      // ln2w, ln2b
                                  each(4 * C * C), each(4 * C),  // fcw, fcb
                                  each(C * 4 * C), each(C),      // fcprojw, fcprojb
                                  once(C),         once(C)};     // lnfw, lnfb
    std::vector<float> params(dg::stacked_size(gpt2, layers)), m(params.size()), v(params.size());
    for (std::size_t i = 0; i < params.size(); ++i) params[i] = static_cast<float>(i), m[i] = 1, v[i] = 2;

    const auto order = dg::lidas{2}(layers);  // 0 1 2 1 2 3
    std::vector<float> params6(dg::stacked_size(gpt2, order.size())), m6(params6.size()), v6(params6.size());
    dg::grow_stacked<float>({params, m, v}, {params6, m6, v6}, gpt2, order);

    std::printf("order      %s\n", order.to_string().c_str());
    std::printf("elements   %zu -> %zu in each of parameters, m and v\n", params.size(), params6.size());
    const std::size_t ln1w = V * C + T * C;
    std::printf("ln1w       ");
    for (std::size_t layer = 0; layer < order.size(); ++layer)
        std::printf(" %g", static_cast<double>(params6[ln1w + layer * C]));
    std::printf("\nlnfb        %g, as before %g\n", static_cast<double>(params6.back()),
                static_cast<double>(params.back()));
}
