#include "depthgrow/adapt/stacked.hpp"

#include <vector>

#include "depthgrow/growth/operators.hpp"
#include "support/catch.hpp"

using namespace depthgrow;

namespace {

const stacked_layout kinds{{5, false}, {2}, {3, true, true, "projection"}, {4, false}};

/// Numbers that say kind, layer and element.
std::vector<double> numbered(std::size_t layers, double shift = 0) {
    std::vector<double> values;
    for (std::size_t kind = 0; kind < kinds.size(); ++kind)
        for (std::size_t layer = 0; layer < (kinds[kind].per_layer ? layers : 1); ++layer)
            for (std::size_t i = 0; i < kinds[kind].elements; ++i)
                values.push_back(shift + static_cast<double>(1000 * kind + 10 * layer + i));
    return values;
}

/// What growth by `rows` should give: `element(kind, slot, value)` of the sum of the slot's terms.
template <class Element> std::vector<double> expected(const mixture& rows, double shift, Element&& element) {
    std::vector<double> values;
    for (std::size_t kind = 0; kind < kinds.size(); ++kind)
        for (std::size_t slot = 0; slot < (kinds[kind].per_layer ? rows.size() : 1); ++slot)
            for (std::size_t i = 0; i < kinds[kind].elements; ++i) {
                double sum = kinds[kind].per_layer ? 0 : shift + static_cast<double>(1000 * kind + i);
                for (const mixture_term& term : rows[slot])
                    if (kinds[kind].per_layer)
                        sum += term.coefficient * (shift + static_cast<double>(1000 * kind + 10 * term.source + i));
                values.push_back(kinds[kind].per_layer ? element(kind, slot, sum) : sum);
            }
    return values;
}
std::vector<double> expected(const mixture& rows, double shift = 0) {
    return expected(rows, shift, [](std::size_t, std::size_t, double value) { return value; });
}

std::vector<double> grown_in_place(const growth& how) {
    auto memory = numbered(how.layers.source_depth());
    memory.resize(std::max(memory.size(), stacked_size(kinds, how.layers.size())) + 3, -1);
    grow_stacked(span<double>(memory), kinds, how);
    CHECK(memory.back() == -1);  // what is behind the room it needs is not touched
    memory.resize(stacked_size(kinds, how.layers.size()));
    return memory;
}
std::vector<double> grown_apart(const growth& how) {
    const auto from = numbered(how.layers.source_depth());
    std::vector<double> to(stacked_size(kinds, how.layers.size()));
    grow_stacked(span<const double>(from), span<double>(to), kinds, how);
    CHECK(from == numbered(how.layers.source_depth()));
    return to;
}

}  // namespace

TEST_CASE("arrays of all kinds of tensor grow in place and apart, whatever the order") {
    const std::vector<mixture> all{lidas{2}(4),
                                   midas{2}(4),
                                   doubling{}(4),
                                   interleave{}(4),
                                   layer_order({3, 2, 1, 0}, 4),
                                   layer_order({3, 3, 3, 0, 1, 2, 0}, 4),
                                   layer_order({1, 2, 3, 3, 3}, 4),
                                   layer_order({0, 3}, 4),
                                   layer_order({2, 2}, 4),
                                   layer_order({0, 1, 2, 3}, 4),
                                   parse_mixture("0 0.5*0+0.5*3 1 2 3 -1*0+2*1", 4),
                                   parse_mixture("0.5*2+0.5*3", 4)};
    for (const mixture& rows : all) {
        INFO(rows.to_string());
        CHECK(grown_in_place({rows}) == expected(rows));
        CHECK(grown_apart({rows}) == expected(rows));
    }
}

TEST_CASE("parameters and moments grow in one call, moments by coefficients, their squares and the policy") {
    const auto policy = GENERATE(state_policy::copy, state_policy::zero, state_policy::all);
    const bool in_place = GENERATE(false, true);
    const growth how{interleave{}(2), {init_kind::average}, policy};  // 0 (0+1)/2 1 1
    auto p = numbered(2), m = numbered(2, 0.25), v = numbered(2, 0.5);
    const std::size_t size = stacked_size(kinds, 4);
    std::vector<double> p4(size), m4(size), v4(size);
    if (in_place) {
        p4 = p, m4 = m, v4 = v;
        p4.resize(size), m4.resize(size), v4.resize(size);
        grow_stacked<double>({p4, m4, v4}, {p4, m4, v4}, kinds, how);
    } else {
        grow_stacked<double>({p, m, v}, {p4, m4, v4}, kinds, how);
    }
    const mixture rows = how.rows();
    const auto by_policy = [&](std::size_t, std::size_t slot, double value) {
        return policy == state_policy::all || (policy == state_policy::zero && rows.is_new(slot)) ? 0.0 : value;
    };
    CHECK(p4 == expected(rows));
    CHECK(m4 == expected(rows, 0.25, by_policy));
    CHECK(v4 == expected(squared(rows), 0.5, by_policy));
}

