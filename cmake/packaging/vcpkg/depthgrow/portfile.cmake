# An overlay port of this checkout: vcpkg install 'depthgrow[blas]' --editable --overlay-ports=cmake/packaging/vcpkg
# (--editable: vcpkg's cache of built packages knows the port's files alone, not the checkout that they install).
set(VCPKG_BUILD_TYPE release)  # headers only
get_filename_component(checkout "${CMAKE_CURRENT_LIST_DIR}/../../../.." ABSOLUTE)
vcpkg_cmake_configure(SOURCE_PATH "${checkout}"
                      OPTIONS -DDEPTHGROW_BUILD_TESTS=OFF -DDEPTHGROW_BUILD_EXAMPLES=OFF)
vcpkg_cmake_install()
vcpkg_cmake_config_fixup(CONFIG_PATH lib/cmake/depthgrow)
# depthgrow-blas.pc names the folders of the BLAS found just now, the system's too; the CMake package looks anew.
file(REMOVE "${CURRENT_PACKAGES_DIR}/share/pkgconfig/depthgrow-blas.pc")
file(REMOVE_RECURSE "${CURRENT_PACKAGES_DIR}/lib" "${CURRENT_PACKAGES_DIR}/share/doc")
vcpkg_install_copyright(FILE_LIST "${checkout}/LICENSE")
