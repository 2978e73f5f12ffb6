// What a step should give, by the plainest loops in float64 on the host, at a few of its outputs. Independent of every
// backend.
#pragma once

#include <cstdint>
#include <vector>

#include "targets/cuda/program.h"

namespace pajamas::test {

/// Where in y (elements from its first, by its strides) and what belongs there.
struct ExpectedElement {
  std::int64_t offset = 0;
  double value = 0;
};

/// `buffers`: the numbers of every buffer by BufferId, already rounded to their types. At most `max_elements` of y,
/// spread over it by a fixed seed, the first and the last always among them.
std::vector<ExpectedElement> expected_elements(const cuda::Program& program,
                                               const std::vector<std::vector<float>>& buffers,
                                               std::int64_t max_elements);

/// Offsets of all elements of a value from the beginning of its buffer.
std::vector<std::int64_t> offsets_of(const cuda::Value& value);

}  // namespace pajamas::test
