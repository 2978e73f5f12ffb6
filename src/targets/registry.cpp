// The table of targets.
#include "targets/registry.h"

#include <string>

#include "pajamas/error.h"

namespace pajamas {

#ifdef PAJAMAS_TARGET_OPENVINO
const Target& openvino_target();  // openvino/openvino_target.cpp
#endif
#ifdef PAJAMAS_TARGET_TENSORRT
const Target& tensorrt_target();  // tensorrt/tensorrt_target.cpp
#endif

const std::vector<const Target*>& targets() {
  static const std::vector<const Target*> kTargets = {
#ifdef PAJAMAS_TARGET_OPENVINO
      &openvino_target(),
#endif
#ifdef PAJAMAS_TARGET_TENSORRT
      &tensorrt_target(),
#endif
  };
  return kTargets;
}

const Target& find_target(std::string_view name) {
  std::string known;
  for (const Target* target : targets()) {
    if (target->name() == name) return *target;
    known += (known.empty() ? "" : ", ") + std::string(target->name());
  }
  throw Error(ErrorKind::kUsage, "unknown target '" + std::string(name) + "'", {},
              "this program was built with: " + (known.empty() ? "none" : known));
}

}  // namespace pajamas
