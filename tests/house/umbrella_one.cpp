// SPDX-License-Identifier: Apache-2.0
// With umbrella_two.cpp: two translation units that include everything link into one program.
#include "grove/grove.hpp"

#if defined(INCLUDE_NLOHMANN_JSON_HPP_) || defined(PCRE2_MAJOR) || defined(CPPHTTPLIB_HTTPLIB_H)
#error "grove/grove.hpp must not pull in JSON, PCRE2 or HTTP"
#endif

using philox_function = std::array<std::uint32_t, 4> (*)(std::array<std::uint32_t, 4>,
                                                         std::array<std::uint32_t, 2>);

philox_function philox_of_unit_one() { return &grove::philox; }
