// Files of torch.save: values and tensors as torch wrote them, nothing executed, damage refused in a sentence.
#include "depthgrow/io/torch_file.hpp"

#include "io/temporary.hpp"
#include "support/catch.hpp"

namespace dg = depthgrow;
using temporary::content_of;
using temporary::refusal;
using temporary::says;

namespace {

std::filesystem::path fixture(const std::string& name) {
    return std::filesystem::path(DEPTHGROW_FIXTURES) / "torch" / name;
}

}  // namespace

TEST_CASE("an optimizer's state of torch.save is read") {
    const dg::torch_file file(fixture("adam.pt"));
    const auto& all = file.values();
    const auto* state = all.find(all.whole(), "state");
    REQUIRE(state);
    REQUIRE(state->items.size() == 6);
    const std::vector<std::vector<std::size_t>> shapes{{3, 2}, {2}, {2, 2}};
    for (std::uint32_t i = 0; i < 3; ++i) {
        REQUIRE(all[state->items[2 * i]].integer == i);
        const auto& each = all[state->items[2 * i + 1]];
        REQUIRE(file.read(*all.find(each, "step")) == std::vector<double>{7});
        for (const auto& [name, k] : {std::pair("exp_avg", 1), std::pair("exp_avg_sq", 2)}) {
            const auto& tensor = *all.find(each, name);
            REQUIRE(tensor.shape == shapes[i]);
            REQUIRE(file.type_name(tensor) == "F32");
            const auto values = file.read(tensor);
            for (std::size_t j = 0; j < values.size(); ++j)
                REQUIRE(values[j] == 100.0 * i + 10.0 * k + static_cast<double>(j) / 8);
        }
    }
    const auto* groups = all.find(all.whole(), "param_groups");
    REQUIRE(groups);
    REQUIRE(groups->items.size() == 2);
    REQUIRE(all.find(all[groups->items[0]], "lr")->real == 1e-3);
    REQUIRE(all.find(all[groups->items[0]], "params")->items.size() == 2);
    REQUIRE(all.find(all[groups->items[1]], "foreach")->kind == dg::pickle_kind::none);
}

TEST_CASE("values of every kind and views of torch.save are read") {
    const dg::torch_file file(fixture("kinds.pt"));
    const auto& all = file.values();
    const auto get = [&](const char* name) -> const dg::pickle_value& { return *all.find(all.whole(), name); };
    REQUIRE(file.type_name(get("bf16")) == "BF16");
    REQUIRE(file.read(get("bf16")) == std::vector<double>{0, 1, 2, 3, 4, 5});
    REQUIRE(file.read(get("turned")) == std::vector<double>{0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11});
    REQUIRE(file.read(get("part")) == std::vector<double>{4, 5, 6, 7, 8, 9, 10, 11});
    REQUIRE(file.read(get("empty")).empty());
    REQUIRE(get("long").integer == std::int64_t{1} << 62);
    REQUIRE(get("text").text ==
            "\xc3\xbc"
            "ber");
    const auto& list = *all.find(get("ordered"), "b");
    REQUIRE(all[list.items[0]].integer == std::int64_t{1} << 40);
    REQUIRE(all[list.items[1]].integer == -3);
}

TEST_CASE("what torch's files ask to run is refused by name") {
    const auto call = refusal([] { dg::torch_file file(fixture("call.pt")); });
    REQUIRE(says(call, "expected plain values and tensors, found"));
    REQUIRE(says(call, "print, which is not run"));
    REQUIRE(says(refusal([] { dg::torch_file file(fixture("legacy.pt")); }), "since torch 1.6, found another format"));
}

TEST_CASE("a tensor beyond its storage is refused") {
    const temporary::folder folder;
    std::string bytes = content_of(fixture("kinds.pt"));
    const std::size_t at = bytes.find(std::string("K\x04K\x03\x86", 5));  // the shape (4, 3)
    REQUIRE(at != bytes.npos);
    bytes[at + 3] = 4;
    dg::write_file(folder.path / "beyond.pt", bytes);
    REQUIRE(says(refusal([&] { dg::torch_file file(folder.path / "beyond.pt"); }), "within its storage of 12"));
}

TEST_CASE("damaged files of torch give a sentence or a checked file") {
    const temporary::folder folder;
    const std::string whole = content_of(fixture("adam.pt"));
    for (std::size_t size = 0; size < whole.size(); size += 97) {
        dg::write_file(folder.path / "cut.pt", whole.substr(0, size));
        REQUIRE(says(refusal([&] { dg::torch_file file(folder.path / "cut.pt"); }), "expected"));
    }
}
