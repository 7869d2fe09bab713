# Compiles a snippet that must be refused, and checks that the compiler says the sentence on its first line.
# Run: cmake -DCOMPILER=g++ -DSOURCE=x.cpp -DINCLUDE=include -P cmake/compile_fail.cmake
file(STRINGS "${SOURCE}" first LIMIT_COUNT 1)
if(NOT first MATCHES "^// expect: (.+)$")
  message(FATAL_ERROR "${SOURCE}: expected a first line '// expect: sentence'")
endif()
set(sentence "${CMAKE_MATCH_1}")
execute_process(COMMAND "${COMPILER}" -std=c++17 -fsyntax-only "-I${INCLUDE}" "${SOURCE}"
                RESULT_VARIABLE code ERROR_VARIABLE said OUTPUT_QUIET)
if(code EQUAL 0)
  message(FATAL_ERROR "${SOURCE}: expected the compiler to refuse it, it did not")
endif()
string(FIND "${said}" "${sentence}" place)
if(place EQUAL -1)
  message(FATAL_ERROR "${SOURCE}: expected the sentence '${sentence}', the compiler said:\n${said}")
endif()
