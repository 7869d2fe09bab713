# The target `doc` and the test `doxygen`: pages of the public headers' `///` sentences and of the project's Markdown,
# where doxygen is installed. A warning is an error: a parameter or a page that is named is there.
find_program(DEPTHGROW_DOXYGEN doxygen)
mark_as_advanced(DEPTHGROW_DOXYGEN)
if(NOT DEPTHGROW_DOXYGEN)
  message(STATUS "The target doc is off: it needs doxygen")
  return()
endif()
set(pages "")
foreach(page IN ITEMS README.md CONTRIBUTING.md CHANGELOG.md examples/README.md benchmarks/README.md
        tests/real_model/README.md)
  string(APPEND pages " ${PROJECT_SOURCE_DIR}/${page}")
endforeach()
file(GLOB tool_pages CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/examples/*/README.md)
foreach(page IN LISTS tool_pages)
  string(APPEND pages " ${page}")
endforeach()
file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/doc/Doxyfile @ONLY CONTENT "\
PROJECT_NAME = @PROJECT_NAME@
PROJECT_NUMBER = @PROJECT_VERSION@
PROJECT_BRIEF = \"@PROJECT_DESCRIPTION@\"
OUTPUT_DIRECTORY = @PROJECT_BINARY_DIR@/doc
INPUT = @PROJECT_SOURCE_DIR@/include @pages@
FILE_PATTERNS = *.hpp *.md
RECURSIVE = YES
STRIP_FROM_PATH = @PROJECT_SOURCE_DIR@
STRIP_FROM_INC_PATH = @PROJECT_SOURCE_DIR@/include
USE_MDFILE_AS_MAINPAGE = @PROJECT_SOURCE_DIR@/README.md
IMAGE_PATH = @PROJECT_SOURCE_DIR@/examples/pictures
EXCLUDE_SYMBOLS = depthgrow::detail depthgrow::detail::* depthgrow::*::detail
PREDEFINED = DEPTHGROW_HOST_DEVICE= DEPTHGROW_RESTRICT=
MACRO_EXPANSION = YES
EXPAND_ONLY_PREDEF = YES
JAVADOC_AUTOBRIEF = YES
EXTRACT_ALL = YES
GENERATE_LATEX = NO
HAVE_DOT = NO
TOC_INCLUDE_HEADINGS = 2
QUIET = YES
WARN_AS_ERROR = FAIL_ON_WARNINGS
")
add_custom_target(doc COMMAND ${DEPTHGROW_DOXYGEN} ${PROJECT_BINARY_DIR}/doc/Doxyfile
                  COMMENT "Pages in ${PROJECT_BINARY_DIR}/doc/html/index.html" VERBATIM)
if(DEPTHGROW_BUILD_TESTS)
  add_test(NAME doxygen COMMAND ${DEPTHGROW_DOXYGEN} ${PROJECT_BINARY_DIR}/doc/Doxyfile)
  set_tests_properties(doxygen PROPERTIES LABELS quick)
endif()
