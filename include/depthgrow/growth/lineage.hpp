// Lineage: the growth orders a model went through, and at which stage any two of its layers were last one tensor.
// Assumes C++17. Stages count from 1; the n-th recorded order ends stage n and begins stage n + 1.
// Source: block similarity of grown models, Kapl et al. 2025 section 4.4, figures 7a and 22 (the pattern is derived).
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include "depthgrow/core/error.hpp"
#include "depthgrow/growth/layer_order.hpp"
#include "depthgrow/growth/schedule.hpp"

namespace depthgrow {

/// The history of a grown stack; append each order as it is applied.
class lineage {
public:
    explicit lineage(std::size_t initial_depth) : initial_depth_(initial_depth) {}

    /// The history that a finished run by `plan` has.
    explicit lineage(const growth_plan& plan) {
        require(!plan.stages.empty(), "[lineage] expected a plan with at least 1 stage, got 0");
        initial_depth_ = plan.stages.front().layers;
        for (std::size_t i = 1; i < plan.stages.size(); ++i) record(plan.stages[i].order);
    }

    void record(layer_order order) {
        require(order.source_depth() == depth(), "[lineage] expected an order for ", depth(), " layers, got one for ",
                order.source_depth());
        orders_.push_back(std::move(order));
    }

    std::size_t initial_depth() const { return initial_depth_; }
    /// Number of layers now.
    std::size_t depth() const { return orders_.empty() ? initial_depth_ : orders_.back().size(); }
    /// Stage now: recorded orders + 1.
    std::size_t stage() const { return orders_.size() + 1; }
    const std::vector<layer_order>& orders() const { return orders_; }

    /// Which initial layer each layer descends from, as one order.
    layer_order composition() const {
        layer_order all = layer_order::identity(initial_depth_);
        for (const layer_order& order : orders_) all = compose(order, all);
        return all;
    }

    /// The initial layer that `layer` descends from; `layer mod b` for MIDAS and LIDAS grown from one block of b.
    std::size_t descends_from(std::size_t layer) const {
        require_layer(layer);
        for (std::size_t n = orders_.size(); n > 0; --n) layer = orders_[n - 1][layer];
        return layer;
    }

    /// The last stage in which `a` and `b` were one tensor; 0 when they never were, the present stage when a = b.
    std::size_t shared_until(std::size_t a, std::size_t b) const {
        require_layer(a);
        require_layer(b);
        std::size_t n = orders_.size();
        for (; a != b && n > 0; --n) {
            a = orders_[n - 1][a];
            b = orders_[n - 1][b];
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
    void require_layer(std::size_t layer) const {
        require(layer < depth(), "[lineage] expected a layer below ", depth(), ", got ", layer);
    }

    std::size_t initial_depth_ = 0;
    std::vector<layer_order> orders_;
};

}  // namespace depthgrow
