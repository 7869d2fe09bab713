#include "depth_study/study_measure.hpp"

namespace study {

void measure_model(const cell&, const measures& measure, const tools::training_moment&, dg::json&) {
    dg::require(measure.names.empty(), "measure: expected none yet, found ", measure.names.front());
}

}  // namespace study
