// Defaults of the target interface. See target.h.
#include "engine/target.h"

#include "base/free_memory.h"
#include "pajamas/error.h"

namespace pajamas {

KvPrecision parse_kv_precision(std::string_view name) {
  if (name == "auto") return KvPrecision::kAuto;
  if (name == "fp32") return KvPrecision::kFp32;
  if (name == "fp16") return KvPrecision::kFp16;
  if (name == "uint8") return KvPrecision::kUint8;
  throw Error(ErrorKind::kUsage, "'" + std::string(name) + "' is no precision of a key/value cache", "kv_precision",
              "use auto, fp32, fp16 or uint8");
}

nlohmann::json Session::layer_times() {
  throw Error(ErrorKind::kUnsupported, "this target does not tell what each layer takes", "--layers",
              "build the model with --target cuda");
}

void Session::set_kv_cache(std::shared_ptr<KvCache>) {
  throw Error(ErrorKind::kInternal, "this session takes no key/value cache: its engine has no paged attention");
}

std::shared_ptr<KvCache> Engine::new_kv_cache(std::int64_t) const {
  throw Error(ErrorKind::kUnsupported, "this engine has no paged attention, so no key/value cache");
}

std::uint64_t Engine::free_cache_bytes() const { return free_memory_bytes(); }

}  // namespace pajamas
