// The members of an aggregate (a struct without constructors or private members), counted and visited in their order.
// Assumes C++17; up to 24 members, no base classes with members, no unnamed unions. Other types count as unseen.
// Method: the longest list of placeholders that initialises the struct; a nested list that replaces k of them is an
// array of k.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>

namespace depthgrow::detail {

/// Stands for a member of any type in a list that initialises a struct; never evaluated (the bodies are for a compiler
/// that warns of none).
struct any_member {
    template <class Member> operator Member() { std::abort(); }
};
/// Stands for an optional, which could be made from any_member in two ways.
struct any_optional {
    template <class Value> operator std::optional<Value>() { std::abort(); }
};
/// Stands for a base class of `Struct` alone.
template <class Struct> struct any_base {
    template <class Base, class = std::enable_if_t<std::is_base_of_v<Base, Struct> && !std::is_same_v<Base, Struct>>>
    operator Base() {
        std::abort();
    }
};

/// Lists of placeholders are tuple types: those that stand at [From, From + Count) of one, and one lengthened.
template <class List, std::size_t From, class Indices> struct slice_of;
template <class List, std::size_t From, std::size_t... I> struct slice_of<List, From, std::index_sequence<I...>> {
    using type = std::tuple<std::tuple_element_t<From + I, List>...>;
};
template <class List, std::size_t From, std::size_t Count>
using slice = typename slice_of<List, From, std::make_index_sequence<Count>>::type;
template <class List, class Next> struct lengthened_by;
template <class... Listed, class Next> struct lengthened_by<std::tuple<Listed...>, Next> {
    using type = std::tuple<Listed..., Next>;
};
template <class List, class Next = any_member> using lengthened = typename lengthened_by<List, Next>::type;
template <std::size_t> using member_at = any_member;

/// Whether a list initialises the struct.
template <class Struct, class List, class = void> struct takes_list : std::false_type {};
template <class Struct, class... Listed>
struct takes_list<Struct, std::tuple<Listed...>, std::void_t<decltype(Struct{Listed{}...})>> : std::true_type {};

/// Whether a list with a nested list of `Inside` placeholders in it does.
template <class Struct, class Before, class Inside, class After, class = void> struct takes_nested : std::false_type {};
template <class Struct, class... Before, std::size_t... Inside, class... After>
struct takes_nested<Struct, std::tuple<Before...>, std::index_sequence<Inside...>, std::tuple<After...>,
                    std::void_t<decltype(Struct{Before{}..., {member_at<Inside>{}...}, After{}...})>> : std::true_type {
};

inline constexpr std::size_t most_members = 24, most_placeholders = 64;

/// The longest list that begins with `List`; void stands for one that is too long and for members of an unseen kind.
template <class Struct, class List = std::tuple<>> constexpr auto longest_list() {
    if constexpr (std::tuple_size_v < List >> most_placeholders) {
        return;
    } else if constexpr (!takes_list<Struct, List>::value || takes_list<Struct, lengthened<List>>::value) {
        return longest_list<Struct, lengthened<List>>();
    } else if constexpr (takes_list<Struct, lengthened<List, any_optional>>::value) {
        return longest_list<Struct, lengthened<List, any_optional>>();
    } else if constexpr (!takes_nested<Struct, List, std::index_sequence<>, std::tuple<>>::value) {
        return List();
    }
}

/// The number of placeholders that the member at placeholder `At` takes up: more than 1 for arrays.
template <class Struct, class List, std::size_t At, std::size_t Inside = 2> constexpr std::size_t extent_at() {
    constexpr std::size_t all = std::tuple_size_v<List>;
    if constexpr (At + Inside > all) {
        return 1;
    } else {
        using before = slice<List, 0, At>;
        using inside = std::make_index_sequence<Inside>;
        if constexpr (takes_nested<Struct, before, inside, slice<List, At + Inside, all - At - Inside>>::value &&
                      !takes_nested<Struct, before, inside, slice<List, At + 1, all - At - Inside + 1>>::value)
            return Inside;
        else return extent_at<Struct, List, At, Inside + 1>();
    }
}

template <class Struct, class List, std::size_t At = 0> constexpr std::size_t count_members() {
    if constexpr (At >= std::tuple_size_v<List>) return 0;
    else return 1 + count_members<Struct, List, At + extent_at<Struct, List, At>()>();
}

/// The number of members of `Struct`, or 0 when they cannot be seen.
template <class Struct> constexpr std::size_t member_count() {
    if constexpr (!std::is_aggregate_v<Struct> || std::is_array_v<Struct> || std::is_union_v<Struct> ||
                  std::is_empty_v<Struct>) {
        return 0;
    } else if constexpr (takes_list<Struct, std::tuple<any_base<Struct>>>::value) {
        return 0;
    } else {
        using list = decltype(longest_list<Struct>());
        if constexpr (std::is_void_v<list>) {
            return 0;
        } else {
            constexpr std::size_t count = count_members<Struct, list>();
            return count <= most_members ? count : 0;
        }
    }
}

/// `visit(members...)`, each by const reference, for a struct with member_count() > 0.
template <class Struct, class Visit> constexpr decltype(auto) visit_members(const Struct& s, Visit&& visit) {
    constexpr std::size_t count = member_count<Struct>();
    static_assert(count > 0, "depthgrow: the members of this type cannot be seen");
    if constexpr (count == 1) {
        const auto& [a] = s;
        return visit(a);
    }
    if constexpr (count == 2) {
        const auto& [a, b] = s;
        return visit(a, b);
    }
    if constexpr (count == 3) {
        const auto& [a, b, c] = s;
        return visit(a, b, c);
    }
    if constexpr (count == 4) {
        const auto& [a, b, c, d] = s;
        return visit(a, b, c, d);
    }
    if constexpr (count == 5) {
        const auto& [a, b, c, d, e] = s;
        return visit(a, b, c, d, e);
    }
    if constexpr (count == 6) {
        const auto& [a, b, c, d, e, f] = s;
        return visit(a, b, c, d, e, f);
    }
    if constexpr (count == 7) {
        const auto& [a, b, c, d, e, f, g] = s;
        return visit(a, b, c, d, e, f, g);
    }
    if constexpr (count == 8) {
        const auto& [a, b, c, d, e, f, g, h] = s;
        return visit(a, b, c, d, e, f, g, h);
    }
    if constexpr (count == 9) {
        const auto& [a, b, c, d, e, f, g, h, i] = s;
        return visit(a, b, c, d, e, f, g, h, i);
    }
    if constexpr (count == 10) {
        const auto& [a, b, c, d, e, f, g, h, i, j] = s;
        return visit(a, b, c, d, e, f, g, h, i, j);
    }
    if constexpr (count == 11) {
        const auto& [a, b, c, d, e, f, g, h, i, j, k] = s;
        return visit(a, b, c, d, e, f, g, h, i, j, k);
    }
    if constexpr (count == 12) {
        const auto& [a, b, c, d, e, f, g, h, i, j, k, l] = s;
        return visit(a, b, c, d, e, f, g, h, i, j, k, l);
    }
    if constexpr (count == 13) {
        const auto& [a, b, c, d, e, f, g, h, i, j, k, l, m] = s;
        return visit(a, b, c, d, e, f, g, h, i, j, k, l, m);
    }
    if constexpr (count == 14) {
        const auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n] = s;
        return visit(a, b, c, d, e, f, g, h, i, j, k, l, m, n);
    }
    if constexpr (count == 15) {
        const auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o] = s;
        return visit(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o);
    }
    if constexpr (count == 16) {
        const auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = s;
        return visit(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p);
    }
    if constexpr (count == 17) {
        const auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q] = s;
        return visit(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q);
    }
    if constexpr (count == 18) {
        const auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r] = s;
        return visit(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r);
    }
    if constexpr (count == 19) {
        const auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, t] = s;
        return visit(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, t);
    }
    if constexpr (count == 20) {
        const auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, t, u] = s;
        return visit(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, t, u);
    }
    if constexpr (count == 21) {
        const auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, t, u, v] = s;
        return visit(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, t, u, v);
    }
    if constexpr (count == 22) {
        const auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, t, u, v, w] = s;
        return visit(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, t, u, v, w);
    }
    if constexpr (count == 23) {
        const auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, t, u, v, w, x] = s;
        return visit(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, t, u, v, w, x);
    }
    if constexpr (count == 24) {
        const auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, t, u, v, w, x, y] = s;
        return visit(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, t, u, v, w, x, y);
    }
}

}  // namespace depthgrow::detail
