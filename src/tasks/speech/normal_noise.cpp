// Box and Muller ("A note on the generation of random normal deviates", 1958) over Philox. See normal_noise.h.
#include "tasks/speech/normal_noise.h"

#include <cmath>
#include <numbers>

#include "text/philox.h"

namespace pajamas {

void fill_normal(std::span<float> values, std::uint64_t seed, std::uint32_t sentence, std::uint32_t stream) {
  const std::array<std::uint32_t, 2> key{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)};
  for (std::size_t i = 0; i < values.size(); i += 4) {
    const std::uint64_t block = i / 4;
    const auto bits =
        philox4x32({static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(block >> 32), sentence, stream}, key);
    for (std::size_t pair = 0; pair < 2; ++pair) {
      // 2^-32 steps from half of one, so that the logarithm is finite.
      const double uniform = (static_cast<double>(bits[2 * pair]) + 0.5) / 4294967296.0;
      const double angle = 2 * std::numbers::pi * static_cast<double>(bits[2 * pair + 1]) / 4294967296.0;
      const double radius = std::sqrt(-2 * std::log(uniform));
      if (i + 2 * pair < values.size()) values[i + 2 * pair] = static_cast<float>(radius * std::cos(angle));
      if (i + 2 * pair + 1 < values.size()) values[i + 2 * pair + 1] = static_cast<float>(radius * std::sin(angle));
    }
  }
}

}  // namespace pajamas
