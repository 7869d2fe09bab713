// Prompts shared out among ranks: each measures a contiguous share of them, and every rank gets the numbers of all.
// Assumes the same prompts in the same order on every rank. A prompt keeps its number in the whole list, and tables
// take prompts in that order, so that draws, means and bootstrap intervals do not depend on the number of ranks.
#pragma once

#include <cstddef>
#include <future>
#include <utility>
#include <vector>

#include "depthgrow/comm/communicator.hpp"

namespace depthgrow {

/// Items [first, first + count) of a list.
struct item_range {
    std::size_t first = 0, count = 0;
    std::size_t end() const { return first + count; }
};

/// This rank's share of a list: shares differ by one item at most, and some are empty where ranks outnumber items.
inline item_range own_share(std::size_t items, const communicator& comm) {
    const std::size_t first = items * comm.rank() / comm.size(), end = items * (comm.rank() + 1) / comm.size();
    return {first, end - first};
}

/// Numbers that begin as zeros and to which own() adds this rank's part: every rank then has the sums. One rank that
/// fails ends all with its sentence.
template <class Own> void sum_parts(communicator& comm, span<double> numbers, const Own& own) {
    together(comm, own);
    comm.sum(numbers);
}

/// For every item a row of `columns` numbers: measure(item, row) fills the zeros of a row of this rank's share, then
/// take(item, row) is given every row, in the order of the items, on every rank. One rank keeps two rows: one is taken
/// while the next one is measured, on another thread, so neither may change what the other reads or changes. Of two
/// failures the earlier item's is told.
template <class Measure, class Take>
void share_out(communicator& comm, std::size_t items, std::size_t columns, const Measure& measure, const Take& take) {
    if (comm.alone()) {
        std::vector<double> row, before;
        std::future<void> taking;  // of the row before
        const auto taken = [&] {
            if (taking.valid()) taking.get();
        };
        for (std::size_t i = 0; i < items; ++i) {
            row.assign(columns, 0);
            try {
                measure(i, span<double>(row));
            } catch (...) {
                taken();
                throw;
            }
            taken();
            std::swap(row, before);
            taking = std::async(std::launch::async | std::launch::deferred,  // deferred where no thread can be had
                                [&, i] { take(i, span<const double>(before)); });
        }
        return taken();
    }
    std::vector<double> rows(items * columns);
    sum_parts(comm, rows, [&] {  // a number of one rank and zeros of the others: no rounding
        const auto own = own_share(items, comm);
        for (std::size_t i = own.first; i < own.end(); ++i)
            measure(i, span<double>(rows).subspan(i * columns, columns));
    });
    for (std::size_t i = 0; i < items; ++i) take(i, span<const double>(rows).subspan(i * columns, columns));
}

}  // namespace depthgrow
