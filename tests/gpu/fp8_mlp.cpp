// MLPs in eight bits, the gradients of their weights too, against `reference` in double: pairs of copies, gradients of
// weights, the whole MLP forward and backward.
// Bounds: rounding to e4m3 moves a number by at most 1/16 of it, so each rounded operand of a product moves the result
// by 1/16 / sqrt(3) (root mean square, in no order); where every number fits e4m3, only sums round.
#include "depthgrow/autograd/ops/mlp.hpp"
#include "support/fixture.hpp"
#include "table.hpp"

namespace gpu_test {

namespace {

using T = dg::bfloat16;
constexpr double e4m3 = 0.0625;

double roundings(double operands) { return e4m3 * std::sqrt(operands / 3); }
std::string size_of(std::size_t m, std::size_t n, std::size_t k) {
    return std::to_string(m) + " x " + std::to_string(n) + " x " + std::to_string(k);
}
/// The number that eight bits stand for: sign, 4 of exponent, 3 of mantissa.
double number_of(std::uint8_t bits) {
    const int exponent = bits >> 3 & 15, mantissa = bits & 7;
    const double size = exponent ? std::ldexp(8 + mantissa, exponent - 10) : std::ldexp(mantissa, -9);
    return bits & 128 ? -size : size;
}
/// What a test keeps of a pair on the device.
struct pair_memory {
    pair_memory(dg::cuda& gpu, std::size_t of_rows, std::size_t of_cols)
        : bytes(gpu, {2 * of_rows * of_cols}), inverse(gpu, {4}), rows(of_rows), cols(of_cols) {}
    dg::fp8_pair pair() { return {bytes.data(), bytes.data() + rows * cols, inverse.data(), rows, cols}; }

