// expect: Include depthgrow/adapt/torch.hpp
#include <memory>
#include <vector>

#include "depthgrow/midas.hpp"

struct block {  // what is public of libtorch's modules
    std::shared_ptr<block> clone() const { return std::make_shared<block>(*this); }
    std::vector<float> named_parameters() const { return {}; }
    bool is_training() const { return true; }
};

int main() {
    std::vector<std::shared_ptr<block>> layers(4);
    layers = depthgrow::grow(std::move(layers), depthgrow::midas{4}(4));
}
