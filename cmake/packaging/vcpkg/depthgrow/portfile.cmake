# An overlay port of this checkout: vcpkg install 'depthgrow[blas]' --overlay-ports=CHECKOUT/cmake/packaging/vcpkg
set(VCPKG_BUILD_TYPE release)  # headers only
get_filename_component(checkout "${CMAKE_CURRENT_LIST_DIR}/../../../.." ABSOLUTE)
vcpkg_cmake_configure(SOURCE_PATH "${checkout}"
                      OPTIONS -DDEPTHGROW_BUILD_TESTS=OFF -DDEPTHGROW_BUILD_EXAMPLES=OFF)
vcpkg_cmake_install()
vcpkg_cmake_config_fixup(CONFIG_PATH lib/cmake/depthgrow)
file(REMOVE_RECURSE "${CURRENT_PACKAGES_DIR}/lib")
vcpkg_install_copyright(FILE_LIST "${checkout}/LICENSE")
