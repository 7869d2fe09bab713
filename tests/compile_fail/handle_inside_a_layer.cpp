// expect: a copied handle is a tied weight
#include <memory>
#include <utility>
#include <vector>

#include "depthgrow/midas.hpp"

struct block {
    std::vector<float> norm;
    std::pair<int, std::shared_ptr<float>> weight;
};

int main() {
    std::vector<block> layers(4);
    layers = depthgrow::grow(std::move(layers), depthgrow::midas{4}(4));
}
