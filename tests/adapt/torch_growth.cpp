// Growth of libtorch's tensors, modules and optimisers: what is copied, what stays, what is refused untouched.
#include "depthgrow/adapt/torch.hpp"
#include "depthgrow/growth/conformance.hpp"
#include "depthgrow/lidas.hpp"
#include "support/torch.hpp"

namespace dg = depthgrow;
namespace nn = torch::nn;
namespace optim = torch::optim;

namespace {

/// A layer with a frozen parameter, a parameter under two names, a buffer and a child in another mode.
struct BlockImpl : nn::Cloneable<BlockImpl> {
    explicit BlockImpl(std::int64_t width_) : width(width_) { BlockImpl::reset(); }
    void reset() override {
        linear = register_module("linear", nn::Linear(width, width));
        weight = register_parameter("weight", torch::randn({width}));
        again = register_parameter("again", weight);
        frozen = register_parameter("frozen", torch::ones({width}));
        mask = register_buffer("mask", torch::zeros({width}));
    }
    std::int64_t width;
    nn::Linear linear{nullptr};
    torch::Tensor weight, again, frozen, mask;
};
TORCH_MODULE(Block);

struct model_of_list : nn::Module {
    explicit model_of_list(std::int64_t depth) {
        for (std::int64_t i = 0; i < depth; ++i) {
            Block block(3);
            block->frozen.set_requires_grad(false);
            block->mask.fill_(static_cast<double>(i));
            layers->push_back(block);
        }
        embed = register_module("embed", nn::Linear(2, 3));
        register_module("layers", layers);
        norm = register_module("norm", nn::Linear(3, 2));
    }
    Block at(std::size_t layer) { return Block(layers->ptr<BlockImpl>(layer)); }
    nn::ModuleList layers;
    nn::Linear embed{nullptr}, norm{nullptr};
};

std::vector<std::string> names(const nn::Module& module) { return module.named_parameters().keys(); }

/// Parameters once each, that can be trained.
std::vector<torch::Tensor> trainable(const nn::Module& module) {
    std::vector<torch::Tensor> found;
    for (const auto& parameter : module.parameters()) {
        bool had = !parameter.requires_grad();
        for (const auto& earlier : found) had = had || earlier.is_same(parameter);
        if (!had) found.push_back(parameter);
    }
    return found;
}

void take_steps(optim::Optimizer& optimizer, int steps = 2) {
    for (int step = 0; step < steps; ++step) {
        double scale = 0.1 * (step + 1);
        for (auto& group : optimizer.param_groups())
            for (auto& parameter : group.params())
                parameter.mutable_grad() = torch::full_like(parameter, scale += 0.01);
        optimizer.step();
    }
}

optim::OptimizerParamState* state_of(optim::Optimizer& optimizer, const torch::Tensor& parameter) {
    using key = std::decay_t<decltype(optimizer.state())>::key_type;
    const auto found = optimizer.state().find(dg::detail::state_key<key>(parameter));
    return found == optimizer.state().end() ? nullptr : found->second.get();
}
optim::AdamWParamState& adamw_state(optim::Optimizer& optimizer, const torch::Tensor& parameter) {
    return dynamic_cast<optim::AdamWParamState&>(*state_of(optimizer, parameter));
}

/// Everything that a failure must leave as it is.
struct record {
    record(const nn::Module& model, optim::Optimizer& optimizer) : keys(names(model)), generator(torch::rand({1})) {
        for (const auto& parameter : model.parameters())
            tensors.push_back(parameter), values.push_back(parameter.detach().clone());
        for (const auto& group : optimizer.param_groups()) groups.push_back(group.params());
        for (const auto& entry : optimizer.state())
            for (const auto& tensor : dg::detail::tensors_of(*entry.second)) states.push_back(*tensor.first);
    }
    bool holds(const nn::Module& model, optim::Optimizer& optimizer) const {
        const record now(model, optimizer);
        bool same = now.keys == keys && now.tensors.size() == tensors.size() && now.groups.size() == groups.size() &&
                    now.states.size() == states.size();
        for (std::size_t i = 0; same && i < tensors.size(); ++i)
            same = now.tensors[i].is_same(tensors[i]) && equal(now.values[i], values[i]);
        for (std::size_t g = 0; same && g < groups.size(); ++g) {
            same = now.groups[g].size() == groups[g].size();
            for (std::size_t i = 0; same && i < groups[g].size(); ++i) same = now.groups[g][i].is_same(groups[g][i]);
        }
        for (std::size_t i = 0; same && i < states.size(); ++i) same = now.states[i].is_same(states[i]);
        return same;
    }
    std::vector<std::string> keys;
    torch::Tensor generator;
    std::vector<torch::Tensor> tensors, values, states;
    std::vector<std::vector<torch::Tensor>> groups;
};

struct tensor_layer {
    torch::Tensor weight;
    std::vector<torch::Tensor> heads;
    std::pair<std::string, torch::Tensor> bias;
    int width = 0;
};
tensor_layer three_tensors(double value) {
    const auto leaf = [&](std::int64_t size) { return torch::full({size}, value, torch::requires_grad()); };
    return {leaf(2), {leaf(3), torch::full({1}, value)}, {"bias", leaf(1)}, 2};
}

}  // namespace

