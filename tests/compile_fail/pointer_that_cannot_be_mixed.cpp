// expect: these layers are pointers and cannot be added up
#include <memory>
#include <vector>

#include "depthgrow/growth.hpp"

struct block {
    float weight = 0;
    block clone() const { return *this; }
};

int main() {
    std::vector<std::unique_ptr<block>> layers(4);
    layers = depthgrow::grow(std::move(layers), depthgrow::collapse{1, 2}(4));
}
