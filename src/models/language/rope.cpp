// The formulas. See rope.h.
#include "models/language/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>

#include "pajamas/error.h"

namespace pajamas {
namespace {

constexpr std::int64_t kMaxContext = std::int64_t{1} << 31;

bool has_value(const JsonReader& json, const char* key) { return json.has(key) && !json.member(key).json().is_null(); }

double positive(const JsonReader& section, const char* key) {
  const double value = section.number(key);
  if (!(value > 0)) section.member(key).fail("must be more than 0");
  return value;
}
double positive_or(const JsonReader& section, const char* key, double fallback) {
  return has_value(section, key) ? positive(section, key) : fallback;
}

std::int64_t original_length(const JsonReader& config, const JsonReader& section, std::int64_t fallback) {
  const char* key = "original_max_position_embeddings";
  if (has_value(section, key)) return section.integer(key, 1, kMaxContext);
  // Phi-3 has it beside its section.
  if (has_value(config, key)) return config.integer(key, 1, kMaxContext);
  return fallback;
}

std::string type_of(const JsonReader& section) {
  if (has_value(section, "rope_type")) return section.string("rope_type");
  return has_value(section, "type") ? section.string("type") : std::string("default");
}

std::vector<double> plain(double theta, std::int64_t rotary_dim) {
  std::vector<double> frequencies;
  for (std::int64_t i = 0; i < rotary_dim; i += 2) {
    frequencies.push_back(1.0 / std::pow(theta, static_cast<double>(i) / static_cast<double>(rotary_dim)));
  }
  return frequencies;
}

/// Divides by one factor a frequency, from a list of the configuration.
void divide_by_list(const JsonReader& section, const char* key, std::vector<double>& frequencies) {
  const auto factors = section.member(key).elements();
  if (factors.size() != frequencies.size()) {
    section.member(key).fail("has " + std::to_string(factors.size()) + " factors for " +
                             std::to_string(frequencies.size()) + " frequencies");
  }
  for (std::size_t i = 0; i < factors.size(); ++i) {
    const double factor = factors[i].as_number();
    if (!(factor > 0)) factors[i].fail("must be more than 0");
    frequencies[i] /= factor;
  }
}

/// Long waves (past the original length over low_freq_factor) are stretched, short ones stay, those between are mixed.
void scale_llama3(const JsonReader& section, double original, std::vector<double>& frequencies) {
  const double factor = positive(section, "factor");
  const double low = positive(section, "low_freq_factor"), high = positive(section, "high_freq_factor");
  if (!(high > low)) section.member("high_freq_factor").fail("must be more than low_freq_factor");
  for (double& frequency : frequencies) {
    const double turns = original * frequency / (2 * std::numbers::pi);  // in the original context
    const double kept = std::clamp((turns - low) / (high - low), 0.0, 1.0);
    frequency = (1 - kept) * frequency / factor + kept * frequency;
  }
}

float scale_yarn(const JsonReader& section, double theta, double original, double max_position,
                 std::vector<double>& frequencies) {
  const double factor = positive_or(section, "factor", max_position / original);
  const auto dim = static_cast<double>(2 * frequencies.size());
  // Zero means "the paper's value", as a missing key does.
  const auto beta = [&](const char* key, double fallback) {
    const double value = has_value(section, key) ? section.number(key) : 0.0;
    return value > 0 ? value : fallback;
  };
  const auto channel_of = [&](double turns) {
    return dim * std::log(original / (turns * 2 * std::numbers::pi)) / (2 * std::log(theta));
  };
  double low = channel_of(beta("beta_fast", 32)), high = channel_of(beta("beta_slow", 1));
  const bool is_whole = !has_value(section, "truncate") || section.boolean("truncate");
  if (is_whole) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, dim - 1);
  if (low == high) high += 0.001;
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    const double stretched = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    frequencies[i] = frequencies[i] / factor * stretched + frequencies[i] * (1 - stretched);
  }
  if (has_value(section, "attention_factor")) return static_cast<float>(positive(section, "attention_factor"));
  const auto magnitude = [&](double scale) { return factor <= 1 ? 1.0 : 0.1 * scale * std::log(factor) + 1.0; };
  const double mscale = has_value(section, "mscale") ? section.number("mscale") : 0.0;
  const double mscale_all = has_value(section, "mscale_all_dim") ? section.number("mscale_all_dim") : 0.0;
  if (mscale != 0 && mscale_all != 0) return static_cast<float>(magnitude(mscale) / magnitude(mscale_all));
  return static_cast<float>(magnitude(1));
}

