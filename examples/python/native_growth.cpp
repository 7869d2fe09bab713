// The Python module of orders, mixtures, operators, schedules, costs and lineage: what include/depthgrow/growth
// defines. Assumes nanobind; counts are non-negative Python ints, errors of the library arrive as depthgrow.Error.
// Definitions: the headers of depthgrow/growth, each with its paper.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/operators.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include <depthgrow/analysis/prompts.hpp>
#include <depthgrow/growth.hpp>
#include <string>
#include <utility>
#include <vector>

#include "native.hpp"

namespace nb = nanobind;
namespace dg = depthgrow;
using namespace nb::literals;
using std::size_t;

namespace {

using row_pairs = std::vector<std::pair<size_t, double>>;

row_pairs pairs_of(const dg::mixture_row& row) {
    row_pairs out;
    for (const dg::mixture_term& term : row) out.emplace_back(term.source, term.coefficient);
    return out;
}

/// Index of a sequence of `size` elements as Python counts, from the end when negative.
size_t place(std::ptrdiff_t index, size_t size) {
    const auto count = static_cast<std::ptrdiff_t>(size);
    if (index < 0) index += count;
    if (index < 0 || index >= count) throw nb::index_error("slot out of range");
    return static_cast<size_t>(index);
}

dg::step_rounding rounding_of(const std::string& name) {
    if (name == "largest_remainder") return dg::step_rounding::largest_remainder;
    if (name == "floor") return dg::step_rounding::floor;
    dg::fail("[stage_lengths] expected a rounding of largest_remainder or floor, got \"", name, "\"");
}

dg::attention_cost cost_of(const std::string& name) {
    if (name == "full") return dg::attention_cost::full;
    if (name == "causal") return dg::attention_cost::causal;
    dg::fail("[flops] expected an attention of full or causal, got \"", name, "\"");
}

void bind_orders(nb::module_& m) {
    nb::class_<dg::layer_order>(m, "LayerOrder",
                                "Slot j of a grown stack takes layer order[j] of a stack of source_depth layers.")
        .def(nb::init<std::vector<size_t>, size_t>(), "sources"_a, "source_depth"_a,
             "Raises Error unless every source is below source_depth.")
        .def_static("identity", &dg::layer_order::identity, "depth"_a, "0 1 ... depth-1.")
        .def_static("parse", &dg::parse_layer_order, "text"_a, "source_depth"_a, "Reads \"0,1,2\" or \"0 1 2\".")
        .def_prop_ro("source_depth", &dg::layer_order::source_depth, "Layers that the order is applied to.")
        .def_prop_ro(
            "sources", [](const dg::layer_order& order) { return order.sources(); }, "The sources as a list.")
        .def(
            "is_new", [](const dg::layer_order& o, std::ptrdiff_t slot) { return o.is_new(place(slot, o.size())); },
            "slot"_a, "Whether growth puts a copy into the slot: an earlier slot keeps the source.")
        .def_prop_ro("is_identity", &dg::layer_order::is_identity)
        .def("__len__", &dg::layer_order::size)
        .def("__getitem__", [](const dg::layer_order& o, std::ptrdiff_t slot) { return o[place(slot, o.size())]; })
        .def("__iter__", [](const dg::layer_order& o) { return nb::iter(nb::cast(o.sources())); })
        .def("__str__", &dg::layer_order::to_string)
        .def("__repr__",
             [](const dg::layer_order& o) {
                 std::string list = o.to_string();
                 for (size_t at = 0; (at = list.find(' ', at)) != list.npos; at += 2) list.replace(at, 1, ", ");
                 return dg::text("LayerOrder([", list, "], source_depth=", o.source_depth(), ")");
             })
        .def("__hash__", [](const dg::layer_order& o) { return nb::hash(nb::cast(o.to_string())); })
        .def(nb::self == nb::self)
        .def("__eq__",
             [](const dg::layer_order& o, const std::vector<size_t>& sources) { return o.sources() == sources; });

    nb::class_<dg::mixture>(m, "Mixture", "What each slot of a grown stack is a sum of: (source, coefficient) pairs.")
        .def(
            "__init__",
            [](dg::mixture* self, const std::vector<row_pairs>& given, size_t source_depth) {
                std::vector<dg::mixture_row> rows(given.size());
                for (size_t slot = 0; slot < given.size(); ++slot)
                    for (const auto& [source, coefficient] : given[slot]) rows[slot].push_back({source, coefficient});
                new (self) dg::mixture(std::move(rows), source_depth);
            },
            "rows"_a, "source_depth"_a, "Raises Error where a row is empty or names a layer twice or outside.")
        .def(nb::init<const dg::layer_order&>(), "order"_a)
        .def_static("parse", &dg::parse_mixture, "text"_a, "source_depth"_a, "Reads \"0 1 0.5*1+0.5*2 2\".")
        .def_prop_ro("source_depth", &dg::mixture::source_depth, "Layers that the mixture is applied to.")
        .def_prop_ro("is_order", &dg::mixture::is_order, "Whether every slot is one layer as it is.")
        .def("order", &dg::mixture::order, "The same as an order; raises Error where layers are mixed.")
        .def("squared", &dg::squared, "With squared coefficients: what second moments grow by.")
        .def(
            "is_new", [](const dg::mixture& x, std::ptrdiff_t slot) { return x.is_new(place(slot, x.size())); },
            "slot"_a, "Whether growth makes a layer for the slot.")
        .def(
            "main_source",
            [](const dg::mixture& x, std::ptrdiff_t slot) { return x.main_source(place(slot, x.size())); }, "slot"_a,
            "The source that counts most in the slot.")
        .def("__len__", &dg::mixture::size)
        .def("__getitem__",
             [](const dg::mixture& x, std::ptrdiff_t slot) { return pairs_of(x[place(slot, x.size())]); })
        .def("__str__", &dg::mixture::to_string)
        .def("__repr__",
             [](const dg::mixture& x) {
                 return dg::text("Mixture.parse(\"", x.to_string(), "\", source_depth=", x.source_depth(), ")");
             })
        .def("__hash__", [](const dg::mixture& x) { return nb::hash(nb::cast(x.to_string())); })
        .def(nb::self == nb::self);
    nb::implicitly_convertible<dg::layer_order, dg::mixture>();

    m.def("compose", nb::overload_cast<const dg::layer_order&, const dg::layer_order&>(&dg::compose), "outer"_a,
          "inner"_a, "The one order that does what inner and then outer do.");
    m.def("compose", nb::overload_cast<const dg::mixture&, const dg::mixture&>(&dg::compose), "outer"_a, "inner"_a,
          "The one mixture that does what inner and then outer do.");
}

void bind_operators(nb::module_& m) {
    m.def(
        "midas", [](size_t depth, size_t block) { return dg::midas{block}(depth); }, "depth"_a, "block"_a = 4,
        "MIDAS: the middle block, copied right after itself; depth must be whole blocks.");
    m.def(
        "lidas", [](size_t depth, size_t block) { return dg::lidas{block}(depth); }, "depth"_a, "block"_a = 4,
        "LIDAS: the middle layers, copied right after themselves.");
    m.def(
        "gradual", [](size_t depth, size_t block) { return dg::gradual{block}(depth); }, "depth"_a, "block"_a = 4,
        "Gradual stacking: the last block, copied on top.");
    m.def(
        "doubling", [](size_t depth) { return dg::doubling{}(depth); }, "depth"_a, "The whole stack twice.");
    m.def(
        "interleave", [](size_t depth) { return dg::interleave{}(depth); }, "depth"_a,
        "Every layer followed by its copy.");
    m.def(
        "solar", [](size_t depth, size_t dropped) { return dg::solar{dropped}(depth); }, "depth"_a, "dropped"_a = 8,
        "SOLAR: two copies, without `dropped` layers on either side of the seam.");
    m.def(
        "collapse",
        [](size_t depth, size_t start, size_t length) {
            return dg::collapse{start, length}(depth);
        },
        "depth"_a, "start"_a, "length"_a, "LaCo: the `length` layers after layer `start`, merged into it; a Mixture.");
    m.def("skip", &dg::skip, "depth"_a, "start"_a, "length"_a, "The stack without layers [start, start + length).");
    m.def("swap_blocks", &dg::swap_blocks, "depth"_a, "start"_a, "length"_a, "Two neighbouring blocks exchanged.");
    m.def("reverse", &dg::reverse, "depth"_a, "start"_a, "length"_a, "Layers of a range in reverse order.");
    m.def("loop", &dg::loop, "depth"_a, "start"_a, "length"_a, "times"_a, "A range run `times` extra times.");

    nb::class_<dg::growth_operator>(m, "GrowthOperator", "A rule that turns a depth into a layer order.")
        .def(
            "__init__",
            [](dg::growth_operator* self, const std::string& name, size_t block, size_t start, size_t length) {
                new (self) dg::growth_operator(dg::make_operator(name, {block, start, length}));
            },
            "name"_a, "block"_a = 4, "start"_a = 0, "length"_a = 1, "One of operator_names(), with what it reads.")
        .def("__call__", &dg::growth_operator::operator(), "depth"_a,
             "The order at that depth; raises Error for an operator that mixes layers.")
        .def("rows", &dg::growth_operator::rows, "depth"_a, "The same of any operator, as a Mixture.")
        .def_prop_ro("name", [](const dg::growth_operator& op) { return std::string(op.name()); });
    m.def("operator_names", &dg::operator_names, "orders_only"_a = false, "Names that GrowthOperator takes.");
    m.def(
        "operator_table",
        [] {
            nb::list rows;
            for (const dg::operator_entry& entry : dg::operator_table) {
                nb::dict row;
                row["name"] = std::string(entry.name);
                row["help"] = std::string(entry.help);
                row["reads"] = std::string(entry.reads);
                row["is_order"] = entry.is_order;
                rows.append(row);
            }
            return rows;
        },
        "Every operator: its name, help, the parameters that it reads, whether it gives an order at every depth.");
}

void bind_growths(nb::module_& m) {
    nb::class_<dg::growth>(m, "Growth", "One growth: what slots are made of, how copies begin, what moments do.")
        .def(
            "__init__",
            [](dg::growth* self, const dg::mixture& layers, const std::string& init, const std::string& state,
               std::uint64_t seed) {
                new (self) dg::growth{layers, dg::parse_layer_init(init), dg::parse_state_policy(state), seed};
            },
            "layers"_a, "init"_a = "copy", "state"_a = "copy", "seed"_a = 0)
        .def_static(
            "parse", [](const std::string& text, size_t depth) { return dg::parse_growth(text, depth); }, "text"_a,
            "depth"_a, "Reads \"lidas block=4 init=average state=zero\", or an order or mixture.")
        .def_prop_ro("layers", [](const dg::growth& how) { return how.layers; })
        .def_prop_ro("init", [](const dg::growth& how) { return std::string(how.init.name()); })
        .def_prop_ro(
            "sigma", [](const dg::growth& how) { return how.init.sigma; }, "Of init noise:SIGMA.")
        .def_prop_ro("state", [](const dg::growth& how) { return std::string(dg::name_of(how.state)); })
        .def_ro("seed", &dg::growth::seed)
        .def("rows", &dg::growth::rows, "What each slot is a sum of, averages put in.")
        .def(
            "begins", [](const dg::growth& x, std::ptrdiff_t slot) { return x.begins(place(slot, x.layers.size())); },
            "slot"_a, "Whether `init` says how the slot begins: a copy of a layer that another slot keeps.")
        .def("__str__", &dg::growth::to_string)
        .def("__repr__",
             [](const dg::growth& x) {
                 return dg::text("Growth.parse(\"", x.to_string(), "\", ", x.layers.source_depth(), ")");
             })
        .def("__hash__", [](const dg::growth& x) { return nb::hash(nb::cast(x.to_string())); })
        .def(nb::self == nb::self);
    m.def(
        "begin_noise",
        [](std::uint64_t seed, size_t slot, const std::string& part, size_t count) {
            auto draws = dg::begin_stream(seed, slot, part);
            auto* values = new double[count];
            const nb::capsule owner(values, [](void* p) noexcept { delete[] static_cast<double*>(p); });
            for (size_t i = 0; i < count; ++i) values[i] = draws.normal();
            return nb::ndarray<nb::numpy, double, nb::ndim<1>>(values, {count}, owner);
        },
        "seed"_a, "slot"_a, "part"_a, "count"_a,
        "The normal numbers that a tensor of a new layer begins with; `part` is its name within the layer.");
}

void bind_plans(nb::module_& m) {
    nb::class_<dg::growth_stage>(m, "GrowthStage", "One depth and the steps [first_step, first_step + steps) at it.")
        .def_ro("layers", &dg::growth_stage::layers)
        .def_ro("first_step", &dg::growth_stage::first_step)
        .def_ro("steps", &dg::growth_stage::steps)
        .def("__repr__",
             [](const dg::growth_stage& s) {
                 return dg::text("GrowthStage(layers=", s.layers, ", first_step=", s.first_step, ", steps=", s.steps,
                                 ")");
             })
        .def_prop_ro("growth", &dg::growth_stage::applied, "Applied on entering the stage.")
        .def_prop_ro(
            "order", [](const dg::growth_stage& stage) { return stage.applied().layers.order(); },
            "The same as an order; the identity for the first stage.");
    nb::class_<dg::growth_plan>(m, "GrowthPlan", "The stages of a run, in order, without gaps.")
        .def_static(
            "parse",
            [](const std::string& lines, size_t initial, size_t total) {
                return dg::parse_growth_plan(lines, initial, total);
            },
            "lines"_a, "initial_layers"_a, "total_steps"_a,
            "Reads a line \"STEP GROWTH\" for each growth, as train_smol --growth-plan does.")
        .def("__repr__",
             [](const dg::growth_plan& plan) {
                 std::string out = "GrowthPlan(";
                 for (const auto& s : plan.stages)
                     out += dg::text(s.first_step ? ", " : "", s.layers, " layers from step ", s.first_step);
                 return out + dg::text("; ", plan.total_steps(), " steps)");
             })
        .def_prop_ro("stages", [](const dg::growth_plan& plan) { return plan.stages; })
        .def_prop_ro("total_steps", &dg::growth_plan::total_steps)
        .def_prop_ro("final_layers", &dg::growth_plan::final_layers)
        .def("stage_at", &dg::growth_plan::stage_at, "step"_a, "Index of the stage that trains the step.")
        .def("layers_at", &dg::growth_plan::layers_at, "step"_a, "Layers that are trained at the step.")
        .def("growth_steps", &dg::growth_plan::growth_steps, "Numbers of steps done when the model grows.");
    const auto plan = [](const dg::growth_operator& op, size_t initial, size_t final, size_t plateau, size_t total,
                         double alpha, const std::string& rounding) {
        return dg::plan_growth(op, {initial, final, plateau, total, alpha, rounding_of(rounding)});
    };
    m.def("plan_growth", plan, "operator"_a, "initial_layers"_a, "final_layers"_a, "plateau_steps"_a, "total_steps"_a,
          "alpha"_a = 1.0, "rounding"_a = "largest_remainder",
          "The stages that take initial_layers to final_layers, with lengths proportional to i^alpha.");
    m.def(
        "plan_growth",
        [plan](const std::string& name, size_t initial, size_t final, size_t plateau, size_t total, double alpha,
               const std::string& rounding) {
            return plan(dg::make_operator(name, dg::operator_parameters{}), initial, final, plateau, total, alpha,
                        rounding);
        },
        "operator"_a, "initial_layers"_a, "final_layers"_a, "plateau_steps"_a, "total_steps"_a, "alpha"_a = 1.0,
        "rounding"_a = "largest_remainder", "The same of the operator GrowthOperator(name).");
    m.def("plan_plain", &dg::plan_plain, "layers"_a, "total_steps"_a, "A run at one depth.");
    m.def(
        "stage_lengths",
        [](size_t stages, size_t total, double alpha, const std::string& rounding) {
            return dg::stage_lengths(stages, total, alpha, rounding_of(rounding));
        },
        "stages"_a, "total_steps"_a, "alpha"_a = 1.0, "rounding"_a = "largest_remainder",
        "Steps of stages proportional to i^alpha; they sum to total_steps.");

    nb::class_<dg::model_shape>(m, "ModelShape", "Extents of a decoder, of which costs are counted.")
        .def(
            "__init__",
            [](dg::model_shape* self, size_t layers, size_t width, size_t kv_width, size_t ffn, size_t vocab,
               size_t context, size_t q_width, size_t mlp_maps) {
                new (self) dg::model_shape{layers, width, kv_width, ffn, vocab, context, q_width, mlp_maps};
            },
            "layers"_a, "width"_a, "kv_width"_a, "ffn"_a, "vocab"_a, "context"_a, "q_width"_a = 0, "mlp_maps"_a = 3)
        .def_rw("layers", &dg::model_shape::layers)
        .def_rw("width", &dg::model_shape::width)
        .def_rw("kv_width", &dg::model_shape::kv_width, "Key/value heads times head size.")
        .def_rw("ffn", &dg::model_shape::ffn)
        .def_rw("vocab", &dg::model_shape::vocab)
        .def_rw("context", &dg::model_shape::context, "Tokens of one sequence.")
        .def_rw("q_width", &dg::model_shape::q_width, "Heads times head size; 0: width.")
        .def_rw("mlp_maps", &dg::model_shape::mlp_maps, "Matrices of the MLP: 3 gated, 2 plain.");
    m.def(
        "forward_flops_per_token",
        [](const dg::model_shape& shape, size_t layers, const std::string& attention) {
            return dg::forward_flops_per_token(shape, layers, cost_of(attention));
        },
        "shape"_a, "layers"_a, "attention"_a = "full", "Forward operations of one token at `layers` layers.");
    m.def(
        "training_flops",
        [](const dg::model_shape& shape, const dg::growth_plan& plan, size_t tokens, const std::string& attention) {
            return dg::training_flops(shape, plan, tokens, cost_of(attention));
        },
        "shape"_a, "plan"_a, "tokens_per_step"_a, "attention"_a = "full", "Operations of a run by the plan.");
    m.def(
        "flop_matched_steps",
        [](const dg::model_shape& shape, const dg::growth_plan& plan, const std::string& attention) {
            return dg::flop_matched_steps(shape, plan, cost_of(attention));
        },
        "shape"_a, "plan"_a, "attention"_a = "full",
        "Steps of the longest plain run at the final depth that costs no more than the plan.");
}

void bind_lineage(nb::module_& m) {
    nb::class_<dg::lineage>(m, "Lineage", "The growths of a stack; append each one as it is applied.")
        .def(nb::init<size_t>(), "initial_depth"_a)
        .def(nb::init<const dg::growth_plan&>(), "plan"_a)
        .def("record", nb::overload_cast<const dg::mixture&>(&dg::lineage::record), "layers"_a)
        .def("record", nb::overload_cast<const dg::growth&>(&dg::lineage::record), "how"_a)
        .def_prop_ro("initial_depth", &dg::lineage::initial_depth)
        .def_prop_ro("depth", &dg::lineage::depth)
        .def_prop_ro("stage", &dg::lineage::stage)
        .def("composition", &dg::lineage::composition, "Which initial layer each layer descends from.")
        .def("shared_until", &dg::lineage::shared_until, "a"_a, "b"_a,
             "The last stage in which two layers were one tensor; 0 when they never were.")
        .def("layer_matrix", &dg::lineage::layer_matrix, "shared_until of every pair.")
        .def("block_matrix", &dg::lineage::block_matrix, "block"_a, "Means of it over blocks.");
    m.def("draw_boundaries", &dg::draw_boundaries, "length"_a, "seed"_a, "index"_a, "count"_a = 4,
          "Where the future effects of prompt `index` start: up to `count` of 8, 16, 24, ... below length - 4.");
}

}  // namespace

NB_MODULE(_native, m) {
    m.doc() = "Layer orders, schedules and metrics of the depthgrow library.";
    m.attr("__version__") = DEPTHGROW_VERSION_STRING;
    nb::exception<dg::error>(m, "Error", PyExc_ValueError);
    bind_orders(m);
    bind_operators(m);
    bind_growths(m);
    bind_plans(m);
    bind_lineage(m);
    bind_metrics(m);
}
