// SHA-256 through OpenSSL's EVP interface.
#include "base/digest.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>

#include "base/files.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

EVP_MD_CTX* as_context(void* context) { return static_cast<EVP_MD_CTX*>(context); }

void require(int status) {
  if (status != 1) throw Error(ErrorKind::kInternal, "SHA-256 failed in libcrypto");
}

}  // namespace

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  if (context_ == nullptr) throw Error(ErrorKind::kInternal, "libcrypto gave no digest context");
  require(EVP_DigestInit_ex(as_context(context_), EVP_sha256(), nullptr));
}

Sha256::~Sha256() { EVP_MD_CTX_free(as_context(context_)); }

void Sha256::update(std::span<const std::byte> bytes) {
  require(EVP_DigestUpdate(as_context(context_), bytes.data(), bytes.size()));
}

std::string Sha256::finish() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> raw{};
  unsigned int length = 0;
  require(EVP_DigestFinal_ex(as_context(context_), raw.data(), &length));
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  hex.reserve(2 * length);
  for (unsigned int i = 0; i < length; ++i) {
    hex += kDigits[raw[i] >> 4];
    hex += kDigits[raw[i] & 15];
  }
  return hex;
}

std::string sha256_hex(std::span<const std::byte> bytes) {
  Sha256 digest;
  digest.update(bytes);
  return digest.finish();
}

std::string sha256_hex_of_file(const std::filesystem::path& path) {
  // Piece by piece, each given back when it is read: a checkpoint of 16 GB must not fill the memory.
  constexpr std::size_t kPieceBytes = std::size_t{16} << 20;
  const auto file = MappedFile::open(path);
  Sha256 digest;
  for (std::size_t begin = 0; begin < file->bytes().size(); begin += kPieceBytes) {
    const auto piece = file->bytes().subspan(begin, std::min(kPieceBytes, file->bytes().size() - begin));
    digest.update(piece);
    file->release_memory(piece);
  }
  return digest.finish();
}

}  // namespace pajamas
