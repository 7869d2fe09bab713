# pkg-config's files: depthgrow (headers, C++17 growth and metrics or C++20 all of it) and depthgrow-blas (what the CPU
# backend links). Paths are relative to the file, so that a prefix may be moved.
set(depthgrow_pc [=[
prefix=${pcfiledir}/../..
includedir=${prefix}/@CMAKE_INSTALL_INCLUDEDIR@

Name: @name@
Description: @description@
URL: https://arxiv.org/abs/2512.08819
Version: @PROJECT_VERSION@
]=])

set(name depthgrow)
set(description "Grow Transformers in depth while they train; headers only")
string(CONFIGURE "${depthgrow_pc}" depthgrow_head @ONLY)
file(WRITE ${PROJECT_BINARY_DIR}/depthgrow.pc "${depthgrow_head}Cflags: -I\${includedir}\n")
install(FILES ${PROJECT_BINARY_DIR}/depthgrow.pc DESTINATION ${CMAKE_INSTALL_DATADIR}/pkgconfig)

if(DEPTHGROW_CBLAS)
  set(name depthgrow-blas)
  set(description "depthgrow's CPU backend: oneTBB, @DEPTHGROW_CBLAS@ and nlohmann_json")
  string(CONFIGURE "${description}" description @ONLY)
  string(CONFIGURE "${depthgrow_pc}" depthgrow_head @ONLY)
  get_filename_component(folder ${DEPTHGROW_CBLAS_LIBRARY} DIRECTORY)
  get_filename_component(file ${DEPTHGROW_CBLAS_LIBRARY} NAME_WE)
  string(REGEX REPLACE "^lib" "" file ${file})
  set(includes "")
  if(DEPTHGROW_CBLAS_INCLUDE)
    set(includes "-isystem ${DEPTHGROW_CBLAS_INCLUDE} ")
  endif()
  file(WRITE ${PROJECT_BINARY_DIR}/depthgrow-blas.pc
       "${depthgrow_head}Requires: depthgrow tbb nlohmann_json\n"
       "Cflags: ${includes}-fopenmp-simd -pthread\n"
       "Libs: -L${folder} -Wl,-rpath,${folder} -l${file} -ldl -pthread\n")
  install(FILES ${PROJECT_BINARY_DIR}/depthgrow-blas.pc DESTINATION ${CMAKE_INSTALL_DATADIR}/pkgconfig)
endif()
