// The Python module of metrics: every function of include/depthgrow/metrics on arrays of NumPy, PyTorch, JAX, ...
// Assumes arrays (buffer protocol or DLPack) of one number format with a contiguous last axis. Those of a CPU are read
// in place, those of a GPU are brought to the CPU.
// Functions of runs take (n) and give a number, or take (T, n) and give one number a row.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <depthgrow/core/dtype.hpp>
#include <depthgrow/metrics.hpp>
#include <string>
#include <utility>
#include <vector>

#include "native.hpp"

namespace nb = nanobind;
namespace dg = depthgrow;
using namespace nb::literals;
using std::size_t;

namespace {

/// An array of the caller's: kept alive, read in place.
struct view {
    nb::ndarray<nb::ro> owner;
    const void* data = nullptr;
    dg::dtype type = dg::dtype::f32;
    size_t rows = 1, cols = 0, stride = 0;
    bool is_matrix = false;

    template <class T> dg::matrix<const T> as() const { return {static_cast<const T*>(data), rows, cols, stride}; }
};

dg::dtype format_of(const nb::dlpack::dtype& given, const char* where) {
    const bool whole = given.lanes == 1;
    const auto code = static_cast<nb::dlpack::dtype_code>(given.code);
    if (whole && code == nb::dlpack::dtype_code::Float) {
        if (given.bits == 64) return dg::dtype::f64;
        if (given.bits == 32) return dg::dtype::f32;
        if (given.bits == 16) return dg::dtype::f16;
    }
    if (whole && code == nb::dlpack::dtype_code::Bfloat && given.bits == 16) return dg::dtype::bf16;
    dg::fail("[", where, "] expected numbers of float64, float32, bfloat16 or float16, got another format (code ",
             static_cast<int>(given.code), ", ", static_cast<int>(given.bits), " bits)");
}

/// `given` as rows; a tensor that records gradients is read without them.
view view_of(nb::handle given, const char* where) {
    nb::object array = nb::borrow(given);
    if (nb::hasattr(array, "requires_grad") && nb::hasattr(array, "detach")) array = array.attr("detach")();
    view out;
    const auto take = [&] {
        if (!nb::try_cast<nb::ndarray<nb::ro>>(array, out.owner, false))
            dg::fail("[", where, "] expected an array (NumPy, DLPack), got ", nb::type_name(given.type()).c_str());
        return out.owner.device_type() == nb::device::cpu::value;
    };
    if (!take()) {  // PyTorch's tensors, then JAX's arrays
        if (nb::hasattr(array, "cpu")) array = array.attr("cpu")();
        else if (nb::hasattr(array, "__array__")) array = array.attr("__array__")();
        dg::require(take(), "[", where, "] expected an array that can be brought to the CPU, got one that cannot");
    }
    const size_t axes = out.owner.ndim();
    dg::require(axes == 1 || axes == 2, "[", where, "] expected an array of 1 or 2 axes, got ", axes);
    out.type = format_of(out.owner.dtype(), where);
    out.is_matrix = axes == 2;
    out.rows = out.is_matrix ? out.owner.shape(0) : 1;
    out.cols = out.owner.shape(axes - 1);
    const auto stride = out.is_matrix ? out.owner.stride(0) : static_cast<std::int64_t>(out.cols);
    dg::require((out.cols <= 1 || out.owner.stride(axes - 1) == 1) && (stride >= 0 || out.rows <= 1), "[", where,
                "] expected an array whose last axis is contiguous, got one with strides");
    out.stride = static_cast<size_t>(stride);
    out.data = out.owner.data();
    return out;
}

view run_of(nb::handle given, const char* where) {
    view out = view_of(given, where);
    dg::require(!out.is_matrix, "[", where, "] expected an array of 1 axis, got 2");
    return out;
}

view matrix_of(nb::handle given, const char* where) {
    view out = view_of(given, where);
    dg::require(out.is_matrix, "[", where, "] expected an array of 2 axes, got 1");
    return out;
}

/// Calls `use` with a number of the views' common format; the interpreter's lock is released.
template <class Use> auto by_format(const char* where, std::initializer_list<const view*> views, Use use) {
    const dg::dtype type = (*views.begin())->type;
    for (const view* other : views)
        dg::require(other->type == type, "[", where, "] expected arrays of one number format, got ", dg::name_of(type),
                    " and ", dg::name_of(other->type));
    nb::gil_scoped_release unlocked;
    switch (type) {
        case dg::dtype::f64:
            return use(double{});
        case dg::dtype::f32:
            return use(float{});
        case dg::dtype::bf16:
            return use(dg::bfloat16{});
        default:
            return use(dg::float16{});
    }
}

/// A NumPy array of (n), or (rows, cols) when `cols` is given.
template <class T> nb::object numpy_of(const std::vector<T>& values, size_t cols = 0) {
    auto* copy = new T[values.size()];
    for (size_t i = 0; i < values.size(); ++i) copy[i] = values[i];
    const nb::capsule owner(copy, [](void* p) noexcept { delete[] static_cast<T*>(p); });
    if (cols == 0) return nb::cast(nb::ndarray<nb::numpy, T, nb::ndim<1>>(copy, {values.size()}, owner));
    return nb::cast(nb::ndarray<nb::numpy, T, nb::ndim<2>>(copy, {values.size() / cols, cols}, owner));
}

template <class T> nb::object number_or_rows(const view& x, const std::vector<T>& values) {
    if (x.is_matrix) return numpy_of(values);
    return nb::cast(values.at(0));
}

/// Binds `metric(run) -> number` over runs and rows.
template <class Metric> void def_one(nb::module_& m, const char* name, const char* doc, Metric metric) {
    m.def(
        name,
        [name, metric](nb::object x) {
            const view a = view_of(x, name);
            std::vector<double> values(a.rows);
            by_format(name, {&a}, [&](auto number) {
                const auto rows = a.as<decltype(number)>();
                for (size_t r = 0; r < a.rows; ++r) values[r] = metric(dg::detail::row_of(rows, r));
            });
            return number_or_rows(a, values);
        },
        "x"_a, doc);
}

/// Binds `metric(run, run) -> number` over pairs of runs and of rows.
template <class Metric>
void def_two(nb::module_& m, const char* name, const char* first, const char* second, const char* doc, Metric metric) {
    m.def(
        name,
        [name, metric](nb::object x, nb::object y) {
            const view a = view_of(x, name), b = view_of(y, name);
            dg::require(a.is_matrix == b.is_matrix && a.rows == b.rows && a.cols == b.cols, "[", name,
                        "] expected arrays of one shape, got (", a.rows, ", ", a.cols, ") and (", b.rows, ", ", b.cols,
                        ")");
            std::vector<double> values(a.rows);
            by_format(name, {&a, &b}, [&](auto number) {
                const auto p = a.as<decltype(number)>(), q = b.as<decltype(number)>();
                for (size_t r = 0; r < a.rows; ++r)
                    values[r] = metric(dg::detail::row_of(p, r), dg::detail::row_of(q, r));
            });
            return number_or_rows(a, values);
        },
        nb::arg(first), nb::arg(second), doc);
}

/// Calls `use` with the values of a list of numbers or of an array of 1 axis.
template <class Use> auto with_run(nb::handle given, const char* where, Use use) {
    std::vector<double> list;
    if ((nb::isinstance<nb::list>(given) || nb::isinstance<nb::tuple>(given)) && nb::try_cast(given, list))
        return use(list);
    const view x = run_of(given, where);
    return by_format(where, {&x}, [&](auto number) {
        return use(dg::span<const decltype(number)>(static_cast<const decltype(number)*>(x.data), x.cols));
    });
}

void bind_runs(nb::module_& m) {
    def_two(m, "dot_product", "a", "b", "Sum of products.", [](auto a, auto b) { return dg::dot_product(a, b); });
    def_one(m, "l2_norm", "Euclidean norm.", [](auto a) { return dg::l2_norm(a); });
    def_two(m, "l2_distance", "a", "b", "Norm of a - b.", [](auto a, auto b) { return dg::l2_distance(a, b); });
    def_two(m, "cosine", "a", "b", "Cosine of the angle; 0 when one is zero.",
            [](auto a, auto b) { return dg::cosine(a, b); });
    def_two(m, "norm_ratio", "part", "whole", "Norm of part over max(norm of whole, 1e-6).",
            [](auto a, auto b) { return dg::norm_ratio(a, b); });
    def_two(m, "relative_change", "changed", "clean", "Norm of changed - clean over max(norm of clean, 1e-6).",
            [](auto a, auto b) { return dg::relative_change(a, b); });
    def_two(m, "angular_distance", "a", "b", "Angle over pi; 0 for one direction, 1 for opposite ones.",
            [](auto a, auto b) { return dg::angular_distance(a, b); });
    def_two(m, "block_influence", "before", "after", "1 - cosine(before, after).",
            [](auto a, auto b) { return dg::block_influence(a, b); });
    def_one(m, "log_sum_exp", "log of the sum of exponentials, without overflow.",
            [](auto a) { return dg::log_sum_exp(a); });
    def_two(m, "kl_from_log", "log_p", "log_q", "KL(p, q) in nats from log-probabilities.",
            [](auto a, auto b) { return dg::kl_from_log(a, b); });
    def_two(m, "kl_divergence", "p_logits", "q_logits", "KL(softmax p, softmax q) in nats from logits.",
            [](auto a, auto b) { return dg::kl_divergence(a, b); });
    def_two(m, "softmax_distance", "a_logits", "b_logits", "Norm of softmax a - softmax b, in [0, sqrt 2].",
            [](auto a, auto b) { return dg::softmax_distance(a, b); });
    def_two(m, "agreement", "q", "y", "1 where both rank the same id first, else 0.",
            [](auto a, auto b) { return dg::agreement(a, b) ? 1.0 : 0.0; });
}

void bind_vocabulary(nb::module_& m) {
    m.def(
        "log_softmax",
        [](nb::object logits) {
            const view x = view_of(logits, "log_softmax");
            std::vector<double> values;
            by_format("log_softmax", {&x}, [&](auto number) {
                const auto rows = x.as<decltype(number)>();
                for (size_t r = 0; r < x.rows; ++r) {
                    const auto row = dg::log_softmax(dg::detail::row_of(rows, r));
                    values.insert(values.end(), row.begin(), row.end());
                }
            });
            return numpy_of(values, x.is_matrix ? x.cols : 0);
        },
        "logits"_a, "Log-probabilities, float64 in the shape of the logits.");
    m.def(
        "cross_entropy",
        [](nb::object logits, nb::object target) {
            const view x = view_of(logits, "cross_entropy");
            std::vector<size_t> ids;
            const bool read =
                x.is_matrix ? nb::try_cast(nb::list(target), ids) : nb::try_cast(target, ids.emplace_back());
            dg::require(read && ids.size() == x.rows, "[cross_entropy] expected a target id for each of ", x.rows,
                        " rows, got others");
            std::vector<double> values(x.rows);
            by_format("cross_entropy", {&x}, [&](auto number) {
                const auto rows = x.as<decltype(number)>();
                for (size_t r = 0; r < x.rows; ++r) values[r] = dg::cross_entropy(dg::detail::row_of(rows, r), ids[r]);
            });
            return number_or_rows(x, values);
        },
        "logits"_a, "target"_a, "-log softmax(logits)[target] in nats.");
    m.def(
        "top_k",
        [](nb::object values, size_t k) {
            const view x = view_of(values, "top_k");
            std::vector<std::int64_t> ids;
            by_format("top_k", {&x}, [&](auto number) {
                const auto rows = x.as<decltype(number)>();
                for (size_t r = 0; r < x.rows; ++r)
                    for (size_t id : dg::top_k(dg::detail::row_of(rows, r), k))
                        ids.push_back(static_cast<std::int64_t>(id));
            });
            return numpy_of(ids, x.is_matrix ? k : 0);
        },
        "values"_a, "k"_a, "Ids of the k largest, largest first; ties go to the lowest id.");
    m.def(
        "argmax",
        [](nb::object values) {
            const view x = view_of(values, "argmax");
            std::vector<std::int64_t> ids;
            by_format("argmax", {&x}, [&](auto number) {
                const auto rows = x.as<decltype(number)>();
                for (size_t r = 0; r < x.rows; ++r)
                    ids.push_back(static_cast<std::int64_t>(dg::argmax(dg::detail::row_of(rows, r))));
            });
            return number_or_rows(x, ids);
        },
        "values"_a, "Id of the largest value.");
    m.def("set_overlap", &dg::set_overlap, "a"_a, "b"_a, "Share of ids that two sets of k ids have in common.");
    m.def(
        "top_k_overlap",
        [](nb::object q, nb::object y, size_t k) {
            const view a = view_of(q, "top_k_overlap"), b = view_of(y, "top_k_overlap");
            dg::require(a.is_matrix == b.is_matrix && a.rows == b.rows && a.cols == b.cols,
                        "[top_k_overlap] expected arrays of one shape, got (", a.rows, ", ", a.cols, ") and (", b.rows,
                        ", ", b.cols, ")");
            std::vector<double> values(a.rows);
            by_format("top_k_overlap", {&a, &b}, [&](auto number) {
                const auto p = a.as<decltype(number)>(), r = b.as<decltype(number)>();
                for (size_t i = 0; i < a.rows; ++i)
                    values[i] = dg::top_k_overlap(dg::detail::row_of(p, i), dg::detail::row_of(r, i), k);
            });
            return number_or_rows(a, values);
        },
        "q"_a, "y"_a, "k"_a = 5, "Share of the k likeliest ids that both have in common.");
}

void bind_contributions(nb::module_& m) {
    using means = dg::layer_contribution;
    nb::class_<means>(m, "LayerContribution", "Token means of one layer: h enters, a and m are added.")
        .def_ro("attention_ratio", &means::attention_ratio, "|a|/|h|")
        .def_ro("mlp_ratio", &means::mlp_ratio, "|m|/|h+a|")
        .def_ro("layer_ratio", &means::layer_ratio, "|a+m|/|h|")
        .def_ro("attention_cosine", &means::attention_cosine, "cos(a, h)")
        .def_ro("mlp_cosine", &means::mlp_cosine, "cos(m, h+a)")
        .def_ro("layer_cosine", &means::layer_cosine, "cos(a+m, h)")
        .def_ro("block_influence", &means::block_influence, "1 - cos(h, h+a+m)")
        .def_ro("residual_norm", &means::residual_norm, "|h|")
        .def_ro("tokens", &means::tokens);
    nb::class_<dg::contribution_accumulator>(m, "ContributionAccumulator", "Streams one layer over prompts.")
        .def(nb::init<>())
        .def(
            "add",
            [](dg::contribution_accumulator& self, nb::object h, nb::object a, nb::object mlp) {
                const view x = matrix_of(h, "contribution"), y = matrix_of(a, "contribution"),
                           z = matrix_of(mlp, "contribution");
                by_format("contribution", {&x, &y, &z}, [&](auto number) {
                    using T = decltype(number);
                    self.add(x.as<T>(), y.as<T>(), z.as<T>());
                });
            },
            "h"_a, "a"_a, "m"_a, "Takes the rows of one prompt, each (T, d).")
        .def("mean", &dg::contribution_accumulator::mean, "Means over all tokens so far.");
}

void bind_depth_scores(nb::module_& m) {
    const auto score = [&](const char* name, const char* doc) {
        m.def(
            name,
            [name](nb::object effects) {
                return with_run(effects, name, [](const auto& run) { return dg::centre_of_mass(run); });
            },
            "effects"_a, doc);
    };
    score("centre_of_mass", "Effect-weighted mean layer index, in layers; raises Error where effects sum to 0.");
    score("output_depth_score", "Depth score from the effects of skipping each layer on the softmax.");
    m.def(
        "future_output_effect",
        [](nb::object clean, nb::object skipped, size_t boundary) {
            const view a = matrix_of(clean, "future_output_effect"), b = matrix_of(skipped, "future_output_effect");
            return by_format("future_output_effect", {&a, &b}, [&](auto number) {
                using T = decltype(number);
                return dg::future_output_effect(a.as<T>(), b.as<T>(), boundary);
            });
        },
        "clean"_a, "skipped"_a, "boundary"_a,
        "Largest softmax distance from position `boundary` on, of logits (T, V) of a clean run and of one without a "
        "layer's output at positions 1 ... boundary - 1.");
    m.def(
        "layer_effects",
        [](nb::object change) {
            const view x = matrix_of(change, "layer_effects");
            return numpy_of(by_format("layer_effects", {&x},
                                      [&](auto number) { return dg::layer_effects(x.as<decltype(number)>()); }));
        },
        "change"_a, "Mean change of the later layers, a number a layer, from changes (L, L) with the source as row.");
    m.def(
        "layer_depth_score",
        [](nb::object change) {
            const view x = matrix_of(change, "layer_depth_score");
            return by_format("layer_depth_score", {&x},
                             [&](auto number) { return dg::layer_depth_score(x.as<decltype(number)>()); });
        },
        "change"_a, "Depth score from the relative changes (L, L) of later layers.");
    m.def("relative_depth", &dg::relative_depth, "score"_a, "layers"_a, "score / (layers - 1).");
}

void bind_similarity(nb::module_& m) {
    const auto matrix = [](const std::vector<std::vector<double>>& rows) {
        std::vector<double> flat;
        for (const auto& row : rows) flat.insert(flat.end(), row.begin(), row.end());
        return numpy_of(flat, rows.size());
    };
    m.def(
        "block_similarity",
        [matrix](const std::vector<std::vector<nb::object>>& layers, size_t block) {
            std::vector<std::vector<view>> views(layers.size());
            const view* first = nullptr;
            for (size_t layer = 0; layer < layers.size(); ++layer)
                for (const nb::object& weight : layers[layer]) {
                    views[layer].push_back(view_of(weight, "block_similarity"));
                    const view& last = views[layer].back();
                    dg::require(last.rows <= 1 || last.stride == last.cols,
                                "[block_similarity] expected contiguous weights, got one with strides");
                    dg::require(!first || first->type == last.type,
                                "[block_similarity] expected weights of one number format, got others");
                    if (!first) first = &views[0][0];
                }
            dg::require(first, "[block_similarity] expected at least 1 layer with weights, got none");
            return matrix(by_format("block_similarity", {&views[0][0]}, [&](auto number) {
                using T = decltype(number);
                return dg::block_similarity(layers.size(), block, [&](size_t layer) {
                    std::vector<dg::span<const T>> parts;
                    for (const view& x : views[layer])
                        parts.emplace_back(static_cast<const T*>(x.data), x.rows * x.cols);
                    return parts;
                });
            }));
        },
        "layers"_a, "block"_a,
        "Cosines between blocks of `block` layers, (layers / block, layers / block); `layers` is a list of lists of "
        "weights.");
}

void bind_statistics(nb::module_& m) {
    nb::class_<dg::running_statistics>(m, "RunningStatistics", "Count, mean, maximum, variance of values one by one.")
        .def(nb::init<>())
        .def("add", &dg::running_statistics::add, "value"_a)
        .def_prop_ro("count", &dg::running_statistics::count)
        .def_prop_ro("mean", &dg::running_statistics::mean)
        .def_prop_ro("maximum", &dg::running_statistics::maximum)
        .def_prop_ro("variance", &dg::running_statistics::variance, "Sample variance (n - 1).")
        .def_prop_ro("standard_error", &dg::running_statistics::standard_error);
    nb::class_<dg::mean_interval>(m, "MeanInterval", "A mean and the ends of its confidence interval.")
        .def_ro("mean", &dg::mean_interval::mean)
        .def_ro("low", &dg::mean_interval::low)
        .def_ro("high", &dg::mean_interval::high)
        .def("__repr__", [](const dg::mean_interval& x) {
            return dg::text("MeanInterval(mean=", x.mean, ", low=", x.low, ", high=", x.high, ")");
        });
    m.def(
        "bootstrap_mean",
        [](nb::object values, std::uint64_t seed, size_t resamples, double confidence) {
            return with_run(values, "bootstrap_mean", [&](const auto& run) {
                return dg::bootstrap_mean(run, {seed, resamples, confidence});
            });
        },
        "values"_a, "seed"_a = 0, "resamples"_a = 2000, "confidence"_a = 0.95,
        "Mean over prompts with its percentile bootstrap interval.");
    m.def(
        "paired_difference",
        [](nb::object a, nb::object b, std::uint64_t seed, size_t resamples, double confidence) {
            const dg::bootstrap_options options{seed, resamples, confidence};
            return with_run(a, "paired_difference", [&](const auto& first) {
                std::vector<double> left;
                for (size_t i = 0; i < first.size(); ++i) left.push_back(dg::detail::widen(first[i]));
                nb::gil_scoped_acquire locked;
                return with_run(b, "paired_difference",
                                [&](const auto& other) { return dg::paired_difference(left, other, options); });
            });
        },
        "a"_a, "b"_a, "seed"_a = 0, "resamples"_a = 2000, "confidence"_a = 0.95,
        "Mean of a - b over the same prompts with its interval.");
    m.def("binomial_standard_error", &dg::binomial_standard_error, "hits"_a, "trials"_a,
          "Standard error of a proportion.");
}

}  // namespace

void bind_metrics(nb::module_& m) {
    bind_runs(m);
    bind_vocabulary(m);
    bind_contributions(m);
    bind_depth_scores(m);
    bind_similarity(m);
    bind_statistics(m);
}
