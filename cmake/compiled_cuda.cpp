// The instantiations that depthgrow/compiled_cuda.hpp declares.
#include "depthgrow/compiled_cuda.hpp"

namespace depthgrow {

template class tape<float, cuda>;
template class decoder<float, cuda>;
template class adamw<float, cuda>;
template class trainer<float, cuda>;
template double held_out_loss(trainer<float, cuda>&, const training_data&, std::size_t, std::size_t);
template double run_plan(trainer<float, cuda>&, const growth_plan&, const training_data&, const run_options&);
template void save_run(const std::filesystem::path&, trainer<float, cuda>&, const run_files&);
template std::size_t resume_run(const std::filesystem::path&, trainer<float, cuda>&);
template class tape<bfloat16, cuda>;
template class decoder<bfloat16, cuda>;
template class adamw<bfloat16, cuda>;
template class trainer<bfloat16, cuda>;
template double held_out_loss(trainer<bfloat16, cuda>&, const training_data&, std::size_t, std::size_t);
template double run_plan(trainer<bfloat16, cuda>&, const growth_plan&, const training_data&, const run_options&);
template void save_run(const std::filesystem::path&, trainer<bfloat16, cuda>&, const run_files&);
template std::size_t resume_run(const std::filesystem::path&, trainer<bfloat16, cuda>&);
template span<float> token_losses(const decoder<float, cuda>&, tape<float, cuda>&, span<const token>, span<const token>,
                                  span<const float>, std::size_t, parameter_set<float, cuda>*, span<const std::size_t>);
template span<float> token_losses(const decoder<float, joining_planning>&, tape<float, joining_planning>&,
                                  span<const token>, span<const token>, span<const float>, std::size_t,
                                  parameter_set<float, joining_planning>*, span<const std::size_t>);
template class tape<float, joining_planning>;
template class decoder<float, joining_planning>;
template span<float> token_losses(const decoder<bfloat16, cuda>&, tape<bfloat16, cuda>&, span<const token>,
                                  span<const token>, span<const float>, std::size_t, parameter_set<float, cuda>*,
                                  span<const std::size_t>);
template span<float> token_losses(const decoder<bfloat16, joining_planning>&, tape<bfloat16, joining_planning>&,
                                  span<const token>, span<const token>, span<const float>, std::size_t,
                                  parameter_set<float, joining_planning>*, span<const std::size_t>);
template class tape<bfloat16, joining_planning>;
template class decoder<bfloat16, joining_planning>;

}  // namespace depthgrow
