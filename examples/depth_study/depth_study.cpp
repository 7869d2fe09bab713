// Trains several variants of one model (plain, grown) over several seeds and prints one table and one page.
#include <cmath>
#include <cstdio>
#include <filesystem>

#include "depthgrow/io/atomic_file.hpp"
#include "depthgrow/metrics/statistics.hpp"
#include "support/console.hpp"
#include "support/json_output.hpp"
#include "support/training_data.hpp"
#include "support/training_report.hpp"

namespace {

namespace dg = depthgrow;

struct variant {
    std::string name;
    std::vector<tools::training_summary> runs;
    std::vector<std::filesystem::path> folders;
};

/// "1.234" of one run, "1.234 ± 0.012" (half of the 95 % bootstrap interval over seeds) of several.
template <class Value> std::string cell(const variant& v, const char* pattern, Value value) {
    std::vector<double> values;
    for (const auto& run : v.runs) values.push_back(value(run));
    double mean = 0;
    for (double x : values) mean += x / static_cast<double>(values.size());
    std::string text = tools::format(pattern, mean);
    if (values.size() < 2) return text;
    const auto interval = dg::bootstrap_mean(values);
    return text + " ±" + tools::format(pattern, (interval.high - interval.low) / 2);
}

std::vector<std::vector<std::string>> table(const std::vector<variant>& variants) {
    std::vector<std::vector<std::string>> rows(1, {""});
    const auto add = [&](const std::string& name, const char* pattern, auto value) {
        rows.push_back({name});
        for (const auto& v : variants) rows.back().push_back(cell(v, pattern, value));
    };
    for (const auto& v : variants) rows[0].push_back(v.name);
    using summary = const tools::training_summary&;
    add("layers", "%.0f", [](summary s) { return static_cast<double>(s.layers); });
    add("training FLOPs, plain = 1", "%.3f", [](summary s) { return s.flops_ratio; });
    add("training seconds", "%.1f", [](summary s) { return s.seconds; });
    add("held-out loss (nats per token)", "%.4f", [](summary s) { return s.validation_loss; });
    for (const auto& [task, share] : variants[0].runs[0].answer_accuracy)
        add("answers right: " + task, "%.3f", [&task = task](summary s) { return s.answer_accuracy.at(task); });
    add("top-5 overlap at the last layer's input", "%.3f", [](summary s) { return s.late_overlap; });
    add("loss added by swapping the middle blocks", "%.4f", [](summary s) { return s.swap_loss; });
    return rows;
}

/// Columns as wide as their widest cell; "±" counts one.
void print(const std::vector<std::vector<std::string>>& rows) {
    const auto letters = [](const std::string& s) {
        std::size_t count = 0;
        for (char c : s) count += (static_cast<unsigned char>(c) & 0xc0u) != 0x80u;
        return count;
    };
    std::vector<std::size_t> widths(rows[0].size(), 0);
    for (const auto& row : rows)
        for (std::size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], letters(row[c]));
    for (const auto& row : rows) {
        for (std::size_t c = 0; c < row.size(); ++c) {
            const std::string pad(widths[c] - letters(row[c]) + (c ? 3 : 0), ' ');
            std::printf("%s", c ? (pad + row[c]).c_str() : (row[c] + pad).c_str());
        }
        std::printf("\n");
    }
}

