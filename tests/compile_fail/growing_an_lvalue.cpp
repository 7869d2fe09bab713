// expect: grow consumes the sequence
#include <vector>

#include "depthgrow/midas.hpp"

int main() {
    std::vector<float> rates(4);
    rates = depthgrow::grow(rates, depthgrow::midas{4}(4));
}
