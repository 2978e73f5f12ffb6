// See tensor_lookup.h.
#include "engine/tensor_lookup.h"

#include <algorithm>
#include <string>

#include "pajamas/error.h"

namespace pajamas {

bool has_tensor(const std::vector<TensorInfo>& tensors, std::string_view name) noexcept {
  return std::any_of(tensors.begin(), tensors.end(), [&](const TensorInfo& info) { return info.name == name; });
}

std::size_t find_tensor(const std::vector<TensorInfo>& tensors, std::string_view name, const char* what) {
  std::string known;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (tensors[i].name == name) return i;
    known += (known.empty() ? "'" : ", '") + tensors[i].name + "'";
  }
  throw Error(ErrorKind::kBadInput,
              "the engine has no " + std::string(what) + " '" + std::string(name) + "'; it has " +
                  (known.empty() ? "none" : known),
              {}, "build the bundle again from the model");
}

}  // namespace pajamas
