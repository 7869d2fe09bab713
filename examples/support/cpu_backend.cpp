#include "support/cpu_backend.hpp"

#include "depthgrow/core/error.hpp"
#if DEPTHGROW_USES_ONEDNN
#include "depthgrow/backend/onednn.hpp"
#endif

namespace tools {

std::vector<cpu_product> cpu_products() {
    std::vector<cpu_product> out;
#if DEPTHGROW_USES_ONEDNN
    out.push_back({"onednn", &depthgrow::onednn_product});
#endif
    out.push_back({DEPTHGROW_CBLAS_NAME, &depthgrow::cblas_product});
    return out;
}

cpu_product cpu_product_named(const std::string& name) {
    std::string known = "auto";
    for (const auto& one : cpu_products()) {
        if (one.name == name) return one;
        known += ", " + one.name;
    }
    depthgrow::fail("--product: expected one of those in this build (", known, "), found ", name);
}

bool has_cpu_bf16() {
#if DEPTHGROW_USES_ONEDNN
    return depthgrow::has_bf16_products();
#else
    return false;
#endif
}

cpu_product cpu_product_of(const std::string& precision) {
#if DEPTHGROW_USES_ONEDNN
    if (precision == "bf16") return {"onednn in bfloat16", &depthgrow::onednn_bf16_product};
#endif
    depthgrow::require(precision == "fp32", "--precision ", precision, ": expected a build with oneDNN, found none");
    return cpu_products().front();
}

}  // namespace tools
