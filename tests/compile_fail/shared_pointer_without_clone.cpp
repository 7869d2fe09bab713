// expect: a copied handle is a tied weight
#include <memory>
#include <vector>

#include "depthgrow/midas.hpp"

struct block {
    float weight = 0;
};

int main() {
    std::vector<std::shared_ptr<block>> layers(4);
    layers = depthgrow::grow(std::move(layers), depthgrow::midas{4}(4));
}
