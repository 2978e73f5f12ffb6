// A file descriptor that is closed with its owner, writing to it, and the errors of the system's calls on files.
// Files by name are files.h and staged_file.h.
#pragma once

#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>

namespace pajamas {

/// Owns one descriptor, or none (-1).
class Descriptor {
 public:
  explicit Descriptor(int number = -1) noexcept : number_(number) {}
  ~Descriptor() { reset(); }
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    reset(std::exchange(other.number_, -1));
    return *this;
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  int get() const noexcept { return number_; }
  bool is_open() const noexcept { return number_ >= 0; }
  void reset(int number = -1) noexcept {
    if (number_ >= 0) ::close(number_);
    number_ = number;
  }

 private:
  int number_;
};

/// The system's words for an error number (errno).
std::string system_reason(int error_number);

/// Throws Error{kBadInput}: "<what>: <the system's reason>", where it happened, and the cure for that reason.
[[noreturn]] void fail_to_read(const std::string& what, const std::string& where, int error_number);
/// Likewise for what was to be written: the cure may then be another place.
[[noreturn]] void fail_to_write(const std::string& what, const std::string& where, int error_number);

/// Writes all of `bytes`, however many calls that takes: at `offset`, or where the descriptor stands. Throws as
/// fail_to_write, naming `where`.
void write_all(int descriptor, std::span<const std::byte> bytes, const std::string& where,
               std::optional<std::uint64_t> offset = std::nullopt);

}  // namespace pajamas
