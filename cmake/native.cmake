# depthgrow::native: the flags that compile a unit for the processor of this machine, for who links it.
# Its price: such a program runs on like processors only. Every unit of a program that uses the library's inline
# functions needs it alike: the linker keeps one copy of each, and one for another processor would be the wrong one.
# Included by the project itself and by its installed package.
if(NOT TARGET depthgrow::native)
  include(CheckCXXCompilerFlag)
  set(DEPTHGROW_QUIET_BEFORE ${CMAKE_REQUIRED_QUIET})
  set(CMAKE_REQUIRED_QUIET TRUE)
  check_cxx_compiler_flag(-march=native DEPTHGROW_HAS_NATIVE)
  check_cxx_compiler_flag(-mprefer-vector-width=512 DEPTHGROW_HAS_VECTOR_WIDTH)
  set(CMAKE_REQUIRED_QUIET ${DEPTHGROW_QUIET_BEFORE})
  add_library(depthgrow_native INTERFACE)
  add_library(depthgrow::native ALIAS depthgrow_native)
  if(DEPTHGROW_HAS_NATIVE)
    target_compile_options(depthgrow_native INTERFACE -march=native)
    if(DEPTHGROW_HAS_VECTOR_WIDTH)
      # GCC's tuning stays at 256 bits where the processor has 512; loops over rows take a quarter less time with them.
      target_compile_options(depthgrow_native INTERFACE -mprefer-vector-width=512)
    endif()
  endif()
endif()
