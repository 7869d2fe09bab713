#include <unistd.h>

#include <fstream>

#include "depthgrow/backend/blas.hpp"
#include "depthgrow/backend/planning.hpp"
#include "depthgrow/comm/communicator.hpp"
#include "depthgrow/core/dtype.hpp"
#include "depthgrow/train/trainer.hpp"
#include "support/any_optimizer.hpp"
#include "support/training.hpp"

namespace tools {

namespace {

/// Memory that this process holds now.
std::size_t resident_bytes() {
    std::size_t all = 0, resident = 0;
    std::ifstream file("/proc/self/statm");
    if (!(file >> all >> resident)) return 15'000'000;
    return resident * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

/// Ranks that are not there: what one of them holds does not depend on what the others say.
class ranks_on_paper : public dg::single {
public:
    explicit ranks_on_paper(std::size_t size) : size_(size) {}
    std::size_t size() const override { return size_; }

private:
    std::size_t size_;
};

template <class T, class Planning, class Optimizer>
std::size_t counted_with(const resolved_run& run, std::size_t head_rows) {
    Planning counter(head_rows);
    ranks_on_paper ranks(run.ranks);
    dg::trainer<T, Planning, Optimizer> trainer(counter, run.model.with_depth(run.most_layers()), {}, ranks);
    const std::size_t tokens = run.batch * run.length;
    const std::vector<dg::token> ids(tokens, 0);
    const std::vector<float> weights(tokens, 1);
    trainer.run_order(run.order_at(run.steps));
    trainer.recompute(run.settings.recompute);
    for (int step = 0; step < 2; ++step) trainer.step({ids, ids, weights, run.batch}, run.micro_batch, 0);
    return counter.peak_bytes();
}
template <class T, class Planning> std::size_t counted_memory(const resolved_run& run, std::size_t head_rows) {
    return with_optimizer<T, Planning>(run.settings.optimizer, [&]<class Optimizer>() {
        return counted_with<T, Planning, Optimizer>(run, head_rows);
    });
}

}  // namespace

std::size_t planned_memory(const resolved_run& run) {
    const std::size_t rows = run.micro_batch * run.length;
    if (run.settings.backend == "cuda") {
        // attention's backward pass by cuDNN: row sums and dq in float, or in a fixed order dS in bfloat16; with
        // grouped heads dk and dv of every head (on Hopper heads of 64 channels need the row sums alone)
        const std::size_t dq = run.settings.deterministic ? rows * run.length * run.model.heads * sizeof(dg::bfloat16)
                                                          : rows * run.model.width * sizeof(float);
        const std::size_t apart =
            run.model.kv_heads < run.model.heads ? 2 * rows * run.model.width * sizeof(dg::bfloat16) : 0;
        const std::size_t attention = dq + apart + rows * run.model.heads * sizeof(float),
                          workspaces = std::size_t{80} << 20;
        const std::size_t context = std::size_t{770}
                                    << 20;  // the driver's, with the libraries' code, as seen on an H100
        const std::size_t counted = run.settings.precision == "fp32"
                                        ? counted_memory<float, dg::joining_planning>(run, 8192)
                                        : counted_memory<dg::bfloat16, dg::joining_planning>(run, 8192) + attention;
        const std::size_t copies = run.settings.precision == "fp8"
                                       ? (rows + run.model.width) * (run.model.width + 3 * run.model.ffn)
                                       : 0;  // in eight bits, of the widest operands met
        return counted + workspaces + context + copies;
    }
    const dg::attention_shape shape{run.micro_batch, run.length, run.model.heads, run.model.kv_heads,
                                    run.model.head_width()};
    const std::size_t attention =
        static_cast<std::size_t>(run.threads) * dg::blas::attention_backward_numbers<float>(shape) * sizeof(float);
    const std::size_t program =
        resident_bytes();  // code, libraries and data, before anything is allocated for the model
    return counted_memory<float, dg::planning>(run, 512) + attention + program;
}

}  // namespace tools
