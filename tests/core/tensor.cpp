// SPDX-License-Identifier: Apache-2.0
#include "grove/core/tensor.hpp"

#include <doctest/doctest.h>

#include <memory>

using namespace grove;

namespace {

/// The least that a tensor needs of a backend.
struct counting_backend {
    template <class T>
    struct buffer {
        std::shared_ptr<T[]> elements;
        index_t count = 0;
        index_t size() const { return count; }
    };
    template <class T>
    buffer<T> allocate(index_t size) {
        return {std::shared_ptr<T[]>(new T[static_cast<std::size_t>(size)]()), size};
    }
};

}  // namespace

TEST_CASE("tensor: a default tensor is empty until assigned") {
    tensor<counting_backend> x;
    CHECK(x.empty());
    CHECK(x.size() == 0);
    counting_backend backend;
    x = {backend, backend.allocate<float>(6), {2, 3}};
    CHECK_FALSE(x.empty());
    CHECK(&x.backend() == &backend);
    CHECK(x.rows() == 2);
    CHECK(x.columns() == 3);
}

TEST_CASE("tensor: copies and other shapes share the memory") {
    counting_backend backend;
    tensor<counting_backend, int> const x(backend, backend.allocate<int>(6), {2, 3});
    auto const y = x;
    auto const z = x.reshape({3, 2});
    x.buffer().elements[4] = 7;
    CHECK(y.buffer().elements[4] == 7);
    CHECK(z.buffer().elements[4] == 7);
    CHECK(z.extents() == shape{3, 2});
}

TEST_CASE("tensor: elements and extents must agree") {
    counting_backend backend;
    CHECK_THROWS_WITH_AS((tensor<counting_backend>(backend, backend.allocate<float>(5), {2, 3})),
                         "[tensor] expected 6 elements for shape [2, 3], got 5", shape_error);
    tensor<counting_backend> const x(backend, backend.allocate<float>(6), {6});
    CHECK_THROWS_AS(x.reshape({4}), shape_error);
}
