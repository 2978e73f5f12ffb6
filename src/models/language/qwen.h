// What the Qwen families share: which layers see a window only.
#pragma once

#include "models/language/decoder_config.h"

namespace pajamas {

/// use_sliding_window, sliding_window, max_window_layers and layer_types of Qwen2 and Qwen3: without layer_types,
/// layers from `max_window_layers` on have the window.
void read_qwen_windows(const JsonReader& config, std::int64_t default_max_window_layers, DecoderConfig& result);

}  // namespace pajamas