TEST_CASE("a tensor is copied as a leaf with memory of its own") {
    torch::manual_seed(1);
    std::vector<torch::Tensor> layers{torch::randn({2, 3}, torch::kDouble).requires_grad_(),
                                      torch::randn({4, 3}).t().detach(), torch::Tensor(),
                                      torch::ones({2}, torch::requires_grad()) * 2};
    const auto before = layers;
    layers = dg::grow(std::move(layers), dg::doubling{}(4));
    REQUIRE(layers.size() == 8);
    for (std::size_t i = 0; i < 4; ++i) CHECK(layers[i].is_same(before[i]));
    for (std::size_t i : {0u, 1u, 3u}) {
        const torch::Tensor &from = layers[i], &to = layers[4 + i];
        CHECK((equal(from, to) && to.is_leaf() && to.requires_grad() == from.requires_grad()));
        CHECK((to.dtype() == from.dtype() && to.strides() == from.strides() && to.data_ptr() != from.data_ptr()));
        CHECK_FALSE(to.grad().defined());
    }
    CHECK_FALSE(layers[6].defined());
    (layers[4] * 2).sum().backward();
    CHECK((layers[4].grad().defined() && !layers[0].grad().defined()));
    const torch::NoGradGuard no_grad;
    layers[4].fill_(7);
    CHECK_FALSE(equal(layers[0], layers[4]));
}

TEST_CASE("structs, pairs and vectors of tensors grow as deep copies, with their optimiser") {
    std::vector<tensor_layer> layers;
    for (double value : {1.0, 2.0}) layers.push_back(three_tensors(value));
    std::vector<torch::Tensor> held;
    for (auto& layer : layers) held.insert(held.end(), {layer.weight, layer.heads[0], layer.bias.second});
    optim::AdamW optimizer(held, optim::AdamWOptions(0.01));
    take_steps(optimizer);
    dg::grow(layers, optimizer, dg::interleave{}(2));
    REQUIRE(layers.size() == 4);
    CHECK((layers[0].weight.is_same(held[0]) && layers[2].weight.is_same(held[3])));
    CHECK((layers[1].weight.is_leaf() && equal(layers[1].heads[0], held[1]) && layers[1].bias.first == "bias"));
    const auto& params = optimizer.param_groups()[0].params();
    REQUIRE(params.size() == 12);
    for (std::size_t slot = 0; slot < 4; ++slot) {
        CHECK(params[3 * slot].is_same(layers[slot].weight));
        CHECK(params[3 * slot + 1].is_same(layers[slot].heads[0]));
        CHECK(params[3 * slot + 2].is_same(layers[slot].bias.second));
    }
    CHECK(equal(adamw_state(optimizer, layers[1].weight).exp_avg(), adamw_state(optimizer, held[0]).exp_avg()));
    dg::check_layer<tensor_layer>([] { return three_tensors(3); },
                                  [](tensor_layer& layer) {
                                      const torch::NoGradGuard no_grad;
                                      layer.weight.add_(1), layer.heads[0].add_(1), layer.heads[1].add_(1),
                                          layer.bias.second.add_(1);
                                  },
                                  [](const tensor_layer& a, const tensor_layer& b) {
                                      return equal(a.weight, b.weight) && equal(a.heads[0], b.heads[0]) &&
                                             equal(a.heads[1], b.heads[1]) && equal(a.bias.second, b.bias.second);
                                  });
}

