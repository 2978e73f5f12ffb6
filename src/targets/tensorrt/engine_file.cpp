// The head of an engine file. See engine_file.h.
#include "targets/tensorrt/engine_file.h"

#include <cstring>

#include "pajamas/error.h"
#include "targets/tensorrt/sm.h"

namespace pajamas::tensorrt {
namespace {

constexpr char kMagic[] = {'v', 't', 'r', 't'};
constexpr std::size_t kSizeAt = 16;
constexpr std::size_t kVersionAt = 24;
constexpr std::size_t kSecondMagicAt = 28;
constexpr std::size_t kTargetMaskAt = 32;
constexpr std::size_t kWeightBytesAt = 56;

/// Little-endian on every machine the vendor supports.
template <typename T>
T read_at(std::span<const std::byte> bytes, std::size_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

bool has_magic(std::span<const std::byte> bytes, std::size_t offset) {
  return std::memcmp(bytes.data() + offset, kMagic, sizeof kMagic) == 0;
}

}  // namespace

EngineHead parse_engine_head(std::span<const std::byte> bytes, const std::filesystem::path& path) {
  const std::string remedy = "build the engine again, and copy engine files as binary";
  if (bytes.size() < kEngineHeadBytes) {
    throw Error(ErrorKind::kBadInput,
                "is too short for a TensorRT engine: it has " + std::to_string(bytes.size()) + " bytes", path.string(),
                remedy);
  }
  if (!has_magic(bytes, 0) || !has_magic(bytes, kSecondMagicAt)) {
    throw Error(ErrorKind::kBadInput, "is not an engine of TensorRT for RTX: it does not begin like one", path.string(),
                remedy);
  }
  EngineHead head;
  head.file_bytes = read_at<std::uint64_t>(bytes, kSizeAt);
  head.weight_bytes = read_at<std::uint64_t>(bytes, kWeightBytesAt);
  head.version = {read_at<std::uint8_t>(bytes, kVersionAt), read_at<std::uint8_t>(bytes, kVersionAt + 1),
                  read_at<std::uint8_t>(bytes, kVersionAt + 2), read_at<std::uint8_t>(bytes, kVersionAt + 3)};
  head.sms = sms_of_mask(read_at<std::uint32_t>(bytes, kTargetMaskAt));
  if (head.file_bytes != bytes.size()) {
    throw Error(ErrorKind::kBadInput,
                (bytes.size() < head.file_bytes ? "is cut off: it has " : "is longer than it should be: it has ") +
                    std::to_string(bytes.size()) + " bytes and its head says " + std::to_string(head.file_bytes),
                path.string(), remedy);
  }
  if (head.sms.empty()) {
    throw Error(ErrorKind::kBadInput, "is damaged: its head names no GPU that it could run on", path.string(), remedy);
  }
  return head;
}

void check_engine_version(const EngineHead& head, const Version& library, const std::filesystem::path& path) {
  const Version& built = head.version;
  if (built.major == library.major && built.minor == library.minor && built.patch == library.patch &&
      built.build == library.build) {
    return;
  }
  throw Error(
      ErrorKind::kUnsupported,
      "was built by TensorRT for RTX " + built.to_string() + " and the library here is " + library.to_string(),
      path.string(),
      "build the engine again with this library, or set PAJAMAS_TENSORRT_LIBRARY to version " + built.to_string());
}

void check_engine_sm(const EngineHead& head, int sm, const std::string& device, const std::filesystem::path& path) {
  for (const int built : head.sms) {
    if (built == sm) return;
  }
  throw Error(ErrorKind::kUnsupported,
              "was built for " + sm_names(head.sms) + " and the GPU here, " + device + ", is " + sm_name(sm),
              path.string(),
              find_rtx_target(sm) != nullptr
                  ? "build it again with --gpu " + sm_name(sm)
                  : "TensorRT for RTX cannot build for " + sm_name(sm) + ": use --target cuda, or TensorRT 11");
}

}  // namespace pajamas::tensorrt
