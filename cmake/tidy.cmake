# The target `tidy`: clang-tidy by .clang-tidy on a few units that hold most of the library, since all of them take long;
# -DDEPTHGROW_TIDY="tests/io/npy.cpp;..." names others. Where clang-tidy is installed.
find_program(DEPTHGROW_CLANG_TIDY NAMES clang-tidy-14 clang-tidy)
mark_as_advanced(DEPTHGROW_CLANG_TIDY)
set(DEPTHGROW_TIDY "examples/support/text_tokens.cpp;examples/support/held_out_sets.cpp;tests/growth/schedule.cpp;\
tests/metrics/overlap.cpp" CACHE STRING "Units that the target tidy looks at")
if(NOT DEPTHGROW_CLANG_TIDY)
  message(STATUS "The target tidy is off: it needs clang-tidy")
  return()
endif()
set(units "")
foreach(unit IN LISTS DEPTHGROW_TIDY)
  list(APPEND units ${PROJECT_SOURCE_DIR}/${unit})
endforeach()
# Commands are those of the compiler in use, some of whose flags clang does not know.
add_custom_target(tidy COMMAND ${DEPTHGROW_CLANG_TIDY} -p ${PROJECT_BINARY_DIR} --quiet
                               --extra-arg=-Wno-unknown-warning-option ${units}
                  WORKING_DIRECTORY ${PROJECT_SOURCE_DIR} VERBATIM)
