// GGUF metadata as the config.json that transformers would have. Facts of the keys: llama.cpp's conversion scripts.
#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string>

#include "models/weight_source.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

struct Architecture {
  std::string_view name;   ///< general.architecture
  const char* model_type;  ///< transformers' model_type
  const char* class_name;  ///< the entry of "architectures"
};
constexpr std::array<Architecture, 6> kArchitectures{{{"llama", "llama", "LlamaForCausalLM"},
                                                      {"qwen2", "qwen2", "Qwen2ForCausalLM"},
                                                      {"qwen3", "qwen3", "Qwen3ForCausalLM"},
                                                      {"qwen3moe", "qwen3_moe", "Qwen3MoeForCausalLM"},
                                                      {"phi3", "phi3", "Phi3ForCausalLM"},
                                                      {"gemma3", "gemma3_text", "Gemma3ForCausalLM"}}};

const Architecture& architecture_of(const Gguf& gguf) {
  const std::string_view name = gguf.architecture();
  std::string known;
  for (const Architecture& architecture : kArchitectures) {
    if (architecture.name == name) return architecture;
    known += (known.empty() ? "" : ", ") + std::string(architecture.name);
  }
  throw Error(ErrorKind::kUnsupported, "is a model of the architecture '" + std::string(name) + "', which is not known",
              gguf.where(), "the known ones are " + known);
}

/// Largest value of any size in a configuration; more is a damaged file.
constexpr std::int64_t kMaxSize = std::int64_t{1} << 31;

/// So many layers and experts are taken; published models have some hundred. Each costs entries, so a forged number
/// would cost memory.
constexpr std::int64_t kMaxLayers = 4096;
constexpr std::int64_t kMaxExperts = 4096;

constexpr const char* kConvertAgain = "fetch the file again, or convert the model again with llama.cpp";

/// The metadata of one architecture: keys are "<architecture>.<key>".
class Reader {
 public:
  Reader(const Gguf& gguf, std::string_view architecture) : gguf_(gguf), prefix_(std::string(architecture) + ".") {}

  std::string key(std::string_view name) const { return prefix_ + std::string(name); }
  bool has(std::string_view name) const { return gguf_.has(key(name)); }

  /// A positive size. Per-layer arrays of one value are taken; different layers are of no family here.
  std::optional<std::int64_t> find_size(std::string_view name) const {
    const std::string full = key(name);
    std::optional<std::int64_t> value;
    if (gguf_.is_array(full)) {
      const auto values = *gguf_.find_ints(full);
      if (values.empty() || !std::all_of(values.begin(), values.end(), [&](auto v) { return v == values[0]; })) {
        throw Error(ErrorKind::kUnsupported, "key '" + full + "' differs between layers", gguf_.where(),
                    "models whose layers are alike are read");
      }
      value = values[0];
    } else {
      value = gguf_.find_int(full);
    }
    if (value && (*value < 0 || *value > kMaxSize)) fail(full, std::to_string(*value));
    return value;
  }
  std::int64_t size(std::string_view name, std::int64_t max = kMaxSize) const {
    const auto value = find_size(name);
    if (!value) throw Error(ErrorKind::kBadInput, "has no key '" + key(name) + "'", gguf_.where(), kConvertAgain);
    if (*value == 0 || *value > max) fail(key(name), std::to_string(*value));
    return *value;
  }
  std::optional<double> find_number(std::string_view name) const {
    const auto value = gguf_.find_float(key(name));
    if (value && !std::isfinite(*value)) fail(key(name), "not a number");
    return value;
  }
  double positive_number(std::string_view name, double fallback) const {
    const double value = find_number(name).value_or(fallback);
    if (value <= 0) fail(key(name), std::to_string(value));
    return value;
  }
  [[noreturn]] void fail(const std::string& full_key, const std::string& value) const {
    throw Error(ErrorKind::kBadInput, "key '" + full_key + "' is " + value + ", which no model has", gguf_.where(),
                kConvertAgain);
  }
  const Gguf& gguf() const { return gguf_; }

 private:
  const Gguf& gguf_;
  std::string prefix_;
};

