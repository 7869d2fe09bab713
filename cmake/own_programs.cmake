# Flags of our own tests, tools and benchmarks; nothing here reaches users.
if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)  # for editors and the target tidy
find_program(DEPTHGROW_CCACHE ccache)
if(DEPTHGROW_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${DEPTHGROW_CCACHE})
endif()

add_library(depthgrow_warnings INTERFACE)
target_compile_options(depthgrow_warnings INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror
  $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>  # g++ 12 warns falsely of string concatenation
  $<$<CXX_COMPILER_ID:Clang>:-Wno-pass-failed>)  # clang 14 warns of a loop under `omp simd` that it leaves as it is

add_library(depthgrow_own INTERFACE)
target_link_libraries(depthgrow_own INTERFACE depthgrow_warnings)
target_compile_options(depthgrow_own INTERFACE -fno-math-errno -fno-trapping-math)
if(DEPTHGROW_NATIVE)
  target_link_libraries(depthgrow_own INTERFACE depthgrow_native)
endif()

# The CPU backend as our programs use it: with oneDNN's products when it is there.
if(TARGET depthgrow_blas)
  add_library(depthgrow_cpu INTERFACE)
  if(DEPTHGROW_ONEDNN AND TARGET depthgrow_onednn)
    target_link_libraries(depthgrow_cpu INTERFACE depthgrow_onednn)
  else()
    target_link_libraries(depthgrow_cpu INTERFACE depthgrow_blas)
  endif()
endif()

# Our programs' kernels, compiled once.
if(TARGET depthgrow_compiled_cuda)
  add_library(depthgrow_own_cuda INTERFACE)
  target_link_libraries(depthgrow_own_cuda INTERFACE depthgrow_compiled_cuda)
elseif(TARGET depthgrow::cuda)
  file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/own_cuda.cpp CONTENT "" @ONLY)
  add_library(depthgrow_own_cuda STATIC ${PROJECT_BINARY_DIR}/own_cuda.cpp)
  depthgrow_add_cuda_kernels(depthgrow_own_cuda TYPES float bf16)
endif()
