# Writes the commit that is built, with "+" where tracked files differ from it, as a header; empty without git.
# Run at each build: cmake -DROOT=<checkout> -DFILE=<header> -P cmake/commit.cmake
cmake_minimum_required(VERSION 3.22)
set(commit "")
find_program(GIT git)
if(GIT AND EXISTS "${ROOT}/.git")
  execute_process(COMMAND ${GIT} -C ${ROOT} describe --always --abbrev=12 --exclude=* --dirty=+
                  OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
endif()
file(CONFIGURE OUTPUT "${FILE}" CONTENT "#define DEPTHGROW_COMMIT \"${commit}\"\n" @ONLY)
