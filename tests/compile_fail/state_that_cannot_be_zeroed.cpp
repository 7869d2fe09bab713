// expect: this optimizer state cannot be zeroed
#include <vector>

#include "depthgrow/growth.hpp"

struct moment {};

int main() {
    std::vector<moment> states(4);
    depthgrow::grow_optimizer(states, depthgrow::midas{4}(4), depthgrow::state_policy::zero);
}
