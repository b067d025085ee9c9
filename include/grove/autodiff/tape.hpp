// SPDX-License-Identifier: Apache-2.0
/// @file
/// The tape: what was computed, in order, and how to go back.
#pragma once

#include <any>
#include <array>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "grove/core/shape.hpp"

namespace grove::inline GROVE_ISA {

/// A buffer of the inner backend and its place on a tape.
template <class Buffer>
struct tracked_buffer {
    static constexpr int untracked = -1;

    Buffer value{};
    int node = untracked;

    bool tracked() const { return node != untracked; }
    index_t size() const { return value.size(); }
};

/// Records nodes with their backward rules; `run` visits them in reverse. A node's rule is called
/// once, with its whole gradient, and released: memory is given back on the way.
class tape {
public:
    template <class T, class Value, class Rule>
    tracked_buffer<Value> record(Value y, Rule rule) {
        nodes_.push_back({{}, [rule = std::move(rule)](std::any& gradient) {
                              rule(std::any_cast<Value const&>(gradient));
                          }});
        return {std::move(y), static_cast<int>(nodes_.size()) - 1};
    }
    /// Several results of one operation: `rule` gets all their gradients at once; those that nobody
    /// asked for are `zeros(result)`.
    template <class T, class Value, std::size_t Count, class Rule, class Zeros>
    std::array<tracked_buffer<Value>, Count> record_joint(std::array<Value, Count> y, Rule rule,
                                                          Zeros zeros) {
        auto gradients = std::make_shared<std::array<Value, Count>>();
        auto given = std::make_shared<std::array<bool, Count>>();
        given->fill(false);
        // The outputs come after their joint node, so on the way back they are visited before it.
        int const joint = static_cast<int>(nodes_.size());
        nodes_.push_back({{}, [=](std::any&) {
                              bool any = false;
                              for (bool one : *given) any = any || one;
                              if (!any) return;
                              for (std::size_t k = 0; k < Count; ++k)
                                  if (!(*given)[k]) (*gradients)[k] = zeros(y[k]);
                              rule(*gradients);
                          }});
        std::array<tracked_buffer<Value>, Count> result;
        for (std::size_t k = 0; k < Count; ++k)
            result[k] = record<T>(y[k], [=, this](Value const& g) {
                (*gradients)[k] = g;
                (*given)[k] = true;
                nodes_[static_cast<std::size_t>(joint)].gradient = true;
            });
        return result;
    }
    template <class T, class Value, class Add>
    void accumulate(int node, Value gradient, Add add) {
        if (node < 0) return;
        auto& slot = nodes_[static_cast<std::size_t>(node)].gradient;
        if (slot.has_value()) {
            slot = add(std::any_cast<Value const&>(slot), gradient);
        } else {
            slot = std::move(gradient);
        }
    }
    /// Visits the nodes in reverse and clears the tape.
    void run() {
        while (!nodes_.empty()) {
            std::size_t const last = nodes_.size() - 1;
            if (nodes_[last].gradient.has_value()) {
                auto const rule = std::move(nodes_[last].backward);
                auto gradient = std::move(nodes_[last].gradient);
                rule(gradient);
            }
            nodes_.pop_back();
        }
    }
    std::size_t size() const { return nodes_.size(); }
    void clear() { nodes_.clear(); }

private:
    struct entry {
        std::any gradient;
        std::function<void(std::any&)> backward;
    };
    std::vector<entry> nodes_;
};

}  // namespace grove::inline GROVE_ISA