TEST_CASE("tensors are added up in double and rounded once, and noise has the size that was asked for") {
    const auto leaf = [](float value) { return torch::full({1}, value, torch::requires_grad()); };
    std::vector<torch::Tensor> layers{leaf(16777216), leaf(1), leaf(1)};
    layers = dg::grow(std::move(layers), dg::parse_mixture("0 0+1+2 1", 3));
    CHECK(layers[1].item<float>() == 16777218);  // in float, 16777216 + 1 + 1 would not move
    CHECK((layers[1].is_leaf() && layers[1].requires_grad() && layers[1].dtype() == torch::kFloat));
    std::vector<torch::Tensor> wide{torch::full({100, 40}, 2.0, torch::kDouble)};
    const dg::growth how{dg::doubling{}(1), {dg::init_kind::noise, 0.1}, dg::state_policy::copy, 5};
    wide = dg::grow(std::move(wide), how);
    CHECK((wide[1] - wide[0]).square().mean().sqrt().item<double>() == Approx(0.2).epsilon(0.05));
    const auto same = dg::grow(std::vector<std::vector<double>>{std::vector<double>(4000, 2.0)}, how);
    CHECK(wide[1][0][7].item<double>() == Approx(same[1][7]).epsilon(1e-12));  // the draws of any other layer
    CHECK_THROWS_WITH(dg::grow(std::move(wide), dg::growth{dg::doubling{}(2), {dg::init_kind::random}}),
                      Catch::StartsWith("[grow] expected layers that know how to begin as random"));
}

TEST_CASE("a ModuleList grows in place: names, the same modules, deep copies that keep what clone() forgets") {
    model_of_list model(4);
    model.to(torch::kDouble);
    model.at(1)->linear->eval();
    model.at(1)->weight.mutable_grad() = torch::ones({3}, torch::kDouble);
    optim::AdamW optimizer(trainable(model), optim::AdamWOptions(0.01));
    take_steps(optimizer);
    const auto before = model.layers->children();
    torch::manual_seed(3);
    const auto next = torch::rand({4});
    torch::manual_seed(3);
    dg::grow(model.layers, optimizer, dg::lidas{2}(4));  // 0 1 2 1 2 3
    CHECK(equal(torch::rand({4}), next));                // a copy draws nothing
    REQUIRE(model.layers->size() == 6);
    std::vector<std::string> expected{"embed.weight", "embed.bias"};
    for (int i = 0; i < 6; ++i)
        for (const char* part : {"weight", "again", "frozen", "linear.weight", "linear.bias"})
            expected.push_back("layers." + std::to_string(i) + "." + part);
    expected.insert(expected.end(), {"norm.weight", "norm.bias"});
    CHECK(names(model) == expected);
    for (std::size_t slot : {0u, 1u, 2u}) CHECK(model.layers->ptr(slot) == before[slot]);
    CHECK(model.layers->ptr(5) == before[3]);
    CHECK((model.layers->ptr(3) != before[1] && model.layers->ptr(4) != before[2]));

    Block source = model.at(1), copy = model.at(3);
    CHECK(equal(source->weight, copy->weight));
    CHECK(equal(source->linear->weight, copy->linear->weight));
    CHECK((copy->weight.dtype() == torch::kDouble && copy->weight.is_leaf() && copy->weight.requires_grad()));
    CHECK(copy->again.is_same(copy->weight));
    CHECK((!copy->frozen.requires_grad() && equal(copy->mask, torch::ones({3}, torch::kDouble))));
    CHECK((copy->is_training() && !copy->linear->is_training() && model.at(4)->linear->is_training()));
    CHECK_FALSE(copy->weight.grad().defined());
    const torch::NoGradGuard no_grad;
    copy->weight.fill_(9), copy->mask.fill_(9), copy->linear->weight.fill_(9);
    CHECK((source->mask[0].item<double>() == 1 && !equal(source->weight, copy->weight)));
    CHECK_FALSE(equal(source->linear->weight, copy->linear->weight));

    dg::grow(model.layers, dg::doubling{}(6));
    CHECK((model.layers->size() == 12 && names(model).size() == 12 * 5 + 4));
    dg::grow(model.layers, dg::collapse{1, 10}(12));
    CHECK(model.layers->size() == 2);
    dg::grow(model.layers, dg::growth{dg::doubling{}(2), {dg::init_kind::noise, 0.1}});
    CHECK_FALSE(equal(model.at(2)->weight, model.at(0)->weight));
    CHECK(model.at(2)->again.is_same(model.at(2)->weight));
}

