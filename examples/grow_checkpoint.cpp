// Grows a Hugging Face directory in depth: reads one, writes another, a few megabytes in memory at a time.
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "depthgrow/growth/flops.hpp"
#include "depthgrow/growth/operators.hpp"
#include "depthgrow/io/grow_directory.hpp"
#include "depthgrow/io/streamed_logits.hpp"
#include "support/cli.hpp"
#include "support/console.hpp"
#include "support/cpu_backend.hpp"
#include "support/json_output.hpp"

namespace {

namespace dg = depthgrow;

struct settings {
    std::string in, out, growth, order, moments = "copy", json;
    std::size_t block = 4, seed = 1;
    int threads = 1;
    bool zero_new = false, dry_run = false, quiet = false;
};

dg::layer_order resolve_order(const settings& s, std::size_t depth) {
    dg::require(s.growth.empty() != s.order.empty(), "--operator, --order: expected one of the two, found ", s.order.empty() ? "neither" : "both");
    if (!s.growth.empty()) return dg::make_operator(s.growth, s.block)(depth);
    try {
        return dg::parse_layer_order(s.order, depth);
    } catch (const dg::error& problem) {
        dg::fail("--order: ", problem.what());
    }
}

std::uint64_t flops(const dg::decoder_config& c) { return dg::forward_flops_per_token({c.layers, c.width, c.kv_width(), c.ffn, c.vocab, c.context}, c.layers); }

/// The largest difference of logits between the two directories on drawn tokens; both run one layer at a time.
double largest_difference(const settings& s, const dg::checkpoint_reader& before, const std::filesystem::path& after, std::size_t positions) {
    dg::blas backend(tools::cpu_options(s.threads));
    dg::rng random(s.seed, 0);
    std::vector<dg::token> ids;
    for (std::size_t t = 0; t < positions; ++t) ids.push_back(static_cast<dg::token>(random.below(before.config().vocab)));
    const auto old_logits = dg::streamed_logits<float>(backend, before, ids), new_logits = dg::streamed_logits<float>(backend, dg::checkpoint_reader(after, true), ids);
    double largest = 0;
    for (std::size_t i = 0; i < old_logits.size(); ++i) {
        const double difference = std::abs(static_cast<double>(old_logits[i]) - static_cast<double>(new_logits[i]));
        largest = difference <= largest ? largest : difference;  // a NaN stays
    }
    return largest;
}

void print_row(const char* what, double before, double after, const char* unit) {
    std::printf("%-22s %10s%s -> %10s%s  (x %.3f)\n", what, tools::human(before).c_str(), unit, tools::human(after).c_str(), unit, after / before);
}

void run(const settings& s) {
    const dg::checkpoint_reader in(s.in);
    const auto order = resolve_order(s, in.config().layers);
    const dg::directory_growth_options options{s.zero_new, s.moments == "zero" ? dg::state_policy::zero : dg::state_policy::copy};
    const auto plan = dg::plan_directory_growth(in, order, options);
    if (!s.dry_run) dg::require_new_directory(s.out);
    const bool shown = !s.quiet && s.json != "-";
    const auto number = [](std::uint64_t n) { return static_cast<double>(n); };
    if (shown) {
        std::printf("order                  %s\n", order.to_string().c_str());
        print_row("layers", number(plan.before.layers), number(plan.after.layers), "");
        print_row("parameters", number(plan.before.parameters()), number(plan.after.parameters()), "");
        print_row("forward FLOPs, 1 token", number(flops(plan.before)), number(flops(plan.after)), "");
        print_row("weights", number(plan.bytes_before), number(plan.bytes_after), "B");
        if (plan.optimizer_before) print_row("optimizer", number(plan.optimizer_before), number(plan.optimizer_after), "B");
        for (const auto& name : plan.left_out) std::printf("left out               %s (weights of another format, or a folder)\n", name.c_str());
    }
    dg::json record = {{"order", order.sources()}, {"layers", {plan.before.layers, plan.after.layers}}, {"parameters", {plan.before.parameters(), plan.after.parameters()}},
                       {"forward_flops_per_token", {flops(plan.before), flops(plan.after)}}, {"bytes", {plan.bytes_before, plan.bytes_after}},
                       {"optimizer_bytes", {plan.optimizer_before, plan.optimizer_after}}, {"dry_run", s.dry_run}};
    if (!s.dry_run) {
        tools::stopwatch watch;
        double proof_seconds = 0;
        const std::size_t positions = std::min<std::size_t>(16, plan.before.context);
        dg::grow_directory(in, s.out, order, options, [&](const std::filesystem::path& made) {
            if (!s.zero_new) return;
            tools::stopwatch proof;
            const double difference = largest_difference(s, in, made, positions);
            proof_seconds = proof.seconds();
            dg::require(difference == 0, s.in, ": expected unchanged logits after growth by new layers of zero effect, found a difference of ", difference, "; nothing was written");
            if (shown) std::printf("proof                  logits of %zu positions are unchanged, bit for bit\n", positions);
            record["zero_new"] = {{"positions", positions}, {"largest_difference", difference}};
        });
        const double seconds = watch.seconds() - proof_seconds, moved = number(plan.bytes_after + plan.optimizer_after);
        record["seconds"] = seconds;
        if (shown) std::printf("written                %s, %sB in %.2f s (%sB/s)\n", s.out.c_str(), tools::human(moved).c_str(), seconds, tools::human(moved / seconds).c_str());
    }
    tools::write_json(s.json, record);
}

}  // namespace

int main(int argc, char** argv) {
    return tools::run_tool([&] {
        settings s;
        tools::command_line flags("grow_checkpoint IN OUT --operator NAME | --order LIST [FLAGS]", "Grows a Hugging Face directory in depth: IN is read, OUT is written, whole or not at all.");
        flags.add_required("IN", s.in, "a model directory to grow");
        flags.add_positional("OUT", s.out, "New directory of the grown model; required but for --dry-run");
        flags.add_choice("--operator", s.growth, {"midas", "lidas", "gradual", "doubling", "interleave", "solar"}, "Growth operator; this or --order is required");
        flags.add("--block", s.block, "Layers of a block (solar: layers dropped at the seam)");
        flags.add("--order", s.order, "Layer order instead of an operator: 0,1,2,1,2,3");
        flags.add_choice("--optimizer-state", s.moments, {"copy", "zero"}, "Moments that new layers start with");
        flags.add_switch("--zero-new", s.zero_new, "Zero o_proj and down_proj of new layers and prove that logits are unchanged");
        flags.add_switch("--dry-run", s.dry_run, "Print order, parameters, FLOPs and bytes, and stop");
        flags.add("--seed", s.seed, "Seed of the tokens of the proof");
        flags.add("--threads", s.threads, "CPU threads of the proof");
        flags.add_json(s.json);
        flags.add_quiet(s.quiet);
        flags.examples({"grow_checkpoint SmolLM2-135M grown --operator lidas --block 5 --dry-run    # sizes and FLOPs, before and after",
                        "grow_checkpoint SmolLM2-135M grown --operator lidas --block 5 --zero-new   # new layers begin as identities, and the proof",
                        "train_smol --init grown --data book.txt --out runs/grown                   # training goes on from the weights"},
                       "Keeps dtypes, shards, tokenizer and every other file; optimizer.safetensors grows by the same order.");
        if (!flags.parse(argc, argv)) return;
        dg::require(!s.out.empty() || s.dry_run, "OUT: expected a directory to write, found none");
        run(s);
    });
}
