// expect: clone() of this layer returns something that its pointer cannot be made from
#include <memory>
#include <vector>

#include "depthgrow/midas.hpp"

struct base {};
struct block : base {
    std::shared_ptr<base> clone() const { return std::make_shared<block>(*this); }
};

int main() {
    std::vector<std::shared_ptr<block>> layers(4);
    layers = depthgrow::grow(std::move(layers), depthgrow::midas{4}(4));
}
