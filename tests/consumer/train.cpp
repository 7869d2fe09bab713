// A training loop that links depthgrow::compiled.
#include <depthgrow/compiled.hpp>

#include "train_a_little.hpp"

int main() {
    dg::blas backend;
    return train_a_little<float>(backend);
}
