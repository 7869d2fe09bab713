// Register tiles against plain loops: every remainder of rows, columns and lanes; nothing is written beyond the
// columns.
#include "depthgrow/backend/tiles.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "support/catch.hpp"
#include "support/random.hpp"

namespace dg = depthgrow;

TEMPLATE_TEST_CASE("products in tiles agree with plain loops, and write their columns alone", "", float, double) {
    using T = TestType;
    using tile = dg::detail::tile<T>;
    const std::size_t M = GENERATE(1u, 7u, 21u), N = GENERATE(1u, 15u, 16u, 33u), K = GENERATE(1u, 17u, 32u);
    const bool turned = GENERATE(false, true), add = GENERATE(false, true);
    const auto a = normal_numbers<T>(M * K, 1), b = normal_numbers<T>(K * N, 2),
               before = normal_numbers<T>(M * (N + 3), 3);
    std::vector<T> panels(tile::padded(N) * K, std::numeric_limits<T>::quiet_NaN()), c = before;
    if (turned) tile::pack_transposed(dg::matrix<const T>(b.data(), N, K), T(2), panels.data());  // b is (N, K)
    else tile::pack(dg::matrix<const T>(b.data(), K, N), panels.data());
    for (std::size_t n = 0; n < N; n += tile::width)
        tile::rows(0, M, [&](auto height, std::size_t r) {
            tile::template multiply<height>(a.data() + r * K, K, 1, K, panels.data() + n * K,
                                            c.data() + r * (N + 3) + n, N + 3, std::min(tile::width, N - n), add);
        });
    for (std::size_t r = 0; r < M; ++r)
        for (std::size_t n = 0; n < N + 3; ++n) {
            double want = n < N && !add ? 0 : static_cast<double>(before[r * (N + 3) + n]);
            for (std::size_t k = 0; n < N && k < K; ++k)
                want += static_cast<double>(a[r * K + k]) *
                        (turned ? 2 * static_cast<double>(b[n * K + k]) : static_cast<double>(b[k * N + n]));
            REQUIRE(std::abs(static_cast<double>(c[r * (N + 3) + n]) - want) <=
                    64 * static_cast<double>(std::numeric_limits<T>::epsilon()) * (1 + std::abs(want)));
        }
}

TEMPLATE_TEST_CASE("exponentials of a row are its softmax weights, and zeros behind, whatever stood there", "", float,
                   double) {
    using T = TestType;
    using tile = dg::detail::tile<T>;
    for (std::size_t seen : {1u, 2u, 15u, 16u, 17u, 31u, 32u, 33u, 70u}) {
        INFO("scores " << seen);
        auto row = normal_numbers<T>(tile::padded(seen), 4), other = row;
        for (std::size_t u = seen; u < row.size(); ++u) other[u] = std::numeric_limits<T>::quiet_NaN();
        row[seen / 2] = T(3), other[seen / 2] = T(3);
        const auto scores = row;
        const auto [largest, sum] = tile::exponentials(row.data(), seen);
        const auto again = tile::exponentials(other.data(), seen);
        CHECK((again.first == largest && again.second == sum && other == row));
        double total = 0;
        T top = scores[0];
        for (std::size_t u = 0; u < seen; ++u) top = std::max(top, scores[u]);
        CHECK(largest == top);
        for (std::size_t u = 0; u < row.size(); ++u) {
            const double want = u < seen ? std::exp(static_cast<double>(scores[u]) - static_cast<double>(top)) : 0;
            total += want;
            REQUIRE(std::abs(static_cast<double>(row[u]) - want) <=
                    8 * static_cast<double>(std::numeric_limits<T>::epsilon()) * want);
        }
        CHECK(static_cast<double>(sum) ==
              Approx(total).epsilon(100 * static_cast<double>(std::numeric_limits<T>::epsilon())));
    }
    std::vector<T> far(tile::width, T(0));
    far[1] = T(-500);
    CHECK(tile::exponentials(far.data(), 2).second == 1);
    CHECK(far[1] < T(1e-30));
}
