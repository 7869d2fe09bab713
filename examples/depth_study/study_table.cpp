#include "depth_study/study_table.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "support/console.hpp"
#include "support/json_output.hpp"

namespace study {

namespace {

constexpr std::size_t columns = 4;  // of variants on a screen

/// Collects the numbers of a cell.
struct quantity_list {
    std::vector<quantity> all;

    void add(const std::string& key, const std::string& title, int digits, const dg::json& value) {
        if (value.is_number()) all.push_back({key, title, digits, value.get<double>()});
    }
    void add_each(const std::string& key, const std::string& title, int digits, const dg::json& object) {
        if (object.is_object())
            for (const auto& [name, value] : object.items()) add(key + "/" + name, title + ": " + name, digits, value);
    }
};

std::string number(int digits, double value) { return tools::format("%.*f", digits, value); }

/// "0.519 ± 0.010"; the number alone where there is no interval.
std::string with_interval(int digits, const dg::mean_interval& m, bool sign = false) {
    std::string out = (sign && m.mean >= 0 ? "+" : "") + number(digits, m.mean);
    if (std::isfinite(m.high)) out += " ±" + number(digits, (m.high - m.low) / 2);
    return out;
}

/// The value of a lens at the last layer's input.
void add_late(quantity_list& out, const std::string& set, const dg::json& report, const std::string& lens,
              const std::string& title) {
    if (!report.contains(lens)) return;
    const auto& overlap = report[lens].at("top5_overlap");
    if (overlap.size() < 2) return;
    const auto at = overlap.size() - 2;  // the last one is the output itself
    out.add(lens + "_overlap/" + set, "top-5 overlap at the last layer's input, " + title + " lens: " + set, 3,
            overlap[at]);
    out.add(lens + "_kl/" + set, "KL at the last layer's input, " + title + " lens: " + set, 4,
            report[lens].at("kl_final_lens")[at]);
}

/// Mean over its starts of the loss that each kind and length of a sweep adds.
void add_sweeps(quantity_list& out, const std::string& set, const dg::json& report) {
    std::vector<std::pair<std::string, dg::running_statistics>> kinds;
    for (const auto& one : report.value("sweeps", dg::json::array())) {
        const std::string name = one.at("kind").get<std::string>() + " " + one.at("length").dump();
        if (kinds.empty() || kinds.back().first != name) kinds.emplace_back(name, dg::running_statistics());
        kinds.back().second.add(one.at("added").at("mean").get<double>());
    }
    for (const auto& [name, added] : kinds)
        out.add(name + "/" + set, "loss added by " + name + ", mean over starts: " + set, 4, added.mean());
}

/// What the depth report of one set of prompts says.
void add_report(quantity_list& out, const std::string& set, const dg::json& report) {
    if (report.contains("depth_score"))
        out.add("depth_score/" + set, "depth score: " + set, 3, report["depth_score"]["mean"]["output"]);
    add_late(out, set, report, "logit_lens", "logit");
    add_late(out, set, report, "tuned_lens", "tuned");
    add_sweeps(out, set, report);
    if (!report.contains("contribution")) return;
    dg::running_statistics attention;
    for (const auto& ratio : report["contribution"]["attention_ratio"]) attention.add(ratio.get<double>());
    out.add("attention/" + set, "attention's contribution, mean over layers: " + set, 3, attention.mean());
}

dg::json interval(const dg::mean_interval& m) {
    if (!std::isfinite(m.high)) return {{"mean", m.mean}};
    return tools::interval_json(m);
}

}  // namespace

std::vector<quantity> quantities(const dg::json& found, std::size_t moment, double baseline_flops) {
    const auto& now = found.at("moments").at(moment);
    const auto& held_out = now.at("held_out");
    quantity_list out;
    out.add("layers", "layers", 0, now.at("layers"));
    out.add("flops", "training FLOPs, baseline = 1", 3, now.at("flops").get<double>() / baseline_flops);
    out.add("seconds", "training seconds", 1, now.at("seconds"));
    if (now.contains("joules")) out.add("joules", "training energy (joules)", 0, now.at("joules"));
    out.add("loss", "held-out loss (nats per token)", 4, held_out.at("validation_loss"));
    if (held_out.at("loss_by_source").size() > 1)
        out.add_each("loss", "held-out loss", 4, held_out.at("loss_by_source"));
    out.add_each("answers", "answers right", 3, held_out.at("answer_accuracy"));
    out.add("late_overlap", "top-5 overlap at the last layer's input", 3, held_out.at("late_top5_overlap"));
    out.add("middle_swap", "loss added by swapping the middle blocks", 4, held_out.at("swap_loss_added"));
    if (now.contains("depth"))
        for (const auto& [set, report] : now["depth"].items()) add_report(out, set, report);
    if (now.contains("tasks"))
        for (const auto& [task, score] : now["tasks"].items())
            out.add("task/" + task, "accuracy: " + task, 3, score.at("accuracy"));
    return out.all;
}

std::optional<dg::mean_interval> paired_by_seed(const std::map<std::size_t, double>& a,
                                                const std::map<std::size_t, double>& b) {
    std::vector<double> differences;
    for (const auto& [seed, value] : a)
        if (const auto other = b.find(seed); other != b.end()) differences.push_back(value - other->second);
    if (differences.empty()) return std::nullopt;
    return dg::student_mean(differences);
}

std::vector<table_row> make_table(const study_file& study, const std::vector<cell>& cells,
                                  const std::vector<cell_result>& results, std::size_t moment) {
    double flops = 0;  // of the baseline: as measured, or as planned
    for (const auto& result : results)
        if (result.what->variant == study.baseline && flops == 0)
            flops = result.found.at("moments").at(moment).at("flops").get<double>();
    for (const auto& one : cells)
        if (one.variant == study.baseline && flops == 0) flops = one.run.flops_until(one.moments.at(moment));
    std::vector<table_row> table;
    const auto row_of = [&](const quantity& q) -> table_row& {
        for (auto& row : table)
            if (row.key == q.key) return row;
        table.push_back({q.key, q.title, q.digits, std::vector<table_entry>(study.variants.size())});
        return table.back();
    };
    for (const auto& result : results)
        for (std::size_t v = 0; v < study.variants.size(); ++v) {
            if (result.what->variant != study.variants[v].name || moment >= result.what->moments.size()) continue;
            for (const auto& q : quantities(result.found, moment, flops))
                row_of(q).variants[v].values[result.what->seed] = q.value;
        }
    const auto baseline =
        static_cast<std::size_t>(std::find_if(study.variants.begin(), study.variants.end(),
                                              [&](const auto& v) { return v.name == study.baseline; }) -
                                 study.variants.begin());
    for (auto& row : table)
        for (std::size_t v = 0; v < row.variants.size(); ++v) {
            auto& entry = row.variants[v];
            if (entry.values.empty()) continue;
            std::vector<double> values;
            for (const auto& [seed, value] : entry.values) values.push_back(value);
            entry.mean = dg::student_mean(values);
            if (v == baseline) continue;
            entry.difference = paired_by_seed(entry.values, row.variants[baseline].values);
            for (const auto& [seed, value] : entry.values) entry.pairs += row.variants[baseline].values.count(seed);
        }
    return table;
}

namespace {

/// The baseline, then the other variants that have numbers.
std::vector<std::size_t> measured_variants(const study_file& study, const std::vector<table_row>& table) {
    std::vector<std::size_t> out;
    for (std::size_t v = 0; v < study.variants.size(); ++v) {
        const bool any =
            std::any_of(table.begin(), table.end(), [&](const auto& row) { return !row.variants[v].values.empty(); });
        if (study.variants[v].name == study.baseline) out.insert(out.begin(), v);
        else if (any) out.push_back(v);
    }
    return out;
}

}  // namespace

std::vector<std::vector<std::string>> text_table(const study_file& study, const std::vector<table_row>& table,
                                                 std::size_t first, std::size_t count) {
    const auto there = measured_variants(study, table);
    std::vector<std::size_t> shown = {there[0]};
    for (std::size_t other = 1 + first; other < there.size() && shown.size() <= count; ++other)
        shown.push_back(there[other]);
    std::vector<std::vector<std::string>> rows(1, {""});
    for (std::size_t v : shown) {
        std::size_t seeds = 0;
        for (const auto& row : table) seeds = std::max(seeds, row.variants[v].values.size());
        rows[0].push_back(study.variants[v].name + (seeds > 1 ? tools::format(" (%zu seeds)", seeds) : ""));
    }
    for (const auto& row : table) {
        std::vector<std::string> means = {row.title}, differences = {"  minus " + study.baseline};
        bool compared = false;
        for (std::size_t v : shown) {
            const auto& entry = row.variants[v];
            means.push_back(entry.values.empty() ? "" : with_interval(row.digits, entry.mean));
            const bool paired = entry.difference && entry.pairs > 1;
            differences.push_back(paired ? with_interval(row.digits, *entry.difference, true) : "");
            compared = compared || paired;
        }
        rows.push_back(std::move(means));
        if (compared && row.key != "layers" && row.key != "flops") rows.push_back(std::move(differences));
    }
    return rows;
}

namespace {

/// Columns as wide as their widest cell; "±" counts one.
void print_rows(const std::vector<std::vector<std::string>>& rows) {
    const auto letters = [](const std::string& s) {
        return static_cast<std::size_t>(
            std::count_if(s.begin(), s.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0u) != 0x80u; }));
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

}  // namespace

void print_table(const study_file& study, const std::vector<table_row>& table) {
    const std::size_t others = measured_variants(study, table).size() - 1;
    for (std::size_t first = 0; first == 0 || first < others; first += columns - 1) {
        if (first > 0) std::printf("\n");
        print_rows(text_table(study, table, first, columns - 1));
    }
}

dg::json results_json(const study_file& study, const std::vector<cell>& cells,
                      const std::vector<cell_result>& results) {
    dg::json out = {{"study", study.name},
                    {"baseline", study.baseline},
                    {"cells", cells.size()},
                    {"finished", results.size()},
                    {"confidence", 0.95}};
    out["runs"] = dg::json::array();
    for (const auto& result : results)
        out["runs"].push_back({{"variant", result.what->variant},
                               {"seed", result.what->seed},
                               {"folder", result.what->run.settings.out},
                               {"made", result.found.at("made")},
                               {"result", result.found.at("result")}});
    out["moments"] = dg::json::array();
    for (std::size_t m = 0; m < cells.front().moments.size(); ++m) {
        dg::json entries = dg::json::array();
        for (const auto& row : make_table(study, cells, results, m))
            for (std::size_t v = 0; v < row.variants.size(); ++v) {
                const auto& entry = row.variants[v];
                if (entry.values.empty()) continue;
                dg::json one = {{"quantity", row.key},
                                {"title", row.title},
                                {"variant", study.variants[v].name},
                                {"n", entry.values.size()}};
                one.update(interval(entry.mean));
                for (const auto& [seed, value] : entry.values) one["by_seed"][std::to_string(seed)] = value;
                if (entry.difference) {
                    one["difference"] = interval(*entry.difference);
                    one["difference"]["n"] = entry.pairs;
                }
                entries.push_back(std::move(one));
            }
        out["moments"].push_back({{"checkpoint", study.moments.at(m)}, {"table", std::move(entries)}});
    }
    return out;
}

}  // namespace study
