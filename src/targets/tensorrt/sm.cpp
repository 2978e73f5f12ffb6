// SM names and the targets of TensorRT for RTX. See sm.h.
#include "targets/tensorrt/sm.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "pajamas/error.h"

namespace pajamas::tensorrt {
namespace {

constexpr std::array kTargets{RtxTarget{75, 0, "GeForce RTX 20, GTX 16, T4"},
                              RtxTarget{80, 1, "A100, A30"},
                              RtxTarget{86, 2, "GeForce RTX 30, RTX A2000 to A6000, A10"},
                              RtxTarget{89, 3, "GeForce RTX 40, RTX Ada, L4, L40"},
                              RtxTarget{120, 4, "GeForce RTX 50, RTX PRO Blackwell"},
                              RtxTarget{121, 5, "GB10"}};

[[noreturn]] void refuse(int sm) {
  std::vector<int> known;
  for (const RtxTarget& target : kTargets) known.push_back(target.sm);
  const bool is_data_center = sm == 90 || (sm >= 100 && sm < 120);
  throw Error(ErrorKind::kUnsupported, "TensorRT for RTX has no target " + sm_name(sm), {},
              is_data_center ? "build for that data-centre GPU with --target cuda, or with TensorRT 11 on that GPU "
                               "(PAJAMAS_TENSORRT_LIBRARY=libnvinfer.so.11 and no --gpu); TensorRT for RTX has " +
                                   sm_names(known)
                             : "use one of " + sm_names(known));
}

}  // namespace

std::span<const RtxTarget> rtx_targets() { return kTargets; }

const RtxTarget* find_rtx_target(int sm) noexcept {
  for (const RtxTarget& target : kTargets) {
    if (target.sm == sm) return &target;
  }
  return nullptr;
}

int parse_sm(std::string_view text) {
  std::string name;
  for (const char c : text) name += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  std::string_view rest = name;
  for (const std::string_view prefix : {"compute_", "compute", "sm_", "sm"}) {
    if (!rest.starts_with(prefix)) continue;
    rest.remove_prefix(prefix.size());
    break;
  }
  std::string digits;
  int num_dots = 0;
  bool is_good = !rest.empty();
  for (std::size_t i = 0; i < rest.size(); ++i) {
    if (rest[i] == '.') {
      ++num_dots;
      is_good = is_good && i + 2 == rest.size();  // One digit follows: 8.6, 12.0.
    } else if (std::isdigit(static_cast<unsigned char>(rest[i])) != 0) {
      digits += rest[i];
    } else {
      is_good = false;
    }
  }
  is_good = is_good && num_dots <= 1 && (digits.size() == 2 || digits.size() == 3) && digits[0] != '0';
  if (!is_good) {
    throw Error(ErrorKind::kUsage, "'" + std::string(text) + "' is not an SM version", "--gpu",
                "write it as sm86, sm_86, 86 or 8.6");
  }
  return std::stoi(digits);
}

std::string sm_name(int sm) { return "sm" + std::to_string(sm); }

std::string sm_names(std::span<const int> sms) {
  std::string text;
  for (const int sm : sms) text += (text.empty() ? "" : ", ") + sm_name(sm);
  return text;
}

std::vector<int> parse_rtx_sms(std::span<const std::string> names) {
  std::vector<int> sms;
  for (const std::string& name : names) {
    if (name == "all") {
      for (const RtxTarget& target : kTargets) sms.push_back(target.sm);
      continue;
    }
    const int sm = parse_sm(name);
    if (find_rtx_target(sm) == nullptr) refuse(sm);
    sms.push_back(sm);
  }
  std::sort(sms.begin(), sms.end());
  sms.erase(std::unique(sms.begin(), sms.end()), sms.end());
  return sms;
}

std::vector<int> sms_of_mask(std::uint32_t mask) {
  std::vector<int> sms;
  for (const RtxTarget& target : kTargets) {
    if ((mask >> target.mask_bit & 1U) != 0) sms.push_back(target.sm);
  }
  return sms;
}

}  // namespace pajamas::tensorrt
