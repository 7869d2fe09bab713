// A Llama of libtorch's modules, trained by libtorch's AdamW and grown in place, against the float64 oracle's losses,
// weights and moments.

#include "depthgrow/adapt/torch.hpp"
#include "depthgrow/growth/operators.hpp"
#include "support/fixture.hpp"
#include "support/torch.hpp"

namespace dg = depthgrow;
namespace nn = torch::nn;

namespace {

struct shape {
    std::int64_t vocabulary, width, mlp, heads, key_heads, layers;
    double eps, theta;
    bool tied;
};

struct NormImpl : nn::Cloneable<NormImpl> {
    explicit NormImpl(const shape& s) : s_(s) { NormImpl::reset(); }
    void reset() override { weight = register_parameter("weight", torch::ones({s_.width})); }
    torch::Tensor forward(const torch::Tensor& x) {
        return x * torch::rsqrt(x.square().mean(-1, true) + s_.eps) * weight;
    }
    torch::Tensor weight;

private:
    shape s_;
};
TORCH_MODULE(Norm);

/// x (B, H, T, D): channel i turns with channel i + D/2.
torch::Tensor rotated(const torch::Tensor& x, double theta) {
    const auto half = x.size(3) / 2;
    const auto rate = torch::pow(theta, torch::arange(0, half, x.dtype()) / -static_cast<double>(half));
    const auto angle = torch::outer(torch::arange(0, x.size(2), x.dtype()), rate);
    const auto a = x.narrow(3, 0, half), b = x.narrow(3, half, half);
    return torch::cat({a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()}, -1);
}

nn::Linear projection(std::int64_t in, std::int64_t out) { return nn::Linear(nn::LinearOptions(in, out).bias(false)); }

struct AttentionImpl : nn::Cloneable<AttentionImpl> {
    explicit AttentionImpl(const shape& s) : s_(s) { AttentionImpl::reset(); }
    void reset() override {
        const auto key_width = s_.width / s_.heads * s_.key_heads;
        q = register_module("q_proj", projection(s_.width, s_.width));
        k = register_module("k_proj", projection(s_.width, key_width));
        v = register_module("v_proj", projection(s_.width, key_width));
        o = register_module("o_proj", projection(s_.width, s_.width));
    }
    torch::Tensor forward(const torch::Tensor& x) {
        const auto B = x.size(0), T = x.size(1), D = s_.width / s_.heads;
        const auto split = [&](const torch::Tensor& y, std::int64_t heads) {
            return y.view({B, T, heads, D}).transpose(1, 2);
        };
        const auto repeated = [&](const torch::Tensor& y) { return y.repeat_interleave(s_.heads / s_.key_heads, 1); };
        const auto queries = rotated(split(q(x), s_.heads), s_.theta);
        const auto keys = repeated(rotated(split(k(x), s_.key_heads), s_.theta));
        const auto values = repeated(split(v(x), s_.key_heads));
        const auto later = torch::ones({T, T}, torch::kBool).triu(1);
        const auto scores = queries.matmul(keys.transpose(-1, -2)) / std::sqrt(static_cast<double>(D));
        const auto weights = scores.masked_fill(later, -INFINITY).softmax(-1);
        return o(weights.matmul(values).transpose(1, 2).reshape({B, T, s_.width}));
    }
    nn::Linear q{nullptr}, k{nullptr}, v{nullptr}, o{nullptr};

private:
    shape s_;
};
TORCH_MODULE(Attention);

struct MlpImpl : nn::Cloneable<MlpImpl> {
    explicit MlpImpl(const shape& s) : s_(s) { MlpImpl::reset(); }
    void reset() override {
        gate = register_module("gate_proj", projection(s_.width, s_.mlp));
        up = register_module("up_proj", projection(s_.width, s_.mlp));
        down = register_module("down_proj", projection(s_.mlp, s_.width));
    }
    torch::Tensor forward(const torch::Tensor& x) { return down(nn::functional::silu(gate(x)) * up(x)); }
    nn::Linear gate{nullptr}, up{nullptr}, down{nullptr};

private:
    shape s_;
};
TORCH_MODULE(Mlp);

struct BlockImpl : nn::Cloneable<BlockImpl> {
    explicit BlockImpl(const shape& s) : s_(s) { BlockImpl::reset(); }
    void reset() override {
        attention_norm = register_module("input_layernorm", Norm(s_));
        attention = register_module("self_attn", Attention(s_));
        mlp_norm = register_module("post_attention_layernorm", Norm(s_));
        mlp = register_module("mlp", Mlp(s_));
    }
    torch::Tensor forward(const torch::Tensor& x) {
        const auto h = x + attention(attention_norm(x));
        return h + mlp(mlp_norm(h));
    }
    Norm attention_norm{nullptr}, mlp_norm{nullptr};
    Attention attention{nullptr};
    Mlp mlp{nullptr};

private:
    shape s_;
};
TORCH_MODULE(Block);

/// Its parameters are named as in files, without "model.".
struct llama : nn::Module {
    explicit llama(const shape& s)
        : embed(register_module("embed_tokens", nn::Embedding(s.vocabulary, s.width))),
          layers(register_module("layers", nn::ModuleList())),
          norm(register_module("norm", Norm(s))) {
        for (std::int64_t layer = 0; layer < s.layers; ++layer) layers->push_back(Block(s));
        if (!s.tied) head = register_module("lm_head", projection(s.width, s.vocabulary));
    }
    torch::Tensor logits(const torch::Tensor& ids) {
        auto x = embed(ids);  // (B, T, C)
        for (const auto& layer : *layers) x = layer->as<Block>()->forward(x);
        return norm(x).matmul((head ? head->weight : embed->weight).t());
    }
    nn::Embedding embed;
    nn::ModuleList layers;
    Norm norm;
    nn::Linear head{nullptr};
};

std::string stored_name(const std::string& name) { return name == "lm_head.weight" ? name : "model." + name; }

std::vector<double> numbers(const torch::Tensor& tensor) {
    const auto flat = tensor.detach().to(torch::kDouble).contiguous();
    return {flat.data_ptr<double>(), flat.data_ptr<double>() + flat.numel()};
}

llama fixture_model(const fixture::expectations& want) {
    const auto config = dg::read_json_file(want.directory + "/config.json");
    const auto number = [&](const char* name) { return config[name].get<std::int64_t>(); };
    llama model({number("vocab_size"), number("hidden_size"), number("intermediate_size"),
                 number("num_attention_heads"), number("num_key_value_heads"), number("num_hidden_layers"),
                 config["rms_norm_eps"].get<double>(), config["rope_theta"].get<double>(),
                 config["tie_word_embeddings"].get<bool>()});
    model.to(torch::kDouble);
    const dg::safetensors_file weights(want.directory + "/model.safetensors");
    const torch::NoGradGuard no_grad;
    for (auto& parameter : model.named_parameters()) {
        std::vector<double> values(static_cast<std::size_t>(parameter.value().numel()));
        weights.read(stored_name(parameter.key()), values.data(), values.size());
        parameter.value().copy_(torch::from_blob(values.data(), parameter.value().sizes(), torch::kDouble));
    }
    return model;
}

/// One group, or matrices and vectors in two.
torch::optim::AdamW adamw(const llama& model, bool two_groups) {
    const auto options = torch::optim::AdamWOptions(3e-3).betas({0.9, 0.95}).eps(1e-8).weight_decay(0.01);
    if (!two_groups) return torch::optim::AdamW(model.parameters(), options);
    std::vector<torch::Tensor> matrices, vectors;
    for (const auto& parameter : model.parameters()) (parameter.dim() > 1 ? matrices : vectors).push_back(parameter);
    return torch::optim::AdamW(
        {torch::optim::OptimizerParamGroup(matrices), torch::optim::OptimizerParamGroup(vectors)}, options);
}

const torch::optim::AdamWParamState& state_of(torch::optim::Optimizer& optimizer, const torch::Tensor& parameter) {
    using key = std::decay_t<decltype(optimizer.state())>::key_type;
    const auto& state = *optimizer.state().find(dg::detail::state_key<key>(parameter))->second;
    return dynamic_cast<const torch::optim::AdamWParamState&>(state);
}

}  // namespace