    dg::tensor<std::uint8_t, dg::cuda> bytes;
    dg::tensor<float, dg::cuda> inverse;
    std::size_t rows, cols;
};
template <class Body> void each(std::size_t rows, std::size_t cols, const Body& body) {
    for (std::size_t r = 0; r < rows; ++r)
        for (std::size_t c = 0; c < cols; ++c) body(r, c);
}

/// Both copies hold the same bits, each within a rounding of the number: e4m3's, or the least that is not zero.
void check_pair(const std::string& what, pair_memory& made, dg::matrix<const double> want) {
    const auto bits = made.bytes.to_host();
    const double inverse = static_cast<double>(made.inverse.to_host()[0]);
    double differences = 0, worst = 0;
    each(made.rows, made.cols, [&](std::size_t r, std::size_t c) {
        const std::uint8_t number = bits[r * made.cols + c];
        differences += number != bits[made.rows * made.cols + c * made.rows + r];
        const double exact = want(r, c), room = (e4m3 + 2 * rounding<T>)*std::fabs(exact) + std::ldexp(inverse, -10);
        worst = worse(worst, std::fabs(number_of(number) * inverse - exact) / room);
    });
    const auto size = std::to_string(made.rows) + " x " + std::to_string(made.cols);
    results.row(what + ", its copies", "fp8", size, differences, 0);
    results.row(what, "fp8", size, worst, 1);
}

void pairs(dg::cuda& gpu, std::size_t rows, std::size_t ffn, std::size_t extra) {
    dg::reference reference;
    operand<T> gate_up(gpu, rows, 2 * ffn, 1, extra), dout(gpu, rows, ffn, 2, extra), w(gpu, 16, ffn, 3);
    pair_memory acted(gpu, rows, ffn), d(gpu, rows, 2 * ffn);
    std::vector<double> out(rows * ffn), dgate_up(2 * rows * ffn);
    const dg::matrix<double> want(out.data(), rows, ffn), dwant(dgate_up.data(), rows, 2 * ffn);
    reference.gated_forward<double>(dg::activation::silu, gate_up.want(), want);
    reference.gated_backward<double>(dg::activation::silu, gate_up.want(), dout.want(), dwant);
    for (int use = 0; use < 2; ++use) {  // the scale of the first use, and what follows from it
        gpu.fp8().gated(gate_up.got(), w.got(), acted.pair());
        gpu.fp8().gated_gradient(gate_up.got(), dout.got(), w.got(), d.pair());
    }
    check_pair("SwiGLU in eight bits", acted, want);
    check_pair("its gradients", d, dwant);
}

/// Whole numbers that fit e4m3: products are exact, and sums of eight-bit products keep about 14 bits.
void weight_gradients(dg::cuda& gpu, std::size_t rows, std::size_t out, std::size_t ffn) {
    dg::reference reference;
    operand<T> gate_up(gpu, rows, 2 * ffn, 0), acted_want(gpu, rows, ffn, 0), dy(gpu, rows, out, 0),
        w(gpu, out, ffn, 3);
    operand<float> dw(gpu, out, ffn, 4), dw_in(gpu, ffn, out, 5);
    const auto few = [](std::size_t r, std::size_t c) { return static_cast<double>((r * 7 + c * 5) % 15) - 7; };
    dy.assign([&](std::size_t r, std::size_t c) { return few(r, c) / 64; });
    // silu(64) is 64 in bfloat16, so that `up` decides
    gate_up.assign([&](std::size_t r, std::size_t c) { return c < ffn ? 64.0 : few(c, r) / 64; });
    each(rows, ffn, [&](std::size_t r, std::size_t c) { acted_want.want()(r, c) = few(c + ffn, r); });
    pair_memory acted(gpu, rows, ffn);
    double worst = 0;
    for (const float beta : {0.0f, 1.0f}) {
        gpu.fp8().gated(gate_up.got(), w.got(), acted.pair());
        gpu.fp8().weight_gradient(dy.got(), acted.pair(), w.got(), beta, dw.got());
        reference.gemm<double>(dg::transpose::yes, dg::transpose::no, 1, dy.want(), acted_want.want(), beta, dw.want());
        gpu.fp8().weight_gradient(acted.pair(), dy.got(), w.got(), beta, dw_in.got());
        reference.gemm<double>(dg::transpose::yes, dg::transpose::no, 1, acted_want.want(), dy.want(), beta,
                               dw_in.want());
        worst = worse(worst, dw.error(), dw_in.error());
    }
    results.row("weight gradients of whole numbers", "fp8", size_of(out, ffn, rows), worst, std::ldexp(1, -13));
}

/// The whole MLP, added to h, with a bias at its end; twice, the second time onto the gradients of the first.
void mlp(dg::cuda& gpu, std::size_t rows, std::size_t width, std::size_t ffn) {
    dg::reference host;
    const double little = std::ldexp(1, -10);  // what the MLP is added to, so that nothing hides behind it
    operand<T> x(gpu, rows, width, 1), h(gpu, rows, width, 2, 0, little),
        in(gpu, 2 * ffn, width, 3, 0, 1 / std::sqrt(static_cast<double>(width))),
        out(gpu, width, ffn, 4, 0, 1 / std::sqrt(static_cast<double>(ffn))), bias(gpu, 1, width, 5, 0, little),
        dy(gpu, rows, width, 6);
    operand<float> din(gpu, 2 * ffn, width, 7), dout(gpu, width, ffn, 8), dbias(gpu, 1, width, 9);
    const bool taken = gpu.takes_fp8_mlp<T>(x.got(), in.got(), out.got());
    const auto run = [&]<class U, class Backend>(dg::tape<U, Backend>& tape, const auto& numbers, bool fresh) {
        auto& backend = tape.backend();
        tape.start(true);
        dg::ops::mlp_parameters<U> p;
        p.in = {numbers(in), numbers(din), fresh, true}, p.out = {numbers(out), numbers(dout), fresh, true};
        p.out_bias = {numbers(bias), numbers(dbias), false, true};
        auto from = tape.make(rows, width), past = tape.make(rows, width);
        backend.template copy<U>(numbers(x).data, from.value.data, rows * width);
        backend.template copy<U>(numbers(h).data, past.value.data, rows * width);
        const auto y = add_pending(tape, dg::ops::add_mlp(tape, past, from, p));
        tape.seed(y, numbers(dy));
        tape.backward();
        return std::pair{y.value, tape.gradient(from)};
    };
    dg::tape<T, dg::cuda> tape(gpu);
    dg::tape<double, dg::reference> exact(host);
    std::vector<double> off(5, 0.0);
    for (const bool fresh : {true, false}) {
        const auto [y, dx] = run(
            tape, [](auto& o) { return o.got(); }, fresh);
        const auto [y2, dx2] = run(
            exact, [](auto& o) { return o.want(); }, fresh);
        const auto distance = [&](dg::matrix<const T> got, dg::matrix<const double> want) {
            std::vector<T> there(got.size());
            gpu.to_host<T>(got.data, there.data(), there.size());
            std::vector<double> wide(there.size());
            std::transform(there.begin(), there.end(), wide.begin(), to_double<T>);
            return fixture::distance(wide, {want.data, want.data + want.size()});
        };
        off[0] = worse(off[0], distance(y, y2)), off[1] = worse(off[1], distance(dx, dx2));
        const auto of = [](operand<float>& o) {
            const auto want = o.want_flat();
            return fixture::distance(o.download(), {want.begin(), want.end()});
        };
        off[2] = worse(off[2], of(din)), off[3] = worse(off[3], of(dout)), off[4] = worse(off[4], of(dbias));
    }
    const auto size = size_of(rows, width, ffn);
    // x, both weights and SwiGLU; then dy, SwiGLU's gradients (by x and the first weight once more), and the weights
    results.row("the MLP", "fp8", size, taken ? off[0] : INFINITY, roundings(4));
    results.row("its gradient by x", "fp8", size, off[1], roundings(6));
    results.row("by the first weight", "fp8", size, off[2], roundings(6));
    results.row("by the second weight", "fp8", size, off[3], roundings(4));
    results.row("by the bias", "bf16", size, off[4], 2 * rounding<T>);
}

}  // namespace

void check_fp8_mlps() {
    dg::cuda gpu({.tune = false, .fp8 = true});
    pairs(gpu, 16, 16, 0), pairs(gpu, 144, 80, 0), pairs(gpu, 400, 272, 16), pairs(gpu, 1024, 1024, 0);
    weight_gradients(gpu, 32, 16, 16), weight_gradients(gpu, 144, 80, 272), weight_gradients(gpu, 272, 144, 64);
    mlp(gpu, 256, 128, 1024), mlp(gpu, 400, 272, 1040);
}

}  // namespace gpu_test
