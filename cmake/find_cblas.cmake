# oneTBB and a CBLAS: MKL (Debian's, oneAPI's or the Python index's mkl and mkl-devel), OpenBLAS, BLIS or Accelerate.
# Sets DEPTHGROW_CBLAS to the name of the library found, or to nothing. -DDEPTHGROW_CBLAS_LIBRARY=FILE takes another
# one; -DCMAKE_PREFIX_PATH=FOLDER names where to look first. Used by the project and by the installed package.
find_package(TBB QUIET)
find_package(Threads QUIET)
foreach(names IN ITEMS "mkl_rt;libmkl_rt.so.3;libmkl_rt.so.2" openblas blis cblas Accelerate)
  find_library(DEPTHGROW_CBLAS_LIBRARY NAMES ${names} PATH_SUFFIXES openblas-serial openblas-pthread openblas-openmp)
endforeach()
find_path(DEPTHGROW_CBLAS_INCLUDE NAMES cblas.h mkl_cblas.h
          PATH_SUFFIXES openblas openblas-serial openblas-pthread openblas-openmp mkl blis)
# Where only a header of another name declares the functions, a cblas.h of ours includes it.
set(depthgrow_cblas_header "")
if(APPLE AND NOT DEPTHGROW_CBLAS_INCLUDE)
  set(depthgrow_cblas_header Accelerate/Accelerate.h)
elseif(DEPTHGROW_CBLAS_INCLUDE AND NOT EXISTS ${DEPTHGROW_CBLAS_INCLUDE}/cblas.h)
  set(depthgrow_cblas_header mkl_cblas.h)
endif()
if(depthgrow_cblas_header)
  file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/depthgrow_cblas/cblas.h
       CONTENT "#include <${depthgrow_cblas_header}>\n" @ONLY)
endif()
mark_as_advanced(DEPTHGROW_CBLAS_INCLUDE DEPTHGROW_CBLAS_LIBRARY)
set(DEPTHGROW_CBLAS "")
if(TBB_FOUND AND DEPTHGROW_CBLAS_LIBRARY AND (DEPTHGROW_CBLAS_INCLUDE OR APPLE))
  get_filename_component(file ${DEPTHGROW_CBLAS_LIBRARY} NAME)
  string(REGEX MATCH "mkl|openblas|blis|Accelerate" DEPTHGROW_CBLAS ${file})
  if(NOT DEPTHGROW_CBLAS)
    set(DEPTHGROW_CBLAS cblas)
  endif()
endif()

# Pragmas of vector loops are OpenMP's, without its threads.
function(depthgrow_use_cblas target)
  target_link_libraries(${target} INTERFACE TBB::tbb Threads::Threads ${DEPTHGROW_CBLAS_LIBRARY} ${CMAKE_DL_LIBS})
  if(DEPTHGROW_CBLAS_INCLUDE)
    target_include_directories(${target} SYSTEM INTERFACE $<BUILD_INTERFACE:${DEPTHGROW_CBLAS_INCLUDE}>)
  endif()
  if(depthgrow_cblas_header)
    target_include_directories(${target} SYSTEM INTERFACE $<BUILD_INTERFACE:${CMAKE_BINARY_DIR}/depthgrow_cblas>)
  endif()
  target_compile_options(${target} INTERFACE -fopenmp-simd)
endfunction()
