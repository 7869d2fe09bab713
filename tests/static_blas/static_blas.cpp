// A CPU backend whose OpenBLAS is linked statically: the library's own threads are off there too.
#include <cstdio>

#include "depthgrow/backend/blas.hpp"

extern "C" int openblas_get_num_threads();

int main() {
    const int before = openblas_get_num_threads();
    const depthgrow::blas backend;
    const int after = openblas_get_num_threads();
    std::printf("OpenBLAS had %d threads and has %d\n", before, after);
    return after == 1 ? 0 : 1;
}
