// Processor time of a piece of work, for tests that hold an algorithm to a bound: other programs on the machine do not
// count.
#pragma once

#include <ctime>

namespace pajamas::test {

/// Seconds of the whole process.
template <typename Work>
double cpu_seconds_of(const Work& work) {
  const std::clock_t start = std::clock();
  work();
  return static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
}

}  // namespace pajamas::test
