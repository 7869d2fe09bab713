// Training on the CUDA backend for programs that link depthgrow::compiled_cuda: in float and in bf16, compiled already,
// kernels included.
// Assumes that program and library are compiled with the same processor flags (native.cmake says why): the library has
// none, unless its build was given some. Kernels are those of the build's DEPTHGROW_CUDA_ARCHITECTURE.
#pragma once

#include "depthgrow/backend/cuda/cuda.hpp"
#include "depthgrow/backend/planning.hpp"
#include "depthgrow/growth.hpp"
#include "depthgrow/nn/forward.hpp"
#include "depthgrow/optim/adamw.hpp"
#include "depthgrow/tasks/corpus.hpp"
#include "depthgrow/train/run_directory.hpp"
#include "depthgrow/train/run_plan.hpp"
#include "depthgrow/train/trainer.hpp"

namespace depthgrow {

extern template class tape<float, cuda>;
extern template class decoder<float, cuda>;
extern template class adamw<float, cuda>;
extern template class trainer<float, cuda>;
extern template double held_out_loss(trainer<float, cuda>&, const training_data&, std::size_t, std::size_t);
extern template double run_plan(trainer<float, cuda>&, const growth_plan&, const training_data&, const run_options&);
extern template void save_run(const std::filesystem::path&, trainer<float, cuda>&, const run_files&);
extern template std::size_t resume_run(const std::filesystem::path&, trainer<float, cuda>&);
extern template class tape<bfloat16, cuda>;
extern template class decoder<bfloat16, cuda>;
extern template class adamw<bfloat16, cuda>;
extern template class trainer<bfloat16, cuda>;
extern template double held_out_loss(trainer<bfloat16, cuda>&, const training_data&, std::size_t, std::size_t);
extern template double run_plan(trainer<bfloat16, cuda>&, const growth_plan&, const training_data&, const run_options&);
extern template void save_run(const std::filesystem::path&, trainer<bfloat16, cuda>&, const run_files&);
extern template std::size_t resume_run(const std::filesystem::path&, trainer<bfloat16, cuda>&);
extern template span<float> token_losses(const decoder<float, cuda>&, tape<float, cuda>&, span<const token>,
                                         span<const token>, span<const float>, std::size_t, parameter_set<float, cuda>*,
                                         span<const std::size_t>);
extern template span<float> token_losses(const decoder<float, joining_planning>&, tape<float, joining_planning>&,
                                         span<const token>, span<const token>, span<const float>, std::size_t,
                                         parameter_set<float, joining_planning>*, span<const std::size_t>);
extern template class tape<float, joining_planning>;
extern template class decoder<float, joining_planning>;
extern template span<float> token_losses(const decoder<bfloat16, cuda>&, tape<bfloat16, cuda>&, span<const token>,
                                         span<const token>, span<const float>, std::size_t, parameter_set<float, cuda>*,
                                         span<const std::size_t>);
extern template span<float> token_losses(const decoder<bfloat16, joining_planning>&, tape<bfloat16, joining_planning>&,
                                         span<const token>, span<const token>, span<const float>, std::size_t,
                                         parameter_set<float, joining_planning>*, span<const std::size_t>);
extern template class tape<bfloat16, joining_planning>;
extern template class decoder<bfloat16, joining_planning>;

}  // namespace depthgrow