TEST_CASE("a Llama of libtorch grown in place gives the oracle's losses, weights and moments") {
    constexpr double bound = 1e-9;
    const std::string name = GENERATE("plain", "grouped"), op = GENERATE("midas", "lidas");
    const bool two_groups = GENERATE(false, true);
    const fixture::expectations want(name);
    auto model = fixture_model(want);
    auto optimizer = adamw(model, two_groups);
    const auto tokens = static_cast<std::int64_t>(want.ids.size()), B = static_cast<std::int64_t>(want.sequences);
    const auto ids = torch::tensor(std::vector<std::int64_t>(want.ids.begin(), want.ids.end())).view({B, tokens / B});
    const auto T = ids.size(1);

    for (std::size_t step = 0; step < 6; ++step) {
        if (step == 3) {
            const auto order = dg::make_operator(op, want.values["block"].get<std::size_t>())(model.layers->size());
            dg::grow(model.layers, optimizer, order);
            REQUIRE(model.layers->size() == order.size());
        }
        optimizer.zero_grad();
        const auto logits = model.logits(ids).narrow(1, 0, T - 1);
        const auto loss =
            nn::functional::cross_entropy(logits.reshape({-1, logits.size(2)}), ids.narrow(1, 1, T - 1).reshape({-1}));
        loss.backward();
        CHECK(loss.item<double>() == Approx(want.values[op]["loss"][step].get<double>()).epsilon(bound));
        const double norm = nn::utils::clip_grad_norm_(model.parameters(), 1.0);
        CHECK(norm == Approx(want.values[op]["grad_norm"][step].get<double>()).epsilon(bound));
        optimizer.step();
    }
    for (const auto& parameter : model.named_parameters()) {
        const std::string stored = stored_name(parameter.key());
        INFO(stored);
        CHECK(fixture::distance(numbers(parameter.value()), want.tensor(op + "." + stored)) < bound);
        const auto& state = state_of(optimizer, parameter.value());
        CHECK(state.step() == 6);
        if (!want.tensors.contains(op + ".exp_avg." + stored)) continue;
        CHECK(fixture::distance(numbers(state.exp_avg()), want.tensor(op + ".exp_avg." + stored)) < bound);
        CHECK(fixture::distance(numbers(state.exp_avg_sq()), want.tensor(op + ".exp_avg_sq." + stored)) < bound);
    }
}
