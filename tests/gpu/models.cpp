// Whole models on the device: the float64 oracle's fixtures, training in both precisions, growth, recorded steps.
#include "depthgrow/analysis/cached_decoder.hpp"
#include "depthgrow/analysis/tuned_lens.hpp"
#include "depthgrow/growth/operators.hpp"
#include "depthgrow/nn/forward.hpp"
#include "depthgrow/optim/muon.hpp"
#include "depthgrow/optim/sgd_nesterov.hpp"
#include "depthgrow/train/trainer.hpp"
#include "support/fixture.hpp"
#include "table.hpp"

namespace gpu_test {

namespace {

template <class T> double distance(const std::vector<T>& got, const std::vector<double>& want) {
    std::vector<double> wide(got.size());
    for (std::size_t i = 0; i < got.size(); ++i) wide[i] = to_double(got[i]);
    return fixture::distance(wide, want);
}
double relative(double got, double want) { return std::fabs(got / want - 1); }

/// Bounds: 2e-5 in float as on the CPU. bfloat16 rounds to 2^-8: 8 layers of 8 roundings each, in no order, 2^-8
/// sqrt(64).
template <class T> constexpr double bound = low_precision<T> ? 8 * rounding<T> : 2e-5;
/// After Adam steps: an element whose gradient is below its rounding error moves a whole rate either way, which a
/// gradient norm of the next step feels.
template <class T> constexpr double trajectory_bound = low_precision<T> ? 4 * bound<T> : bound<T>;

template <class T> void fixture_values(const std::string& folder, const std::string& name, bool record) {
    dg::cuda gpu({.record = record});
    const fixture::expectations want(folder, name);
    const dg::checkpoint_reader checkpoint(want.directory);
    const auto ids = on_device(gpu, want.ids);
    for (const std::string kind : {"pre", "ln_scaling", "mix"}) {
        auto config = checkpoint.config();
        if (kind == "ln_scaling") config.norms = dg::norm_placement::ln_scaling;
        if (kind == "mix") config.norms = dg::norm_placement::mix, config.post_layers = config.layers / 4;
        dg::decoder<T, dg::cuda> model(gpu, config);
        dg::read_model(checkpoint, model);
        dg::tape<T, dg::cuda> tape(gpu);
        const auto out = dg::logits(model, tape, ids.flat(), want.sequences);
        std::vector<T> got(out.size());
        gpu.to_host<T>(out.data, got.data(), got.size());
        results.row("logits, norms " + kind, name_of_type<T>, name,
                    distance(got, want.tensor(kind == "pre" ? "logits" : "logits." + kind)), bound<T>);
    }
    {
        dg::decoder<T, dg::cuda> model(gpu, checkpoint.config());
        dg::read_model(checkpoint, model);
        dg::parameter_set<float, dg::cuda> gradients(gpu, model.config(), model.layers());
        dg::tape<T, dg::cuda> tape(gpu);
        std::vector<float> scaled(want.weights);
        for (float& w : scaled) w /= static_cast<float>(want.ids.size() - want.sequences);
        const auto targets = on_device(gpu, want.targets);
        const auto weights = on_device(gpu, scaled);
        dg::token_losses<T, dg::cuda>(model, tape, ids.flat(), targets.flat(), weights.flat(), want.sequences,
                                      &gradients);
        double worst = 0;
        for (const auto& stored : dg::model_tensors(model.config())) {
            const std::string& tensor = stored.name;
            const std::size_t block = stored.block;
            const dg::tensor_place& place = stored.place;
            worst = worse(worst, distance(fixture::values_of(dg::block_of(gradients, block), place),
                                          want.tensor("grad." + tensor)));
        }
        results.row("gradients of every tensor", name_of_type<T>, name, worst, 2 * bound<T>);
    }
    for (const std::string op : {"midas", "lidas"}) {
        dg::trainer<T, dg::cuda> trainer(gpu, checkpoint.config());
        dg::read_model(checkpoint, trainer.model);
        if constexpr (low_precision<T>) dg::read_model(checkpoint, trainer.model.config(), trainer.master);
        const dg::training_batch batch{want.ids, want.targets, want.weights, want.sequences};
        const auto& expected = want.values[op];
        double loss = 0, norm = 0, weights = 0;
        for (std::size_t step = 0; step < 6; ++step) {
            if (step == 3)
                trainer.grow(dg::make_operator(op, want.values["block"].get<std::size_t>())(trainer.model.layers()));
            const auto result = trainer.step(batch, want.sequences, 3e-3);
            loss = worse(loss, relative(result.loss, expected["loss"][step].get<double>()));
            norm = worse(norm, relative(result.gradient_norm, expected["grad_norm"][step].get<double>()));
        }
        for (const auto& stored : dg::model_tensors(trainer.model.config())) {
            const std::string& tensor = stored.name;
            const std::size_t block = stored.block;
            const dg::tensor_place& place = stored.place;
            weights = worse(weights, distance(fixture::values_of(dg::block_of(trainer.trained(), block), place),
                                              want.tensor(op + "." + tensor)));
        }
        const std::string what = "six AdamW steps, grown by " + op + (record ? "" : ", not recorded");
        results.row(what, name_of_type<T>, name + ": losses", loss, bound<T>);
        results.row(what, name_of_type<T>, name + ": gradient norms", norm, trajectory_bound<T>);
        results.row(what, name_of_type<T>, name + ": weights", weights, bound<T>);
    }
}

/// Six Muon steps, grown after three, against the PyTorch script in float64; in bf16 Newton-Schulz runs in bf16 too.
template <class T> void muon_values(const std::string& folder, bool record) {
    dg::cuda gpu({.record = record});
    const fixture::expectations plain(folder, "plain");
    const auto values = dg::read_json_file(folder + "/muon/expected.json");
    const dg::checkpoint_reader checkpoint(plain.directory);
    for (const std::string op : {"midas", "lidas"}) {
        dg::trainer<T, dg::cuda, dg::muon<T, dg::cuda>> trainer(gpu, checkpoint.config());
        dg::read_model(checkpoint, trainer.model);
        if constexpr (low_precision<T>) dg::read_model(checkpoint, trainer.model.config(), trainer.master);
        double loss = 0;
        for (std::size_t step = 0; step < 6; ++step) {
            if (step == 3)
                trainer.grow(dg::make_operator(op, plain.values["block"].get<std::size_t>())(trainer.model.layers()));
            loss = worse(
                loss,
                relative(trainer.step({plain.ids, plain.targets, plain.weights, plain.sequences}, plain.sequences, 3e-3)
                             .loss,
                         values[op]["loss"][step].get<double>()));
        }
        results.row("six Muon steps, grown by " + op + (record ? "" : ", not recorded"), name_of_type<T>,
                    "plain: losses", loss, bound<T>);
    }
}

/// Ten decoders of other families: in float against transformers; in bf16 against the reference in double whose weights
/// are rounded alike, so that only the roundings of activations are seen.
template <class T> void family_values(dg::cuda& gpu, const std::string& folder, const std::string& name) {
    const fixture::family_values want(folder, name);
    auto model = dg::load_model<T>(gpu, want.directory);
    dg::reference host;
    auto exact = dg::load_model<double>(host, want.directory);
    if constexpr (low_precision<T>)
        exact.weights.each([](auto& block) {
            for (double& x : block.flat()) x = to_double(from_double<T>(x));
        });
    dg::tape<T, dg::cuda> tape(gpu);
    dg::tape<double, dg::reference> exact_tape(host);
    const auto tokens = want.tokens("tokens"), longer = want.tokens("long");
    const std::size_t batch = 2, length = tokens.size() / batch, vocab = model.config().vocab;
    const auto off = [&](const std::vector<dg::token>& ids, std::size_t sequences, dg::span<const std::size_t> order,
                         const char* key) {
        const auto device_ids = on_device(gpu, ids);
        const auto out = dg::logits(model, tape, device_ids.flat(), sequences, order);
        std::vector<T> got(out.size());
        gpu.to_host<T>(out.data, got.data(), got.size());
        if constexpr (!low_precision<T>) return distance(got, want.tensor(key));
        const auto right = dg::logits(exact, exact_tape, dg::span<const dg::token>(ids), sequences, order);
        return distance(got, {right.data, right.data + right.size()});
    };
    const auto order = want.values["order"].get<std::vector<std::size_t>>();
    results.row("logits, with a repeated layer too", name_of_type<T>, name,
                worse(off(tokens, batch, {}, "logits"), off(tokens, batch, order, "order_logits")), bound<T>);
    results.row("logits past window and context", name_of_type<T>, name, off(longer, 1, {}, "long_logits"), bound<T>);
    std::vector<dg::token> host_targets(tokens.size(), -1);
    for (std::size_t i = 0; i < tokens.size(); ++i)
        if ((i + 1) % length) host_targets[i] = tokens[i + 1];
    const double weight = 1.0 / static_cast<double>(batch * (length - 1));
    const auto ids = on_device(gpu, tokens), targets = on_device(gpu, host_targets);
    const auto weights = on_device(gpu, std::vector<float>(tokens.size(), static_cast<float>(weight)));
    dg::parameter_set<float, dg::cuda> gradients(gpu, model.config(), model.layers());
    dg::token_losses<T, dg::cuda>(model, tape, ids.flat(), targets.flat(), weights.flat(), batch, &gradients);
    dg::parameter_set<double, dg::reference> right(host, model.config(), model.layers());
    const std::vector<double> exact_weights(tokens.size(), weight);
    dg::token_losses<double, dg::reference>(exact, exact_tape, tokens, host_targets, exact_weights, batch, &right);
    double worst = 0;
    std::vector<float> all;
    std::vector<double> all_right, all_unrounded;
    for (const auto& stored : dg::model_tensors(model.config())) {
        const auto got = fixture::values_of(dg::block_of(gradients, stored.block), stored.place);
        const auto wanted = fixture::values_of(dg::block_of(right, stored.block), stored.place);
        worst = worse(worst, distance(got, wanted));
        all.insert(all.end(), got.begin(), got.end()), all_right.insert(all_right.end(), wanted.begin(), wanted.end());
        auto unrounded = want.tensor(want.gradient_of(stored.name));
        if (!stored.plain()) unrounded = dg::detail::rearranged(stored, unrounded, false);
        all_unrounded.insert(all_unrounded.end(), unrounded.begin(), unrounded.end());
    }
    // In bf16 roundings are of the size of what flows back, not of a tensor whose gradient is a small difference of it;
    // how much one rounding of every number matters to this model is what rounding its weights did.
    const double sensitivity = fixture::distance(all_right, all_unrounded);
    if constexpr (low_precision<T>)
        results.row("the whole gradient", name_of_type<T>, name, distance(all, all_right),
                    2 * std::max(bound<T>, sensitivity));
    else results.row("gradients of every tensor", name_of_type<T>, name, worst, 2 * bound<T>);
    dg::cached_decoder<T, dg::cuda> decoder(model);
    dg::cached_decoder<double, dg::reference> exact_decoder(exact);
    worst = 0;
    for (std::size_t at = 0; at < longer.size();) {
        const std::size_t taken = at == 0 ? 3 : 1;
        const auto z = decoder.append({longer.data() + at, taken}),
                   y = exact_decoder.append({longer.data() + at, taken});
        at += taken;
        worst = worse(worst, distance(std::vector<float>(z.begin(), z.end()),
                                      {y.begin(), y.begin() + static_cast<std::ptrdiff_t>(vocab)}));
    }
    results.row("token by token behind a cache", name_of_type<T>, name, worst, 2 * bound<T>);
}

/// Token by token against the reference in float: the greedy continuation (float alone: bf16 rounds logits beyond
/// ties), and the logits along it and of several tokens behind a cache.
template <class T> void generation(dg::cuda& gpu, const dg::decoder_config& config) {
    dg::reference host;
    const dg::decoder<float, dg::reference> exact(host, config, 5);
    const dg::decoder<T, dg::cuda> model(gpu, config, 5);
    dg::cached_decoder<float, dg::reference> want(exact);
    dg::cached_decoder<T, dg::cuda> got(model);
    const std::vector<dg::token> prompt = {7, 80, 3, 33, 33, 91, 60, 2, 48};
    const auto never = [](const std::vector<dg::token>&) { return false; };
    const auto tokens = want.complete(prompt, 40, never);
    if constexpr (!low_precision<T>)
        results.row("greedy continuation", name_of_type<T>, "small, 40 tokens",
                    got.complete(prompt, 40, never) == tokens ? 0 : 1, 0);
    want.rewind(), got.rewind();
    double worst = 0;
    const auto append = [&](dg::span<const dg::token> ids) {
        const auto exact_logits = want.append(ids), logits = got.append(ids);
        worst = worse(worst, distance(std::vector<float>(logits.begin(), logits.end()),
                                      {exact_logits.begin(), exact_logits.end()}));
    };
    append(prompt);
    for (const auto& id : tokens) append({&id, 1});
    append(prompt);
    results.row("logits token by token", name_of_type<T>, "small, 40 tokens", worst,
                low_precision<T> ? rounding<T> * std::sqrt(8.0 * static_cast<double>(config.layers)) : bound<T>);
}

struct sample {
    sample(const dg::decoder_config& config, std::size_t sequences, std::size_t length)
        : ids(sequences * length), targets(ids.size()), weights(ids.size(), 1.0f), count(sequences) {
        dg::rng random(4);
        for (auto& id : ids) id = static_cast<dg::token>(random.below(config.vocab));
        for (std::size_t i = 0; i < ids.size(); ++i)
            targets[i] = static_cast<dg::token>((static_cast<std::size_t>(ids[i]) * 7 + 3) % config.vocab);
    }
    dg::training_batch batch() const { return {ids, targets, weights, count}; }
    std::vector<dg::token> ids, targets;
    std::vector<float> weights;
    std::size_t count;
};

/// Losses of steps with growth after half of them.
template <class T>
std::vector<double> losses(dg::cuda_options options, std::size_t micro, std::size_t steps, bool recompute = false,
                           std::size_t ffn = dg::small().ffn) {
    dg::cuda gpu(options);
    auto config = dg::small();
    config.context = 128, config.ffn = ffn;
    const sample data(config, 8, 128);
    dg::trainer<T, dg::cuda> trainer(gpu, config.with_depth(6), 3, 9);
    trainer.recompute(recompute);
    std::vector<double> out;
    for (std::size_t step = 0; step < steps; ++step) {
        if (step == steps / 2) trainer.grow(dg::lidas{3}(6));
        out.push_back(trainer.step(data.batch(), micro, 2e-3).loss);
    }
    return out;
}
/// Losses and gradient norms of steps in eight bits, the last of them replayed, where sums have one order.
std::vector<double> eight_bit_steps(bool recompute, std::size_t ffn, const std::vector<std::size_t>& order = {}) {
    dg::cuda gpu({.deterministic = true, .fp8 = true});
    auto config = dg::small();
    config.context = 128, config.ffn = ffn;
    const sample data(config, 8, 128);
    dg::trainer<dg::bfloat16, dg::cuda> trainer(gpu, config.with_depth(6), 3, 6);
    trainer.recompute(recompute);
    trainer.run_order(order);
    std::vector<double> out;
    for (std::size_t step = 0; step < 6; ++step) {
        const auto [loss, norm, skipped] = trainer.step(data.batch(), 4, 2e-3);
        out.push_back(loss), out.push_back(norm);
    }
    return out;
}
/// Whether steps that are recorded and replayed are those taken one by one, with any optimiser.
template <class T, template <class, class> class Optimizer> void replayed(const char* name) {
    const auto run = [](bool record) {
        dg::cuda gpu({.deterministic = true, .record = record});
        auto config = dg::tiny();
        const sample data(config, 4, 32);
        dg::trainer<T, dg::cuda, Optimizer<T, dg::cuda>> trainer(gpu, config.with_depth(4), 3, 6);
        std::vector<double> out;
        for (std::size_t step = 0; step < 12; ++step) {
            if (step == 6) trainer.grow({dg::interleave{}(4), {dg::init_kind::average}});
            out.push_back(trainer.step(data.batch(), 4, 2e-3).loss);
        }
        return out;
    };
    const auto once = run(true), again = run(false);
    results.row(std::string(name) + ": recorded steps, the same bits", name_of_type<T>,
                "tiny, 12 steps, grown by averages", once == again && once.back() < once.front() ? 0 : 1, 0);
}
double farthest(const std::vector<double>& a, const std::vector<double>& b) {
    double worst = 0;
    for (std::size_t i = 0; i < a.size(); ++i) worst = worse(worst, relative(a[i], b[i]));
    return worst;
}

/// Losses of three steps of a lens, and its translators after them; logits in parts of which the last is smaller.
struct fitted_lens {
    std::vector<double> losses, translators;
};
template <class T, class Backend> fitted_lens fit_lens(Backend& backend, const fixture::expectations& data) {
    const dg::checkpoint_reader checkpoint(data.directory);
    dg::decoder<T, Backend> model(backend, checkpoint.config());
    dg::read_model(checkpoint, model);
    dg::lens_fit_options options;
    options.logit_rows = 7;
    dg::lens_fitter<T, Backend> fitter(model, options);
    fitted_lens out;
    for (int step = 0; step < 3; ++step)
        for (const double loss : fitter.step(data.ids, data.sequences)) out.losses.push_back(loss);
    for (const auto& map : fitter.wide_lens().translators)
        for (const auto* part : {&map.A, &map.b})
            for (const auto value : part->to_host()) out.translators.push_back(static_cast<double>(value));
    return out;
}
template <class T> void lens_steps(const std::string& folder) {
    dg::cuda gpu;
    dg::reference reference;
    const fixture::expectations data(folder, "grouped");
    const auto got = fit_lens<T>(gpu, data);
    const auto want = fit_lens<double>(reference, data);
    double losses = 0;
    for (std::size_t i = 0; i < want.losses.size(); ++i)
        losses = worse(losses, std::fabs(got.losses[i] - want.losses[i]));
    results.row("lens: KL of three steps, nats", name_of_type<T>, "grouped", losses, bound<T>);
    results.row("lens: translators after them", name_of_type<T>, "grouped", distance(got.translators, want.translators),
                trajectory_bound<T>);
}

}  // namespace

void check_models(const std::string& fixtures) {
    for (const std::string name : {"plain", "grouped"}) {
        fixture_values<float>(fixtures, name, true);
        fixture_values<dg::bfloat16>(fixtures, name, true);
    }
    fixture_values<float>(fixtures, "grouped", false);
    lens_steps<float>(fixtures), lens_steps<dg::bfloat16>(fixtures);
    muon_values<float>(fixtures, true), muon_values<float>(fixtures, false), muon_values<dg::bfloat16>(fixtures, true);
    replayed<float, dg::muon>("muon"), replayed<dg::bfloat16, dg::muon>("muon");
    replayed<float, dg::sgd_nesterov>("sgd_nesterov"), replayed<dg::bfloat16, dg::sgd_nesterov>("sgd_nesterov");
    for (const char* name : fixture::families)
        for (const bool steps : {false, true}) {
            dg::cuda gpu({.decode_steps = steps});
            family_values<float>(gpu, fixtures, name);
            family_values<dg::bfloat16>(gpu, fixtures, name);
        }
    const auto plain = losses<float>({.record = false}, 8, 12), narrow_losses = losses<dg::bfloat16>({}, 8, 12);
    results.row("recorded steps = steps as they are", "float", "small, 12 steps",
                farthest(losses<float>({}, 8, 12), plain), 1e-5);
    results.row("micro-batches of 2 = one of 8", "float", "small, 12 steps", farthest(losses<float>({}, 2, 12), plain),
                1e-5);
    results.row("bf16 losses near float's", "bf16", "small, 12 steps", farthest(narrow_losses, plain),
                2.5 * rounding<dg::bfloat16>);
    const auto eight = losses<dg::bfloat16>({.fp8 = true}, 8, 12);
    results.row("fp8 losses near bf16's", "fp8", "small, 12 steps", farthest(eight, narrow_losses),
                2.5 * 0.0625);  // the same in e4m3's roundings
    results.row("fp8 losses are not bf16's", "fp8", "small, 12 steps", eight == narrow_losses ? 1 : 0, 0);
    for (const bool fp8 : {false, true}) {
        const dg::cuda_options options{.deterministic = true, .fp8 = fp8};
        results.row("deterministic: the same bits", fp8 ? "fp8" : "bf16", "small, 12 steps",
                    losses<dg::bfloat16>(options, 4, 12) == losses<dg::bfloat16>(options, 4, 12) ? 0 : 1, 0);
    }
    results.row("deterministic: the same bits", "float", "small, 12 steps",
                losses<float>({.deterministic = true}, 4, 12) == losses<float>({.deterministic = true}, 4, 12) ? 0 : 1,
                0);
    const dg::cuda_options steady{.deterministic = true};
    results.row("recomputing: the same bits", "bf16", "small, 12 steps",
                losses<dg::bfloat16>(steady, 4, 12) == losses<dg::bfloat16>(steady, 4, 12, true) ? 0 : 1, 0);
    results.row("recomputing: the same bits", "float", "small, 12 steps",
                losses<float>(steady, 4, 12) == losses<float>(steady, 4, 12, true) ? 0 : 1, 0);
    const auto recomputed = [](const char* what, std::size_t ffn, const std::vector<std::size_t>& order) {
        results.row("recomputing: losses, norms the same", "fp8", what,
                    eight_bit_steps(false, ffn, order) == eight_bit_steps(true, ffn, order) ? 0 : 1, 0);
    };
    recomputed("small, 6 steps", dg::small().ffn, {});
    recomputed("ffn 1024, 6 steps", 1024, {});
    recomputed("ffn 1024, 6 steps, looped", 1024, {0, 1, 2, 3, 2, 3, 4, 1, 5});
    const std::size_t wide = 1024;  // from here on MLPs run in eight bits, their weights' gradients too
    const auto wide_losses = losses<dg::bfloat16>({}, 8, 12, false, wide);
    for (const bool recompute : {false, true})
        for (const std::size_t micro : {8u, 2u})
            results.row(std::string("MLPs in fp8 near bf16's") + (recompute ? ", recomputed" : ""), "fp8",
                        "ffn 1024, micro-batches of " + std::to_string(micro),
                        farthest(losses<dg::bfloat16>({.fp8 = true}, micro, 12, recompute, wide), wide_losses),
                        2.5 * 0.0625);
    results.row("recomputing in fp8 near bf16's", "fp8", "small, 12 steps",
                farthest(losses<dg::bfloat16>({.fp8 = true}, 8, 12, true), narrow_losses), 2.5 * 0.0625);
    dg::cuda gpu;
    for (const bool steps : {false, true}) {
        dg::cuda generating({.decode_steps = steps});
        generation<float>(generating, dg::small());
        generation<dg::bfloat16>(generating, dg::small());
    }
    auto config = dg::smollm_360m().with_depth(8);
    dg::trainer<dg::bfloat16, dg::cuda> trainer(gpu, config);
    std::vector<const void*> before;
    for (const auto& layer : trainer.model.weights.layers) before.push_back(layer.flat().data());
    trainer.grow(dg::midas{4}(8));
    const auto order = dg::midas{4}(8).sources();
    std::size_t same = 0;
    for (std::size_t l = 0; l < 12; ++l) same += trainer.model.weights.layers[l].flat().data() == before[order[l]];
    results.row("growth leaves old layers in place", "bf16", "smollm-360m, 8 to 12 layers",
                std::fabs(static_cast<double>(same) - 8), 0);
}

}  // namespace gpu_test
