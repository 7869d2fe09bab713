// expect: growing by a mixture adds layers up, and this layer cannot be added up
#include <vector>

#include "depthgrow/growth.hpp"

struct block {
    float weight = 0;
};

int main() {
    std::vector<block> layers(4);
    layers = depthgrow::grow(std::move(layers), depthgrow::collapse{1, 2}(4));
}
