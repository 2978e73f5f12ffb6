// Fuzz target: any bytes as the files of the cuda target: an engine file, its index, a timing cache. The first byte
// says which. Whatever is accepted must survive being written and read again.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "pajamas/error.h"
#include "targets/cuda/runtime/engine_file.h"
#include "targets/cuda/runtime/engine_index.h"
#include "targets/cuda/runtime/timing_cache.h"

namespace {

using namespace pajamas::cuda;

constexpr std::uint64_t kStatesBytes = 1 << 16;
constexpr std::uint64_t kWeightsBytes = 1 << 20;

void read_engine(std::span<const std::byte> bytes) {
  const EngineSections sections = parse_engine_file(bytes, "model.cuda", SectionCheck::kDigests);
  for (const auto& section : {sections.graph, sections.index, sections.states, sections.weights}) {
    if (section.data() < bytes.data() || section.data() + section.size() > bytes.data() + bytes.size()) {
      __builtin_trap();
    }
  }
}

void read_index(const std::string& text) {
  const EngineIndex index = parse_engine_index(text, "model.cuda", kStatesBytes, kWeightsBytes);
  for (const ConstantPlace& place : index.constants) {
    if (place.offset + place.size_bytes > kWeightsBytes) __builtin_trap();
  }
  for (const TacticPlace& place : index.tactics) {
    if (place.state_offset + place.state_bytes > kStatesBytes) __builtin_trap();
  }
  const nlohmann::json written = to_json(index);
  if (to_json(parse_engine_index(written.dump(), "model.cuda", kStatesBytes, kWeightsBytes)) != written) {
    __builtin_trap();
  }
}

void read_timing(const std::string& text) {
  const nlohmann::json written = TimingCache::parse(text, "timing.json").to_json();
  if (TimingCache::parse(written.dump(), "timing.json").to_json() != written) __builtin_trap();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::span bytes(reinterpret_cast<const std::byte*>(data + 1), size - 1);
  const std::string text(reinterpret_cast<const char*>(data + 1), size - 1);
  try {
    switch (data[0]) {
      case 'E': read_engine(bytes); break;
      case 'I': read_index(text); break;
      default: read_timing(text); break;
    }
  } catch (const pajamas::Error&) {
  }
  return 0;
}
