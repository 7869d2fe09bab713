#include "depth_study/study_measure.hpp"

namespace study {

void require_measures(const cell&, const measures& measure) {
    dg::require(measure.names.empty(), "measure: expected a build with -DDEPTHGROW_STUDY_MEASURES=ON for ",
                measure.names.empty() ? "" : measure.names.front(), ", found one without");
}

void measure_model(const cell& one, const measures& measure, const tools::training_moment&, dg::json&) {
    require_measures(one, measure);
}

}  // namespace study
