#include "depth_study/study_file.hpp"

#include <algorithm>
#include <set>

#include "depthgrow/growth/operators.hpp"

namespace study {

namespace fs = std::filesystem;

const std::vector<std::pair<std::string, std::string>>& measure_names() {
    static const std::vector<std::pair<std::string, std::string>> names = {
        {"lens", "logit lens by layer: KL, top-5 overlap, accuracy of an early exit"},
        {"tuned_lens", "the same through a tuned lens, fitted at each moment on the run's own data"},
        {"depth_score", "future effects of skipping each layer, and the depth score"},
        {"contribution", "what attention and MLP of each layer add"},
        {"similarity", "cosines between the MLP weights of blocks"},
        {"skip", "loss without a block, by its start"},
        {"swap", "loss with a block and the next one exchanged, by start"},
        {"reverse", "loss with a block's layers in reverse, by start"},
        {"loop", "loss with a block run twice, by start"},
        {"primitives", "accuracy on held-out tasks, as evaluate has it"},
        {"early_exit", "the same from each layer's input, through the tuned lens where one is fitted"}};
    return names;
}

bool measures::has(const std::string& name) const { return std::find(names.begin(), names.end(), name) != names.end(); }

dg::json measures::to_json() const {
    dg::json out = {{"measure", names}};
    if (names.empty()) return out;
    out["options"] = {{"prompts", prompts},
                      {"sweep_prompts", sweep_prompts},
                      {"lens_steps", lens_steps},
                      {"sweep_lengths", sweep_lengths},
                      {"lens_tokens", lens_tokens},
                      {"tasks", tasks},
                      {"items", items},
                      {"shots", shots}};
    return out;
}

namespace {

void require_baseline(const study_file& study, const std::string& expected) {
    std::string all;
    bool found = false;
    for (const auto& one : study.variants)
        all += (all.empty() ? "" : ", ") + one.name, found = found || one.name == study.baseline;
    dg::require(found, expected, " one of the variants ", all, ", found ", dg::detail::quotable(study.baseline, 40));
}

/// One file being read.
class reader {
public:
    reader(const fs::path& file, const std::map<std::string, std::string>& values)
        : file_(file), label_(file.string()), root_(dg::read_json_file(file)), given_(values) {
        known_keys(root_, label_,
                   {"study", "parameters", "flags", "variants", "baseline", "seeds", "checkpoints", "measure",
                    "options", "prompts", "keep_models"});
        read_parameters();
    }

    study_file operator()(const tools::flag_list& more) {
        const dg::json_fields fields(root_, label_);
        study_file out;
        out.label = label_;
        out.name = fields.string("study", file_.stem().string());
        out.keep_models = fields.boolean("keep_models", true);
        out.flags = flags_of(root_, label_);
        out.flags.set(more);
        refuse_own_flags(out.flags, label_);
        const auto common = fields.find("seeds") ? seeds_of(root_, label_) : std::vector<std::size_t>{1};
        const auto* variants = fields.find("variants");
        dg::require(variants && variants->is_array() && !variants->empty(), label_,
                    ": expected variants to be a list of at least one, found ", dg::describe(variants));
        for (const auto& one : *variants) out.variants.push_back(variant_of(one, common));
        read_baseline(fields, out);
        read_moments(fields, out);
        read_measures(fields, out.measure);
        return out;
    }

private:
    static void known_keys(const dg::json& object, const std::string& label, const std::vector<std::string>& known) {
        dg::require(object.is_object(), label, ": expected a JSON object, found ", dg::describe(&object));
        std::string all;
        for (const auto& key : known) all += (all.empty() ? "" : ", ") + key;
        for (const auto& [key, value] : object.items())
            dg::require(std::find(known.begin(), known.end(), key) != known.end(), label, ": expected the keys ", all,
                        ", found ", dg::detail::quotable(key, 40), "; did you mean ", tools::nearest(key, known), "?");
    }

