// See budget.h.
#include "text/jinja/budget.h"

#include <algorithm>
#include <utility>

namespace pajamas::jinja {

namespace {
/// Steps between looks at the clock: some tens of microseconds.
constexpr std::uint64_t kStepsPerCheck = 1024;
/// A byte costs far less than an evaluated node.
constexpr std::size_t kBytesPerStep = 32;
}  // namespace

void fail(std::string message, int line) { throw Failure{std::move(message), line}; }

Budget::Budget(std::uint64_t max_steps, std::size_t max_memory_bytes, std::size_t max_text_bytes,
               std::chrono::milliseconds max_duration)
    : max_steps_(max_steps),
      next_check_(std::min(max_steps, kStepsPerCheck)),
      max_memory_bytes_(max_memory_bytes),
      max_text_bytes_(max_text_bytes),
      max_duration_(max_duration),
      deadline_(std::chrono::steady_clock::now() + max_duration) {}

void Budget::check() {
  if (steps_ >= max_steps_) fail("takes more than " + std::to_string(max_steps_) + " steps");
  if (std::chrono::steady_clock::now() >= deadline_) {
    fail("takes longer than " + std::to_string(max_duration_.count()) + " ms");
  }
  next_check_ = std::min(max_steps_, steps_ + kStepsPerCheck);
}

void Budget::allocate(std::size_t num_bytes) {
  if (num_bytes > max_memory_bytes_ - memory_bytes_) {
    fail("needs more than " + std::to_string(max_memory_bytes_) + " bytes of memory");
  }
  step(num_bytes / kBytesPerStep);
  memory_bytes_ += num_bytes;
}

void Budget::check_text(std::size_t num_bytes) const {
  if (num_bytes > max_text_bytes_) fail("makes a text of more than " + std::to_string(max_text_bytes_) + " bytes");
}

}  // namespace pajamas::jinja
