// Names of precisions. See build_plan.h.
#include "engine/build_plan.h"

#include "pajamas/error.h"

namespace pajamas {

const char* to_string(Precision precision) noexcept {
  switch (precision) {
    case Precision::kAuto: return "auto";
    case Precision::kFp32: return "fp32";
    case Precision::kFp16: return "fp16";
    case Precision::kBf16: return "bf16";
  }
  return "auto";
}

Precision parse_precision(std::string_view name) {
  for (const Precision precision : {Precision::kAuto, Precision::kFp32, Precision::kFp16, Precision::kBf16}) {
    if (name == to_string(precision)) return precision;
  }
  throw Error(ErrorKind::kUsage, "unknown precision '" + std::string(name) + "'", {}, "use auto, fp32, fp16 or bf16");
}

}  // namespace pajamas
