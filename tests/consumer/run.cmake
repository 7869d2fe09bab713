# Configures, builds and runs a consumer project, for find_package after an install into the build folder.
set(work ${BUILD}/consumer/${WAY})
file(REMOVE_RECURSE ${work})
function(step)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE code OUTPUT_VARIABLE said ERROR_VARIABLE said)
  if(code)
    message(FATAL_ERROR "${ARGN}:\n${said}")
  endif()
endfunction()
if(WAY STREQUAL "find_package")
  step(${CMAKE_COMMAND} --install ${BUILD} --prefix ${work}/prefix)
endif()
step(${CMAKE_COMMAND} -S ${ROOT}/tests/consumer/${WAY} -B ${work}/build -DCMAKE_CXX_COMPILER=${COMPILER}
     -DCMAKE_PREFIX_PATH=${work}/prefix
     -DDEPTHGROW_ROOT=${ROOT})
step(${CMAKE_COMMAND} --build ${work}/build)
step(${work}/build/uses_depthgrow)
step(${work}/build/uses_json)
