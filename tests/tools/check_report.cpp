// Holds a depth_report JSON against the values of a fixture: check_report EXPECTED REPORT UNIT [random|fitted]
// Float against the float64 oracle: |got − want| <= 2e-4 (1e-3 + |want|); a count may be off by one token (a near-tie).
#include <cmath>
#include <cstdio>
#include <string>

#include "depthgrow/io/json.hpp"

namespace dg = depthgrow;

namespace {

int problems = 0;
double worst = 0;

void compare(const std::string& path, const dg::json& want, const dg::json* got, double one_token) {
    if (!got) return ++problems, std::fprintf(stderr, "%s: expected a value, found none\n", path.c_str()), void();
    if (want.is_object()) {
        for (const auto& [key, value] : want.items())
            compare(path + "." + key, value, got->is_object() && got->contains(key) ? &(*got)[key] : nullptr,
                    one_token);
    } else if (want.is_array()) {
        if (!got->is_array() || got->size() != want.size())
            return ++problems, std::fprintf(stderr, "%s: expected %zu values\n", path.c_str(), want.size()), void();
        for (std::size_t i = 0; i < want.size(); ++i)
            compare(path + "[" + std::to_string(i) + "]", want[i], &(*got)[i], one_token);
    } else {
        const double w = want.get<double>(), g = got->is_number() ? got->get<double>() : NAN,
                     error = std::fabs(g - w) / (1e-3 + std::fabs(w));
        const bool counted =
            path.find("top5") != path.npos || path.find("agreement") != path.npos || path.find("accuracy") != path.npos;
        if (counted && std::fabs(g - w) <= one_token) return;
        worst = std::max(worst, error);
        if (!(error <= 2e-4)) ++problems, std::fprintf(stderr, "%s: expected %.9g, found %.9g\n", path.c_str(), w, g);
    }
}

/// Every mean must lie in an interval of the same shape: low <= mean <= high (rounding aside).
void contains(const std::string& path, const dg::json& mean, const dg::json& low, const dg::json& high) {
    if (mean.is_array()) {
        if (low.size() != mean.size() || high.size() != mean.size())
            return ++problems,
                   std::fprintf(stderr, "%s: expected intervals of %zu values\n", path.c_str(), mean.size()), void();
        for (std::size_t i = 0; i < mean.size(); ++i)
            contains(path + "[" + std::to_string(i) + "]", mean[i], low[i], high[i]);
        return;
    }
    const double m = mean.get<double>(), slack = 1e-9 * (1 + std::fabs(m));
    if (!(low.get<double>() <= m + slack && m <= high.get<double>() + slack))
        ++problems, std::fprintf(stderr, "%s: expected the interval to hold the mean %.9g\n", path.c_str(), m);
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 4) return std::fprintf(stderr, "usage: check_report EXPECTED REPORT UNIT [random|fitted]\n"), 2;
    const dg::json want = dg::read_json_file(argv[1]), got = dg::read_json_file(argv[2]);
    const std::string unit = argv[3], lens = argc > 4 ? argv[4] : "";
    const auto part = [&](const char* key) { return got.contains(key) ? &got[key] : nullptr; };
    const double one_token = 1.01 / (got["positions"].get<double>() - got["prompts"].get<double>());
    if (got["skip"]["unit"] != unit) ++problems, std::fprintf(stderr, "skip.unit: expected %s\n", unit.c_str());
    compare("skip", want["skip_" + unit], part("skip"), one_token);
    for (const char* key : {"contribution", "local", "depth_score", "logit_lens", "angular_distance"})
        compare(key, want[key], part(key), one_token);
    compare("block_similarity", want["block_similarity"],
            got.contains("block_similarity") ? &got["block_similarity"]["cosine"] : nullptr, one_token);
    if (!lens.empty()) compare("tuned_lens", want["tuned_lens_" + lens], part("tuned_lens"), one_token);

    const dg::json& interval = got["interval"];
    if (interval["n"] != got["prompts"])
        ++problems, std::fprintf(stderr, "interval.n: expected the number of prompts\n");
    for (const std::string key : {"contribution", "logit_lens", "tuned_lens", "angular_distance"}) {
        if (!got.contains(key)) continue;
        for (const auto& [name, mean] : got[key].items())
            contains(key + "." + name, mean, interval[key][name]["low"], interval[key][name]["high"]);
    }
    for (const std::string mode : {"current", "future"})
        for (const std::string name : {"change_mean", "output_mean"})
            contains("skip." + mode + "." + name, got["skip"][mode][name], interval["skip"][mode][name]["low"],
                     interval["skip"][mode][name]["high"]);
    for (const std::string score : {"depth_score", "relative_depth_score"})
        for (const std::string flavour : {"output", "layer"})
            contains(score, got[score]["mean"][flavour], interval[score]["mean"][flavour]["low"],
                     interval[score]["mean"][flavour]["high"]);
    for (const auto& sweep : got["sweeps"]) contains("sweeps", sweep["loss"], sweep["low"], sweep["high"]);
    if (problems) return std::fprintf(stderr, "%d values disagree\n", problems), 1;
    std::printf("%s, unit %s%s%s: all quantities agree, largest error %.1e\n", argv[1], unit.c_str(),
                lens.empty() ? "" : ", lens ", lens.c_str(), worst);
}