    void read_parameters() {
        if (const auto found = root_.find("parameters"); found != root_.end()) {
            dg::require(found->is_object(), label_, ": expected parameters to be an object, found ",
                        dg::describe(&*found));
            for (const auto& [name, value] : found->items()) {
                dg::require(value.is_null() || value.is_string(), label_, ": expected the parameter ", name,
                            " to be a string, or null where --set must give it, found ", dg::describe(&value));
                parameters_[name] = value;
            }
        }
        for (const auto& [name, value] : given_) {
            require_parameter(name, "--set");
            parameters_[name] = value;
        }
    }
    void require_parameter(const std::string& name, const std::string& where) const {
        std::vector<std::string> known;
        for (const auto& one : parameters_) known.push_back(one.first);
        if (parameters_.count(name)) return;
        dg::require(!known.empty(), where, ": expected a parameter of ", label_, ", which has none, found ", name);
        dg::fail(where, ": expected a parameter of ", label_, ", found ", name, "; did you mean ",
                 tools::nearest(name, known), "?");
    }
    /// Text with {name} replaced by the parameter of that name.
    std::string filled(const std::string& text, const std::string& label) const {
        std::string out;
        for (std::size_t at = 0; at < text.size();) {
            const std::size_t open = std::min(text.find('{', at), text.size());
            out += text.substr(at, open - at);
            if ((at = open) == text.size()) break;
            const std::size_t close = text.find('}', open);
            dg::require(close != text.npos, label, ": expected } behind {, found ", dg::detail::quotable(text, 60));
            const std::string name = text.substr(open + 1, close - open - 1);
            require_parameter(name, label);
            const auto& value = parameters_.at(name);
            dg::require(!value.is_null(), label_, ": expected --set ", name, "=VALUE for the parameter ", name,
                        ", which has no value of its own, found none");
            out += value.get<std::string>();
            at = close + 1;
        }
        return out;
    }
    /// A file's name as it can be opened: as it is, or beside the study.
    std::string beside(const std::string& name) const {
        if (name.empty() || fs::path(name).is_absolute() || fs::exists(name)) return name;
        const auto there = file_.parent_path() / name;
        return fs::exists(there) ? there.string() : name;
    }

