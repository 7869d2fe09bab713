#include "depthgrow/backend/blas.hpp"
#include "support/any_optimizer.hpp"
#include "support/cpu_backend.hpp"
#include "support/training_loop.hpp"

namespace tools {

namespace {

/// How much faster another library must be than the one in front. Losses differ in bits from library to library, and
/// one machine must choose alike each time, busy or not: less than this does not decide.
constexpr double clearly_faster = 1.25;

/// The fastest library on this model's largest product: measured in turn on one thread, in that thread's own time.
cpu_product fastest_product(const resolved_run& run) {
    const auto known = cpu_products();
    if (known.size() == 1) return known.front();
    const std::size_t rows = run.micro_batch * run.length;
    std::vector<double> rates(known.size(), 0);
    for (int turn = 0; turn < 5; ++turn)
        for (std::size_t i = 0; i < known.size(); ++i) {
            dg::blas backend({1, known[i].run});
            rates[i] = std::max(rates[i], product_rate<float, thread_stopwatch>(backend, rows, 2 * run.model.ffn,
                                                                                run.model.width, 0.01));
        }
    const auto best = static_cast<std::size_t>(std::max_element(rates.begin(), rates.end()) - rates.begin());
    const std::size_t taken = rates[best] > clearly_faster * rates[0] ? best : 0;
    if (!run.settings.quiet) {
        std::printf("product   ");
        for (std::size_t i = 0; i < known.size(); ++i)
            std::printf(" %s %sFLOP/s%s", known[i].name.c_str(), human(rates[i]).c_str(),
                        i + 1 < known.size() ? "," : "");
        std::printf(" a core on %zu x %zu x %zu: %s runs\n", rows, 2 * run.model.ffn, run.model.width,
                    known[taken].name.c_str());
    }
    return known[taken];
}

/// Who multiplies in this run: a run that goes on has the library that it had, or its losses would differ in bits.
cpu_product product_of(const resolved_run& run) {
    const auto& s = run.settings;
    if (s.precision == "bf16") return cpu_product_of(s.precision);
    if (s.product != "auto") return cpu_product_named(s.product);
    if (const auto from = run_folder(s).checkpoint_to_resume())
        if (const auto file = *from / "trainer_state.json"; std::filesystem::exists(file))
            for (const auto state = dg::read_json_file(file); const auto& one : cpu_products())
                if (state.value("product", std::string()) == one.name) return one;
    return fastest_product(run);
}

}  // namespace

training_summary train_on_cpu(const resolved_run& given, const training_watch& watch) {
    auto run = given;
    const auto product = product_of(run);
    run.product = product.name;
    dg::blas backend({run.threads, product.run});
    return with_optimizer<float, dg::blas>(run.settings.optimizer, [&]<class Optimizer>() {
        return training_run<float, dg::blas, Optimizer>(backend, run, watch)();
    });
}

}  // namespace tools
