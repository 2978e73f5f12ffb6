// Standard normal noise as a function of a seed and a place: the same bytes every time.
#pragma once

#include <cstdint>
#include <span>

namespace pajamas {

/// Fills `values` from stream `stream` of sentence `sentence` under `seed`. Thread-safe.
void fill_normal(std::span<float> values, std::uint64_t seed, std::uint32_t sentence, std::uint32_t stream);

}  // namespace pajamas
