// SHA-256 digests, the only digest the project uses (bundles, dependencies, caches). Computed by OpenSSL's libcrypto.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

namespace pajamas {

/// SHA-256 fed piece by piece. Not thread-safe.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;
  void update(std::span<const std::byte> bytes);
  /// 64 lower-case hexadecimal digits. May be called once.
  std::string finish();

 private:
  void* context_;
};

/// SHA-256 of `bytes` as 64 lower-case hexadecimal digits.
std::string sha256_hex(std::span<const std::byte> bytes);
/// SHA-256 of a file's content. Throws Error{kBadInput} when it cannot be read.
std::string sha256_hex_of_file(const std::filesystem::path& path);

}  // namespace pajamas
