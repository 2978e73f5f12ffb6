// What the tuner measured: for each kind of step on each device the time of every kernel tried. A JSON file that people
// can read and that makes a later build choose the same kernels without timing anything. Knows no CUDA.
#pragma once

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

namespace pajamas::cuda {

/// What times depend on beside the step: they are only used where all of it is the same.
struct TuningEnvironment {
  std::string gpu;  ///< "NVIDIA H200"
  int sm = 0;
  std::map<std::string, std::string> versions;  ///< "cudnn" → "9.19.0", ...; "driver" → "13.0"
  bool operator==(const TuningEnvironment&) const = default;
  bool operator<(const TuningEnvironment& other) const {
    return std::tie(gpu, sm, versions) < std::tie(other.gpu, other.sm, other.versions);
  }
};
nlohmann::json to_json(const TuningEnvironment& environment);

/// One kernel that was tried. Times of one launch in a CUDA graph.
struct TimedTactic {
  std::string tactic;
  double warm_us = 0;  ///< Median with the inputs as the launch before left them in the L2 cache.
  double cold_us = 0;  ///< Median with an L2 cache full of other data.
  double score() const { return warm_us + cold_us; }
  bool operator==(const TimedTactic&) const = default;
};

/// Everything known of one step's signature; the fastest first.
struct TunedSignature {
  std::vector<TimedTactic> candidates;
  std::vector<std::string> refusals;  ///< Why kernels were left out; for people.
  /// The one that made a whole plan fastest; empty: the first of the candidates.
  std::string chosen;
  const std::string& best() const { return chosen.empty() ? candidates.front().tactic : chosen; }
  bool operator==(const TunedSignature&) const = default;
};

/// Not thread-safe.
class TimingCache {
 public:
  static constexpr int kFormatVersion = 1;

  const TunedSignature* find(const TuningEnvironment& environment, const std::string& signature) const;
  /// Sorts the candidates by score (ties by name) and adds or replaces the entry.
  void add(const TuningEnvironment& environment, const std::string& signature, TunedSignature tuned);
  /// Records which of the signature's candidates made the whole plan fastest. Nothing when the entry is not there.
  void choose(const TuningEnvironment& environment, const std::string& signature, const std::string& tactic);
  /// Whether branches were faster than one stream in the plan of this key; nothing when it was not measured.
  std::optional<bool> uses_lanes(const TuningEnvironment& environment, const std::string& plan_key) const;
  void set_uses_lanes(const TuningEnvironment& environment, const std::string& plan_key, bool uses_lanes);
  /// Takes over the entries of `other` that this one lacks.
  void merge(const TimingCache& other);
  std::size_t size() const;  ///< Signatures.

  nlohmann::json to_json() const;
  /// Throws Error{kBadInput} naming `where` and the path within it, also for another format version.
  static TimingCache parse(std::string_view text, const std::string& where);
  /// An empty cache where there is no such file.
  static TimingCache read(const std::filesystem::path& path);
  /// Replaces the file atomically.
  void write(const std::filesystem::path& path) const;

 private:
  struct Entries {
    std::map<std::string, TunedSignature> signatures;
    std::map<std::string, bool> plans;  ///< uses_lanes by plan key.
  };
  std::map<TuningEnvironment, Entries> environments_;
};

}  // namespace pajamas::cuda
