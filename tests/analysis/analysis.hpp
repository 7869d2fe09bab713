// A fixture with its model, its prompts and its lenses, as the analysis tests use them.
#pragma once

#include "depthgrow/analysis/prompts.hpp"
#include "depthgrow/analysis/tuned_lens.hpp"
#include "depthgrow/backend/blas.hpp"
#include "support/fixture.hpp"

template <class T, class Backend> struct analysis_fixture {
    analysis_fixture(Backend& backend, const std::string& name)
        : want(name), model(depthgrow::load_model<T, Backend>(backend, want.directory)) {
        const std::string lines = depthgrow::read_text_file(want.directory + "/prompts.jsonl");
        for (std::size_t first = 0; first < lines.size();) {
            const std::size_t end = std::min(lines.find('\n', first), lines.size());
            const auto line = depthgrow::json::parse(lines.substr(first, end - first));
            prompts.push_back({line["tokens"].template get<std::vector<depthgrow::token>>(),
                               line["boundaries"].template get<std::vector<std::size_t>>(),
                               {}});
            first = end + 1;
        }
    }
    /// The fixture's lens "random" or "fitted".
    depthgrow::tuned_lens<T, Backend> lens(const std::string& kind) const {
        auto made = depthgrow::tuned_lens<T, Backend>::zero(model);
        const auto A = want.tensor("lens_" + kind + ".A"), b = want.tensor("lens_" + kind + ".b");
        const std::size_t width = made.width;
        for (std::size_t l = 0; l < made.layers(); ++l) {
            for (std::size_t i = 0; i < width * width; ++i)
                made.translators[l].A.data()[i] = static_cast<T>(A[l * width * width + i]);
            for (std::size_t i = 0; i < width; ++i) made.translators[l].b.data()[i] = static_cast<T>(b[l * width + i]);
        }
        return made;
    }
    fixture::expectations want;
    depthgrow::decoder<T, Backend> model;
    std::vector<depthgrow::prompt> prompts;
};
