// Lineage: the growths a model went through, what its layers are made of, and until when any two were one tensor.
// Assumes C++17. Stages count from 1; the n-th recorded growth ends stage n and begins stage n + 1.
// Source: block similarity of grown models, Kapl et al. 2025 section 4.4, figures 7a and 22 (the pattern is derived).
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include "depthgrow/core/error.hpp"
#include "depthgrow/growth/layer_init.hpp"
#include "depthgrow/growth/layer_order.hpp"
#include "depthgrow/growth/mixture.hpp"
#include "depthgrow/growth/schedule.hpp"

namespace depthgrow {

/// The history of a grown stack; append each growth as it is applied.
class lineage {
public:
    explicit lineage(std::size_t initial_depth) : initial_depth_(initial_depth) {}

    /// The history that a finished run by `plan` has.
    explicit lineage(const growth_plan& plan) {
        require(!plan.stages.empty(), "[lineage] expected a plan with at least 1 stage, got 0");
        initial_depth_ = plan.stages.front().layers;
        for (std::size_t i = 1; i < plan.stages.size(); ++i) record(plan.stages[i].applied());
    }

    void record(const layer_order& order) { record(growth{order}); }
    void record(const mixture& rows) { record(growth{rows}); }
    /// Of a growth its rows count, and which layers were drawn at random.
    void record(const growth& how) {
        require(how.layers.source_depth() == depth(), "[lineage] expected an order for ", depth(),
                " layers, got one for ", how.layers.source_depth());
        steps_.push_back({how.rows(), std::vector<bool>(how.layers.size())});
        if (how.init.kind == init_kind::random)
            for (std::size_t slot = 0; slot < how.layers.size(); ++slot) steps_.back().drawn[slot] = how.begins(slot);
    }

    std::size_t initial_depth() const { return initial_depth_; }
    /// Number of layers now.
    std::size_t depth() const { return steps_.empty() ? initial_depth_ : steps_.back().rows.size(); }
    /// Stage now: recorded growths + 1.
    std::size_t stage() const { return steps_.size() + 1; }
    /// The recorded growths as orders; throws when one of them mixed layers.
    std::vector<layer_order> orders() const {
        std::vector<layer_order> all;
        for (const step& done : steps_) all.push_back(done.rows.order());
        return all;
    }

    /// Which initial layer each layer descends from, as one order.
    layer_order composition() const {
        std::vector<std::size_t> sources;
        for (std::size_t layer = 0; layer < depth(); ++layer) sources.push_back(descends_from(layer));
        return {std::move(sources), initial_depth_};
    }

    /// The initial layer that `layer` descends from; `layer mod b` for MIDAS and LIDAS grown from one block of b. Of a
    /// mixed layer, the one that counted most; of a layer drawn at random, the one whose place it took.
    std::size_t descends_from(std::size_t layer) const {
        require_layer(layer);
        for (std::size_t n = steps_.size(); n > 0; --n) layer = steps_[n - 1].rows.main_source(layer);
        return layer;
    }

    /// Every initial layer that `layer` is made of, with its coefficient (as far as growth goes; training changes it
    /// after); empty when all of it was drawn at random.
    mixture_row ancestors(std::size_t layer) const {
        require_layer(layer);
        std::vector<double> now(depth());
        now[layer] = 1;
        for (std::size_t n = steps_.size(); n > 0; --n) {
            const step& done = steps_[n - 1];
            std::vector<double> before(done.rows.source_depth());
            for (std::size_t slot = 0; slot < now.size(); ++slot)
                if (now[slot] != 0 && !done.drawn[slot])
                    for (const mixture_term& term : done.rows[slot])
                        before[term.source] += now[slot] * term.coefficient;
            now = std::move(before);
        }
        mixture_row row;
        for (std::size_t source = 0; source < now.size(); ++source)
            if (now[source] != 0) row.push_back({source, now[source]});
        return row;
    }

    /// The last stage in which `a` and `b` were one tensor; 0 when they never were, the present stage when a = b. A
    /// layer that was mixed or drawn at random was no other layer before.
    std::size_t shared_until(std::size_t a, std::size_t b) const {
        require_layer(a);
        require_layer(b);
        std::size_t n = steps_.size();
        for (; a != b && n > 0; --n) {
            const step& done = steps_[n - 1];
            for (std::size_t layer : {a, b})
                if (done.drawn[layer] || !done.rows.is_copy(layer)) return 0;
            a = done.rows[a][0].source;
            b = done.rows[b][0].source;
        }
        return a == b ? n + 1 : 0;
    }

    /// `shared_until` of every pair of layers, (depth, depth).
    std::vector<std::vector<std::size_t>> layer_matrix() const {
        std::vector<std::vector<std::size_t>> matrix(depth(), std::vector<std::size_t>(depth()));
        for (std::size_t a = 0; a < depth(); ++a)
            for (std::size_t b = 0; b < depth(); ++b) matrix[a][b] = shared_until(a, b);
        return matrix;
    }

    /// Means of `shared_until` over layers at the same place in two blocks, (depth / block, depth / block).
    std::vector<std::vector<double>> block_matrix(std::size_t block) const {
        require(block > 0 && depth() % block == 0, "[lineage] expected a block that divides the depth ", depth(),
                ", got ", block);
        const std::size_t blocks = depth() / block;
        std::vector<std::vector<double>> matrix(blocks, std::vector<double>(blocks));
        for (std::size_t i = 0; i < blocks; ++i)
            for (std::size_t j = 0; j < blocks; ++j) {
                std::size_t sum = 0;
                for (std::size_t t = 0; t < block; ++t) sum += shared_until(i * block + t, j * block + t);
                matrix[i][j] = static_cast<double>(sum) / static_cast<double>(block);
            }
        return matrix;
    }

private:
    struct step {
        mixture rows;
        std::vector<bool> drawn;  // at random, by slot
    };

    void require_layer(std::size_t layer) const {
        require(layer < depth(), "[lineage] expected a layer below ", depth(), ", got ", layer);
    }

    std::size_t initial_depth_ = 0;
    std::vector<step> steps_;
};

}  // namespace depthgrow
