// expect: a copied view is a tied weight
#include <vector>

#include "depthgrow/midas.hpp"

struct projection {
    depthgrow::matrix<float> weight;
};
struct block {
    std::vector<float> norm;
    projection query;
};

int main() {
    std::vector<block> layers(4);
    layers = depthgrow::grow(std::move(layers), depthgrow::midas{4}(4));
}
