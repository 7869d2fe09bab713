// expect: a copied view is a tied weight
#include <vector>

#include "depthgrow/midas.hpp"

int main() {
    std::vector<depthgrow::span<float>> layers(4);
    layers = depthgrow::grow(std::move(layers), depthgrow::midas{4}(4));
}
