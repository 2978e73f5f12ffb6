// Inputs and outputs of an engine by name.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

#include "engine/target.h"

namespace pajamas {

bool has_tensor(const std::vector<TensorInfo>& tensors, std::string_view name) noexcept;
/// Index of the named tensor. Throws Error{kBadInput} listing those there are; `what` is "input", "output" or "tensor".
std::size_t find_tensor(const std::vector<TensorInfo>& tensors, std::string_view name, const char* what);

}  // namespace pajamas