/// A small float32 tensor that holds frequency factors, `count` of them.
nlohmann::json factors_of(const Gguf& gguf, std::string_view name, std::int64_t count) {
  const GgufTensor& tensor = gguf.tensor(name);
  if (tensor.type != GgmlType::kF32 || tensor.shape != Shape{count}) {
    throw Error(ErrorKind::kBadInput,
                "tensor '" + std::string(name) + "' is " + to_string(tensor.type) + tensor.shape.to_string() +
                    ", must be F32[" + std::to_string(count) + "]",
                gguf.where(), kConvertAgain);
  }
  std::vector<float> factors(static_cast<std::size_t>(count));
  dequantize_blocks(GgmlType::kF32, tensor.bytes, factors);
  for (const float factor : factors) {
    if (!(factor > 0) || !std::isfinite(factor)) {
      throw Error(ErrorKind::kBadInput, "tensor '" + std::string(name) + "' holds a factor that is not positive",
                  gguf.where(), kConvertAgain);
    }
  }
  return factors;
}

void add_rope(const Reader& reader, std::int64_t head_dim, nlohmann::json& config) {
  const Gguf& gguf = reader.gguf();
  const std::int64_t rotary_dim = reader.find_size("rope.dimension_count").value_or(head_dim);
  if (rotary_dim == 0 || rotary_dim > head_dim || rotary_dim % 2 != 0) {
    reader.fail(reader.key("rope.dimension_count"), std::to_string(rotary_dim));
  }
  if (rotary_dim != head_dim) {
    config["partial_rotary_factor"] = static_cast<double>(rotary_dim) / static_cast<double>(head_dim);
  }
  config["rope_theta"] = reader.positive_number("rope.freq_base", 10000);
  config["rope_scaling"] = nullptr;

  const auto original = reader.find_size("rope.scaling.original_context_length");
  if (original && *original > 0) config["original_max_position_embeddings"] = *original;
  if (gguf.has_tensor("rope_freqs.weight")) {
    config["rope_scaling"] = {{"rope_type", "frequency_factors"},
                              {"factors", factors_of(gguf, "rope_freqs.weight", rotary_dim / 2)}};
    return;
  }
  const bool has_long = gguf.has_tensor("rope_factors_long.weight");
  if (has_long != gguf.has_tensor("rope_factors_short.weight")) {
    throw Error(ErrorKind::kBadInput, "has only one of rope_factors_long.weight and rope_factors_short.weight",
                gguf.where(), kConvertAgain);
  }
  if (has_long) {
    config["rope_scaling"] = {{"rope_type", "longrope"},
                              {"long_factor", factors_of(gguf, "rope_factors_long.weight", rotary_dim / 2)},
                              {"short_factor", factors_of(gguf, "rope_factors_short.weight", rotary_dim / 2)}};
    if (original) config["rope_scaling"]["original_max_position_embeddings"] = *original;
    if (const auto factor = reader.find_number("rope.scaling.attn_factor")) {
      config["rope_scaling"]["attention_factor"] = *factor;
    }
    return;
  }
  const auto type = gguf.find_string(reader.key("rope.scaling.type"));
  if (!type) {
    // Files from before rope.scaling.* have the factor of linear scaling alone.
    const auto factor = reader.find_number("rope.scale_linear");
    if (factor && *factor != 1) config["rope_scaling"] = {{"rope_type", "linear"}, {"factor", *factor}};
    return;
  }
  if (*type == "none") return;
  if (*type == "linear") {
    config["rope_scaling"] = {{"rope_type", "linear"}, {"factor", reader.positive_number("rope.scaling.factor", 1)}};
    return;
  }
  if (*type == "yarn") {
    nlohmann::json scaling{{"rope_type", "yarn"}, {"factor", reader.positive_number("rope.scaling.factor", 1)}};
    if (original) scaling["original_max_position_embeddings"] = *original;
    constexpr std::array<std::pair<const char*, const char*>, 4> kYarnKeys{
        {{"rope.scaling.yarn_attn_factor", "attention_factor"},
         {"rope.scaling.attn_factor", "attention_factor"},
         {"rope.scaling.yarn_beta_fast", "beta_fast"},
         {"rope.scaling.yarn_beta_slow", "beta_slow"}}};
    for (const auto& [from, to] : kYarnKeys) {
      if (const auto value = reader.find_number(from)) scaling[to] = *value;
    }
    config["rope_scaling"] = std::move(scaling);
    return;
  }
  throw Error(ErrorKind::kUnsupported,
              "scales its rotary embedding by '" + std::string(*type) + "', which is not known", gguf.where(),
              "the known ways are none, linear, yarn and longrope");
}

