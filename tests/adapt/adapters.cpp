// Metrics and growth operators on arrays of other libraries give what they give on the library's own views.
#include <filesystem>
#include <xtensor/xnpy.hpp>

#include "depthgrow/adapt/eigen.hpp"
#include "depthgrow/adapt/xtensor.hpp"
#include "depthgrow/growth.hpp"
#include "depthgrow/io/npy.hpp"
#include "depthgrow/metrics.hpp"
#include "support/catch.hpp"

namespace dg = depthgrow;
using row_major = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

namespace {

constexpr std::size_t tokens = 5, width = 7;

std::vector<float> numbers(float shift) {
    std::vector<float> out;
    for (std::size_t i = 0; i < tokens * width; ++i) out.push_back(static_cast<float>((i * 37) % 11) - 4 + shift);
    return out;
}

template <class H, class A, class M> dg::layer_contribution contribution(const H& h, const A& a, const M& m) {
    dg::contribution_accumulator layer;
    layer.add(dg::matrix_view(h), dg::matrix_view(a), dg::matrix_view(m));
    return layer.mean();
}

dg::layer_contribution own_contribution() {
    const auto h = numbers(0.5f), a = numbers(1), m = numbers(-2);
    dg::contribution_accumulator layer;
    layer.add(dg::matrix<const float>(h.data(), tokens, width), dg::matrix<const float>(a.data(), tokens, width),
              dg::matrix<const float>(m.data(), tokens, width));
    return layer.mean();
}

}  // namespace

TEST_CASE("Eigen matrices, blocks and transposes are read in place") {
    const auto h = numbers(0.5f), a = numbers(1), m = numbers(-2);
    const auto eigen = [](const std::vector<float>& x) {
        return row_major(Eigen::Map<const row_major>(x.data(), tokens, width));
    };
    const row_major eh = eigen(h), ea = eigen(a), em = eigen(m);
    const auto want = own_contribution();
    CHECK(contribution(eh, ea, em).layer_cosine == want.layer_cosine);
    CHECK(contribution(eh, ea, em).mlp_ratio == want.mlp_ratio);
    CHECK(dg::matrix_view(eh).data == eh.data());
    const auto block = eh.block(1, 2, 3, 4);
    const auto view = dg::matrix_view(block);
    CHECK((view.rows == 3 && view.cols == 4 && view.stride == width));
    CHECK(view(2, 3) == eh(3, 5));
    Eigen::MatrixXf columns = eh;  // column-major: its transpose has rows without gaps
    const auto transposed = columns.transpose();
    CHECK(dg::matrix_view(transposed)(6, 4) == eh(4, 6));
    const Eigen::VectorXd logits = Eigen::VectorXd::LinSpaced(9, -1, 1), other = -logits;
    CHECK(dg::top_k_overlap(dg::run_view(logits), dg::run_view(other)) == Approx(0.2));
    CHECK(dg::kl_divergence(dg::run_view(logits), dg::run_view(logits)) == 0);
    row_major skips = row_major::Zero(3, 3);
    skips(0, 1) = 0.5f, skips(1, 2) = 1;
    CHECK(dg::layer_depth_score(dg::matrix_view(skips)) == Approx(1 / 1.25));
    CHECK(dg::to_eigen({{1, 2}, {3, 4}})(1, 0) == 3);
    const Eigen::Map<const Eigen::VectorXd, 0, Eigen::InnerStride<>> gaps(logits.data(), 4, Eigen::InnerStride<>(2));
    CHECK_THROWS_WITH(dg::matrix_view(gaps), "[matrix_view] expected rows without gaps, got an inner stride of 2");
}

TEST_CASE("xtensor arrays of any number of axes are read in place, and results become .npy files") {
    const auto h = numbers(0.5f), a = numbers(1), m = numbers(-2);
    const auto array = [](const std::vector<float>& x) {
        xt::xarray<float> made = xt::zeros<float>({tokens, width});
        std::copy(x.begin(), x.end(), made.begin());
        return made;
    };
    const auto want = own_contribution();
    auto xh = array(h), xa = array(a), xm = array(m);
    CHECK(contribution(xh, xa, xm).layer_cosine == want.layer_cosine);
    CHECK(dg::matrix_view(xh).data == xh.data());
    xt::xtensor<double, 3> batch = xt::zeros<double>({2, 3, 4});
    CHECK((dg::matrix_view(batch).rows == 6 && dg::matrix_view(batch).cols == 4));
    const xt::xtensor<double, 1> effects = {0.0, 1.0, 3.0};
    CHECK(dg::centre_of_mass(dg::run_view(effects)) == 1.75);
    CHECK_THROWS_WITH(dg::run_view(batch), "[run_view] expected an array of 1 axis, got 3");
    xt::xarray<float, xt::layout_type::column_major> columns = xh;
    CHECK_THROWS_WITH(dg::matrix_view(columns), "[matrix_view] expected a row-major array, got another layout");

    const auto file = std::filesystem::temp_directory_path() / "depthgrow_adapters.npy";
    xt::dump_npy(file.string(), dg::to_xtensor({{1, 2, 3}, {4, 5, 6}}));
    const auto read = dg::read_npy<double>(file);
    CHECK(read.shape == std::vector<std::size_t>{2, 3});
    CHECK(read.values == std::vector<double>{1, 2, 3, 4, 5, 6});
    dg::write_npy(file, {tokens, width}, h.data());
    const bool same = xt::load_npy<float>(file.string()) == xh;
    CHECK(same);
    std::filesystem::remove(file);
}

