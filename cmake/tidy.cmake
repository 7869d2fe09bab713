# The target `tidy`: clang-tidy by .clang-tidy on a few units that hold most of the library, since all of them take
# long; -DDEPTHGROW_TIDY="tests/io/npy.cpp;..." names others. Where clang-tidy is installed.
find_program(DEPTHGROW_CLANG_TIDY NAMES clang-tidy-14 clang-tidy)
mark_as_advanced(DEPTHGROW_CLANG_TIDY)
set(DEPTHGROW_TIDY examples/support/text_tokens.cpp examples/support/held_out_sets.cpp
    examples/support/depth_measure.cpp tests/growth/schedule.cpp tests/metrics/overlap.cpp
    CACHE STRING "Units that the target tidy looks at")
if(NOT DEPTHGROW_CLANG_TIDY)
  message(STATUS "The target tidy is off: it needs clang-tidy")
  return()
endif()
set(units "")
foreach(unit IN LISTS DEPTHGROW_TIDY)
  list(APPEND units ${PROJECT_SOURCE_DIR}/${unit})
endforeach()
# Commands come from a folder configured without precompiled headers, which clang could not read of another compiler;
# some of that compiler's flags clang does not know.
add_custom_target(tidy
  COMMAND ${CMAKE_COMMAND} -S ${PROJECT_SOURCE_DIR} -B ${PROJECT_BINARY_DIR}/tidy -G ${CMAKE_GENERATOR}
          -DCMAKE_CXX_COMPILER=${CMAKE_CXX_COMPILER} -DCMAKE_DISABLE_PRECOMPILE_HEADERS=ON --log-level=ERROR
  COMMAND ${DEPTHGROW_CLANG_TIDY} -p ${PROJECT_BINARY_DIR}/tidy --quiet --extra-arg=-Wno-unknown-warning-option ${units}
  WORKING_DIRECTORY ${PROJECT_SOURCE_DIR} VERBATIM)
