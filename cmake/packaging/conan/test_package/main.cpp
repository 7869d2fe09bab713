// A user's own layer type, grown by one include.
#include <cstdio>
#include <depthgrow/lidas.hpp>
#include <vector>

struct layer {
    std::vector<float> weights;
};

int main() {
    std::vector<layer> layers(8, layer{{1.0f}});
    layers = depthgrow::grow(std::move(layers), depthgrow::lidas{4}(layers.size()));
    layers[6].weights[0] = 2;
    std::printf("%zu layers\n", layers.size());
    return layers.size() == 12 && layers[2].weights[0] == 1 ? 0 : 1;
}
