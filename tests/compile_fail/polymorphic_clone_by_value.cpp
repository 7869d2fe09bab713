// expect: clone() of a polymorphic layer returns a value, which cuts off derived members
#include <memory>
#include <vector>

#include "depthgrow/midas.hpp"

struct block {
    virtual ~block() = default;
    block clone() const { return *this; }
};

int main() {
    std::vector<std::unique_ptr<block>> layers(4);
    layers = depthgrow::grow(std::move(layers), depthgrow::midas{4}(4));
}
