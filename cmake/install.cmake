# find_package(depthgrow 0.2 CONFIG): headers, targets and a config that looks for what each component needs.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

install(DIRECTORY include/depthgrow DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
        FILES_MATCHING PATTERN "*.hpp" PATTERN "*.cuh")
install(TARGETS depthgrow_growth depthgrow EXPORT depthgrowTargets)
foreach(library depthgrow_compiled depthgrow_compiled_cuda)
  if(TARGET ${library})
    install(TARGETS ${library} ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})  # the config makes its target
  endif()
endforeach()
set_target_properties(depthgrow_growth PROPERTIES EXPORT_NAME growth)
install(EXPORT depthgrowTargets NAMESPACE depthgrow:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/depthgrow)
configure_package_config_file(cmake/depthgrowConfig.cmake.in ${PROJECT_BINARY_DIR}/depthgrowConfig.cmake
                              INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/depthgrow)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/depthgrowConfigVersion.cmake COMPATIBILITY SameMinorVersion
                                 ARCH_INDEPENDENT)
install(FILES ${PROJECT_BINARY_DIR}/depthgrowConfig.cmake ${PROJECT_BINARY_DIR}/depthgrowConfigVersion.cmake
              ${PROJECT_SOURCE_DIR}/cmake/cuda.cmake ${PROJECT_SOURCE_DIR}/cmake/find_cblas.cmake
              ${PROJECT_SOURCE_DIR}/cmake/native.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/depthgrow)
