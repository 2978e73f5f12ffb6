// config.json of CLIP: the two towers and what joins them. See clip.cpp.
#pragma once

#include <cstdint>
#include <optional>

#include "base/json_reader.h"
#include "models/layers.h"

namespace pajamas {

struct ClipTowerConfig {
  std::int64_t hidden_dim = 0, num_layers = 0, num_heads = 0, intermediate_dim = 0;
  ActivationFunction activation = ActivationFunction::kQuickGelu;
  double epsilon = 1e-5;
};

struct ClipVisionConfig {
  ClipTowerConfig tower;
  std::int64_t image_px = 0, patch_px = 0;  ///< Both sides.
};

struct ClipTextConfig {
  ClipTowerConfig tower;
  std::int64_t vocab_size = 0;
  std::int64_t max_tokens = 0;  ///< max_position_embeddings
  std::int64_t eos_token_id = 0;
};

struct ClipConfig {
  std::optional<ClipVisionConfig> vision;
  std::optional<ClipTextConfig> text;
  std::int64_t projection_dim = 0;
};

/// Throws Error{kUnsupported} for architectures without projections or with other heads, Error{kBadInput} naming the
/// key for values out of range.
ClipConfig read_clip_config(const JsonReader& json);

}  // namespace pajamas