TEST_CASE("new parameters stand in their sources' groups as the grown model lists them, states with step counts") {
    model_of_list model(4);
    std::vector<torch::Tensor> matrices, vectors;
    for (const auto& parameter : trainable(model)) (parameter.dim() > 1 ? matrices : vectors).push_back(parameter);
    optim::AdamW optimizer({optim::OptimizerParamGroup(matrices, std::make_unique<optim::AdamWOptions>(0.5)),
                            optim::OptimizerParamGroup(vectors, std::make_unique<optim::AdamWOptions>(0.25))},
                           optim::AdamWOptions(0.01).amsgrad(true));
    for (auto& group : optimizer.param_groups()) static_cast<optim::AdamWOptions&>(group.options()).amsgrad(true);
    take_steps(optimizer, 3);
    dg::grow(model.layers, optimizer, dg::lidas{2}(4));
    matrices.clear(), vectors.clear();
    for (const auto& parameter : trainable(model)) (parameter.dim() > 1 ? matrices : vectors).push_back(parameter);
    const auto same = [](const std::vector<torch::Tensor>& a, const std::vector<torch::Tensor>& b) {
        bool all = a.size() == b.size();
        for (std::size_t i = 0; all && i < a.size(); ++i) all = a[i].is_same(b[i]);
        return all;
    };
    CHECK(same(optimizer.param_groups()[0].params(), matrices));
    CHECK(same(optimizer.param_groups()[1].params(), vectors));
    CHECK(optimizer.param_groups()[1].options().get_lr() == 0.25);
    CHECK(optimizer.state().size() == matrices.size() + vectors.size());
    auto &from = adamw_state(optimizer, model.at(2)->weight), &to = adamw_state(optimizer, model.at(4)->weight);
    CHECK(to.step() == 3);
    CHECK((equal(from.exp_avg(), to.exp_avg()) && equal(from.exp_avg_sq(), to.exp_avg_sq())));
    CHECK((to.max_exp_avg_sq().defined() && equal(from.max_exp_avg_sq(), to.max_exp_avg_sq())));
    to.exp_avg().fill_(5), to.exp_avg_sq().fill_(5), to.max_exp_avg_sq().fill_(5);
    CHECK_FALSE((equal(from.exp_avg(), to.exp_avg()) || equal(from.exp_avg_sq(), to.exp_avg_sq()) ||
                 equal(from.max_exp_avg_sq(), to.max_exp_avg_sq())));
    take_steps(optimizer, 1);
    CHECK((to.step() == 4 && from.step() == 4));

    dg::grow(model.layers, optimizer, dg::skip(6, 1, 4));  // 0 5
    CHECK(optimizer.param_groups()[0].params().size() == 2 + 2);
    CHECK(optimizer.state().size() == trainable(model).size());
    for (const auto& parameter : trainable(model)) CHECK(state_of(optimizer, parameter) != nullptr);
}

