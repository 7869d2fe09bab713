// expect: a copied handle is a tied weight
#include <vector>

#include "depthgrow/midas.hpp"

struct block {
    float weight = 0;
};

int main() {
    std::vector<block*> layers(4);
    layers = depthgrow::grow(std::move(layers), depthgrow::midas{4}(4));
}
