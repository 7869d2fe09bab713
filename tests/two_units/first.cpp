#include <depthgrow/depthgrow.hpp>

std::size_t depth_in_the_other_unit();

int main() {
    const std::size_t here = depthgrow::lidas{4}(8).size();
    return here == 12 && depth_in_the_other_unit() == 12 ? 0 : 1;
}