TEST_CASE("parameters that a group lists kind by kind stay listed so") {
    std::vector<nn::Linear> layers{nn::Linear(2, 2), nn::Linear(2, 2)};
    optim::SGD optimizer(
        std::vector<torch::Tensor>{layers[0]->weight, layers[1]->weight, layers[0]->bias, layers[1]->bias}, 0.1);
    dg::grow(layers, optimizer, dg::interleave{}(2));
    const auto& params = optimizer.param_groups()[0].params();
    REQUIRE(params.size() == 8);
    for (std::size_t slot = 0; slot < 4; ++slot)
        CHECK((params[slot].is_same(layers[slot]->weight) && params[4 + slot].is_same(layers[slot]->bias)));
}

TEST_CASE("states of every optimiser are copied deep, zeroed in new layers or zeroed in all") {
    const std::string kind = GENERATE("AdamW", "Adam", "SGD", "RMSprop", "Adagrad");
    const auto policy = GENERATE(dg::state_policy::copy, dg::state_policy::zero, dg::state_policy::all);
    INFO(kind << " " << dg::name_of(policy));
    std::vector<std::shared_ptr<BlockImpl>> layers;
    std::vector<torch::Tensor> held;
    for (int i = 0; i < 2; ++i) layers.push_back(std::make_shared<BlockImpl>(2));
    for (const auto& layer : layers)
        for (const auto& parameter : trainable(*layer)) held.push_back(parameter);
    const torch::Tensor outside = torch::ones({1}, torch::requires_grad());
    held.push_back(outside);
    std::unique_ptr<optim::Optimizer> optimizer;
    if (kind == "AdamW") optimizer = std::make_unique<optim::AdamW>(held, optim::AdamWOptions(0.1).amsgrad(true));
    if (kind == "Adam") optimizer = std::make_unique<optim::Adam>(held, optim::AdamOptions(0.1).amsgrad(true));
    if (kind == "SGD") optimizer = std::make_unique<optim::SGD>(held, optim::SGDOptions(0.1).momentum(0.9));
    if (kind == "RMSprop")
        optimizer = std::make_unique<optim::RMSprop>(held, optim::RMSpropOptions(0.1).momentum(0.9).centered(true));
    if (kind == "Adagrad") optimizer = std::make_unique<optim::Adagrad>(held, optim::AdagradOptions(0.1));
    take_steps(*optimizer);
    const std::size_t tensors = kind == "SGD" || kind == "Adagrad" ? 1 : 3;
    const auto all_of = [&](const torch::Tensor& parameter) {
        std::vector<torch::Tensor> found;
        for (const auto& tensor : dg::detail::tensors_of(*state_of(*optimizer, parameter)))
            if (tensor.first->defined()) found.push_back(*tensor.first);
        return found;
    };
    const auto before = all_of(layers[1]->weight);
    REQUIRE(before.size() == tensors);
    std::vector<torch::Tensor> values;
    for (const auto& tensor : before) values.push_back(tensor.clone());

    dg::grow(layers, *optimizer, dg::growth{dg::doubling{}(2), {}, policy});
    CHECK(optimizer->param_groups()[0].params().size() == 17);
    const auto kept = all_of(layers[1]->weight), made = all_of(layers[3]->weight);
    for (std::size_t i = 0; i < tensors; ++i) {
        CHECK(equal(kept[i], policy == dg::state_policy::all ? torch::zeros_like(values[i]) : values[i]));
        CHECK(equal(made[i], policy == dg::state_policy::copy ? values[i] : torch::zeros_like(values[i])));
        made[i].fill_(0.5);
        CHECK_FALSE(equal(kept[i], made[i]));
        CHECK_FALSE(equal(all_of(outside)[i], torch::zeros_like(outside)));
    }
    std::int64_t step = kind == "SGD" ? 2 : 0;
    dg::detail::visit_state(
        *state_of(*optimizer, layers[3]->weight), [](torch::Tensor&, int) {},
        [&](std::int64_t count) { step = count; });
    CHECK(step == 2);
    take_steps(*optimizer);
    CHECK(layers[3]->weight.isfinite().all().item<bool>());
}

