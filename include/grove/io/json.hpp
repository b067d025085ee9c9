// SPDX-License-Identifier: Apache-2.0
/// @file
/// JSON with grove's errors, and configurations that reject what they do not know.
/// Needs nlohmann-json (package nlohmann-json3-dev).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "grove/core/error.hpp"
#include "grove/io/file.hpp"

namespace grove::inline GROVE_ISA {

/// A JSON value; objects are sorted by key.
using json = nlohmann::json;
/// A JSON value whose objects keep the order of insertion.
using ordered_json = nlohmann::ordered_json;

/// Deepest nesting that parse_json accepts; a hostile text cannot exhaust the stack.
inline constexpr int max_json_depth = 256;

/// The value of a JSON text. Throws io_error naming `source`, line and column for anything that is
/// not exactly one JSON value in UTF-8 nested at most max_json_depth deep. `Json` is json or
/// ordered_json.
template <class Json = json>
Json parse_json(std::string_view text, std::string_view source = "the text") {
    auto const limit_depth = [&](int depth, typename Json::parse_event_t, Json&) {
        require<io_error>(depth <= max_json_depth, "parse_json", "expected ", source,
                          " to nest at most ", max_json_depth, " deep, got more");
        return true;
    };
    try {
        return Json::parse(text, limit_depth);
    } catch (typename Json::parse_error const& e) {
        std::string_view const before = text.substr(0, e.byte == 0 ? 0 : e.byte - 1);
        auto const line = 1 + std::count(before.begin(), before.end(), '\n');
        fail<io_error>("parse_json", "expected ", source, " to be JSON, got a mistake at line ",
                       line, ", column ", before.size() - (before.rfind('\n') + 1) + 1);
    } catch (typename Json::exception const&) {
        fail<io_error>("parse_json", "expected numbers within the range of double in ", source,
                       ", got a larger one");
    }
}

/// The value of a JSON file; throws io_error.
inline json read_json(std::filesystem::path const& path) {
    return parse_json(read_file(path), path.string());
}

/// JSON text of a value; `indent` < 0 puts everything on one line. NaN and infinities, which JSON
/// cannot hold, become null. Throws value_error where a string is not UTF-8.
template <class Json>
std::string format_json(Json const& value, int indent = -1) {
    try {
        return value.dump(indent);
    } catch (typename Json::type_error const&) {
        fail<value_error>("format_json", "expected strings in UTF-8, got other bytes");
    }
}

namespace detail {

/// A JSON value for an error message: scalars themselves, the rest by kind.
inline std::string describe(json const& value) {
    if (value.is_structured()) return std::string("an ") + value.type_name();
    std::string text = value.dump(-1, ' ', true, json::error_handler_t::replace);
    if (text.size() > 60) text.replace(60, std::string::npos, "…");
    return text;
}

template <class T>
inline constexpr bool is_vector = false;
template <class T>
inline constexpr bool is_vector<std::vector<T>> = true;
template <class T>
inline constexpr bool is_optional = false;
template <class T>
inline constexpr bool is_optional<std::optional<T>> = true;

inline void expect(bool condition, std::string_view name, std::string_view kind,
                   json const& value) {
    require<configuration_error>(condition, "configuration", "expected ", name, " to be ", kind,
                                 ", got ", describe(value));
}

/// `value` as an integer type; 3.0 is not an integer, and the type's range holds.
template <class T>
T read_integer(json const& value, std::string const& name) {
    expect(value.is_number_integer(), name, "an integer", value);
    bool const fits = value.is_number_unsigned() ? std::in_range<T>(value.get<std::uint64_t>())
                                                 : std::in_range<T>(value.get<std::int64_t>());
    require<configuration_error>(fits, "configuration", "expected ", name, " from ",
                                 +std::numeric_limits<T>::min(), " to ",
                                 +std::numeric_limits<T>::max(), ", got ", describe(value));
    return value.get<T>();
}

template <class T>
T read_value(json const& value, std::string const& name) {
    if constexpr (std::is_same_v<T, json>) {
        return value;
    } else if constexpr (std::is_same_v<T, bool>) {
        expect(value.is_boolean(), name, "true or false", value);
        return value.get<bool>();
    } else if constexpr (std::is_integral_v<T>) {
        return read_integer<T>(value, name);
    } else if constexpr (std::is_floating_point_v<T>) {
        expect(value.is_number(), name, "a number", value);
        double const number = value.get<double>();
        expect(std::abs(number) <= static_cast<double>(std::numeric_limits<T>::max()), name,
               "a number within its type's range", value);
        return static_cast<T>(number);
    } else if constexpr (std::is_same_v<T, std::string>) {
        expect(value.is_string(), name, "a string", value);
        return value.get<std::string>();
    } else if constexpr (is_optional<T>) {
        if (value.is_null()) return std::nullopt;
        return read_value<typename T::value_type>(value, name);
    } else {
        static_assert(is_vector<T>,
                      "a configuration field is a bool, an integer, a floating-point "
                      "number, a std::string, json, or a vector or optional of these");
        expect(value.is_array(), name, "an array", value);
        T elements;
        for (std::size_t i = 0; i < value.size(); ++i)
            elements.push_back(
                read_value<typename T::value_type>(value[i], name + '[' + std::to_string(i) + ']'));
        return elements;
    }
}

}  // namespace detail

/// Reads the fields of a JSON object into variables. Wrong types, missing fields and, in done(),
/// fields nobody asked for throw configuration_error with the field's name.
/// ```
/// fields(document, "model")
///     .required("layers", model.layers)
///     .optional("dropout", model.dropout)  // keeps its value where the field is absent
///     .done();
/// // "[configuration] expected one of model.layers, model.dropout, got 'model.layer'"
/// ```
class fields {
public:
    /// `object` must outlive this; `context` prefixes the names in messages and may be empty.
    explicit fields(json const& object, std::string context = "")
        : object_(&object), context_(std::move(context)) {
        detail::expect(object.is_object(), context_.empty() ? "the configuration" : context_,
                       "an object", object);
    }
    fields(json&&, std::string = "") = delete;

