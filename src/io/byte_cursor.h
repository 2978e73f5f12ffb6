// Reads forward through the bytes of a file that is not trusted: little-endian numbers and texts, each step checked
// against what is left. For the readers of binary checkpoints.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "pajamas/error.h"

namespace pajamas {

/// Borrows the bytes and `where`, the file's name for messages. All functions throw Error{kBadInput} naming `what` and
/// the offset when the file ends before it.
class ByteCursor {
 public:
  ByteCursor(std::span<const std::byte> bytes, const std::string& where) : bytes_(bytes), where_(where) {}

  std::size_t offset() const { return offset_; }
  std::size_t left() const { return bytes_.size() - offset_; }

  std::span<const std::byte> take(std::uint64_t count, std::string_view what) {
    if (count > left()) {
      fail("ends within " + std::string(what) + ": " + std::to_string(count) + " bytes are needed, " +
           std::to_string(left()) + " are left");
    }
    const auto taken = bytes_.subspan(offset_, static_cast<std::size_t>(count));
    offset_ += static_cast<std::size_t>(count);
    return taken;
  }
  template <typename T>
  T number(std::string_view what) {
    std::array<std::byte, sizeof(T)> copy{};
    std::ranges::copy(take(sizeof(T), what), copy.begin());
    if constexpr (std::endian::native == std::endian::big) std::reverse(copy.begin(), copy.end());
    return std::bit_cast<T>(copy);
  }
  std::string_view text(std::uint64_t count, std::string_view what) {
    const auto bytes = take(count, what);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  [[noreturn]] void fail(const std::string& message) const {
    throw Error(ErrorKind::kBadInput, message + " (at byte " + std::to_string(offset_) + ")", where_,
                "fetch the file again");
  }

 private:
  std::span<const std::byte> bytes_;
  const std::string& where_;
  std::size_t offset_ = 0;
};

}  // namespace pajamas
