// NVIDIA GPU generations by their SM version: the names a user may give, and which of them TensorRT for RTX can build
// for. Nothing here touches a device.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace pajamas::tensorrt {

/// One SM version that TensorRT for RTX builds for.
struct RtxTarget {
  int sm;               ///< 86 for 8.6, 120 for 12.0.
  int mask_bit;         ///< In the engine file's header.
  const char* devices;  ///< "GeForce RTX 30", ...
};

/// In ascending order.
std::span<const RtxTarget> rtx_targets();
/// nullptr when TensorRT for RTX has no such target.
const RtxTarget* find_rtx_target(int sm) noexcept;

/// 86 for "sm86", "sm_86", "SM86", "86", "8.6" and "compute_86"; 120 for "12.0". Throws Error{kUsage} for anything
/// else.
int parse_sm(std::string_view text);
/// "sm86".
std::string sm_name(int sm);
/// "sm86, sm89".
std::string sm_names(std::span<const int> sms);
/// Parses, sorts and makes unique; "all" stands for every target. Throws Error{kUsage} for a malformed name,
/// Error{kUnsupported} for an SM that TensorRT for RTX does not build for, saying what does.
std::vector<int> parse_rtx_sms(std::span<const std::string> names);

/// The targets in the mask of an engine file's header.
std::vector<int> sms_of_mask(std::uint32_t mask);

}  // namespace pajamas::tensorrt
