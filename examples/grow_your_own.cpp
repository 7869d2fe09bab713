// Grow layers of your own type, with their Adam moments, by LIDAS: 8 layers become 12.
// Needs C++17, the standard library and the headers of depthgrow; no build step.
// The operator is that of Kapl et al. 2025 (arXiv 2512.08819), section 3.1.
#include <cstdio>
#include <depthgrow/growth/optimizer_traits.hpp>
#include <depthgrow/lidas.hpp>
#include <utility>
#include <vector>

namespace dg = depthgrow;

struct my_layer {
    std::vector<float> weight;
};

int main() {
    std::vector<my_layer> layers;
    dg::adam_state<std::vector<std::vector<float>>> adam;
    adam.step = 8000;
    for (int i = 0; i < 8; ++i) {
        layers.push_back({{static_cast<float>(i), 0.5f}});
        adam.first_moment.push_back({0.1f * static_cast<float>(i), 0});
        adam.second_moment.push_back({0.01f * static_cast<float>(i), 0});
    }

    const dg::layer_order order = dg::lidas{4}(layers.size());
    layers = dg::grow(std::move(layers), order);
    dg::grow_optimizer(adam, order);

    std::printf("order    %s\n", order.to_string().c_str());
    std::printf("new     ");
    for (std::size_t slot = 0; slot < order.size(); ++slot) std::printf(" %c", order.is_new(slot) ? '*' : '.');
    std::printf("\nweights ");
    for (const my_layer& layer : layers) std::printf(" %g", static_cast<double>(layer.weight[0]));

    layers[6].weight[0] = 99;  // the copy of layer 2
    std::printf("\nafter training slot 6 alone: slot 6 is %g, its source in slot 2 is still %g\n",
                static_cast<double>(layers[6].weight[0]), static_cast<double>(layers[2].weight[0]));
    std::printf("moments  %zu a kind, Adam step %llu\n", adam.first_moment.size(),
                static_cast<unsigned long long>(adam.step));
}
