// The instantiations that depthgrow/compiled.hpp declares.
#include "depthgrow/compiled.hpp"

namespace depthgrow {

template class tape<float, blas>;
template class tape<float, planning>;
template class decoder<float, blas>;
template class decoder<float, planning>;
template class adamw<float, blas>;
template class trainer<float, blas>;
template span<float> token_losses(const decoder<float, blas>&, tape<float, blas>&, span<const token>, span<const token>,
                                  span<const float>, std::size_t, parameter_set<float, blas>*, span<const std::size_t>);
template span<float> token_losses(const decoder<float, planning>&, tape<float, planning>&, span<const token>,
                                  span<const token>, span<const float>, std::size_t, parameter_set<float, planning>*,
                                  span<const std::size_t>);
template double held_out_loss(trainer<float, blas>&, const training_data&, std::size_t, std::size_t);
template double run_plan(trainer<float, blas>&, const growth_plan&, const training_data&, const run_options&);
template void save_run(const std::filesystem::path&, trainer<float, blas>&, const run_files&);
template std::size_t resume_run(const std::filesystem::path&, trainer<float, blas>&);

}  // namespace depthgrow
