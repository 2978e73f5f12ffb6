// BuildPlan: what the user asked for, as pure data. It is stored in the bundle, so a build can be repeated.
#pragma once

#include <chrono>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/json_reader.h"
#include "pajamas/tensor.h"

namespace pajamas {

/// Arithmetic of the floating-point part of a model. Q/DQ (int8, fp8, int4) parts stay as the model has them.
enum class Precision {
  kAuto,  ///< The fastest the target can keep accurate on the machine it runs on; the bundle says what was chosen.
  kFp32,
  kTf32,  ///< float32 whose products round their factors to 10 bits of mantissa; target cuda only.
  kFp16,
  kBf16,
};

/// "auto", "fp32", "tf32", "fp16", "bf16".
const char* to_string(Precision precision) noexcept;
/// Throws Error{kUsage} for an unknown name, listing the known ones.
Precision parse_precision(std::string_view name);

/// How the weights of a language model's linear layers are stored; docs/language.md has the rules for the others.
enum class WeightFormat {
  kAsStored,   ///< As the checkpoint has them; blocks of a GGUF without loss.
  kInt8,       ///< Symmetric, per output row.
  kInt8Group,  ///< Symmetric, groups of 128 along the input.
  kInt4,       ///< Asymmetric uint4, groups of 128, rounded to nearest.
  kInt4Awq,    ///< The same after activation-aware scaling and clipping (arXiv 2306.00978); needs calibration text.
  kFp8,        ///< E4M3 per output row. Target cuda, other models: products in E4M3 (graph/passes/quantize_products.h).
};

/// "as-stored", "int8", "int8-g128", "int4", "int4-awq", "fp8".
const char* to_string(WeightFormat format) noexcept;
/// The inverse. Throws Error{kUsage} for an unknown name.
WeightFormat parse_weight_format(std::string_view name);

struct BuildPlan;
/// Sets what `--precision NAME` says: an arithmetic, or a weight format, under which the arithmetic is the target's
/// choice. Throws Error{kUsage} for an unknown name, listing all.
void set_precision(BuildPlan& plan, std::string_view name);
/// The name that set_precision takes for this plan: also the name of the bundle's folder.
const char* precision_name(const BuildPlan& plan) noexcept;

/// Range of shapes of one input, all of one rank; min ≤ opt ≤ max per axis. Engines are tuned for `opt`.
struct ShapeProfile {
  std::string input;
  Shape min;
  Shape opt;
  Shape max;
};

/// The profile of an input, the first where there are several; null where there is none. Valid as long as `profiles`.
const ShapeProfile* find_profile(const std::vector<ShapeProfile>& profiles, std::string_view input) noexcept;

/// Limits on one compilation.
struct BuildLimits {
  std::chrono::seconds time{1800};         ///< After this the builder is stopped.
  std::uint64_t memory_bytes = 0;          ///< Of the builder process; 0: no limit beyond the machine's memory.
  std::uint64_t stack_bytes = 1ULL << 30;  ///< Stack of the builder; deep graphs recurse in vendor code.
};

struct BuildPlan {
  std::string target;  ///< "openvino", "tensorrt", "cuda".
  Precision precision = Precision::kAuto;
  WeightFormat weights = WeightFormat::kAsStored;  ///< Language models and their kin; kFp8 see there.
  std::int64_t context_length = 0;                 ///< Language models: most tokens of a sequence; 0: the model's own.
  std::vector<ShapeProfile> profiles;              ///< Empty: the shapes the model declares.
  std::vector<std::string> gpu_sms;                ///< "sm86", ...; only for GPU targets. Sorted, no duplicates.
  std::vector<std::string> keep_fp32_ops;          ///< Operator types kept in float32 when the precision is lower.
  int num_threads = 0;                             ///< CPU threads for building and verifying; 0: all.
  BuildLimits limits;
};

/// [{"input", "min", "opt", "max"}]
nlohmann::json to_json(const std::vector<ShapeProfile>& profiles);
/// The inverse. Throws Error{kBadInput} naming the JSON path.
std::vector<ShapeProfile> parse_profiles(const JsonReader& json);
/// JSON form, stored in the manifest under "plan".
nlohmann::json to_json(const BuildPlan& plan);
/// Throws Error{kBadInput} naming the JSON path.
BuildPlan parse_build_plan(const JsonReader& json);

}  // namespace pajamas
