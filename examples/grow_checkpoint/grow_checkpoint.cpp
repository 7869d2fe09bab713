// Grows a Hugging Face directory in depth: reads one, writes another, a few megabytes in memory at a time.
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "depthgrow/backend/blas.hpp"
#include "depthgrow/growth/operators.hpp"
#include "depthgrow/io/grow_directory.hpp"
#include "depthgrow/io/streamed_logits.hpp"
#include "depthgrow/nn/shape.hpp"
#include "support/cli.hpp"
#include "support/console.hpp"
#include "support/cpu_backend.hpp"
#include "support/json_output.hpp"

namespace {

namespace dg = depthgrow;

struct settings {
    std::string in, out, growth, order, moments = "copy", init = "copy", prefix, json;
    std::size_t seed = 1, init_seed = 1;
    dg::operator_parameters parameters;
    int threads = 1;
    bool zero_new = false, dry_run = false, quiet = false;
};

dg::mixture resolve_layers(const settings& s, std::size_t depth) {
    dg::require(s.growth.empty() != s.order.empty(), "--operator, --order: expected one of the two, found ",
                s.order.empty() ? "neither" : "both");
    if (!s.growth.empty()) return dg::make_operator(s.growth, s.parameters).rows(depth);
    try {
        return dg::parse_mixture(s.order, depth);
    } catch (const dg::error& problem) { dg::fail("--order: ", problem.what()); }
}

/// Tokens on which unchanged logits are proved.
constexpr std::size_t proof_positions = 16;

dg::growth resolve_growth(const settings& s, std::size_t depth) {
    dg::growth how{resolve_layers(s, depth), dg::parse_layer_init(s.init), dg::parse_state_policy(s.moments),
                   s.init_seed};
    dg::require(!s.zero_new || how.init.kind == dg::init_kind::copy || how.init.kind == dg::init_kind::zero_residual,
                "--zero-new, --init: expected one of the two, found both");
    if (s.zero_new) how.init.kind = dg::init_kind::zero_residual;
    return how;
}

/// "midas: the middle block, …", one operator a line.
std::string operators_help() {
    std::string out = "Operators:";
    for (const auto& entry : dg::operator_table)
        out += dg::text("\n  ", entry.name, ": ", entry.help, entry.reads.empty() ? "" : " [", entry.reads,
                        entry.reads.empty() ? "" : "]");
    out += "\nNew layers begin (--init):";
    for (const auto& entry : dg::init_table) out += dg::text("\n  ", entry.name, ": ", entry.help);
    return out;
}

std::vector<std::string> policies() {
    std::vector<std::string> names;
    for (const auto& entry : dg::state_table) names.emplace_back(entry.name);
    return names;
}

std::uint64_t flops(const dg::decoder_config& c) { return dg::forward_flops_per_token(dg::shape_of(c), c.layers); }

/// The largest difference of logits between the two directories on drawn tokens; both run one layer at a time.
double largest_difference(const settings& s, const dg::model_directory& in, const std::filesystem::path& after,
                          std::size_t positions) {
    dg::blas backend({s.threads, tools::cpu_product_of("fp32").run});
    const dg::checkpoint_reader before(in.directory());
    dg::rng random(s.seed, 0);
    std::vector<dg::token> ids;
    for (std::size_t t = 0; t < positions; ++t)
        ids.push_back(static_cast<dg::token>(random.below(before.config().vocab)));
    const auto old_logits = dg::streamed_logits<float>(backend, before, ids),
               new_logits = dg::streamed_logits<float>(backend, dg::checkpoint_reader(after, true), ids);
    double largest = 0;
    for (std::size_t i = 0; i < old_logits.size(); ++i) {
        const double difference = std::abs(static_cast<double>(old_logits[i]) - static_cast<double>(new_logits[i]));
        largest = difference <= largest ? largest : difference;  // a NaN stays
    }
    return largest;
}

void print_row(const char* what, double before, double after, const char* unit) {
    std::printf("%-22s %10s%s -> %10s%s  (x %.3f)\n", what, tools::human(before).c_str(), unit,
                tools::human(after).c_str(), unit, after / before);
}

std::uint64_t parameters(const std::optional<dg::decoder_config>& described, std::uint64_t numbers) {
    return described ? described->parameters() : numbers;
}

dg::json to_json(const dg::directory_growth_plan& plan, const dg::growth& how) {
    dg::json record = {
        {"layers", {plan.layers_before, plan.layers_after}},
        {"parameters", {parameters(plan.before, plan.numbers_before), parameters(plan.after, plan.numbers_after)}},
        {"tensors", {plan.tensors_before, plan.tensors_after}},
        {"bytes", {plan.bytes_before, plan.bytes_after}},
        {"optimizer_bytes", {plan.optimizer_before, plan.optimizer_after}},
        {"not_understood", plan.notes},
        {"left_out", plan.left_out}};
    if (how.layers.is_order()) record["order"] = how.layers.order().sources();
    else record["mixture"] = how.layers.to_string();
    if (plan.before) record["forward_flops_per_token"] = {flops(*plan.before), flops(*plan.after)};
    if (how.init != dg::layer_init()) record["init"] = how.init.to_string();
    return record;
}

void print(const dg::directory_growth_plan& plan, const dg::growth& how, const std::string& model_type) {
    const auto row = [](const char* what, std::uint64_t before, std::uint64_t after, const char* unit = "") {
        print_row(what, static_cast<double>(before), static_cast<double>(after), unit);
    };
    std::printf("order                  %s\n", how.layers.to_string().c_str());
    if (how.init.kind != dg::init_kind::copy) std::printf("new layers begin       %s\n", how.init.to_string().c_str());
    row("layers", plan.layers_before, plan.layers_after);
    row("parameters", parameters(plan.before, plan.numbers_before), parameters(plan.after, plan.numbers_after));
    if (plan.before) row("forward FLOPs, 1 token", flops(*plan.before), flops(*plan.after));
    else std::printf("forward FLOPs, 1 token  unknown, as is the graph of model_type %s\n", model_type.c_str());
    row("tensors", plan.tensors_before, plan.tensors_after);
    row("weights", plan.bytes_before, plan.bytes_after, "B");
    if (plan.optimizer_before) row("optimizer", plan.optimizer_before, plan.optimizer_after, "B");
    for (const auto& note : plan.notes) std::printf("not understood         %s\n", note.c_str());
    for (const auto& name : plan.left_out) {
        const bool foreign = name == "trainer_state.json" || name == "optimizer.safetensors";
        std::printf("left out               %s (%s)\n", name.c_str(),
                    foreign ? "another trainer's" : "weights of another format, or a folder");
    }
}

/// Writes the grown directory; where new layers begin as identities, only after the logits were seen unchanged.
void grow(const settings& s, const dg::model_directory& in, const dg::directory_growth_plan& plan,
          const dg::growth& how, bool shown, dg::json& record) {
    tools::stopwatch watch;
    double proof_seconds = 0;
    const bool proved = how.init.kind == dg::init_kind::zero_residual;
    const std::size_t positions = std::min(proof_positions, plan.before ? plan.before->context : 0);
    dg::grow_directory(in, s.out, how, [&](const std::filesystem::path& made) {
        if (!proved) return;
        tools::stopwatch proof;
        const double difference = largest_difference(s, in, made, positions);
        proof_seconds = proof.seconds();
        dg::require(difference == 0, s.in,
                    ": expected unchanged logits after growth by new layers of zero effect, found a difference of ",
                    difference, "; nothing was written");
        if (shown)
            std::printf("proof                  logits of %zu positions are unchanged, bit for bit\n", positions);
        record["zero_new"] = {{"positions", positions}, {"largest_difference", difference}};
    });
    const double seconds = watch.seconds() - proof_seconds;
    const auto moved = static_cast<double>(plan.bytes_after + plan.optimizer_after);
    record["seconds"] = seconds;
    if (shown)
        std::printf("written                %s, %sB in %.2f s (%sB/s)\n", s.out.c_str(), tools::human(moved).c_str(),
                    seconds, tools::human(moved / seconds).c_str());
}

void run(const settings& s) {
    const dg::model_directory in(s.in, s.prefix);
    const auto how = resolve_growth(s, in.layers());
    const auto plan = dg::plan_directory_growth(in, how);
    if (!s.dry_run) dg::require_new_directory(s.out);
    const bool shown = !s.quiet && s.json != "-";
    dg::json record = to_json(plan, how);
    record["dry_run"] = s.dry_run;
    if (shown) print(plan, how, in.model_type());
    if (!s.dry_run) grow(s, in, plan, how, shown, record);
    tools::write_json(s.json, record);
}

}  // namespace

