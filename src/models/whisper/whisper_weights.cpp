// Tables of names. See whisper_weights.h.
#include "models/whisper/whisper_weights.h"

#include <algorithm>
#include <array>
#include <set>
#include <string>
#include <string_view>

#include "models/table_weight_source.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

struct NamePair {
  std::string_view from, to;
};

/// A part of a layer, and what its rows are where it holds several projections.
struct FusedName {
  std::string_view from;
  std::array<std::string_view, 3> to;
  std::size_t num_parts = 1;
};

constexpr std::array<NamePair, 10> kCtranslate2Names{
    {{"encoder/conv1/weight", "model.encoder.conv1.weight"},
     {"encoder/conv1/bias", "model.encoder.conv1.bias"},
     {"encoder/conv2/weight", "model.encoder.conv2.weight"},
     {"encoder/conv2/bias", "model.encoder.conv2.bias"},
     {"encoder/position_encodings/encodings", "model.encoder.embed_positions.weight"},
     {"decoder/position_encodings/encodings", "model.decoder.embed_positions.weight"},
     {"encoder/layer_norm/gamma", "model.encoder.layer_norm.weight"},
     {"encoder/layer_norm/beta", "model.encoder.layer_norm.bias"},
     {"decoder/layer_norm/gamma", "model.decoder.layer_norm.weight"},
     {"decoder/layer_norm/beta", "model.decoder.layer_norm.bias"}}};
constexpr std::array<NamePair, 3> kCtranslate2Norms{{{"self_attention/layer_norm", "self_attn_layer_norm"},
                                                     {"attention/layer_norm", "encoder_attn_layer_norm"},
                                                     {"ffn/layer_norm", "final_layer_norm"}}};
constexpr std::array<FusedName, 7> kCtranslate2Linears{
    {{"self_attention/linear_0", {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"}, 3},
     {"self_attention/linear_1", {"self_attn.out_proj"}, 1},
     {"attention/linear_0", {"encoder_attn.q_proj"}, 1},
     {"attention/linear_1", {"encoder_attn.k_proj", "encoder_attn.v_proj"}, 2},
     {"attention/linear_2", {"encoder_attn.out_proj"}, 1},
     {"ffn/linear_0", {"fc1"}, 1},
     {"ffn/linear_1", {"fc2"}, 1}}};

/// OpenAI's names, which whisper.cpp keeps.
constexpr std::array<NamePair, 12> kOpenaiNames{
    {{"encoder.conv1.weight", "model.encoder.conv1.weight"},
     {"encoder.conv1.bias", "model.encoder.conv1.bias"},
     {"encoder.conv2.weight", "model.encoder.conv2.weight"},
     {"encoder.conv2.bias", "model.encoder.conv2.bias"},
     {"encoder.positional_embedding", "model.encoder.embed_positions.weight"},
     {"encoder.ln_post.weight", "model.encoder.layer_norm.weight"},
     {"encoder.ln_post.bias", "model.encoder.layer_norm.bias"},
     {"decoder.token_embedding.weight", "model.decoder.embed_tokens.weight"},
     {"decoder.positional_embedding", "model.decoder.embed_positions.weight"},
     {"decoder.ln.weight", "model.decoder.layer_norm.weight"},
     {"decoder.ln.bias", "model.decoder.layer_norm.bias"},
     // OpenAI's first checkpoints hold the mask of the decoder, which every program makes itself.
     {"decoder.mask", ""}}};
constexpr std::array<NamePair, 13> kOpenaiLayerNames{{{"attn.query", "self_attn.q_proj"},
                                                      {"attn.key", "self_attn.k_proj"},
                                                      {"attn.value", "self_attn.v_proj"},
                                                      {"attn.out", "self_attn.out_proj"},
                                                      {"attn_ln", "self_attn_layer_norm"},
                                                      {"cross_attn.query", "encoder_attn.q_proj"},
                                                      {"cross_attn.key", "encoder_attn.k_proj"},
                                                      {"cross_attn.value", "encoder_attn.v_proj"},
                                                      {"cross_attn.out", "encoder_attn.out_proj"},
                                                      {"cross_attn_ln", "encoder_attn_layer_norm"},
                                                      {"mlp.0", "fc1"},
                                                      {"mlp.2", "fc2"},
                                                      {"mlp_ln", "final_layer_norm"}}};

/// The Hugging Face name; the name itself where it is not known, so that it is reported as a tensor too many; empty for
/// what is not needed.
std::string name_of_openai(const std::string& name) {
  for (const NamePair& pair : kOpenaiNames) {
    if (name == pair.from) return std::string(pair.to);
  }
  for (const std::string side : {"encoder", "decoder"}) {
    const std::string prefix = side + ".blocks.";
    if (!name.starts_with(prefix)) continue;
    const std::size_t number_end = name.find('.', prefix.size());
    const std::size_t last_dot = name.rfind('.');
    if (number_end == std::string::npos || last_dot <= number_end) continue;
    const std::string inner = name.substr(number_end + 1, last_dot - number_end - 1);
    for (const NamePair& pair : kOpenaiLayerNames) {
      if (inner != pair.from) continue;
      return "model." + side + ".layers." + name.substr(prefix.size(), number_end - prefix.size()) + "." +
             std::string(pair.to) + name.substr(last_dot);
    }
  }
  return name;
}

bool is_zero(std::span<const std::byte> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte byte) { return byte == std::byte{0}; });
}

class Ctranslate2Names {
 public:
  explicit Ctranslate2Names(const Ctranslate2Model& model)
      : model_(model), table_(std::make_shared<TableWeightSource>(model.where())) {}