    tools::flag_list flags_of(const dg::json& object, const std::string& label) const {
        const auto found = object.find("flags");
        if (found == object.end()) return {};
        std::vector<std::string> words;
        if (found->is_string()) {
            words = tools::split_words(found->get<std::string>());
        } else {
            dg::require(found->is_array(), label, ": expected flags to be a string or a list of strings, found ",
                        dg::describe(&*found));
            for (const auto& word : *found) {
                dg::require(word.is_string(), label, ": expected flags to be a list of strings, found ",
                            dg::describe(&word));
                for (auto& part : tools::split_words(word.get<std::string>())) words.push_back(std::move(part));
            }
        }
        for (auto& word : words) word = filled(word, label);
        return tools::flag_list(words, label).with_files([&](const std::string& name) { return beside(name); });
    }
    /// Flags that the study itself gives to each run.
    static void refuse_own_flags(const tools::flag_list& flags, const std::string& label) {
        for (const char* flag :
             {"--out", "--resume", "--json", "--dry-run", "--plan", "--quiet", "--keep", "--time-limit"})
            dg::require(!flags.find(flag), label, ": expected flags of a run, found ", flag,
                        ", which the study gives to each run itself");
        dg::require(!flags.find("--seed"), label, ": expected \"seeds\", found --seed among the flags");
    }
    std::vector<std::size_t> seeds_of(const dg::json& object, const std::string& label) const {
        auto seeds = dg::json_fields(object, label).indices("seeds");
        dg::require(!seeds.empty(), label, ": expected at least one seed, found none");
        auto sorted = seeds;
        std::sort(sorted.begin(), sorted.end());
        const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
        dg::require(twice == sorted.end(), label, ": expected seeds that differ, found ",
                    twice == sorted.end() ? 0 : *twice, " twice");
        return seeds;
    }
    variant variant_of(const dg::json& object, const std::vector<std::size_t>& common) {
        const std::string where = dg::text(label_, ": variant ", names_.size() + 1);
        known_keys(object, where, {"name", "flags", "seeds"});
        variant out;
        out.name = dg::json_fields(object, where).string("name");
        const std::string label = label_ + ": variant " + out.name;
        dg::require(!out.name.empty() && out.name.size() <= 60 && out.name[0] != '.' &&
                        out.name.find_first_not_of(
                            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+.") == out.name.npos,
                    where, ": expected a name of at most 60 letters, digits, -, _, + and ., found ",
                    dg::detail::quotable(out.name, 40));
        dg::require(names_.insert(out.name).second, label_, ": expected variants of different names, found two named ",
                    out.name);
        out.flags = flags_of(object, label);
        refuse_own_flags(out.flags, label);
        out.seeds = object.contains("seeds") ? seeds_of(object, label) : common;
        return out;
    }
    void read_baseline(const dg::json_fields& fields, study_file& out) const {
        out.baseline = fields.string("baseline", out.variants.front().name);
        require_baseline(out, label_ + ": expected baseline to be");
    }
    void read_moments(const dg::json_fields& fields, study_file& out) const {
        std::set<double> shares, steps;
        if (const auto* list = fields.find("checkpoints")) {
            dg::require(list->is_array(), label_, ": expected checkpoints to be a list of numbers, found ",
                        dg::describe(list));
            for (const auto& one : *list) {
                dg::require(one.is_number() && one.get<double>() > 0, label_,
                            ": expected checkpoints above 0 (up to 1: a share of the run; above: a step), found ",
                            dg::describe(&one));
                const auto value = one.get<double>();
                dg::require(value <= 1 || value == std::floor(value), label_,
                            ": expected checkpoints above 1 to be steps, whole numbers, found ", value);
                (value <= 1 ? shares : steps).insert(value);
            }
        }
        dg::require(shares.empty() || steps.empty(), label_,
                    ": expected checkpoints that are all shares of the run (up to 1) or all steps, found both");
        out.moments.assign(steps.begin(), steps.end());
        out.moments.insert(out.moments.end(), shares.begin(), shares.end());
        if (!shares.count(1)) out.moments.push_back(1);
    }
    void read_measures(const dg::json_fields& fields, measures& out) const {
        std::vector<std::string> known;
        std::string all;
        for (const auto& [name, help] : measure_names()) known.push_back(name), all += (all.empty() ? "" : ", ") + name;
        if (const auto* list = fields.find("measure")) {
            dg::require(list->is_array(), label_, ": expected measure to be a list of names, found ",
                        dg::describe(list));
            for (const auto& one : *list) {
                dg::require(one.is_string(), label_, ": expected measure to be a list of names, found ",
                            dg::describe(&one));
                const auto name = one.get<std::string>();
                dg::require(std::find(known.begin(), known.end(), name) != known.end(), label_,
                            ": expected measure to name some of ", all, ", found ", dg::detail::quotable(name, 40),
                            "; did you mean ", tools::nearest(name, known), "?");
                if (!out.has(name)) out.names.push_back(name);
            }
        }
        if (const auto* options = fields.find("options")) {
            const std::string label = label_ + ": options";
            known_keys(
                *options, label,
                {"prompts", "sweep_prompts", "sweep_lengths", "lens_steps", "lens_tokens", "tasks", "items", "shots"});
            const dg::json_fields given(*options, label);
            out.prompts = given.positive("prompts", out.prompts);
            out.sweep_prompts = given.positive("sweep_prompts", out.sweep_prompts);
            if (given.find("sweep_lengths")) out.sweep_lengths = given.indices("sweep_lengths");
            out.lens_steps = given.positive("lens_steps", out.lens_steps);
            out.lens_tokens = given.positive("lens_tokens", out.lens_tokens);
            out.items = given.positive("items", out.items);
            out.shots = static_cast<std::size_t>(given.count("shots", out.shots));
            if (given.find("tasks")) out.tasks = words_of(given.string("tasks"));
        }
        if (const auto* prompts = fields.find("prompts")) {
            dg::require(prompts->is_object(), label_, ": expected prompts to be an object of names and files, found ",
                        dg::describe(prompts));
            for (const auto& [name, file] : prompts->items()) {
                dg::require(file.is_string(), label_, ": expected the prompts ", name, " to be a file, found ",
                            dg::describe(&file));
                out.prompt_files[name] = beside(filled(file.get<std::string>(), label_ + ": prompts"));
            }
        }
    }
    static std::vector<std::string> words_of(std::string list) {
        std::replace(list.begin(), list.end(), ',', ' ');
        return tools::split_words(list);
    }

    fs::path file_;
    std::string label_;
    dg::json root_;
    std::map<std::string, std::string> given_;
    std::map<std::string, dg::json> parameters_;
    std::set<std::string> names_;
};

}  // namespace

study_file read_study(const fs::path& file, const std::map<std::string, std::string>& values,
                      const tools::flag_list& more) {
    return reader(file, values)(more);
}

void compare_operators(study_file& study, const std::string& names) {
    for (const char* flag : {"--growth", "--growth-plan"})
        if (const auto* found = study.flags.find(flag))
            dg::fail(flag, ": expected --variants, the operators that a study compares, found ", flag, " ",
                     found->empty() ? "" : found->front());
    study.variants.clear();
    for (std::size_t first = 0; first < names.size();) {
        const std::size_t end = std::min(names.find(',', first), names.size());
        const std::string growth = names.substr(first, end - first);
        first = end + 1;
        if (growth != "none") dg::make_operator(growth, 4);  // refuses what is none
        variant one{growth == "none" ? "plain" : growth, {}, {1}};
        for (const auto& other : study.variants)
            dg::require(other.name != one.name, "--variants: expected different ones, found ", growth, " twice");
        if (growth != "none") one.flags.set("--growth", {growth});
        study.variants.push_back(std::move(one));
    }
    dg::require(!study.variants.empty(), "--variants: expected at least one, found none");
    study.baseline = study.variants.front().name;
}

void set_baseline(study_file& study, const std::string& name) {
    study.baseline = name;
    require_baseline(study, "--baseline: expected");
}

void set_seeds(study_file& study, std::size_t first, std::size_t count) {
    dg::require(count > 0, "--seeds: expected at least 1, found 0");
    for (auto& one : study.variants) {
        one.seeds.clear();
        for (std::size_t s = 0; s < count; ++s) one.seeds.push_back(first + s);
    }
}

}  // namespace study
