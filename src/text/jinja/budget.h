// What bounds one rendering: steps, time, memory alive, length of texts and depth. Every value made while rendering is
// charged here and gives back its bytes when it goes. Not thread-safe: one rendering, one budget.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

namespace pajamas::jinja {

/// Thrown inside the language for whatever stops a template; the line is filled in where it is known, 0 until then.
struct Failure {
  std::string message;
  int line = 0;
};
[[noreturn]] void fail(std::string message, int line = 0);

/// Values nest and generators chain no deeper: their destruction and printing recurse.
constexpr int kMaxValueDepth = 200;
/// Parts of one value, shared ones counted each time: bounds what comparing two values takes.
constexpr std::uint64_t kMaxValueWeight = 20'000'000;
/// Nested evaluation (expressions in statements in macros ...), about 200 levels of a recursive macro.
constexpr int kMaxEvaluationDepth = 1500;

class Budget {
 public:
  Budget(std::uint64_t max_steps, std::size_t max_memory_bytes, std::size_t max_text_bytes,
         std::chrono::milliseconds max_duration);

  /// Counts work. Throws Failure past the limit of steps or time.
  void step(std::uint64_t cost = 1) {
    steps_ += cost;
    if (steps_ >= next_check_) check();
  }
  /// Counts bytes that live until release(), and the work of making them. Throws Failure past the limit.
  void allocate(std::size_t num_bytes);
  void release(std::size_t num_bytes) noexcept { memory_bytes_ -= num_bytes; }
  /// Throws Failure if a text of this size is more than a prompt may be. Before it is made.
  void check_text(std::size_t num_bytes) const;
  std::size_t max_text_bytes() const { return max_text_bytes_; }

  /// Levels of evaluation now open; see DepthGuard.
  int depth = 0;

 private:
  void check();

  std::uint64_t max_steps_;
  std::uint64_t steps_ = 0;
  std::uint64_t next_check_;
  std::size_t max_memory_bytes_;
  std::size_t memory_bytes_ = 0;
  std::size_t max_text_bytes_;
  std::chrono::milliseconds max_duration_;
  std::chrono::steady_clock::time_point deadline_;
};

/// One level of evaluation, for as long as it lives. Throws Failure past kMaxEvaluationDepth.
class DepthGuard {
 public:
  explicit DepthGuard(Budget& budget) : budget_(budget) {
    if (budget.depth >= kMaxEvaluationDepth) {
      fail("nested deeper than " + std::to_string(kMaxEvaluationDepth) + " levels (a macro that calls itself?)");
    }
    ++budget.depth;
  }
  ~DepthGuard() { --budget_.depth; }
  DepthGuard(const DepthGuard&) = delete;
  DepthGuard& operator=(const DepthGuard&) = delete;

 private:
  Budget& budget_;
};

}  // namespace pajamas::jinja