int main(int argc, char** argv) {
    return tools::run_tool([&] {
        settings s;
        tools::command_line flags(
            "grow_checkpoint IN OUT --operator NAME | --order LIST [FLAGS]",
            "Grows a Hugging Face directory in depth: IN is read, OUT is written, whole or not at all.");
        flags.add_required("IN", s.in, "a model directory to grow");
        flags.add_positional("OUT", s.out, "New directory of the grown model; required but for --dry-run");
        flags.add_choice("--operator", s.growth, dg::operator_names(), "Growth operator; this or --order is required");
        flags.add("--block", s.parameters.block, "Layers of a block (solar: layers dropped at the seam)");
        flags.add("--start", s.parameters.start,
                  "First layer of a range (collapse: the layer that others are merged into)");
        flags.add("--length", s.parameters.length, "Layers of a range (collapse: how many are merged and removed)");
        flags.add("--order", s.order,
                  "Layer order instead of an operator, 0,1,2,1,2,3, or sums of layers: 0,1,0.5*1+0.5*2,2");
        flags.add("--init", s.init, "How new layers begin: " + dg::layer_init_names());
        flags.add("--init-seed", s.init_seed, "Seed of what new layers draw");
        flags.add_choice("--optimizer-state", s.moments, policies(),
                         "Moments after growth: with their layers, zero in new layers, zero in all");
        flags.add_switch(
            "--zero-new", s.zero_new,
            "Older spelling of --init zero_residual: new layers add nothing, with the proof that logits are unchanged");
        flags.add("--layers-prefix", s.prefix,
                  "Which tensors are the layers, where there are several stacks: decoder.layers");
        flags.add_switch("--dry-run", s.dry_run, "Print order, parameters, FLOPs and bytes, and stop");
        flags.add("--seed", s.seed, "Seed of the tokens of the proof");
        flags.add("--threads", s.threads, "CPU threads of the proof");
        flags.add_json(s.json);
        flags.add_quiet(s.quiet);
        flags.examples(
            {"grow_checkpoint SmolLM2-135M grown --operator lidas --block 5 --dry-run    # sizes and FLOPs, before and "
             "after",
             "grow_checkpoint SmolLM2-135M grown --operator lidas --block 5 --zero-new   # new layers begin as "
             "identities, and the proof",
             "grow_checkpoint gpt2 grown --operator interleave --init average           # new layers are means of "
             "their neighbours",
             "grow_checkpoint SmolLM2-135M shallow --operator collapse --start 20 --length 3",
             "train_smol --init grown --data book.txt --out runs/grown                   # training goes on from the "
             "weights"},
            "Keeps dtypes, shards, tokenizer and every other file; optimizer.safetensors grows by the same order.\n" +
                operators_help());
        if (!flags.parse(argc, argv)) return;
        dg::require(!s.out.empty() || s.dry_run, "OUT: expected a directory to write, found none");
        if (!s.out.empty()) s.out = dg::output_directory(s.out).string();
        run(s);
    });
}
