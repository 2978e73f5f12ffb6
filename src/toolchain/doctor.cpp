// The report of `pajamas doctor`. See inspect.h.
#include "bench/environment.h"
#include "pajamas/error.h"
#include "targets/registry.h"
#include "toolchain/inspect.h"
#include "toolchain/version.h"
#include "verify/onnxruntime_library.h"

namespace pajamas {

nlohmann::json doctor() {
  nlohmann::json report = {{"pajamas", program_version()}, {"machine", environment()}};
  nlohmann::json described = nlohmann::json::object();
  for (const Target* target : targets()) {
    try {
      described[std::string(target->name())] = target->doctor();
    } catch (const Error& error) {
      described[std::string(target->name())] = {{"available", false}, {"reason", error.what()}};
    }
  }
  // Targets that the build left out are part of the answer too.
  for (const char* name : {"openvino", "tensorrt"}) {
    if (described.contains(name)) continue;
    described[name] = {{"available", false},
                       {"reason", std::string("this program was built without the ") + name + " target"}};
  }
  if (!described.contains("cuda")) {
    const char* const why = PAJAMAS_NO_CUDA_REASON;  // "" where the build names no reason
    described["cuda"] = {
        {"available", false},
        {"reason", std::string("this program was built without the cuda target") + (*why == '\0' ? "" : ": ") + why}};
  }
  report["targets"] = described;
  try {
    report["reference"] = {{"available", true}, {"onnxruntime", OnnxRuntimeLibrary::get()->version()}};
  } catch (const Error& error) {
    report["reference"] = {{"available", false}, {"reason", error.what()}};
  }
  return report;
}

}  // namespace pajamas
