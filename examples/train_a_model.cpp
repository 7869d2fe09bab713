// Train a small model and grow it while it trains, 4 to 8 layers by LIDAS; the checkpoint opens in transformers.
// Needs C++20, depthgrow::blas and nlohmann_json. Usage: train_a_model [OUT [TEXT]]; without TEXT, generated exercises.
// The recipe is that of Kapl et al. 2025 (arXiv 2512.08819): stages of PROP-1 lengths, then the rate goes down.
#include <cstdio>
#include <depthgrow/depthgrow.hpp>
#include <depthgrow/io/byte_tokenizer.hpp>
#include <depthgrow/io/growth_record.hpp>
#include <filesystem>

namespace dg = depthgrow;

int main(int argc, char** argv) try {
    const std::size_t seed = 1, length = 64, batch = 8, steps = 120, plateau = 100;
    const std::filesystem::path out = argc > 1 ? argv[1] : "trained";
    dg::require(!std::filesystem::exists(out), out.string(), ": expected a new directory, found one of that name");

    dg::training_data data(seed, length);  // windows of `length` bytes and the byte after each
    if (argc > 2) data.add_tokens(argv[2], dg::load_tokens(argv[2]));
    else {
        const dg::primitive_corpus corpus(seed);
        data.add_documents(
            "exercises", [=](std::uint64_t i) { return corpus.document(i); },
            [=](std::uint64_t i) { return corpus.held_out_document(i); });
    }

    dg::blas cpu{{.threads = 2}};
    const auto plan = dg::plan_growth(
        dg::lidas{2}, {.initial_layers = 4, .final_layers = 8, .plateau_steps = plateau, .total_steps = steps});
    const dg::lr_schedule rate{.peak = 3e-3, .warmup = 10, .plateau = plateau, .total = steps};
    dg::trainer<float, dg::blas> trainer(cpu, dg::tiny().with_depth(4), seed, plan.final_layers());

    dg::token_batch rows;
    std::vector<dg::token> inputs, targets;
    dg::json growths = dg::json::array();
    for (std::size_t step = 0, stage = 0; step < steps; ++step) {
        if (plan.stage_at(step) != stage) {  // the layers and AdamW's moments grow by one list
            const auto growth = plan.stages[++stage].applied();
            trainer.grow(growth);
            growths.push_back(dg::growth_entry(growth, step));
            std::printf("step %3zu: layers %s\n", step, growth.to_string().c_str());
        }
        data.sample(step, batch, rows);
        rows.split(inputs, targets);
        const auto result =
            trainer.step({inputs, targets, rows.weights, batch}, batch, rate(static_cast<std::int64_t>(step)));
        if (step % 20 == 0) std::printf("step %3zu: loss %.3f nats per token\n", step, result.loss);
    }
    data.held_out(0, 0, 32, rows);
    rows.split(inputs, targets);
    std::printf("held-out loss %.3f nats per token\n", trainer.loss({inputs, targets, rows.weights, rows.rows}, batch));

    dg::atomic_directory folder(out);  // appears whole or not at all
    dg::write_model(folder.path(), trainer.model, dg::dtype::f32, {{dg::growth_metadata_key, growths.dump()}});
    dg::write_byte_tokenizer(folder.path());
    folder.commit();
} catch (const std::exception& problem) {
    std::fprintf(stderr, "error: %s\n", problem.what());
    return 1;
}
