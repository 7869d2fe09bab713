// expect: Include depthgrow/adapt/torch.hpp
#include <memory>
#include <vector>

#include "depthgrow/midas.hpp"

struct tensor {  // what is public of libtorch's
    tensor detach() const { return *this; }
    tensor clone() const { return *this; }
    bool is_leaf() const { return true; }
    bool requires_grad() const { return true; }
    std::shared_ptr<float> memory;
};
struct block {
    tensor query, key;
};

int main() {
    std::vector<block> layers(4);
    layers = depthgrow::grow(std::move(layers), depthgrow::midas{4}(4));
}