void add_token_ids(const Gguf& gguf, nlohmann::json& config) {
  const auto add = [&](const char* key, const char* config_key) {
    if (const auto id = gguf.find_int(key)) config[config_key] = *id;
  };
  add("tokenizer.ggml.bos_token_id", "bos_token_id");
  add("tokenizer.ggml.eos_token_id", "eos_token_id");
  add("tokenizer.ggml.padding_token_id", "pad_token_id");
  // The end of a turn, where it is not the end of a text: both end an answer.
  const auto eos = gguf.find_int("tokenizer.ggml.eos_token_id");
  const auto eot = gguf.find_int("tokenizer.ggml.eot_token_id");
  if (eot && eos && *eot != *eos) config["eos_token_id"] = {*eos, *eot};
  if (eot && !eos) config["eos_token_id"] = *eot;
}

void add_gemma3(const Reader& reader, std::int64_t head_dim, nlohmann::json& config) {
  const Gguf& gguf = reader.gguf();
  const std::int64_t num_layers = config.at("num_hidden_layers").get<std::int64_t>();
  config["hidden_activation"] = "gelu_pytorch_tanh";
  config["rope_local_base_freq"] = reader.positive_number("rope.freq_base_swa", 10000);
  config["rope_theta"] = reader.positive_number("rope.freq_base", 1'000'000);
  // The file does not keep it. Published models use the head's size, but for 27B (62 layers): hidden size by heads.
  config["query_pre_attn_scalar"] = num_layers == 62 ? config.at("hidden_size").get<std::int64_t>() /
                                                           config.at("num_attention_heads").get<std::int64_t>()
                                                     : head_dim;
  config["attn_logit_softcapping"] = nullptr;
  config["final_logit_softcapping"] = nullptr;
  if (const auto cap = reader.find_number("final_logit_softcapping"); cap && *cap > 0) {
    config["final_logit_softcapping"] = *cap;
  }
  // Five layers of six look at the window only, unless the file says otherwise.
  std::vector<bool> is_sliding(static_cast<std::size_t>(num_layers));
  const std::string pattern_key = reader.key("attention.sliding_window_pattern");
  if (gguf.is_array(pattern_key)) {
    const auto pattern = *gguf.find_ints(pattern_key);
    if (pattern.size() != is_sliding.size())
      reader.fail(pattern_key, "of " + std::to_string(pattern.size()) + " layers");
    for (std::size_t i = 0; i < pattern.size(); ++i) is_sliding[i] = pattern[i] != 0;
  } else {
    const std::int64_t pattern = gguf.find_int(pattern_key).value_or(6);
    if (pattern <= 0) reader.fail(pattern_key, std::to_string(pattern));
    for (std::size_t i = 0; i < is_sliding.size(); ++i) {
      is_sliding[i] = (static_cast<std::int64_t>(i) + 1) % pattern != 0;
    }
  }
  const bool has_window = config.at("sliding_window").is_number();
  config["layer_types"] = nlohmann::json::array();
  for (const bool is_window : is_sliding) {
    config["layer_types"].push_back(is_window && has_window ? "sliding_attention" : "full_attention");
  }
}

}  // namespace

