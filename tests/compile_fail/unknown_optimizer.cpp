// expect: growth does not know this optimizer
#include "depthgrow/growth.hpp"

struct optimizer {};

int main() {
    optimizer user;
    depthgrow::grow_optimizer(user, depthgrow::midas{4}(4));
}
