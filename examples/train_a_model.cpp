// Train a small model and grow it while it trains, 4 to 8 layers by LIDAS; the checkpoint opens in transformers.
// Needs C++20, depthgrow::blas and nlohmann_json. Usage: train_a_model [OUT [TEXT]]; without TEXT, generated exercises.
// The recipe is that of Kapl et al. 2025 (arXiv 2512.08819): stages of PROP-1 lengths, then the rate goes down.
#include <cstdio>
#include <depthgrow/depthgrow.hpp>

namespace dg = depthgrow;

int main(int argc, char** argv) try {
    const std::filesystem::path out = argc > 1 ? argv[1] : "trained";
    dg::require(!std::filesystem::exists(out), out.string(), ": expected a new directory, found one of that name");

    const std::size_t seed = 1, length = 64, batch = 8, steps = 120, plateau = 100;
    dg::training_data data(seed, length);  // windows of `length` bytes and the byte after each
    if (argc > 2) data.add_tokens(argv[2], dg::load_tokens(argv[2]));
    else {
        const dg::primitive_corpus exercises(seed);
        data.add_documents(
            "exercises", [=](std::uint64_t i) { return exercises.document(i); },
            [=](std::uint64_t i) { return exercises.held_out_document(i); });
    }

    dg::blas cpu{{.threads = 2}};
    const auto plan = dg::plan_growth(
        dg::lidas{2}, {.initial_layers = 4, .final_layers = 8, .plateau_steps = plateau, .total_steps = steps});
    const dg::lr_schedule rate{.peak = 3e-3, .warmup = 10, .plateau = plateau, .total = steps};
    dg::trainer<float, dg::blas> trainer(cpu, dg::tiny().with_depth(4), seed, plan.final_layers());

    dg::token_batch rows;
    for (std::size_t step = 0; step < steps; ++step) {
        if (const auto order = plan.order_before(step)) trainer.grow(*order);  // layers and AdamW's moments
        data.sample(step, batch, rows);
        const auto result = trainer.step(rows, rate(static_cast<std::int64_t>(step)));
        if (step % 20 == 0)
            std::printf("step %3zu: %zu layers, loss %.3f nats per token\n", step, trainer.model.layers(), result.loss);
    }
    std::printf("held-out loss %.3f nats per token\n", dg::held_out_loss(trainer, data, 32));
    dg::save_run(out, trainer);  // appears whole or not at all
} catch (const std::exception& problem) {
    std::fprintf(stderr, "error: %s\n", problem.what());
    return 1;
}
