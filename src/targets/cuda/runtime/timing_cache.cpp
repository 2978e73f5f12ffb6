// See timing_cache.h.
#include "targets/cuda/runtime/timing_cache.h"

#include <algorithm>
#include <cmath>
#include <tuple>

#include "base/files.h"
#include "base/json_reader.h"
#include "base/json_writer.h"
#include "pajamas/error.h"

namespace pajamas::cuda {
namespace {

/// Far above the cache of any model, far below what would exhaust memory.
constexpr std::uint64_t kMaxFileBytes = std::uint64_t{256} << 20;

double read_time(const JsonReader& json, const char* key) {
  const double time = json.number(key);
  if (!std::isfinite(time) || time < 0) json.member(key).fail("is no time");
  return time;
}

TuningEnvironment parse_environment(const JsonReader& json) {
  TuningEnvironment environment;
  environment.gpu = json.string("gpu");
  environment.sm = static_cast<int>(json.integer("sm", 0, 10000));
  for (const auto& [name, version] : json.member("versions").members()) {
    environment.versions[name] = version.as_string();
  }
  return environment;
}

TunedSignature parse_signature(const JsonReader& json) {
  TunedSignature tuned;
  for (const JsonReader& candidate : json.member("candidates").elements()) {
    tuned.candidates.push_back(
        {candidate.string("tactic"), read_time(candidate, "warm_us"), read_time(candidate, "cold_us")});
  }
  if (tuned.candidates.empty()) json.member("candidates").fail("is empty");
  if (json.has("chosen")) {
    tuned.chosen = json.string("chosen");
    const bool is_candidate = std::any_of(tuned.candidates.begin(), tuned.candidates.end(),
                                          [&](const TimedTactic& each) { return each.tactic == tuned.chosen; });
    if (!is_candidate) json.member("chosen").fail("is none of the candidates");
  }
  if (json.has("refusals")) tuned.refusals = json.member("refusals").as_strings();
  return tuned;
}

/// Times to a thousandth of a microsecond: more digits would be noise.
double rounded(double time_us) { return std::round(time_us * 1000.0) / 1000.0; }

}  // namespace

nlohmann::json to_json(const TuningEnvironment& environment) {
  return {{"gpu", environment.gpu}, {"sm", environment.sm}, {"versions", environment.versions}};
}

const TunedSignature* TimingCache::find(const TuningEnvironment& environment, const std::string& signature) const {
  const auto found = environments_.find(environment);
  if (found == environments_.end()) return nullptr;
  const auto entry = found->second.signatures.find(signature);
  return entry == found->second.signatures.end() ? nullptr : &entry->second;
}

void TimingCache::add(const TuningEnvironment& environment, const std::string& signature, TunedSignature tuned) {
  for (TimedTactic& candidate : tuned.candidates) {
    candidate.warm_us = rounded(candidate.warm_us);
    candidate.cold_us = rounded(candidate.cold_us);
  }
  std::sort(tuned.candidates.begin(), tuned.candidates.end(), [](const TimedTactic& a, const TimedTactic& b) {
    return std::make_tuple(a.score(), a.tactic) < std::make_tuple(b.score(), b.tactic);
  });
  environments_[environment].signatures[signature] = std::move(tuned);
}

void TimingCache::choose(const TuningEnvironment& environment, const std::string& signature,
                         const std::string& tactic) {
  const auto found = environments_.find(environment);
  if (found == environments_.end()) return;
  const auto entry = found->second.signatures.find(signature);
  if (entry == found->second.signatures.end()) return;
  entry->second.chosen = tactic == entry->second.candidates.front().tactic ? "" : tactic;
}

std::optional<bool> TimingCache::uses_lanes(const TuningEnvironment& environment, const std::string& plan_key) const {
  const auto found = environments_.find(environment);
  if (found == environments_.end()) return std::nullopt;
  const auto entry = found->second.plans.find(plan_key);
  if (entry == found->second.plans.end()) return std::nullopt;
  return entry->second;
}

void TimingCache::set_uses_lanes(const TuningEnvironment& environment, const std::string& plan_key, bool uses_lanes) {
  environments_[environment].plans[plan_key] = uses_lanes;
}

void TimingCache::merge(const TimingCache& other) {
  for (const auto& [environment, entries] : other.environments_) {
    Entries& mine = environments_[environment];
    mine.signatures.insert(entries.signatures.begin(), entries.signatures.end());
    mine.plans.insert(entries.plans.begin(), entries.plans.end());
  }
}

std::size_t TimingCache::size() const {
  std::size_t total = 0;
  for (const auto& [environment, entries] : environments_) total += entries.signatures.size();
  return total;
}

nlohmann::json TimingCache::to_json() const {
  nlohmann::json environments = nlohmann::json::array();
  for (const auto& [environment, entries] : environments_) {
    nlohmann::json steps = nlohmann::json::array();
    for (const auto& [signature, tuned] : entries.signatures) {
      nlohmann::json candidates = nlohmann::json::array();
      for (const TimedTactic& candidate : tuned.candidates) {
        candidates.push_back(
            {{"tactic", candidate.tactic}, {"warm_us", candidate.warm_us}, {"cold_us", candidate.cold_us}});
      }
      nlohmann::json step = {{"signature", signature}, {"candidates", candidates}};
      if (!tuned.refusals.empty()) step["refusals"] = tuned.refusals;
      if (!tuned.chosen.empty()) step["chosen"] = tuned.chosen;
      steps.push_back(std::move(step));
    }
    nlohmann::json described = cuda::to_json(environment);
    described["steps"] = std::move(steps);
    described["plans"] = nlohmann::json::object();
    for (const auto& [key, uses_lanes] : entries.plans) described["plans"][key] = {{"uses_lanes", uses_lanes}};
    environments.push_back(std::move(described));
  }
  return {{"format_version", kFormatVersion}, {"environments", environments}};
}

TimingCache TimingCache::parse(std::string_view text, const std::string& where) {
  const nlohmann::json json = parse_json(text, where);
  const JsonReader reader(json, where);
  const std::int64_t version = reader.integer("format_version");
  if (version != kFormatVersion) {
    reader.member("format_version")
        .fail("is " + std::to_string(version) + "; this program reads " + std::to_string(kFormatVersion),
              "delete the file; it is made again");
  }
  TimingCache cache;
  for (const JsonReader& environment : reader.member("environments").elements()) {
    const TuningEnvironment key = parse_environment(environment);
    for (const JsonReader& step : environment.member("steps").elements()) {
      cache.add(key, step.string("signature"), parse_signature(step));
    }
    if (!environment.has("plans")) continue;
    for (const auto& [plan_key, choice] : environment.member("plans").members()) {
      cache.set_uses_lanes(key, plan_key, choice.boolean("uses_lanes"));
    }
  }
  return cache;
}

TimingCache TimingCache::read(const std::filesystem::path& path) {
  if (!std::filesystem::exists(path)) return {};
  return parse(read_file(path, kMaxFileBytes), path.string());
}

void TimingCache::write(const std::filesystem::path& path) const { write_file(path, json_text(to_json(), 1) + "\n"); }

}  // namespace pajamas::cuda