  std::shared_ptr<const WeightSource> read() {
    for (const NamePair& pair : kCtranslate2Names) {
      const std::string name(pair.from);
      if (model_.has(name)) add(name, std::string(pair.to));
    }
    if (model_.has("decoder/embeddings/weight")) {
      add("decoder/embeddings/weight", "model.decoder.embed_tokens.weight");
    }
    for (const std::string& name : model_.names()) read_layer(name);
    return table_;
  }

 private:
  /// One tensor, or with a scale beside it.
  void add(const std::string& from, const std::string& to) { add_part(from, to, 0, 1); }

  void add_part(const std::string& from, const std::string& to, std::size_t part, std::size_t num_parts) {
    const CheckpointTensor& tensor = model_.tensor(from);
    const std::int64_t num_rows = tensor.shape.rank() == 0 ? 0 : tensor.shape[0];
    const auto count = static_cast<std::int64_t>(num_parts);
    if (num_rows % count != 0) {
      throw Error(ErrorKind::kBadInput,
                  "variable '" + from + "' " + tensor.shape.to_string() + " should hold " + std::to_string(count) +
                      " projections of equal size",
                  model_.where(), "the file is damaged, or of another kind of model");
    }
    const std::int64_t height = num_rows / count;
    const std::int64_t begin = static_cast<std::int64_t>(part) * height;
    if (const std::string scale = from + "_scale"; model_.has(scale)) {
      table_->add_scaled_rows(to, tensor, model_.tensor(scale), begin, height);
    } else {
      table_->add_rows(to, tensor, begin, height);
    }
  }

  /// "encoder/layer_3/ffn/linear_0/weight"
  void read_layer(const std::string& name) {
    constexpr std::array<std::string_view, 2> kSides{"encoder", "decoder"};
    for (const std::string_view side : kSides) {
      const std::string prefix = std::string(side) + "/layer_";
      if (!name.starts_with(prefix)) continue;
      const std::size_t slash = name.find('/', prefix.size());
      if (slash == std::string::npos) continue;
      const std::string number = name.substr(prefix.size(), slash - prefix.size());
      if (number.empty() || number.size() > 4 || number.find_first_not_of("0123456789") != std::string::npos) continue;
      const std::string layer = "model." + std::string(side) + ".layers." + number + ".";
      read_norm(name, std::string_view(name).substr(slash + 1), layer);
      read_linear(name, std::string_view(name).substr(slash + 1), layer);
    }
  }

  void read_norm(const std::string& name, std::string_view inner, const std::string& layer) {
    for (const NamePair& pair : kCtranslate2Norms) {
      if (inner == std::string(pair.from) + "/gamma") add(name, layer + std::string(pair.to) + ".weight");
      if (inner == std::string(pair.from) + "/beta") add(name, layer + std::string(pair.to) + ".bias");
    }
  }

  void read_linear(const std::string& name, std::string_view inner, const std::string& layer) {
    for (const FusedName& fused : kCtranslate2Linears) {
      const bool is_weight = inner == std::string(fused.from) + "/weight";
      if (!is_weight && inner != std::string(fused.from) + "/bias") continue;
      for (std::size_t part = 0; part < fused.num_parts; ++part) {
        const std::string to(fused.to[part]);
        // Whisper's keys have no bias: the converter fills their part with zeros.
        if (!is_weight && to.ends_with("k_proj") && is_zero(part_bytes(name, part, fused.num_parts))) continue;
        add_part(name, layer + to + (is_weight ? ".weight" : ".bias"), part, fused.num_parts);
      }
    }
  }

  std::span<const std::byte> part_bytes(const std::string& name, std::size_t part, std::size_t num_parts) const {
    const auto bytes = model_.tensor(name).bytes;
    const std::size_t size = bytes.size() / num_parts;
    return bytes.subspan(part * size, size);
  }

  const Ctranslate2Model& model_;
  std::shared_ptr<TableWeightSource> table_;
};

}  // namespace

std::shared_ptr<const WeightSource> whisper_weights_of(const GgmlCheckpoint& checkpoint) {
  auto table = std::make_shared<TableWeightSource>(checkpoint.where());
  for (const std::string& name : checkpoint.names()) {
    CheckpointTensor tensor = checkpoint.tensor(name);
    // Biases of the convolutions stand as columns.
    if (name.ends_with(".bias") && tensor.shape.rank() == 2 && tensor.shape[1] == 1) {
      tensor.shape = Shape{tensor.shape[0]};
    }
    const std::string known = name_of_openai(name);
    if (!known.empty()) table->add(known, std::move(tensor));
  }
  return table;
}

std::shared_ptr<const WeightSource> whisper_weights_of(const TorchCheckpoint& checkpoint) {
  const std::string prefix = "model_state_dict.";
  auto table = std::make_shared<TableWeightSource>(checkpoint.where());
  bool is_openai = false;
  for (const std::string& name : checkpoint.names()) {
    if (!name.starts_with(prefix)) continue;
    is_openai = true;
    const std::string known = name_of_openai(name.substr(prefix.size()));
    if (!known.empty()) table->add(known, checkpoint.tensor(name));
  }
  if (!is_openai) {
    throw Error(ErrorKind::kUnsupported, "is a PyTorch checkpoint without 'model_state_dict'", checkpoint.where(),
                "of .pt files OpenAI's Whisper checkpoints are read; give other models as a Hugging Face folder");
  }
  return table;
}

std::shared_ptr<const WeightSource> whisper_weights_of(const Ctranslate2Model& model) {
  if (model.spec_name() != "WhisperSpec") {
    throw Error(ErrorKind::kUnsupported, "is a CTranslate2 model of the specification '" + model.spec_name() + "'",
                model.where(), "of CTranslate2's models those of Whisper are read");
  }
  return Ctranslate2Names(model).read();
}

}  // namespace pajamas
