// Reading CLIP's configuration with transformers' defaults for the keys it leaves out. See clip_config.h.
#include "models/clip/clip_config.h"

#include "pajamas/error.h"

namespace pajamas {
namespace {

ClipTowerConfig read_tower(const JsonReader& json, const ClipTowerConfig& defaults) {
  ClipTowerConfig tower;
  tower.hidden_dim = read_size(json, "hidden_size", defaults.hidden_dim);
  tower.num_layers = read_size(json, "num_hidden_layers", defaults.num_layers);
  tower.num_heads = read_size(json, "num_attention_heads", defaults.num_heads);
  tower.intermediate_dim = read_size(json, "intermediate_size", defaults.intermediate_dim);
  tower.activation = read_activation(json, "hidden_act", "quick_gelu");
  tower.epsilon = json.number_or("layer_norm_eps", 1e-5);
  if (tower.hidden_dim % tower.num_heads != 0) {
    json.fail("num_attention_heads does not divide hidden_size " + std::to_string(tower.hidden_dim));
  }
  return tower;
}

ClipVisionConfig read_vision(const JsonReader& json) {
  ClipVisionConfig config;
  config.tower = read_tower(json, {768, 12, 12, 3072});
  config.image_px = read_size(json, "image_size", 224);
  config.patch_px = read_size(json, "patch_size", 32);
  if (config.patch_px > config.image_px) json.member("patch_size").fail("is larger than image_size");
  if (read_size(json, "num_channels", 3) != 3) json.member("num_channels").fail("must be 3: pictures are RGB");
  return config;
}

ClipTextConfig read_text(const JsonReader& json) {
  ClipTextConfig config;
  config.tower = read_tower(json, {512, 12, 8, 2048});
  config.vocab_size = read_size(json, "vocab_size", 49408);
  config.max_tokens = read_size(json, "max_position_embeddings", 77);
  config.eos_token_id = json.integer_or("eos_token_id", 49407, 0, INT32_MAX);
  if (config.max_tokens < 2 || config.max_tokens > 65536) {
    json.member("max_position_embeddings").fail("must be 2 to 65536");
  }
  return config;
}

/// The tower's section. Early files have it twice, and then "<key>_dict" is the one that counts.
std::optional<JsonReader> section(const JsonReader& json, const std::string& key) {
  if (json.has((key + "_dict").c_str())) return json.member((key + "_dict").c_str());
  if (json.has(key.c_str())) return json.member(key.c_str());
  return std::nullopt;
}

}  // namespace

ClipConfig read_clip_config(const JsonReader& json) {
  const std::string architecture = architecture_of(json);
  const std::string type = json.string("model_type");
  const bool is_vision = architecture == "CLIPVisionModelWithProjection";
  const bool is_text = architecture == "CLIPTextModelWithProjection";
  const bool is_whole = (architecture.empty() && type == "clip") || architecture == "CLIPModel";
  if (!is_vision && !is_text && !is_whole) {
    throw Error(ErrorKind::kUnsupported,
                "config.json: architecture '" + architecture + "' of model_type '" + type + "' is not known", "",
                "the known ones are CLIPModel, CLIPVisionModelWithProjection and CLIPTextModelWithProjection");
  }
  ClipConfig config;
  config.projection_dim = read_size(json, "projection_dim", 512);
  const nlohmann::json nothing = nlohmann::json::object();
  const JsonReader defaults(nothing, "config.json");
  if (is_whole || is_vision)
    config.vision = read_vision(section(json, "vision_config").value_or(is_vision ? json : defaults));
  if (is_whole || is_text) config.text = read_text(section(json, "text_config").value_or(is_text ? json : defaults));
  return config;
}

}  // namespace pajamas
