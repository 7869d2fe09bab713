# What users link: INTERFACE targets without global flags.
#   depthgrow::growth     operators, schedule, grow, metrics: C++17, standard library only
#   depthgrow::depthgrow  the whole library but for backends that need another library: C++20
#   depthgrow::native     flags for this machine's processor, with a price (native.cmake)
#   depthgrow::blas       the CPU backend: a CBLAS and oneTBB
#   depthgrow::compiled   depthgrow::blas with training in float compiled already (compiled.hpp; DEPTHGROW_COMPILED=ON)
#   depthgrow::compiled_cuda   the same on the CUDA backend, float and bf16 (compiled_cuda.hpp; DEPTHGROW_CUDA=ON too)
#   depthgrow::onednn     oneDNN as the provider of the CPU backend's products (only when found)
set(THREADS_PREFER_PTHREAD_FLAG ON)

add_library(depthgrow_growth INTERFACE)
add_library(depthgrow::growth ALIAS depthgrow_growth)
target_include_directories(depthgrow_growth INTERFACE $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
                           $<INSTALL_INTERFACE:include>)
target_compile_features(depthgrow_growth INTERFACE cxx_std_17)

add_library(depthgrow INTERFACE)
add_library(depthgrow::depthgrow ALIAS depthgrow)
target_link_libraries(depthgrow INTERFACE depthgrow_growth)
target_compile_features(depthgrow INTERFACE cxx_std_20)

include(${CMAKE_CURRENT_LIST_DIR}/native.cmake)

if(NOT PROJECT_IS_TOP_LEVEL AND NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  message(STATUS "depthgrow: no CMAKE_BUILD_TYPE: -DCMAKE_BUILD_TYPE=Release trains many times faster")
endif()

# Headers that read JSON (most of io/) need nlohmann_json; an installed depthgrow looks for it anew.
if(NOT TARGET nlohmann_json::nlohmann_json)
  find_package(nlohmann_json QUIET)
  if(TARGET nlohmann_json::nlohmann_json)
    set_target_properties(nlohmann_json::nlohmann_json PROPERTIES IMPORTED_GLOBAL TRUE)
  endif()
endif()
if(TARGET nlohmann_json::nlohmann_json)
  target_link_libraries(depthgrow INTERFACE $<BUILD_INTERFACE:nlohmann_json::nlohmann_json>)
endif()

# A consumer without BLAS still gets the other targets.
include(${CMAKE_CURRENT_LIST_DIR}/find_cblas.cmake)
if(DEPTHGROW_CBLAS)
  add_library(depthgrow_blas INTERFACE)
  add_library(depthgrow::blas ALIAS depthgrow_blas)
  depthgrow_use_cblas(depthgrow_blas)
  target_link_libraries(depthgrow_blas INTERFACE depthgrow)
elseif(PROJECT_IS_TOP_LEVEL)
  message(STATUS "depthgrow::blas is off: it needs oneTBB and a CBLAS (Debian: libtbb-dev libopenblas-pthread-dev)")
endif()

# The library of a `source`'s instantiations, optimised where the build does not say how.
function(depthgrow_compile_library target source)
  add_library(${target} STATIC ${source})
  if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
    target_compile_options(${target} PRIVATE -O3)
  endif()
endfunction()
if(DEPTHGROW_COMPILED AND TARGET depthgrow_blas AND TARGET nlohmann_json::nlohmann_json)
  depthgrow_compile_library(depthgrow_compiled ${CMAKE_CURRENT_LIST_DIR}/compiled.cpp)
  add_library(depthgrow::compiled ALIAS depthgrow_compiled)
  target_link_libraries(depthgrow_compiled PUBLIC depthgrow_blas)
elseif(DEPTHGROW_COMPILED AND (NOT DEPTHGROW_CUDA OR DEPTHGROW_CUDA STREQUAL AUTO OR
                            NOT TARGET nlohmann_json::nlohmann_json))
  message(FATAL_ERROR "DEPTHGROW_COMPILED needs nlohmann_json, and oneTBB and a CBLAS unless DEPTHGROW_CUDA is on")
endif()

find_path(DEPTHGROW_DNNL_INCLUDE dnnl.h)
find_library(DEPTHGROW_DNNL_LIBRARY NAMES dnnl)
mark_as_advanced(DEPTHGROW_DNNL_INCLUDE DEPTHGROW_DNNL_LIBRARY)
if(TARGET depthgrow_blas AND DEPTHGROW_DNNL_INCLUDE AND DEPTHGROW_DNNL_LIBRARY)
  add_library(depthgrow_onednn INTERFACE)
  add_library(depthgrow::onednn ALIAS depthgrow_onednn)
  target_link_libraries(depthgrow_onednn INTERFACE depthgrow_blas ${DEPTHGROW_DNNL_LIBRARY})
  target_include_directories(depthgrow_onednn SYSTEM INTERFACE $<BUILD_INTERFACE:${DEPTHGROW_DNNL_INCLUDE}>)
endif()