nlohmann::json huggingface_config_of(const Gguf& gguf) {
  const Architecture& architecture = architecture_of(gguf);
  const Reader reader(gguf, architecture.name);
  const bool is_mixture = architecture.name == "qwen3moe";

  nlohmann::json config;
  config["model_type"] = architecture.model_type;
  config["architectures"] = {architecture.class_name};
  config["hidden_size"] = reader.size("embedding_length");
  config["num_hidden_layers"] = reader.size("block_count", kMaxLayers);
  config["intermediate_size"] =
      is_mixture ? reader.find_size("feed_forward_length").value_or(0) : reader.size("feed_forward_length");
  config["max_position_embeddings"] = reader.size("context_length");
  config["rms_norm_eps"] = reader.positive_number("attention.layer_norm_rms_epsilon", 1e-5);
  const std::int64_t num_heads = reader.size("attention.head_count");
  const std::int64_t num_kv_heads = reader.find_size("attention.head_count_kv").value_or(num_heads);
  if (num_kv_heads == 0 || num_heads % num_kv_heads != 0) {
    reader.fail(reader.key("attention.head_count_kv"), std::to_string(num_kv_heads));
  }
  config["num_attention_heads"] = num_heads;
  config["num_key_value_heads"] = num_kv_heads;
  const std::int64_t hidden_dim = config["hidden_size"].get<std::int64_t>();
  const auto key_length = reader.find_size("attention.key_length");
  if (!key_length && hidden_dim % num_heads != 0) {
    reader.fail(reader.key("attention.head_count"), std::to_string(num_heads));
  }
  const std::int64_t head_dim = key_length.value_or(hidden_dim / num_heads);
  if (head_dim == 0) reader.fail(reader.key("attention.key_length"), "0");
  if (reader.find_size("attention.value_length").value_or(head_dim) != head_dim) {
    throw Error(ErrorKind::kUnsupported, "has keys and values of different sizes", gguf.where(),
                "models whose heads have keys and values of one size are read");
  }
  config["head_dim"] = head_dim;

  if (gguf.has_tensor("token_embd.weight")) {
    const Shape& shape = gguf.tensor("token_embd.weight").shape;
    if (shape.rank() != 2 || shape[1] != hidden_dim) {
      throw Error(ErrorKind::kBadInput,
                  "tensor 'token_embd.weight' of shape " + shape.to_string() + " contradicts " +
                      reader.key("embedding_length") + ", " + std::to_string(hidden_dim),
                  gguf.where(), kConvertAgain);
    }
    config["vocab_size"] = shape[0];
  } else if (const auto vocab_size = reader.find_size("vocab_size")) {
    config["vocab_size"] = *vocab_size;
  } else {
    config["vocab_size"] = gguf.strings("tokenizer.ggml.tokens").size();
  }
  config["tie_word_embeddings"] = !gguf.has_tensor("output.weight");
  config["hidden_act"] = architecture.name == "gemma3" ? "gelu_pytorch_tanh" : "silu";
  config["attention_bias"] = gguf.has_tensor("blk.0.attn_q.bias");
  config["mlp_bias"] = gguf.has_tensor("blk.0.ffn_up.bias");
  config["sliding_window"] = nullptr;
  if (const auto window = reader.find_size("attention.sliding_window"); window && *window > 0) {
    config["sliding_window"] = *window;
  }
  add_rope(reader, head_dim, config);
  add_token_ids(gguf, config);

  const std::int64_t num_experts = reader.find_size("expert_count").value_or(0);
  if (is_mixture) {
    config["num_experts"] = reader.size("expert_count", kMaxExperts);
    config["num_experts_per_tok"] = reader.size("expert_used_count");
    if (config["num_experts_per_tok"] > config["num_experts"]) {
      reader.fail(reader.key("expert_used_count"), config["num_experts_per_tok"].dump());
    }
    config["moe_intermediate_size"] = reader.size("expert_feed_forward_length");
    // What all published models of the family have and the file does not say.
    config["norm_topk_prob"] = true;
    config["decoder_sparse_step"] = 1;
    config["mlp_only_layers"] = nlohmann::json::array();
  } else if (num_experts > 0) {
    throw Error(ErrorKind::kUnsupported,
                "is a mixture of " + std::to_string(num_experts) + " experts of the architecture '" +
                    std::string(architecture.name) + "', which is not known as a mixture",
                gguf.where(), "among mixtures qwen3moe is read");
  }
  if (architecture.name == "gemma3") add_gemma3(reader, head_dim, config);
  return config;
}

}  // namespace pajamas