TEST_CASE("layers that are sums have moments that are sums, and the largest step count") {
    std::vector<torch::Tensor> layers;
    for (double value : {1.0, 3.0}) layers.push_back(torch::full({2}, value, torch::requires_grad()));
    optim::AdamW optimizer(layers, optim::AdamWOptions(0.0));
    take_steps(optimizer);
    auto &first = adamw_state(optimizer, layers[0]), &second = adamw_state(optimizer, layers[1]);
    first.exp_avg().fill_(1), second.exp_avg().fill_(3);
    first.exp_avg_sq().fill_(4), second.exp_avg_sq().fill_(12);
    second.step(7);
    dg::grow(layers, optimizer, dg::growth{dg::interleave{}(2), {dg::init_kind::average}});
    CHECK(layers[1][0].item<double>() == 2);
    const auto& mixed = adamw_state(optimizer, layers[1]);
    CHECK((mixed.exp_avg()[0].item<double>() == 2 && mixed.exp_avg_sq()[0].item<double>() == 4 && mixed.step() == 7));
}

TEST_CASE("modules without a state, and optimisers before their first step, grow") {
    model_of_list model(2);
    optim::AdamW optimizer(trainable(model), optim::AdamWOptions(0.01));
    dg::grow(model.layers, optimizer, dg::doubling{}(2));
    CHECK((optimizer.state().empty() && model.layers->is_training()));
    model.eval();
    dg::grow(model.layers, dg::interleave{}(4));
    CHECK((!model.layers->is_training() && !model.at(1)->linear->is_training() && model.layers->size() == 8));
    dg::grow(model.layers, dg::skip(8, 4, 4));
    CHECK(optimizer.param_groups()[0].params().size() == trainable(model).size());
}

TEST_CASE("a Sequential, handles, and children of a model under numbers grow") {
    nn::Sequential chain(nn::Linear(2, 2), nn::BatchNorm1d(2));
    chain->ptr(1)->eval();
    optim::SGD optimizer(chain->parameters(), 0.1);
    dg::grow(chain, optimizer, dg::doubling{}(2));
    CHECK(chain->size() == 4);
    CHECK(names(*chain) == std::vector<std::string>{"0.weight", "0.bias", "1.weight", "1.bias", "2.weight", "2.bias",
                                                    "3.weight", "3.bias"});
    CHECK((!chain->ptr(3)->is_training() && chain->ptr(2)->is_training()));
    CHECK(equal(chain->forward(torch::ones({3, 2})), chain->forward(torch::ones({3, 2}))));
    CHECK(optimizer.param_groups()[0].params().size() == 8);
    nn::Sequential lines(nn::Linear(2, 2), nn::Linear(2, 2));
    dg::grow(lines, dg::growth{dg::interleave{}(2), {dg::init_kind::average}});
    CHECK(lines->at<nn::LinearImpl>(1).weight.allclose(
        (lines->at<nn::LinearImpl>(0).weight + lines->at<nn::LinearImpl>(2).weight) / 2));

    struct numbered : nn::Module {
        std::vector<Block> layers;
        nn::Linear head{nullptr};
    } model;
    for (int i = 0; i < 3; ++i)
        model.layers.push_back(model.register_module("layer" + std::to_string(i), std::make_shared<BlockImpl>(2)));
    model.head = model.register_module("head", nn::Linear(2, 2));
    optim::AdamW adamw(trainable(model), optim::AdamWOptions(0.01));
    take_steps(adamw);
    dg::grow(model, "layer", model.layers, adamw, dg::interleave{}(3));
    REQUIRE(model.layers.size() == 6);
    for (std::size_t i = 0; i < 6; ++i)
        CHECK(model.named_children()["layer" + std::to_string(i)] == model.layers[i].ptr());
    CHECK(adamw.state().size() == trainable(model).size());
    dg::grow(model, "layer", model.layers, adamw, dg::skip(6, 1, 4));
    CHECK((model.named_children().size() == 3 && names(model).size() == 2 * 5 + 2));
    CHECK(model.named_children()["layer1"] == model.layers[1].ptr());
    const record before(model, adamw);
    CHECK_THROWS_WITH(dg::grow(model, "block", model.layers, adamw, dg::doubling{}(2)),
                      Catch::Contains("got none named block0"));
    model.register_module("layer2", nn::Linear(2, 2));
    const record with_another(model, adamw);
    CHECK_THROWS_WITH(dg::grow(model, "layer", model.layers, adamw, dg::doubling{}(2)),
                      Catch::Contains("got one more named layer2"));
    CHECK((with_another.holds(model, adamw) && model.layers.size() == 2));
}

