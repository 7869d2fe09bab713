// Training on several GPUs of one machine: tokens a second, what is exchanged, growth, and a timeline of one step.
// Run alone and with --ranks N in turn; the ratio of both is what several GPUs give. Peer: peer_cuda.py --ddp.
// Usage: ranks [--ranks N|all] [--only NAME] [--steps 20] [--fp8] [--timeline FILE.svg]
#include "support/ranks.hpp"

#include <cmath>
#include <cstring>
#include <fstream>

#include "depthgrow/comm/nccl.hpp"
#include "depthgrow/growth/operators.hpp"
#include "depthgrow/nn/shape.hpp"
#include "depthgrow/train/trainer.hpp"
#include "profiled.hpp"
#include "random_tokens.hpp"

namespace {

using clock_type = std::chrono::steady_clock;
double seconds_since(clock_type::time_point begun) {
    return std::chrono::duration<double>(clock_type::now() - begun).count();
}

std::string only, count = "1", timeline;
std::size_t steps = 20;
bool fp8 = false;

/// Ranks whose exchanges are timed, on the stream that they run in.
class timed_ranks : public dg::nccl_ranks {
public:
    using nccl_ranks::nccl_ranks;
    bool on = false;
    std::vector<profiled::event> events;

protected:
    /// A group's events lie around all of it, the first once the stream waits for the backend, as the group does.
    void begin_group() override {
        if (on) {
            wait_for_backend();
            events.push_back(profiled::event{"", 0, nullptr, nullptr});
            (void)cudaEventCreate(&events.back().begin), (void)cudaEventCreate(&events.back().end);
            (void)cudaEventRecord(events.back().begin, stream());
        }
        nccl_ranks::begin_group();
    }
    void end_group() override {
        nccl_ranks::end_group();
        if (on) (void)cudaEventRecord(events.back().end, stream());
    }
    void do_reduce_scatter(dg::comm_numbers n) override {
        if (on) events.back().name = "reduce-scatter";
        nccl_ranks::do_reduce_scatter(n);
    }
    void do_all_gather(dg::comm_numbers n) override {
        if (on) events.back().name = "all-gather";
        nccl_ranks::do_all_gather(n);
    }
};

void say(dg::communicator& comm, const std::string& line) {
    if (comm.first()) std::printf("%s\n", line.c_str()), std::fflush(stdout);
}

void training(dg::communicator& comm, dg::cuda& gpu, const dg::decoder_config& model, std::size_t sequences,
              std::size_t length) {
    if (model.name.find(only) == std::string::npos) return;
    const random_tokens data(model, sequences * comm.size(), length);
    dg::trainer<bf16, dg::cuda> trainer(gpu, model, 1, model.layers, {}, comm);
    std::vector<double> times;
    double first = 0, last = 0;
    for (std::size_t i = 0; i < steps + 4; ++i) {
        const auto begun = clock_type::now();
        last = trainer.step(data.batch(), sequences, 1e-4).loss;
        if (i == 0) first = last;
        if (i >= 4) times.push_back(seconds_since(begun));
    }
    std::sort(times.begin(), times.end());
    const double seconds = times[times.size() / 2];
    const double bytes = static_cast<double>(model.parameters());
    say(comm, dg::text("train ", model.name, fp8 ? " fp8" : "", ", ", comm.size(),
                       " ranks: ", static_cast<long>(static_cast<double>(data.ids.size()) / seconds), " tok/s, step ",
                       seconds * 1e3, " ms, loss ", first, " -> ", last));
    if (comm.alone()) return;
    // the exchanges alone, with nothing to hide behind
    const auto begun = clock_type::now();
    constexpr int repeats = 10;
    for (int i = 0; i < repeats; ++i) {
        comm.grouped([&] { trainer.gradients.each([&](auto& block) { comm.reduce_scatter(block.flat()); }); });
        comm.join();
        comm.grouped([&] { trainer.model.weights.each([&](auto& block) { comm.all_gather(block.flat()); }); });
        comm.join();
        gpu.synchronize();
    }
    const double exchange = seconds_since(begun) / repeats,
                 moved = 6 * bytes * static_cast<double>(comm.size() - 1) / static_cast<double>(comm.size());
    say(comm, dg::text("  exchanges alone ", exchange * 1e3, " ms: ", moved * 1e-9, " GB out of each GPU, ",
                       moved / exchange * 1e-9, " GB/s"));
}

void growth(dg::communicator& comm, dg::cuda& gpu) {
    if (std::string("grow smollm-1.7b").find(only) == std::string::npos) return;
    dg::trainer<bf16, dg::cuda> trainer(gpu, dg::smollm_1_7b().with_depth(20), 1, 24, {}, comm);
    gpu.synchronize();
    comm.barrier();
    const auto begun = clock_type::now();
    trainer.grow(dg::lidas{4}(20));
    gpu.synchronize();
    comm.barrier();
    say(comm, dg::text("grow smollm-1.7b 20 to 24 layers, ", comm.size(), " ranks: ", seconds_since(begun),
                       " s, checksum over ranks included"));
}

void rectangle(std::ofstream& out, double from, double to, double y, const char* colour, const std::string& title) {
    out << "<rect x=\"" << 10 + from << "\" y=\"" << y << "\" width=\"" << std::max(0.2, to - from)
        << "\" height=\"30\"\nfill=\"" << colour << "\"><title>" << title << "</title></rect>\n";
}

/// One step as a picture: what the GPU computes above, what it exchanges below.
void draw_timeline(const std::string& id, const dg::launched_process& self) {
    profiled gpu({.device = static_cast<int>(self.local_rank), .fp8 = fp8, .record = false});
    timed_ranks comm(id, self.rank, self.size, gpu.stream());
    const auto model = dg::smollm_360m();
    const random_tokens data(model, 16 * comm.size(), 2048);
    dg::trainer<bf16, profiled> trainer(gpu, model, 1, model.layers, {}, comm);
    for (int i = 0; i < 4; ++i) trainer.step(data.batch(), 16, 1e-4);
    cudaEvent_t base = nullptr;
    (void)cudaEventCreate(&base);
    comm.barrier();
    (void)cudaEventRecord(base, gpu.stream());
    gpu.on = comm.on = true;
    trainer.step(data.batch(), 16, 1e-4);
    gpu.synchronize();
    if (!comm.first()) return;
    const auto at = [&](cudaEvent_t event) {
        float ms = 0;
        (void)cudaEventElapsedTime(&ms, base, event);
        return static_cast<double>(ms);
    };
    const double end = at(gpu.events().back().end), last = std::max(end, at(comm.events.back().end)),
                 scale = 1180 / last;
    std::ofstream out(timeline);
    out << "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"1200\" height=\"150\" font-family=\"sans-serif\" "
           "font-size=\"13\">\n<rect width=\"1200\" height=\"150\" fill=\"white\"/>\n<text x=\"10\" y=\"20\">One step "
           "of "
        << model.name << " on one of " << comm.size() << " GPUs, " << last << " ms: operations above, exchanges "
        << "below</text>\n";
    for (const auto& e : gpu.events()) rectangle(out, at(e.begin) * scale, at(e.end) * scale, 32, "#4878a8", e.name);
    double exposed = 0, all = 0;
    for (const auto& e : comm.events) {
        rectangle(out, at(e.begin) * scale, at(e.end) * scale, 70, e.name == "all-gather" ? "#c86838" : "#58a058",
                  e.name);
        all += at(e.end) - at(e.begin);
        if (e.name == "all-gather") exposed += at(e.end) - at(e.begin);
    }
    out << "<text x=\"10\" y=\"125\">blue: operations; green: gradients summed into shares;\norange: weights gathered. "
        << all << " ms of exchanges</text>\n</svg>\n";
    say(comm, dg::text("timeline: ", timeline, ", step ", last, " ms, exchanges ", all, " ms, of them gathers ",
                       exposed, " ms"));
}

void run() {
    const auto& self = tools::launched();
    const auto id_for = [&](const char* what) {
        return self.size < 2 ? std::string()
                             : dg::pass_on(tools::rendezvous_file("/tmp/depthgrow").string() + what, self,
                                           dg::nccl_ranks::make_id, std::chrono::seconds(120));
    };
    if (!timeline.empty() && self.size > 1) return draw_timeline(id_for("-timeline"), self);
    dg::cuda gpu({.device = static_cast<int>(self.local_rank), .fp8 = fp8});
    std::unique_ptr<dg::communicator> several;
    if (self.size > 1) several = std::make_unique<dg::nccl_ranks>(id_for(""), self.rank, self.size, gpu.stream());
    dg::communicator& comm = several ? *several : dg::no_other_ranks();
    training(comm, gpu, dg::smollm_360m(), 16, 2048);
    training(comm, gpu, dg::smollm_1_7b(), 8, 2048);
    training(comm, gpu, dg::mini(), 128, 512);
    growth(comm, gpu);
}

}  // namespace

int main(int argc, char** argv) {
    for (int i = 1; i < argc; ++i) {
        if (!std::strcmp(argv[i], "--fp8")) fp8 = true;
        else if (!std::strcmp(argv[i], "--ranks") && i + 1 < argc) count = argv[++i];
        else if (!std::strcmp(argv[i], "--only") && i + 1 < argc) only = argv[++i];
        else if (!std::strcmp(argv[i], "--timeline") && i + 1 < argc) timeline = argv[++i];
        else if (!std::strcmp(argv[i], "--steps") && i + 1 < argc)
            steps = static_cast<std::size_t>(std::atoi(argv[++i]));
        else
            return std::fprintf(stderr,
                                "usage: ranks [--ranks N|all] [--only NAME] [--steps N] [--fp8] [--timeline "
                                "FILE]\n"),
                   1;
    }
    try {
        tools::launch_ranks(count, "cuda");
        run();
    } catch (const std::exception& problem) {
        std::printf("stopped: %s\n", problem.what());
        return 1;
    }
}
