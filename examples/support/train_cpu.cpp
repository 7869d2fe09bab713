#include "depthgrow/backend/blas.hpp"
#include "support/any_optimizer.hpp"
#include "support/cpu_backend.hpp"
#include "support/ranks.hpp"
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
    constexpr std::size_t turns = 15;
    std::vector<std::vector<double>> seen(known.size());
    for (std::size_t turn = 0; turn < turns; ++turn)
        for (std::size_t i = 0; i < known.size(); ++i) {
            dg::blas backend({1, known[i].run});
            seen[i].push_back(
                product_rate<float, thread_stopwatch>(backend, rows, 2 * run.model.ffn, run.model.width, 0.004));
        }
    std::vector<double> rates;  // medians: in turn, other processes slow all alike, and a clock's slip moves none
    for (auto& one : seen) {
        std::nth_element(one.begin(), one.begin() + turns / 2, one.end());
        rates.push_back(one[turns / 2]);
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
    if (run.from)
        if (const auto file = *run.from / "trainer_state.json"; std::filesystem::exists(file))
            for (const auto state = dg::read_json_file(file); const auto& one : cpu_products())
                if (state.value("product", std::string()) == one.name) return one;
    return fastest_product(run);
}

/// The first rank's choice, for all: sums of losses should not depend on which rank computed them.
cpu_product product_of_all(const resolved_run& run, dg::communicator& comm) {
    const auto known = cpu_products();
    const auto own = product_of(run);
    double choice = 0;
    for (std::size_t i = 0; i < known.size(); ++i)
        if (comm.first() && known[i].name == own.name) choice = static_cast<double>(i);
    comm.sum({&choice, 1});
    return run.settings.precision == "bf16" ? own : known[static_cast<std::size_t>(choice)];
}

}  // namespace

training_summary train_on_cpu(const resolved_run& given, const training_watch& watch) {
    auto run = given;
    const auto several = cpu_ranks(run.settings.rank_timeout);
    dg::communicator& comm = several ? *several : dg::no_other_ranks();
    run.settings.quiet = run.settings.quiet || !comm.first();
    run.from = run_folder(run.settings, comm.first()).checkpoint_to_resume(comm);
    const auto product = product_of_all(run, comm);
    run.product = product.name;
    dg::blas backend({run.threads, product.run});
    return with_optimizer<float, dg::blas>(run.settings.optimizer, [&]<class Optimizer>() {
        return training_run<float, dg::blas, Optimizer>(backend, run, comm, watch)();
    });
}

}  // namespace tools
