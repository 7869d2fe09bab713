# depthgrow::cuda and depthgrow_add_cuda_kernels: the CUDA backend for projects that ask for it; others never see CUDA.
#   find_package(depthgrow CONFIG REQUIRED COMPONENTS cuda)      or option DEPTHGROW_CUDA with add_subdirectory
#   depthgrow_add_cuda_kernels(my_program TYPES float bf16)      compiles the kernels into my_program
# nvcc makes the instantiating unit as a step of the build, so no language is switched on in the user's project.
# Included by the project itself and by its installed package; DEPTHGROW_INCLUDE_DIR is set by both.
find_package(CUDAToolkit 12.5 QUIET)
find_path(DEPTHGROW_CUDNN_INCLUDE cudnn.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
find_library(DEPTHGROW_CUDNN_LIBRARY NAMES cudnn libcudnn.so.9 HINTS ${CUDAToolkit_LIBRARY_DIR})
find_library(DEPTHGROW_CUDART_LIBRARY NAMES cudart HINTS ${CUDAToolkit_LIBRARY_DIR})
find_library(DEPTHGROW_CUBLASLT_LIBRARY NAMES cublasLt HINTS ${CUDAToolkit_LIBRARY_DIR})
mark_as_advanced(DEPTHGROW_CUDNN_INCLUDE DEPTHGROW_CUDNN_LIBRARY DEPTHGROW_CUDART_LIBRARY DEPTHGROW_CUBLASLT_LIBRARY)
set(DEPTHGROW_CUDA_ARCHITECTURE "90" CACHE STRING
    "Compute capability that kernels are compiled for, without the dot: 80, 86, 89, 90, ...")

set(DEPTHGROW_CUDA_MISSING "")
if(NOT CUDAToolkit_FOUND)
  list(APPEND DEPTHGROW_CUDA_MISSING
       "the CUDA toolkit, 12.5 or newer (put its nvcc on the PATH, or -DCUDAToolkit_ROOT=DIR)")
endif()
foreach(part "CUDNN_INCLUDE=cuDNN 9's cudnn.h" "CUDNN_LIBRARY=cuDNN 9's library"
        "CUDART_LIBRARY=the CUDA runtime library" "CUBLASLT_LIBRARY=the cuBLASLt library")
  string(REGEX MATCH "^([A-Z_]+)=(.*)$" part "${part}")
  if(NOT DEPTHGROW_${CMAKE_MATCH_1})
    list(APPEND DEPTHGROW_CUDA_MISSING "${CMAKE_MATCH_2} (-DDEPTHGROW_${CMAKE_MATCH_1}=...)")
  endif()
endforeach()
list(JOIN DEPTHGROW_CUDA_MISSING ", " DEPTHGROW_CUDA_MISSING)

if(NOT DEPTHGROW_CUDA_MISSING)
  if(NOT TARGET depthgrow::cuda)
    add_library(depthgrow_cuda INTERFACE)
    add_library(depthgrow::cuda ALIAS depthgrow_cuda)
    target_link_libraries(depthgrow_cuda INTERFACE depthgrow::depthgrow ${DEPTHGROW_CUDART_LIBRARY}
                          ${DEPTHGROW_CUBLASLT_LIBRARY} ${DEPTHGROW_CUDNN_LIBRARY})
    target_include_directories(depthgrow_cuda SYSTEM INTERFACE ${CUDAToolkit_INCLUDE_DIRS} ${DEPTHGROW_CUDNN_INCLUDE})
    set_target_properties(depthgrow_cuda PROPERTIES DEPTHGROW_NVCC "${CUDAToolkit_NVCC_EXECUTABLE}"
                          DEPTHGROW_INCLUDE "${DEPTHGROW_INCLUDE_DIR}"
                          DEPTHGROW_ARCHITECTURE "${DEPTHGROW_CUDA_ARCHITECTURE}")
  endif()
elseif(NOT depthgrow_FIND_QUIETLY AND (NOT depthgrow_FIND_COMPONENTS OR depthgrow_FIND_REQUIRED_cuda OR
                                       depthgrow_FIND_REQUIRED_compiled_cuda))
  message(WARNING "depthgrow::cuda is off: not found: ${DEPTHGROW_CUDA_MISSING}")
endif()

# depthgrow_add_cuda_kernels(TARGET TYPES float bf16): links depthgrow::cuda and the kernels of these types to TARGET.
# A function keeps the policies of its definition: dependency files are read as 3.20 and newer do (CMP0116), whatever
# the including project asks for.
cmake_policy(PUSH)
cmake_policy(VERSION 3.22)
function(depthgrow_add_cuda_kernels target)
  cmake_parse_arguments(arg "" "" "TYPES" ${ARGN})
  if(NOT TARGET depthgrow::cuda)
    message(FATAL_ERROR
            "depthgrow_add_cuda_kernels(${target}): depthgrow::cuda is off: not found: ${DEPTHGROW_CUDA_MISSING}")
  endif()
  if(NOT arg_TYPES)
    message(FATAL_ERROR "depthgrow_add_cuda_kernels(${target}): expected TYPES float, bf16 or both, found none")
  endif()
  set(code "#include \"depthgrow/backend/cuda/launch.cuh\"\n")
  foreach(type IN LISTS arg_TYPES)
    if(type STREQUAL "float")
      string(APPEND code "DEPTHGROW_INSTANTIATE_CUDA_KERNELS(float)\n")
    elseif(type STREQUAL "bf16")
      string(APPEND code "DEPTHGROW_INSTANTIATE_CUDA_KERNELS(depthgrow::bfloat16)\n")
    else()
      message(FATAL_ERROR "depthgrow_add_cuda_kernels(${target}): expected types float and bf16, found ${type}")
    endif()
  endforeach()
  set(unit ${CMAKE_CURRENT_BINARY_DIR}/${target}_cuda_kernels.cu)
  set(object ${CMAKE_CURRENT_BINARY_DIR}/${target}_cuda_kernels.o)
  file(CONFIGURE OUTPUT ${unit} CONTENT "${code}" @ONLY)
  get_target_property(nvcc depthgrow::cuda DEPTHGROW_NVCC)
  get_target_property(include depthgrow::cuda DEPTHGROW_INCLUDE)
  get_target_property(architecture depthgrow::cuda DEPTHGROW_ARCHITECTURE)
  set(features "")
  if(architecture MATCHES "^90a?$")  # Hopper's own instructions, which only code for 90a may use
    set(architecture 90a)
    set(features -DDEPTHGROW_SM90A)
  endif()
  add_custom_command(OUTPUT ${object}
    COMMAND ${nvcc} -std=c++17 -O3 -gencode=arch=compute_${architecture},code=sm_${architecture} ${features}
            -ccbin ${CMAKE_CXX_COMPILER}
            -Xcompiler=-fPIC -I${include} -c ${unit} -o ${object} -MD -MF ${object}.d
    DEPENDS ${unit} DEPFILE ${object}.d COMMENT "CUDA kernels of ${target}" VERBATIM)
  set_source_files_properties(${object} PROPERTIES EXTERNAL_OBJECT TRUE GENERATED TRUE)
  target_sources(${target} PRIVATE ${object})
  target_link_libraries(${target} PUBLIC depthgrow::cuda)
endfunction()
cmake_policy(POP)