TEST_CASE("layers made of other libraries' arrays grow by an order, as deep copies") {
    std::vector<Eigen::MatrixXf> eigen;
    std::vector<xt::xarray<float>> arrays;
    for (int i = 0; i < 8; ++i)
        eigen.push_back(Eigen::MatrixXf::Constant(2, 2, static_cast<float>(i))),
            arrays.push_back(static_cast<float>(i) * xt::ones<float>({2, 2}));
    const auto order = dg::lidas{4}(8);
    eigen = dg::grow(std::move(eigen), order), arrays = dg::grow(std::move(arrays), order);
    REQUIRE((eigen.size() == 12 && arrays.size() == 12));
    for (std::size_t slot = 0; slot < 12; ++slot)
        CHECK((eigen[slot](1, 1) == static_cast<float>(order[slot]) &&
               arrays[slot](1, 1) == static_cast<float>(order[slot])));
    eigen[6](0, 0) = 99, arrays[6](0, 0) = 99;
    CHECK((eigen[2](0, 0) == 2 && arrays[2](0, 0) == 2));
}

TEST_CASE("Eigen's maps, references and blocks are views, which do not grow; its owning types do") {
    using dg::detail::sharing;
    using dg::detail::sharing_of;
    STATIC_REQUIRE(sharing_of<Eigen::Map<Eigen::MatrixXf>>() == sharing::view);
    STATIC_REQUIRE(sharing_of<std::vector<Eigen::Ref<row_major>>>() == sharing::view);
    STATIC_REQUIRE(sharing_of<decltype(row_major().topRows(1))>() == sharing::view);
    STATIC_REQUIRE(sharing_of<row_major>() == sharing::parts);
    struct block {
        row_major weight;
        Eigen::Vector3d norm;
    };
    std::vector<block> layers(2, {row_major::Zero(2, 2), Eigen::Vector3d::Zero()});
    layers = dg::grow(std::move(layers), dg::doubling{}(2));
    layers[2].weight(0, 0) = 5;
    CHECK((layers[0].weight(0, 0) == 0 && layers[3].norm(2) == 0));
}

TEST_CASE("layers made of other libraries' arrays are added up") {
    std::vector<Eigen::MatrixXf> eigen;
    std::vector<Eigen::Array3d> fixed;
    std::vector<xt::xarray<float>> arrays;
    for (int i = 0; i < 3; ++i) {
        eigen.push_back(Eigen::MatrixXf::Constant(2, 2, static_cast<float>(i)));
        fixed.push_back(Eigen::Array3d::Constant(i));
        arrays.push_back(static_cast<float>(i) * xt::ones<float>({2, 2}));
    }
    const dg::growth mean{dg::interleave{}(3), {dg::init_kind::average}};
    eigen = dg::grow(std::move(eigen), mean), fixed = dg::grow(std::move(fixed), mean),
    arrays = dg::grow(std::move(arrays), mean);
    CHECK((eigen[1](1, 0) == 0.5f && fixed[1](2) == 0.5 && arrays[1](1, 0) == 0.5f));
    CHECK((eigen[4](1, 0) == 2 && fixed[4](2) == 2 && arrays[4](1, 0) == 2));
    const auto noisy =
        dg::grow(std::vector<Eigen::MatrixXf>(eigen), dg::growth{dg::doubling{}(6), {dg::init_kind::noise, 0.1}});
    CHECK((noisy[1] == eigen[1] && noisy[7] != eigen[1]));
    const auto shaken =
        dg::grow(std::vector<xt::xarray<float>>(arrays), dg::growth{dg::doubling{}(6), {dg::init_kind::noise, 0.1}});
    CHECK((shaken[1](0, 0) == arrays[1](0, 0) && shaken[7](0, 0) != arrays[1](0, 0)));
    CHECK_THROWS_WITH(
        dg::grow(std::vector<Eigen::MatrixXf>(eigen), dg::growth{dg::doubling{}(6), {dg::init_kind::random}}),
        Catch::Contains("know how to begin as random"));
    eigen[0].resize(1, 4);
    CHECK_THROWS_WITH(dg::grow(std::move(eigen), dg::collapse{0, 2}(6)),
                      "[mix] expected layers of one shape, (1, 4), got (2, 2)");
    arrays[0] = xt::ones<float>({4});
    CHECK_THROWS_WITH(dg::grow(std::move(arrays), dg::collapse{0, 2}(6)),
                      "[mix] expected layers of one shape, got arrays that differ in theirs");
}
