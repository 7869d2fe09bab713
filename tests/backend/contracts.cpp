// Every backend keeps the contract: a drifted signature fails to build here instead of losing a fast path.
#include "depthgrow/backend/blas.hpp"
#include "depthgrow/backend/capabilities.hpp"
#include "depthgrow/core/dtype.hpp"
#include "depthgrow/nn/decoder.hpp"
#include "depthgrow/optim/adamw.hpp"
#include "depthgrow/optim/muon.hpp"
#include "depthgrow/optim/sgd_nesterov.hpp"
#include "support/catch.hpp"

namespace dg = depthgrow;

static_assert(dg::backend_for<dg::reference, float> && dg::backend_for<dg::reference, double>);
static_assert(dg::backend_for<dg::blas, float> && dg::backend_for<dg::blas, double>);
static_assert(dg::backend_for<dg::planning, float> && dg::backend_for<dg::planning, double> &&
              dg::backend_for<dg::planning, dg::bfloat16>);
static_assert(dg::backend_for<dg::joining_planning, float> && dg::backend_for<dg::joining_planning, dg::bfloat16>);
static_assert(dg::concepts::has_cached_attention<dg::reference, double> &&
              dg::concepts::has_cached_attention<dg::blas, float>);
static_assert(!dg::adds_linear_maps<dg::blas, float> && dg::adds_linear_maps<dg::joining_planning, float>);
template <class Backend, class T>
constexpr bool steps_all_optimizers = dg::steps_with_momentum<Backend, T>&& dg::steps_with_muon<Backend, T>;
static_assert(steps_all_optimizers<dg::reference, float> && steps_all_optimizers<dg::reference, double> &&
              steps_all_optimizers<dg::blas, float> && steps_all_optimizers<dg::blas, double>);
static_assert(steps_all_optimizers<dg::planning, float> && steps_all_optimizers<dg::planning, double> &&
              steps_all_optimizers<dg::planning, dg::bfloat16>);
static_assert(dg::optimizer_for<dg::adamw<float, dg::blas>, float, dg::blas> &&
              dg::optimizer_for<dg::sgd_nesterov<double, dg::blas>, double, dg::blas>);
static_assert(dg::optimizer_for<dg::muon<dg::bfloat16, dg::planning>, dg::bfloat16, dg::planning>);
static_assert(std::is_same_v<dg::planning_for<dg::blas, float>, dg::planning>);
static_assert(dg::decoder_model<dg::decoder<double, dg::reference>> && dg::decoder_model<dg::decoder<float, dg::blas>>);

TEST_CASE("contracts are compiled") { SUCCEED(); }