namespace {

struct NotCloneableImpl : nn::Module {
    NotCloneableImpl() { register_module("linear", nn::Linear(2, 2)); }
};
TORCH_MODULE(NotCloneable);

struct InConstructorImpl : nn::Cloneable<InConstructorImpl> {
    InConstructorImpl() { register_parameter("weight", torch::ones({2})); }
    void reset() override {}
};
TORCH_MODULE(InConstructor);

struct DerivedImpl : BlockImpl {
    DerivedImpl() : BlockImpl(2) {}
};
TORCH_MODULE(Derived);

struct SharesImpl : nn::Module {
    SharesImpl() { weight = register_parameter("weight", torch::ones({2})); }
    std::shared_ptr<nn::Module> clone(const c10::optional<torch::Device>& = c10::nullopt) const override {
        return std::make_shared<SharesImpl>(*this);
    }
    torch::Tensor weight;
};
TORCH_MODULE(Shares);

/// Two children with one weight: clone() of the children loses the tie.
struct TiedChildrenImpl : nn::Cloneable<TiedChildrenImpl> {
    TiedChildrenImpl() { TiedChildrenImpl::reset(); }
    void reset() override {
        first = std::make_shared<BlockImpl>(2), second = std::make_shared<BlockImpl>(2);
        register_module("first", first), register_module("second", second);
        second->tie(first->weight);
    }
    struct BlockImpl : nn::Cloneable<BlockImpl> {
        explicit BlockImpl(std::int64_t) { BlockImpl::reset(); }
        void reset() override { weight = register_parameter("weight", torch::ones({2})); }
        void tie(const torch::Tensor& other) { parameters_["weight"] = weight = other; }
        torch::Tensor weight;
    };
    std::shared_ptr<BlockImpl> first, second;
};
TORCH_MODULE(TiedChildren);

template <class Layer> void check_refused(const std::string& sentence) {
    nn::ModuleList list;
    for (int i = 0; i < 2; ++i) list->push_back(Layer());
    optim::AdamW optimizer(trainable(*list), optim::AdamWOptions(0.01));
    take_steps(optimizer);
    const record before(*list, optimizer);
    CHECK_THROWS_WITH(dg::grow(list, optimizer, dg::doubling{}(2)), Catch::Contains(sentence));
    CHECK(before.holds(*list, optimizer));
}

}  // namespace

TEST_CASE("modules without a deep copy are refused by name, and model and optimiser stay as they were") {
    check_refused<NotCloneable>("NotCloneableImpl and its children to be torch::nn::Cloneable");
    check_refused<InConstructor>(
        "InConstructorImpl and its children to be torch::nn::Cloneable and to register in "
        "reset()");
    check_refused<Derived>("that has its type, got");
    check_refused<Shares>("shares no memory with its original, got one that does not for weight");
    check_refused<TiedChildren>("keeps tied parameters tied");
}

