// SPDX-License-Identifier: Apache-2.0
/// @file
/// A buffer of a backend with a shape.
#pragma once

#include <utility>

#include "grove/core/shape.hpp"

namespace grove::inline GROVE_ISA {

/// A contiguous row-major array of `T` on backend `B`. Copies share the memory; operations return
/// new tensors. The backend must outlive its tensors.
template <class B, class T = float>
class tensor {
public:
    using backend_type = B;
    using value_type = T;
    using buffer_type = typename B::template buffer<T>;

    /// An empty tensor without a backend, to be assigned to.
    tensor() = default;
    /// Throws shape_error unless `data` has exactly the elements of `extents`.
    tensor(B& backend, buffer_type data, shape extents)
        : backend_(&backend), data_(std::move(data)), extents_(extents) {
        require<shape_error>(data_.size() == extents_.size(), "tensor", "expected ",
                             extents_.size(), " elements for shape ", extents_, ", got ",
                             data_.size());
    }

    B& backend() const { return *backend_; }
    buffer_type const& buffer() const { return data_; }
    buffer_type& buffer() { return data_; }
    shape const& extents() const { return extents_; }
    index_t size() const { return extents_.size(); }
    index_t rows() const { return extents_.rows(); }
    index_t columns() const { return extents_.columns(); }
    bool empty() const { return backend_ == nullptr; }

    /// The same elements under another shape; throws shape_error where the sizes differ.
    tensor reshape(shape extents) const { return {*backend_, data_, extents}; }

private:
    B* backend_ = nullptr;
    buffer_type data_{};
    shape extents_{0};
};

/// 32-bit indices: token ids, positions, expert numbers.
template <class B>
using index_tensor = tensor<B, std::int32_t>;

}  // namespace grove::inline GROVE_ISA