TEST_CASE("new layers begin as zero in what writes the residual stream, or with noise") {
    const layer_order order = lidas{2}(4);
    const auto zeroed = [&](std::size_t kind, std::size_t slot, double value) {
        return kinds[kind].writes_residual && order.is_new(slot) ? 0.0 : value;
    };
    CHECK(grown_in_place({order, {init_kind::zero_residual}}) == expected(order, 0, zeroed));
    const growth noise{order, {init_kind::noise, 0.1}, state_policy::copy, 5};
    const auto noisy = grown_apart(noise), plain = expected(order);
    CHECK(noisy == grown_in_place(noise));
    const std::size_t projections = 5 + 6 * 2;
    for (std::size_t i = 0; i < plain.size(); ++i) {
        const bool first_kind = i >= 5 && i < projections, second_kind = i >= projections && i < projections + 6 * 3;
        const std::size_t slot = first_kind ? (i - 5) / 2 : (i - projections) / 3;
        CHECK((noisy[i] != plain[i]) == ((first_kind || second_kind) && order.is_new(slot)));
    }
    const double scale = std::sqrt((2010.0 * 2010 + 2011.0 * 2011 + 2012.0 * 2012) / 3);
    rng random = begin_stream(5, 3, "projection");
    CHECK(noisy[projections + 3 * 3] == Approx(2010 + 0.1 * scale * random.normal()).epsilon(1e-12));
}

TEST_CASE("sums are made in double and rounded once") {
    std::vector<float> values{16777216, 1, 1};  // in float, 16777216 + 1 + 1 would not move
    std::vector<float> sum(1);
    grow_stacked(span<const float>(values), span<float>(sum), {{1}}, parse_mixture("0+1+2", 3));
    CHECK(sum[0] == 16777218);
}

TEST_CASE("separate arrays of one tensor each grow together") {
    std::vector<float> query(4 * 3), moment(4 * 3);
    std::vector<double> norm{0, 1, 2, 3};
    for (std::size_t i = 0; i < query.size(); ++i) query[i] = static_cast<float>(i), moment[i] = -query[i];
    grow_stacked(lidas{2}(4), query, moment, norm);
    CHECK(norm == std::vector<double>{0, 1, 2, 1, 2, 3});
    REQUIRE(query.size() == 18);
    CHECK((query[3 * 3 + 1] == 4 && moment[4 * 3 + 2] == -8));
    std::vector<double> odd(5);
    const auto before = query;
    CHECK_THROWS_WITH(grow_stacked(doubling{}(6), query, odd),
                      "[grow_stacked] expected a multiple of 6 elements (source depth of the order), got 5");
    CHECK((query == before && odd.size() == 5));
}

TEST_CASE("memory that is too small or overlaps, and beginnings that a layout does not know, change nothing") {
    auto p = numbered(4);
    const auto before = p;
    std::vector<double> room(stacked_size(kinds, 6)), small(room.size() - 1), m(p.size()), v(p.size());
    const layer_order order = lidas{2}(4);
    CHECK_THROWS_WITH(grow_stacked(span<double>(p), kinds, order),
                      "[grow_stacked] expected room for 39 elements of 6 layers, got 29");
    CHECK_THROWS_WITH(grow_stacked(span<const double>(p).subspan(1, 28), span<double>(room), kinds, order),
                      "[grow_stacked] expected 29 elements of 4 layers, got 28");
    auto m6 = room;
    CHECK_THROWS_WITH(grow_stacked<double>({p, m, v}, {room, m6, small}, kinds, order), Catch::Contains("got 38"));
    CHECK_THROWS_WITH(grow_stacked<double>({p, m, v}, {room, room, m6}, kinds, order),
                      Catch::Contains("memory of its own for each array"));
    std::vector<double> both = numbered(4);
    both.resize(80);
    CHECK_THROWS_WITH(grow_stacked(span<const double>(both), span<double>(both).subspan(28, 40), kinds, order),
                      Catch::Contains("or into memory apart"));
    CHECK_THROWS_WITH(grow_stacked(span<double>(both), kinds, growth{order, {init_kind::random}}),
                      Catch::StartsWith("[grow_stacked] expected a layout that knows how to begin as random"));
    CHECK_THROWS_WITH(grow_stacked(span<double>(both), {{1}}, growth{order, {init_kind::zero_residual}}),
                      Catch::Contains("zero_residual needs a tensor that writes_residual"));
    CHECK(p == before);
    CHECK(room == std::vector<double>(room.size()));
    both.resize(before.size());
    CHECK(both == before);
}