float scale_long(const JsonReader& section, std::int64_t original, const RopeContext& context,
                 std::vector<double>& frequencies) {
  divide_by_list(section, context.context_length > original ? "long_factor" : "short_factor", frequencies);
  if (has_value(section, "attention_factor")) return static_cast<float>(positive(section, "attention_factor"));
  const double factor = positive_or(
      section, "factor", static_cast<double>(context.max_position_embeddings) / static_cast<double>(original));
  if (factor <= 1 || original < 2) return 1;
  return static_cast<float>(std::sqrt(1 + std::log(factor) / std::log(static_cast<double>(original))));
}

}  // namespace

std::optional<JsonReader> rope_section(const JsonReader& config, const char* kind) {
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    if (!has_value(config, key)) continue;
    const JsonReader section = config.member(key);
    if (!section.json().is_object()) section.fail("must be an object");
    if (kind == nullptr) return section;
    if (has_value(section, kind)) return section.member(kind);
    // Transformers 4: one section, of the layers that see everything.
    const bool has_kinds = section.has("full_attention") || section.has("sliding_attention");
    if (!has_kinds && std::string(kind) == "full_attention") return section;
    return std::nullopt;
  }
  return std::nullopt;
}

Rope read_rope(const JsonReader& config, const std::optional<JsonReader>& section, const RopeContext& context) {
  double theta = context.default_theta;
  double share = context.partial_rotary_factor;
  if (has_value(config, "rope_theta")) theta = positive(config, "rope_theta");
  if (section) {
    theta = positive_or(*section, "rope_theta", theta);
    share = positive_or(*section, "partial_rotary_factor", share);
  }
  const auto rotary_dim = static_cast<std::int64_t>(static_cast<double>(context.head_dim) * share);
  if (share > 1 || rotary_dim < 2 || rotary_dim % 2 != 0) {
    config.fail("turns " + std::to_string(rotary_dim) + " of the " + std::to_string(context.head_dim) +
                " channels of a head; it must be an even number of them");
  }
  if (!(theta > 1)) config.fail("rope_theta must be more than 1");
  std::vector<double> frequencies = plain(theta, rotary_dim);
  Rope rope;
  std::string type = section ? type_of(*section) : "default";
  // Early Phi-3 files call their lists of factors by the name of another method.
  if (type == "yarn" && has_value(*section, "long_factor")) type = "longrope";
  const auto max_position = static_cast<double>(context.max_position_embeddings);
  if (type == "linear") {
    const double factor = positive(*section, "factor");
    for (double& frequency : frequencies) frequency /= factor;
  } else if (type == "dynamic") {
    const double factor = positive(*section, "factor");
    if (rotary_dim < 4) section->fail("needs 4 channels a head or more");
    const double length = std::max(max_position, static_cast<double>(context.context_length));
    const double stretch = factor * length / max_position - (factor - 1);
    const auto dim = static_cast<double>(rotary_dim);
    frequencies = plain(theta * std::pow(stretch, dim / (dim - 2)), rotary_dim);
  } else if (type == "llama3") {
    const auto original = original_length(config, *section, context.max_position_embeddings);
    scale_llama3(*section, static_cast<double>(original), frequencies);
  } else if (type == "yarn") {
    const auto original = original_length(config, *section, context.max_position_embeddings);
    rope.attention_factor = scale_yarn(*section, theta, static_cast<double>(original), max_position, frequencies);
  } else if (type == "longrope" || type == "su") {
    const auto original = original_length(config, *section, context.max_position_embeddings);
    rope.attention_factor = scale_long(*section, original, context, frequencies);
  } else if (type == "frequency_factors") {
    divide_by_list(*section, "factors", frequencies);
  } else if (type != "default") {
    throw Error(ErrorKind::kUnsupported, "rope_type '" + type + "' is not known", config.where(),
                "the known ones are default, linear, dynamic, yarn, longrope, su and llama3");
  }
  rope.inverse_frequencies.assign(frequencies.begin(), frequencies.end());
  return rope;
}

std::int64_t longest_context(const std::optional<JsonReader>& section, std::int64_t max_position_embeddings) {
  if (!section || !has_value(*section, "factor")) return max_position_embeddings;
  const std::string type = type_of(*section);
  const double factor = positive(*section, "factor");
  double original = 0;
  if (type == "yarn" && has_value(*section, "original_max_position_embeddings")) {
    original = static_cast<double>(section->integer("original_max_position_embeddings", 1, kMaxContext));
  } else if (type == "dynamic") {
    original = static_cast<double>(max_position_embeddings);
  }
  const double length = std::min(original * factor, static_cast<double>(kMaxContext));
  return std::max(max_position_embeddings, static_cast<std::int64_t>(length));
}

}  // namespace pajamas
