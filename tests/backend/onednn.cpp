// oneDNN's products against the definition: single precision, and operands in bfloat16 with sums in float.
#include "depthgrow/backend/onednn.hpp"

#include <pthread.h>
#include <sys/time.h>

#include <atomic>
#include <cmath>
#include <csignal>
#include <vector>

#include "depthgrow/backend/blas.hpp"
#include "depthgrow/core/dtype.hpp"
#include "support/catch.hpp"
#include "support/random.hpp"

namespace dg = depthgrow;

namespace {

float rounded(float x) { return static_cast<float>(static_cast<dg::bfloat16>(x)); }

/// The largest |got - want| / sum |a b| of a product by `product` and of the definition in double with operands mapped.
template <class Map>
double worst(dg::sgemm_function product, bool ta, bool tb, std::size_t m, std::size_t n, std::size_t k, float alpha,
             float beta, int threads, const Map& map) {
    const auto a = normal_numbers<float>(m * k, 1), b = normal_numbers<float>(k * n, 2),
               before = normal_numbers<float>(m * n, 3);
    auto got = before;
    dg::blas cpu({.threads = threads, .product = product});
    const auto turn = [](bool yes) { return yes ? dg::transpose::yes : dg::transpose::no; };
    cpu.gemm<float>(turn(ta), turn(tb), alpha, {a.data(), ta ? k : m, ta ? m : k}, {b.data(), tb ? n : k, tb ? k : n},
                    beta, {got.data(), m, n});
    double most = 0;
    for (std::size_t r = 0; r < m; ++r)
        for (std::size_t c = 0; c < n; ++c) {
            double sum = 0, size = 0;
            for (std::size_t i = 0; i < k; ++i) {
                const double x = map(alpha * a[ta ? i * m + r : r * k + i]), y = map(b[tb ? c * k + i : i * n + c]);
                sum += x * y, size += std::abs(x * y);
            }
            sum += static_cast<double>(beta) * static_cast<double>(before[r * n + c]);
            size += std::abs(static_cast<double>(beta) * static_cast<double>(before[r * n + c]));
            most = std::max(most, std::abs(static_cast<double>(got[r * n + c]) - sum) / size);
        }
    return most;
}

/// Where the stack of the thread that multiplies lies, and the signals that came upon it and upon other memory.
thread_local bool multiplies = false;  // signals of other threads are no matter here
std::uintptr_t stack_begin, stack_end;
std::atomic<int> signals_on_stack, signals_elsewhere;
void count_signal(int) {
    if (!multiplies) return;
    const char here = 0;
    const auto at = reinterpret_cast<std::uintptr_t>(&here);
    (at >= stack_begin && at < stack_end ? signals_on_stack : signals_elsewhere)++;
}

/// While it lives, a signal comes every 200 us of this process's time.
class frequent_signals {
public:
    frequent_signals() : before_(std::signal(SIGPROF, count_signal)) { every(200); }
    ~frequent_signals() {
        every(0);
        std::signal(SIGPROF, before_);
    }

private:
    static void every(int microseconds) {
        const itimerval period{{0, microseconds}, {0, microseconds}};
        setitimer(ITIMER_PROF, &period, nullptr);
    }
    void (*before_)(int);
};

}  // namespace

TEST_CASE("a signal during a product of oneDNN has its frame on the stack") {
    pthread_attr_t attributes;
    void* begin = nullptr;
    std::size_t size = 0;
    REQUIRE(pthread_getattr_np(pthread_self(), &attributes) == 0);
    REQUIRE(pthread_attr_getstack(&attributes, &begin, &size) == 0);
    pthread_attr_destroy(&attributes);
    stack_begin = reinterpret_cast<std::uintptr_t>(begin), stack_end = stack_begin + size;
    multiplies = true;
    std::vector<dg::sgemm_function> products{&dg::onednn_product};
    if (dg::has_bf16_products()) products.push_back(&dg::onednn_bf16_product);
    for (const auto product : products) {
        signals_on_stack = signals_elsewhere = 0;
        const frequent_signals coming;
        for (int i = 0; signals_on_stack + signals_elsewhere < 100; ++i) {
            const std::size_t m = 64, n = i % 2 ? 96 : 192, k = i % 3 ? 64 : 128;
            const std::vector<float> a(m * k), b(k * n);
            std::vector<float> c(m * n);
            for (int again = 0; again < 100; ++again)
                product(false, i % 4 < 2, m, n, k, 1, a.data(), k, b.data(), i % 4 < 2 ? k : n, 0, c.data(), n);
        }
        CHECK(signals_elsewhere == 0);
    }
    multiplies = false;
}

TEST_CASE("oneDNN's products are those of the definition, in float and with operands in bfloat16") {
    const auto same = [](float x) { return static_cast<double>(x); };
    const auto narrowed = [](float x) { return static_cast<double>(rounded(x)); };
    const double ulp = 1.2e-7;
    for (const bool ta : {false, true})
        for (const bool tb : {false, true})
            for (const auto& [m, n, k] : {std::array<std::size_t, 3>{65, 40, 130}, {40, 257, 64}, {100, 33, 1}})
                for (const auto& [alpha, beta] : {std::pair{1.0f, 0.0f}, {1.0f, 1.0f}, {0.3f, 0.5f}})
                    for (int threads : {1, 3}) {
                        const double bound = ulp * (2 + static_cast<double>(k));  // of sums of k numbers in float
                        CHECK(worst(&dg::onednn_product, ta, tb, m, n, k, alpha, beta, threads, same) <= bound);
                        if (!dg::has_bf16_products()) continue;
                        CHECK(worst(&dg::onednn_bf16_product, ta, tb, m, n, k, alpha, beta, threads, narrowed) <=
                              bound);
                    }
}

TEST_CASE("rounding to bfloat16 is that of the number type, NaN and infinities too") {
    std::vector<float> x{1.0f, -1.00390625f, 1.01171875f, 3.4e38f, 1e-40f, INFINITY, -INFINITY, NAN, 0.0f, -0.0f};
    std::vector<dg::bfloat16> y;
    dg::detail::round_rows(x.data(), x.size(), 1, x.size(), 1, y);
    // ties to even: 1 + 1/256 to 1, 1 + 3/256 to 1 + 4/256; above the largest to infinity
    const std::vector<std::uint16_t> bits{0x3f80, 0xbf80, 0x3f82, 0x7f80, 0x0001,
                                          0x7f80, 0xff80, 0x7fc0, 0x0000, 0x8000};
    for (std::size_t i = 0; i < x.size(); ++i) {
        const auto back = static_cast<float>(y[i]);
        CHECK(y[i].bits == bits[i]);
        if (std::isnan(x[i])) CHECK(std::isnan(back));
        else CHECK(back == rounded(x[i]));
    }
}