void run(tools::training_settings settings, const std::string& names, std::size_t seeds) {
    dg::require(settings.growth == "none",
                "--growth: expected --variants, the operators that a study compares, found --growth ", settings.growth);
    dg::require(settings.growth_plan.empty(),
                "--growth-plan: expected --variants, the operators that a study compares, found --growth-plan ",
                settings.growth_plan);
    settings.out = dg::output_directory(settings.out).string();
    if (settings.json == "-") settings.quiet = true;  // the numbers alone
    dg::require(seeds > 0, "--seeds: expected at least 1, found 0");
    if (!settings.dry_run) tools::require_backend(settings.backend, settings.precision);
    std::vector<variant> variants;
    for (std::size_t first = 0; first < names.size();) {
        const std::size_t end = std::min(names.find(',', first), names.size());
        variants.push_back({names.substr(first, end - first), {}, {}});
        first = end + 1;
    }
    dg::require(!variants.empty(), "--variants: expected at least one, found none");
    const std::filesystem::path out = settings.out;
    for (auto& v : variants) {  // everything is checked before the first run starts
        auto checked = settings;
        checked.growth = v.name;
        if (v.name != "none") dg::make_operator(v.name, 4);
        tools::resolve(checked);
    }
    std::vector<tools::named_run> shown;
    dg::json record = dg::json::array();
    for (std::size_t s = 0; s < seeds; ++s)
        for (auto& v : variants) {
            auto one = settings;
            one.growth = v.name;
            one.seed = settings.seed + s;
            one.out = (out / (v.name == "none" ? "plain" : v.name) / tools::format("seed-%zu", one.seed)).string();
            one.json.clear();
            const auto run = tools::resolve(one);
            const std::string name = v.name == "none" ? "plain" : v.name;
            if (!one.quiet) std::printf("== %s, seed %zu\n", name.c_str(), one.seed);
            if (one.dry_run) {
                record.push_back({{"variant", name}, {"folder", one.out}, {"plan", tools::dry_run(run)}});
                if (!one.quiet) std::printf("\n");
                continue;
            }
            v.runs.push_back(tools::train(run));
            v.folders.push_back(one.out);
            if (v.runs.back().interrupted) return;
            if (s == 0) shown.push_back({name, one.out});
            if (!one.quiet) std::printf("\n");
        }
    if (settings.dry_run) return tools::write_json(settings.json, record);
    for (auto& v : variants)
        if (v.name == "none") v.name = "plain";
    const auto rows = table(variants);
    if (settings.json != "-") std::printf("\n"), print(rows);
    dg::report_page page{"Plain and grown, side by side", "", tools::training_sections(shown)};
    page.sections.insert(page.sections.begin(),
                         {"Result",
                          "Overlap 1 means that the last layer changes none of the five likeliest tokens; a small "
                          "added loss means that middle blocks can be exchanged.",
                          {dg::html_table(rows)}});
    dg::write_html_report(out / "report.html", page);
    if (settings.json != "-") std::printf("\npage: %s\n", (out / "report.html").c_str());
    for (const auto& v : variants)
        for (std::size_t i = 0; i < v.runs.size(); ++i)
            record.push_back({{"variant", v.name}, {"folder", v.folders[i].string()}, {"result", v.runs[i].to_json()}});
    tools::write_json(settings.json, record);
}

}  // namespace

int main(int argc, char** argv) {
    return tools::run_tool([&] {
        tools::training_settings settings;
        settings.out = "runs/study";
        std::string names = "none,lidas";
        std::size_t seeds = 1;
        std::string operators;
        for (const auto& name : dg::operator_names(true)) operators += ", " + name;
        tools::command_line flags("depth_study [--variants LIST] [--seeds N] [FLAGS of train_smol]",
                                  "Trains several variants of one model over several seeds: one table, one page.");
        flags.group("Study");
        flags.add("--variants", names,
                  "Growth operators to compare, comma-separated, in place of --growth: none" + operators);
        flags.add("--seeds", seeds, "Seeds of each variant: --seed, --seed + 1, ...");
        tools::add_training_flags(flags, settings);
        flags.examples({"depth_study --variants none,lidas                                     # plain beside grown, "
                        "the built-in corpus",
                        "depth_study --variants none,midas,lidas --seeds 3 --data book.txt     # three seeds each: "
                        "means with intervals",
                        "depth_study --preset tiny --steps 50 --dry-run                        # what it would do"},
                       "Every variant trains as train_smol --growth VARIANT would, into OUT/VARIANT/seed-N; the other "
                       "flags are common to all.");
        if (!flags.parse(argc, argv)) return;
        run(settings, names, seeds);
    });
}
