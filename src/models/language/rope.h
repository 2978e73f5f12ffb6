// Frequencies of rotary position embeddings (Su et al. 2021, arXiv 2104.09864) and the ways in which they are stretched
// for longer contexts, read from a configuration as transformers 4 (rope_theta, rope_scaling) and 5 (rope_parameters)
// write it. The graph only multiplies them by positions: decoder_builder.cpp.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/json_reader.h"

namespace pajamas {

/// One set of frequencies. The rotary part of a head has 2 * inverse_frequencies.size() channels.
struct Rope {
  std::vector<float> inverse_frequencies;  ///< Radians a token.
  float attention_factor = 1;              ///< Factor on cosine and sine.
};

/// What the frequencies depend on beside their own section.
struct RopeContext {
  std::int64_t head_dim = 0;
  double partial_rotary_factor = 1;          ///< Share of a head that turns, unless the section says another.
  double default_theta = 10000;              ///< Base, unless section or configuration say another.
  std::int64_t max_position_embeddings = 0;  ///< Of the configuration.
  std::int64_t context_length = 0;           ///< Of the bundle: chooses between long and short frequencies.
};

/// The section that says how positions are turned: rope_parameters, else rope_scaling, else nothing (or null).
/// `kind` picks the member of a section that has one for each kind of layer ("full_attention").
std::optional<JsonReader> rope_section(const JsonReader& config, const char* kind = nullptr);

/// Frequencies of `section` (plain ones without). Known types: default, linear, dynamic (NTK; one base for the whole
/// bundle, that of its context length), yarn (Peng et al. 2023, arXiv 2309.00071), longrope and its old name su (Ding
/// et al. 2024, arXiv 2402.13753), llama3, and frequency_factors as GGUF files have them. `config` gives rope_theta
/// where the section does not. Throws Error{kUnsupported} for another type, Error{kBadInput} for missing, non-positive
/// or miscounted numbers.
Rope read_rope(const JsonReader& config, const std::optional<JsonReader>& section, const RopeContext& context);

/// The longest context that the configuration stands for: max_position_embeddings, and where a section stretches an
/// original length by a factor (yarn, dynamic), that product if it is longer.
std::int64_t longest_context(const std::optional<JsonReader>& section, std::int64_t max_position_embeddings);

}  // namespace pajamas