    /// Sets `destination`, or throws where the field is absent.
    template <class T>
    fields& required(std::string const& name, T& destination) {
        destination = detail::read_value<T>(at(name), full_name(name));
        return *this;
    }
    /// Sets `destination` where the field is present.
    template <class T>
    fields& optional(std::string const& name, T& destination) {
        return contains(name) ? required(name, destination) : *this;
    }
    /// Sets `destination`, where the field is present, to the option of that name.
    template <class T>
    fields& choice(std::string const& name, T& destination,
                   std::initializer_list<std::pair<std::string_view, T>> options) {
        if (!contains(name)) return *this;
        auto const chosen = detail::read_value<std::string>(at(name), full_name(name));
        std::string names;
        for (auto const& [option, value] : options) {
            if (option == chosen) {
                destination = value;
                return *this;
            }
            names += (names.empty() ? "" : ", ") + std::string(option);
        }
        fail<configuration_error>("configuration", "expected ", full_name(name), " to be one of ",
                                  names, ", got '", chosen, "'");
    }
    /// The fields of the object in field `name`; call done() on them too.
    fields nested(std::string const& name) { return fields(at(name), full_name(name)); }

    /// Whether the object has this field; asking makes the field a known one.
    bool contains(std::string const& name) {
        if (std::find(known_.begin(), known_.end(), name) == known_.end()) known_.push_back(name);
        return object_->contains(name);
    }
    /// Throws where the object has a field that was never asked for.
    void done() const {
        for (auto const& [name, value] : object_->items()) {
            if (std::find(known_.begin(), known_.end(), name) != known_.end()) continue;
            std::string names;
            for (auto const& known : known_)
                names += (names.empty() ? "" : ", ") + full_name(known);
            fail<configuration_error>("configuration", "expected one of ", names, ", got '",
                                      full_name(name), "'");
        }
    }

private:
    std::string full_name(std::string const& name) const {
        return context_.empty() ? name : context_ + '.' + name;
    }
    json const& at(std::string const& name) {
        require<configuration_error>(contains(name), "configuration", "expected ", full_name(name),
                                     ", got no such field");
        return object_->find(name).value();
    }

    json const* object_;
    std::string context_;
    std::vector<std::string> known_;
};

}  // namespace grove::inline GROVE_ISA
