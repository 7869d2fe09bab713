#include <depthgrow/depthgrow.hpp>

std::size_t depth_in_the_other_unit() { return depthgrow::midas{4}(8).size(); }
