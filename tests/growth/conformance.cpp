#include "depthgrow/growth/conformance.hpp"

#include <memory>
#include <vector>

#include "support/catch.hpp"

using namespace depthgrow;

namespace {

struct good {
    std::vector<float> weight{1, 2};
    friend bool operator==(const good& a, const good& b) { return a.weight == b.weight; }
};

struct tied_inside {
    std::vector<float> weight{1};
    std::shared_ptr<float> bias = std::make_shared<float>(2.0f);
    friend bool operator==(const tied_inside& a, const tied_inside& b) {
        return a.weight == b.weight && *a.bias == *b.bias;
    }
};

struct forgetful {
    float weight = 1;
    forgetful clone() const { return {0}; }
    friend bool operator==(const forgetful& a, const forgetful& b) { return a.weight == b.weight; }
};

struct lazy {  // copies on the first change, but only when the clone changes
    std::shared_ptr<float> weight = std::make_shared<float>(1.0f);
    bool borrowed = false;
    lazy clone() const {
        lazy copy = *this;
        copy.borrowed = true;
        return copy;
    }
    friend bool operator==(const lazy& a, const lazy& b) { return *a.weight == *b.weight; }
};

struct parent_bound {  // a clone that reads its original and notices its end
    std::shared_ptr<int> own = std::make_shared<int>(1);
    std::weak_ptr<int> parent = own;
    parent_bound clone() const {
        parent_bound copy;
        copy.parent = own;
        return copy;
    }
    friend bool operator==(const parent_bound& a, const parent_bound& b) {
        return *a.own == *b.own && a.parent.expired() == b.parent.expired();
    }
};

}  // namespace

TEST_CASE("a layer with deep copies passes") {
    CHECK_NOTHROW(check_layer<good>([] { return good{}; }, [](good& layer) { layer.weight[1] += 1; }));
}

TEST_CASE("a weight tied through a shared pointer inside a layer is found") {
    const auto change = [](tied_inside& layer) { layer.weight[0] += 1, *layer.bias += 1; };
    CHECK_THROWS_WITH(
        check_layer<tied_inside>([] { return tied_inside{}; }, change),
        Catch::StartsWith("[check_layer] expected a clone that is equal and independent, but changing the "
                          "clone changed the original"));
}

TEST_CASE("a clone that loses weights is found") {
    CHECK_THROWS_WITH(check_layer<forgetful>([] { return forgetful{}; }, [](forgetful& layer) { layer.weight += 1; }),
                      Catch::EndsWith("but the clone differs from its original"));
}

TEST_CASE("a tie that only shows when the original changes is found") {
    const auto change = [](lazy& layer) {
        if (layer.borrowed) layer.weight = std::make_shared<float>(*layer.weight);
        *layer.weight += 1;
    };
    CHECK_THROWS_WITH(check_layer<lazy>([] { return lazy{}; }, change),
                      Catch::Contains("changing the original changed its clone"));
}

TEST_CASE("a clone that needs its original alive is found") {
    CHECK_THROWS_WITH(
        check_layer<parent_bound>([] { return parent_bound{}; }, [](parent_bound& layer) { *layer.own += 1; }),
        Catch::EndsWith("the clone changed when its original was destroyed"));
}

TEST_CASE("a conformance test that tests nothing is found") {
    CHECK_THROWS_WITH(check_layer<good>([] { return good{}; }, [](good&) {}), Catch::Contains("nothing was tested"));
    float next = 0;
    CHECK_THROWS_WITH(check_layer<good>([&] { return good{{next++}}; }, [](good&) {}),
                      Catch::Contains("make() gave two layers that differ"));
}
