#include "serve/served_model.hpp"

#include <numeric>

#include "depthgrow/analysis/batched_decoder.hpp"
#include "depthgrow/io/growth_record.hpp"
#include "depthgrow/io/model_checkpoint.hpp"
#include "support/any_backend.hpp"
#include "support/depth_files.hpp"

namespace tools {

namespace {

namespace dg = depthgrow;

template <class T, class Backend> struct model_on final : served_model {
    template <class Options>
    model_on(const model_settings& s, const Options& backend_options)
        : backend(backend_options), model(dg::load_model<T>(backend, s.model)) {
        options.order =
            s.order.empty() ? dg::recorded_order(dg::checkpoint_reader(s.model)) : parse_numbers("--order", s.order);
        for (std::size_t source : options.order)
            dg::require(source < model.layers(), "--order: expected layers below ", model.layers(), ", found ", source);
        if (options.order.empty()) {
            options.order.resize(model.layers());
            std::iota(options.order.begin(), options.order.end(), std::size_t{0});
        }
        if (s.exit_layer)
            dg::require(*s.exit_layer <= options.order.size(), "--exit-layer: expected at most ", options.order.size(),
                        " (the layers run), found ", *s.exit_layer);
        options.exit_layer = s.exit_layer;
        if (!s.lens.empty()) lens = read_lens(s.lens, model, options.order.size());
        options.lens = lens ? &*lens : nullptr;
        decoder.emplace(model, options);
    }
    const dg::decoder_config& config() const override { return model.config(); }
    const std::vector<std::size_t>& order() const override { return options.order; }
    std::size_t open(std::size_t capacity) override { return decoder->open(capacity); }
    void close(std::size_t sequence) override { decoder->close(sequence); }
    std::vector<dg::piece_results> append(dg::span<const dg::token_piece> pieces) override {
        return decoder->append(pieces);
    }

    Backend backend;
    dg::decoder<T, Backend> model;
    std::optional<dg::tuned_lens<T, Backend>> lens;
    dg::scoring_options<T, Backend> options;
    std::optional<dg::batched_decoder<T, Backend>> decoder;
};

}  // namespace

std::unique_ptr<served_model> load_served(const model_settings& s) {
    return choose_backend(s.backend, s.precision, s.threads, true,
                          [&]<class T, class Backend>(const auto& options) -> std::unique_ptr<served_model> {
                              return std::make_unique<model_on<T, Backend>>(s, options);
                          });
}

}  // namespace tools
