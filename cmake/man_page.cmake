# Makes a man page of a tool: its --help, whose first line becomes the name's description.
# Run: cmake -DHELP2MAN=PROGRAM -DTOOL=PROGRAM -DPAGE=FILE -P cmake/man_page.cmake
execute_process(COMMAND ${TOOL} --help OUTPUT_VARIABLE help RESULT_VARIABLE code)
if(code)
  message(FATAL_ERROR "${TOOL} --help: expected success, found ${code}")
endif()
string(REGEX MATCH "^[^\n]*[^\n.]" about "${help}")
get_filename_component(folder ${PAGE} DIRECTORY)
file(MAKE_DIRECTORY ${folder})
execute_process(COMMAND ${HELP2MAN} --no-info --section=1 --source=depthgrow --manual=depthgrow "--name=${about}"
                        --output=${PAGE} ${TOOL} COMMAND_ERROR_IS_FATAL ANY)
