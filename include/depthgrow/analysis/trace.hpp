// One clean run of a prompt on the host, layer by layer: what enters, what attention adds, what the MLP adds.
// Assumes one prompt at a time; its rows are those of the executed order, in the model's number type.
// Names: metrics.md, h_l, a_l, m_l; h_{l+1} = h_l + a_l + m_l.
#pragma once

#include <vector>

#include "depthgrow/nn/forward.hpp"

namespace depthgrow {

/// visit(slot, h, a, m) for every slot of a run, each (T, C) on the host, valid during the call; then last(h_L).
template <decoder_model Model, class T, class Backend, class Visit, class Last>
void visit_layers(const Model& model, tape<T, Backend>& tape, span<const token> tokens, Visit visit, Last last,
                  span<const std::size_t> order = {}) {
    Backend& backend = model.backend();
    const auto ids = tensor<token, Backend>::from_host(backend, {tokens.size()}, tokens);
    const std::size_t slots = order.empty() ? model.layers() : order.size();
    std::vector<T> h, a, m;
    const auto fetch = [&](std::vector<T>& to, matrix<T> rows) {
        to.resize(rows.size());
        backend.template to_host<T>(rows.data, to.data(), rows.size());
    };
    const auto view = [&](const std::vector<T>& rows) {
        return matrix<const T>(rows.data(), tokens.size(), model.config().width);
    };
    tape.start(false);
    model.residual(tape, ids.flat(), 1, nullptr, order, [&](site where, std::size_t slot, matrix<T> rows) {
        if (where == site::resid_pre) fetch(h, rows);
        if (where == site::attn_out) fetch(a, rows);
        if (where == site::mlp_out) fetch(m, rows), visit(slot, view(h), view(a), view(m));
        if (where == site::resid_post && slot + 1 == slots) fetch(h, rows), last(view(h));
    });
}

}  // namespace depthgrow
