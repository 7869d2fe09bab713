// Writes a fixture's lens as fit_lens would: fixture_lens plain|grouped random|fitted DIRECTORY
#include "analysis/analysis.hpp"
#include "support/cli.hpp"
#include "support/depth_files.hpp"

int main(int argc, char** argv) {
    return tools::run_tool([&] {
        depthgrow::require(argc == 4, "usage: fixture_lens plain|grouped random|fitted DIRECTORY");
        depthgrow::blas backend;
        const analysis_fixture<float, depthgrow::blas> fixture(backend, argv[1]);
        tools::write_lens(argv[3], fixture.lens(argv[2]), argv[1], true);
    });
}
