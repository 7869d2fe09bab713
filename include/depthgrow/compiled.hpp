// depthgrow.hpp for programs that link depthgrow::compiled: training in float on the BLAS backend is compiled already.
// Assumes that program and library are compiled with the same processor flags (native.cmake says why): the library has
// none, unless its build was given some. Other number formats and backends compile as ever.
#pragma once

#include "depthgrow/depthgrow.hpp"

namespace depthgrow {

extern template class tape<float, blas>;
extern template class tape<float, planning>;
extern template class decoder<float, blas>;
extern template class decoder<float, planning>;
extern template class adamw<float, blas>;
extern template class trainer<float, blas>;
extern template span<float> token_losses(const decoder<float, blas>&, tape<float, blas>&, span<const token>,
                                         span<const token>, span<const float>, std::size_t, parameter_set<float, blas>*,
                                         span<const std::size_t>);
extern template span<float> token_losses(const decoder<float, planning>&, tape<float, planning>&, span<const token>,
                                         span<const token>, span<const float>, std::size_t,
                                         parameter_set<float, planning>*, span<const std::size_t>);
extern template double held_out_loss(trainer<float, blas>&, const training_data&, std::size_t, std::size_t);
extern template double run_plan(trainer<float, blas>&, const growth_plan&, const training_data&, const run_options&);
extern template void save_run(const std::filesystem::path&, trainer<float, blas>&, const run_files&);
extern template std::size_t resume_run(const std::filesystem::path&, trainer<float, blas>&);

}  // namespace depthgrow
