// Damages to a file that a reader must survive: every prefix of it, and seeded changes of single bytes. What the reader
// accepts it must give, and what it refuses it must refuse by an Error.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "pajamas/error.h"

namespace pajamas::test {

/// The bytes of a number as they lie in little-endian files.
template <typename T>
std::string packed(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof(value)};
}

using ParseBytes = std::function<void(std::span<const std::byte>, std::shared_ptr<const void>)>;

/// Copies of the exact size, so that AddressSanitizer sees a read past the end.
inline bool is_accepted(const std::string& bytes, const ParseBytes& parse) {
  auto owner = std::make_shared<std::vector<std::byte>>(bytes.size());
  if (!bytes.empty()) std::memcpy(owner->data(), bytes.data(), bytes.size());
  try {
    parse(*owner, owner);
    return true;
  } catch (const Error& error) {
    EXPECT_NE(error.kind(), ErrorKind::kInternal) << error.what();
    return false;
  }
}

/// Prefixes in steps of `step` bytes, and `num_changes` files with one byte changed. Returns how many were refused.
inline int survive_damage(const std::string& bytes, const ParseBytes& parse, std::size_t step, int num_changes) {
  int num_refused = 0;
  for (std::size_t size = 0; size < bytes.size(); size += step) {
    num_refused += is_accepted(bytes.substr(0, size), parse) ? 0 : 1;
  }
  std::mt19937 random(7);
  for (int i = 0; i < num_changes; ++i) {
    std::string changed = bytes;
    changed[random() % changed.size()] = static_cast<char>(random());
    num_refused += is_accepted(changed, parse) ? 0 : 1;
  }
  return num_refused;
}

/// The message of the Error that `call` throws; "no error" without one.
inline std::string error_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace pajamas::test
