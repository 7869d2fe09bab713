// The instantiations of training that the libraries depthgrow::compiled and depthgrow::compiled_cuda hold, as one list.
// Assumes use inside namespace depthgrow: with `extern` it declares them, for programs that link such a library; with
// nothing it makes them, in the library. `planning` is the backend that reckons memory for `backend`.
#pragma once

#include "depthgrow/backend/planning.hpp"
#include "depthgrow/nn/forward.hpp"
#include "depthgrow/optim/adamw.hpp"
#include "depthgrow/train/run_directory.hpp"
#include "depthgrow/train/run_plan.hpp"
#include "depthgrow/train/trainer.hpp"

#define DEPTHGROW_MODEL_INSTANCES(keyword, T, backend)                                                              \
    keyword template class tape<T, backend>;                                                                        \
    keyword template class decoder<T, backend>;                                                                     \
    keyword template span<wide_t<T>> token_losses(const decoder<T, backend>&, tape<T, backend>&, span<const token>, \
                                                  span<const token>, span<const wide_t<T>>, std::size_t,            \
                                                  parameter_set<wide_t<T>, backend>*, span<const std::size_t>);

#define DEPTHGROW_TRAINING_INSTANCES(keyword, T, backend, planning)                                              \
    DEPTHGROW_MODEL_INSTANCES(keyword, T, backend)                                                               \
    DEPTHGROW_MODEL_INSTANCES(keyword, T, planning)                                                              \
    keyword template class adamw<T, backend>;                                                                    \
    keyword template class trainer<T, backend>;                                                                  \
    keyword template double held_out_loss(trainer<T, backend>&, const training_data&, std::size_t, std::size_t); \
    keyword template double run_plan(trainer<T, backend>&, const growth_plan&, const training_data&,             \
                                     const run_options&);                                                        \
    keyword template void save_run(const std::filesystem::path&, trainer<T, backend>&, const run_files&);        \
    keyword template std::size_t resume_run(const std::filesystem::path&, trainer<T, backend>&);
