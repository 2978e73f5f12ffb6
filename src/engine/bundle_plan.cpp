// Reading plans out of manifests. See bundle_plan.h.
#include "engine/bundle_plan.h"

#include <utility>

namespace pajamas {

BuildPlan in_float32(BuildPlan plan) {
  plan.precision = Precision::kFp32;
  plan.weights = WeightFormat::kAsStored;
  return plan;
}

BuildPlan plan_of(const Bundle& bundle) {
  return parse_build_plan(
      JsonReader(bundle.manifest().plan, (bundle.directory() / kManifestFileName).string(), "plan"));
}

BuildPlan plan_of(const Bundle& bundle, const ManifestPart& part) {
  BuildPlan plan = plan_of(bundle);
  // Targets that must know all shapes say which they were built for.
  if (part.target_facts.contains("profiles")) {
    const std::string where = (bundle.directory() / kManifestFileName).string();
    plan.profiles = parse_profiles(JsonReader(part.target_facts, where, "parts").member("profiles"));
  }
  return part.is_float32 ? in_float32(std::move(plan)) : plan;
}

}  // namespace pajamas
