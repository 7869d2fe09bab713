// A training loop on any backend, with a growth; exit code 0 where it learnt something. Its includer has the library.
#pragma once

#include <cstdio>

namespace dg = depthgrow;

template <class T, class Backend> int train_a_little(Backend& backend) {
    dg::training_data data(1, 8);
    const dg::primitive_corpus exercises(1);
    data.add_documents(
        "exercises", [=](std::uint64_t i) { return exercises.document(i); },
        [=](std::uint64_t i) { return exercises.held_out_document(i); });
    dg::trainer<T, Backend> trainer(backend, dg::tiny().with_depth(2), 1, 4);
    const double before = dg::held_out_loss(trainer, data, 2);
    dg::token_batch rows;
    for (std::size_t step = 0; step < 4; ++step) {
        if (step == 2) trainer.grow(dg::doubling{}(2));
        data.sample(step, 2, rows);
        trainer.step(rows, 3e-3);
    }
    const double after = dg::held_out_loss(trainer, data, 2);
    std::printf("%zu layers, loss %.3f, then %.3f\n", trainer.model.layers(), before, after);
    return trainer.model.layers() == 4 && after < before ? 0 : 1;
}
