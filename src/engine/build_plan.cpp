// Names of precisions. See build_plan.h.
#include "engine/build_plan.h"

#include <algorithm>
#include <utility>

#include "pajamas/error.h"

namespace pajamas {

const char* to_string(Precision precision) noexcept {
  switch (precision) {
    case Precision::kAuto: return "auto";
    case Precision::kFp32: return "fp32";
    case Precision::kTf32: return "tf32";
    case Precision::kFp16: return "fp16";
    case Precision::kBf16: return "bf16";
  }
  return "auto";
}

Precision parse_precision(std::string_view name) {
  for (const Precision precision :
       {Precision::kAuto, Precision::kFp32, Precision::kTf32, Precision::kFp16, Precision::kBf16}) {
    if (name == to_string(precision)) return precision;
  }
  throw Error(ErrorKind::kUsage, "unknown precision '" + std::string(name) + "'", {},
              "use auto, fp32, tf32, fp16 or bf16");
}

namespace {

constexpr std::pair<WeightFormat, const char*> kWeightFormats[] = {
    {WeightFormat::kAsStored, "as-stored"},  {WeightFormat::kInt8, "int8"},
    {WeightFormat::kInt8Group, "int8-g128"}, {WeightFormat::kInt4, "int4"},
    {WeightFormat::kInt4Awq, "int4-awq"},    {WeightFormat::kFp8, "fp8"},
};

}  // namespace

const char* to_string(WeightFormat format) noexcept {
  for (const auto& [known, name] : kWeightFormats) {
    if (known == format) return name;
  }
  return "as-stored";
}

WeightFormat parse_weight_format(std::string_view name) {
  std::string known_names;
  for (const auto& [format, known] : kWeightFormats) {
    if (name == known) return format;
    known_names += (known_names.empty() ? "" : ", ") + std::string(known);
  }
  throw Error(ErrorKind::kUsage, "unknown weight format '" + std::string(name) + "'", {}, "use one of " + known_names);
}

void set_precision(BuildPlan& plan, std::string_view name) {
  plan.precision = Precision::kAuto;
  plan.weights = WeightFormat::kAsStored;
  std::string known = "auto, fp32, tf32, fp16, bf16";
  for (const auto& [format, format_name] : kWeightFormats) {
    if (format == WeightFormat::kAsStored) continue;
    if (name == format_name) {
      plan.weights = format;
      return;
    }
    known += ", " + std::string(format_name);
  }
  try {
    plan.precision = parse_precision(name);
  } catch (const Error&) {
    throw Error(ErrorKind::kUsage, "unknown precision '" + std::string(name) + "'", "--precision",
                "use one of " + known);
  }
}

const char* precision_name(const BuildPlan& plan) noexcept {
  return plan.weights == WeightFormat::kAsStored ? to_string(plan.precision) : to_string(plan.weights);
}

namespace {

Shape read_shape(const JsonReader& json) {
  Shape shape;
  for (const JsonReader& extent : json.elements()) shape.push_back(extent.as_integer(0));
  return shape;
}

}  // namespace

const ShapeProfile* find_profile(const std::vector<ShapeProfile>& profiles, std::string_view input) noexcept {
  const auto found = std::find_if(profiles.begin(), profiles.end(),
                                  [&](const ShapeProfile& profile) { return profile.input == input; });
  return found != profiles.end() ? &*found : nullptr;
}

nlohmann::json to_json(const std::vector<ShapeProfile>& profiles) {
  nlohmann::json json = nlohmann::json::array();
  for (const ShapeProfile& profile : profiles) {
    json.push_back({{"input", profile.input},
                    {"min", profile.min.extents()},
                    {"opt", profile.opt.extents()},
                    {"max", profile.max.extents()}});
  }
  return json;
}

nlohmann::json to_json(const BuildPlan& plan) {
  return {{"target", plan.target},
          {"precision", to_string(plan.precision)},
          {"weights", to_string(plan.weights)},
          {"context_length", plan.context_length},
          {"profiles", to_json(plan.profiles)},
          {"gpu_sms", plan.gpu_sms},
          {"keep_fp32_ops", plan.keep_fp32_ops},
          {"threads", plan.num_threads},
          {"time_limit_s", plan.limits.time.count()},
          {"memory_limit_bytes", plan.limits.memory_bytes},
          {"stack_limit_bytes", plan.limits.stack_bytes}};
}

std::vector<ShapeProfile> parse_profiles(const JsonReader& json) {
  std::vector<ShapeProfile> profiles;
  for (const JsonReader& entry : json.elements()) {
    profiles.push_back({entry.string("input"), read_shape(entry.member("min")), read_shape(entry.member("opt")),
                        read_shape(entry.member("max"))});
  }
  return profiles;
}

BuildPlan parse_build_plan(const JsonReader& json) {
  BuildPlan plan;
  plan.target = json.string("target");
  try {
    plan.precision = parse_precision(json.string("precision"));
  } catch (const Error& error) {
    json.member("precision").fail(error.message(), error.remedy());
  }
  // Bundles made before the language path have neither.
  if (json.has("weights")) {
    try {
      plan.weights = parse_weight_format(json.string("weights"));
    } catch (const Error& error) {
      json.member("weights").fail(error.message(), error.remedy());
    }
  }
  plan.context_length = json.integer_or("context_length", 0, 0, 1LL << 32);
  plan.profiles = parse_profiles(json.member("profiles"));
  plan.gpu_sms = json.strings("gpu_sms");
  plan.keep_fp32_ops = json.strings("keep_fp32_ops");
  plan.num_threads = static_cast<int>(json.integer("threads", 0, 4096));
  plan.limits.time = std::chrono::seconds(json.integer("time_limit_s", 0, 1LL << 32));
  plan.limits.memory_bytes = static_cast<std::uint64_t>(json.integer("memory_limit_bytes", 0));
  plan.limits.stack_bytes = static_cast<std::uint64_t>(json.integer("stack_limit_bytes", 0));
  return plan;
}

}  // namespace pajamas
