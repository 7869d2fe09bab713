// What reads JSON, through the target that brings it along, compiled for this machine's processor.
#include <cstdio>
#include <depthgrow/io/weight_files.hpp>
#include <depthgrow/nn/presets.hpp>

int main() {
    const auto value = depthgrow::parse_json("{\"layers\": 12}", "text");
    std::printf("%zu layers\n", depthgrow::json_fields(value, "text").positive("layers"));
}
