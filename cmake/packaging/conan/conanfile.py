"""Conan 2: conan create cmake/packaging/conan [-o blas=True]; then find_package(depthgrow) as after an install."""
import os
import re

from conan import ConanFile
from conan.tools.cmake import CMake, CMakeDeps, CMakeToolchain
from conan.tools.files import copy, load


class Depthgrow(ConanFile):
    name = "depthgrow"
    license = "MIT"
    description = "Grow Transformers in depth while they train, and measure how well they use it. Header-only."
    package_type = "header-library"
    settings = "os", "arch", "compiler", "build_type"
    options = {"blas": [True, False]}  # what the CPU backend links: oneTBB, OpenBLAS, nlohmann_json, xxHash
    default_options = {"blas": False}
    no_copy_source = True

    @property
    def _checkout(self):
        return os.path.join(self.recipe_folder, "..", "..", "..")

    def set_version(self):
        config = load(self, os.path.join(self._checkout, "include", "depthgrow", "core", "config.hpp"))
        self.version = re.search(r'VERSION_STRING "([^"]+)"', config).group(1)

    def export_sources(self):
        for pattern in ("include/*", "cmake/*", "CMakeLists.txt", "LICENSE"):
            copy(self, pattern, self._checkout, self.export_sources_folder)

    def requirements(self):
        if self.options.blas:
            self.requires("onetbb/[>=2021]")
            self.requires("openblas/[>=0.3]")
            self.requires("nlohmann_json/[>=3.10]")
            self.requires("xxhash/[>=0.8]")

    def generate(self):
        toolchain = CMakeToolchain(self)
        toolchain.cache_variables["DEPTHGROW_BUILD_TESTS"] = False
        toolchain.cache_variables["DEPTHGROW_BUILD_EXAMPLES"] = False
        toolchain.generate()
        CMakeDeps(self).generate()

    def build(self):
        CMake(self).configure()

    def package(self):
        CMake(self).install()

    def package_id(self):
        self.info.clear()

    def package_info(self):
        # The package's own CMake files, which look for what each component needs.
        self.cpp_info.set_property("cmake_find_mode", "none")
        self.cpp_info.builddirs = [os.path.join("lib", "cmake", "depthgrow")]
        self.cpp_info.bindirs = []
        self.cpp_info.libdirs = []
