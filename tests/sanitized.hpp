// SPDX-License-Identifier: Apache-2.0
// Whether a sanitizer watches, under which long computations take minutes and show nothing more.
#pragma once

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define GROVE_TEST_SANITIZED true
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define GROVE_TEST_SANITIZED true
#endif

namespace grove_test {

#if defined(GROVE_TEST_SANITIZED)
inline constexpr bool sanitized = true;
#else
inline constexpr bool sanitized = false;
#endif

}  // namespace grove_test
