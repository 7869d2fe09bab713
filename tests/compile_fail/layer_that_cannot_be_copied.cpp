// expect: this layer has neither a clone() nor a copy constructor
#include <vector>

#include "depthgrow/midas.hpp"

struct block {
    block() = default;
    block(block&&) = default;
    block& operator=(block&&) = default;
};

int main() {
    std::vector<block> layers(4);
    layers = depthgrow::grow(std::move(layers), depthgrow::midas{4}(4));
}
