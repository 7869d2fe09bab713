// expect: a copied view is a tied weight
#include <string_view>
#include <vector>

#include "depthgrow/midas.hpp"

int main() {
    std::vector<std::string_view> names(4);
    names = depthgrow::grow(std::move(names), depthgrow::midas{4}(4));
}
