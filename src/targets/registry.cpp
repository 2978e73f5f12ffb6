// The table of targets.
#include "targets/registry.h"

#include <string>

#include "engine/bundle_plan.h"
#include "engine/engine_loader.h"
#include "pajamas/error.h"

namespace pajamas {

#ifdef PAJAMAS_TARGET_OPENVINO
const Target& openvino_target();  // openvino/openvino_target.cpp
#endif
#ifdef PAJAMAS_TARGET_TENSORRT
const Target& tensorrt_target();  // tensorrt/tensorrt_target.cpp
#endif
#ifdef PAJAMAS_TARGET_CUDA
const Target& cuda_target();  // cuda/cuda_target.cpp
#endif

const std::vector<const Target*>& targets() {
  static const std::vector<const Target*> kTargets = {
#ifdef PAJAMAS_TARGET_OPENVINO
      &openvino_target(),
#endif
#ifdef PAJAMAS_TARGET_TENSORRT
      &tensorrt_target(),
#endif
#ifdef PAJAMAS_TARGET_CUDA
      &cuda_target(),
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

TargetTraits traits_of(const Target& target) {
  const bool is_cpu = target.name() == "openvino";
  return {is_cpu, !is_cpu};
}

std::shared_ptr<const Engine> load_engine(const Bundle& bundle, const std::string& part_name,
                                          const SessionOptions& options) {
  const Manifest& manifest = bundle.manifest();
  const ManifestPart& part = manifest.part(part_name);
  const std::string manifest_path = (bundle.directory() / kManifestFileName).string();
  LoadRequest request;
  request.directory = bundle.directory();
  request.part = part_name;
  for (const BundleFile& file : part.files) request.files.push_back({file.name, file.role});
  request.open = [&](const CompiledFile& wanted) -> std::shared_ptr<const MappedFile> {
    for (const BundleFile& file : part.files) {
      if (file.name == wanted.name) return bundle.open_checked(file);
    }
    throw Error(ErrorKind::kInternal, "the bundle lists no file '" + wanted.name + "'", manifest_path);
  };
  request.facts = part.target_facts;
  request.plan = plan_of(bundle, part);
  request.options = options;
  return find_target(manifest.target).load(request);
}

}  // namespace pajamas
