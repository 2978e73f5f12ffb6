// Fuzz target: any text as the manifest of a bundle. Whatever is accepted must survive being written and read again.
#include <cstddef>
#include <cstdint>
#include <string>

#include "base/json_reader.h"
#include "bundle/bundle.h"
#include "bundle/manifest.h"
#include "engine/build_plan.h"
#include "pajamas/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  try {
    const pajamas::Manifest manifest = pajamas::parse_manifest(text, "manifest.json");
    const nlohmann::json written = pajamas::to_json(manifest);
    if (pajamas::to_json(pajamas::parse_manifest(written.dump(), "manifest.json")) != written) __builtin_trap();
    if (manifest.model != pajamas::folder_name(manifest.model)) __builtin_trap();
    pajamas::parse_build_plan(pajamas::JsonReader(manifest.plan, "manifest.json", "plan"));
  } catch (const pajamas::Error&) {
  }
  return 0;
}