TEST_CASE("parameters in two layers, unseen layers, other optimisers and failing callers change nothing") {
    model_of_list model(3);
    {
        nn::ModuleList shared;
        const auto one = std::make_shared<nn::LinearImpl>(2, 2);
        shared->push_back(one), shared->push_back(one);
        optim::SGD optimizer(one->parameters(), 0.1);
        const record before(*shared, optimizer);
        CHECK_THROWS_WITH(
            dg::grow(shared, optimizer, dg::doubling{}(2)),
            "[grow] expected every parameter in one layer, got weight of layer 1, which layer 0 holds too");
        CHECK(before.holds(*shared, optimizer));
    }
    optim::LBFGS second_order(trainable(model), optim::LBFGSOptions(0.1));
    CHECK_THROWS_WITH(dg::grow(model.layers, second_order, dg::doubling{}(3)), Catch::Contains("got LBFGS"));
    const model_of_list another(3);
    optim::AdamW of_another(trainable(another), optim::AdamWOptions(0.01));
    CHECK_THROWS_WITH(dg::grow(model.layers, of_another, dg::doubling{}(3)),
                      Catch::Contains("expected an optimiser that holds parameters of the layers, got one with"));
    optim::AdamW optimizer(trainable(model), optim::AdamWOptions(0.01));
    take_steps(optimizer);
    const record before(model, optimizer);
    std::size_t calls = 0;
    const auto fails = [&](std::shared_ptr<nn::Module>& layer, std::size_t slot) {
        const torch::NoGradGuard no_grad;
        layer->as<Block>()->weight.zero_();
        if (++calls == 3) throw std::runtime_error("no memory in slot " + std::to_string(slot));
    };
    CHECK_THROWS_WITH(dg::grow(model.layers, optimizer, dg::doubling{}(3), fails), "no memory in slot 5");
    CHECK_THROWS_WITH(dg::grow(model.layers, optimizer, dg::doubling{}(4)),
                      "[grow] expected 4 elements (source depth of the order), got 3");
    CHECK_THROWS_WITH(dg::grow(model.layers, optimizer, dg::growth{dg::doubling{}(3), {dg::init_kind::zero_residual}}),
                      Catch::Contains("know how to begin as zero_residual"));
    nn::ModuleList empty(nullptr);
    CHECK_THROWS_WITH(dg::grow(empty, optimizer, dg::doubling{}(3)), Catch::Contains("got an empty holder"));
    std::vector<int> numbers(3);
    CHECK_THROWS_WITH(dg::grow(numbers, optimizer, dg::doubling{}(3)),
                      Catch::Contains("got layers in which none are seen"));
    CHECK(before.holds(model, optimizer));
    calls = 10;
    dg::grow(model.layers, optimizer, dg::doubling{}(3), fails);
    CHECK((equal(model.at(4)->weight, torch::zeros({3})) && !equal(model.at(1)->weight, torch::zeros({3}))));
}

namespace {

struct shallow {
    torch::Tensor weight, mask;
    shallow clone() const { return *this; }
};

}  // namespace

TEST_CASE("a struct whose own clone() shares a tensor is refused") {
    std::vector<shallow> layers;
    for (int i = 0; i < 2; ++i) layers.push_back({torch::randn({3}), {}});
    CHECK_THROWS_WITH(layers = dg::grow(std::move(layers), dg::doubling{}(2)),
                      Catch::Contains("new layer 2 and layer 0, which it copies, share weights"));
    CHECK(layers.size() == 2);
    for (auto& layer : layers) layer.weight = torch::Tensor();
    CHECK_NOTHROW(layers = dg::grow(std::move(layers), dg::doubling{}(2)));
}
