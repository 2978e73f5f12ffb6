// CLIP checkpoints (Radford et al. 2021) as transformers writes them: CLIPModel, and the towers alone
// (CLIPVisionModelWithProjection, CLIPTextModelWithProjection). Two parts come out: "image" gives "image_embeds",
// "text" gives "text_embeds", neither normalised. ONNX exports of the picture tower are recognised too.
#include "models/clip/clip.h"

#include <cmath>

#include "models/clip/clip_config.h"
#include "models/clip/clip_tokenizer_files.h"
#include "models/image_processor.h"
#include "models/layers.h"
#include "models/published_facts.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

/// Added to attention scores that must not count. The lowest float16, so that no precision turns it into infinity, and
/// far below what any score can make up for.
constexpr float kMaskedScore = -65504.0F;

const Dimension kBatch = Dimension::named("batch");

ImageInput openai_input(std::int64_t size_px) {
  ImageInput image;
  image.height_px = size_px;
  image.width_px = size_px;
  image.resize = ImageInput::Resize::kShortestEdge;
  image.resize_px = size_px;
  image.interpolation = ImageInput::Interpolation::kBicubic;
  image.is_antialiased = true;
  image.mean = {0.48145466, 0.4578275, 0.40821073};
  image.std = {0.26862954, 0.26130258, 0.27577711};
  return image;
}

GraphValue build_layer(Layers& layers, const ClipTowerConfig& config, const GraphValue& x, const GraphValue& mask) {
  GraphBuilder& graph = layers.graph();
  const GraphValue normed = layers.layer_norm("layer_norm1", x, config.hidden_dim, config.epsilon);
  const GraphValue attended = [&] {
    const auto scope = graph.scope("self_attn");
    return layers.self_attention(normed, config.hidden_dim, config.num_heads,
                                 {"q_proj", "k_proj", "v_proj", "out_proj", true}, mask);
  }();
  const GraphValue middle = graph.node("Add", {x, attended});
  const GraphValue normed_again = layers.layer_norm("layer_norm2", middle, config.hidden_dim, config.epsilon);
  const auto scope = graph.scope("mlp");
  const GraphValue wide = layers.linear("fc1", normed_again, config.hidden_dim, config.intermediate_dim);
  const GraphValue narrow =
      layers.linear("fc2", layers.activation(config.activation, wide), config.intermediate_dim, config.hidden_dim);
  return graph.node("Add", {middle, narrow});
}

GraphValue build_layers(Layers& layers, const ClipTowerConfig& config, GraphValue x, const GraphValue& mask) {
  for (std::int64_t index = 0; index < config.num_layers; ++index) {
    const auto scope = layers.graph().scope("encoder.layers." + std::to_string(index));
    x = build_layer(layers, config, x, mask);
  }
  return x;
}

Model build_image_part(Checkpoint& checkpoint, const ClipVisionConfig& config, std::int64_t projection_dim) {
  GraphBuilder graph("clip_image");
  Layers layers(graph, checkpoint);
  const auto side = Dimension::known(config.image_px);
  const GraphValue pixels = graph.input("pixel_values", DType::kFloat32, {kBatch, Dimension::known(3), side, side});
  const GraphValue pooled = [&] {
    const auto scope = graph.scope("vision_model");
    GraphValue x = [&] {
      const auto inner = graph.scope("embeddings");
      const std::int64_t patches_a_side = config.image_px / config.patch_px;
      const Layers::Convolution patches{
          3, config.tower.hidden_dim, config.patch_px, config.patch_px, config.patch_px, config.patch_px, 0, false};
      return layers.patch_embedding(
          "patch_embedding", pixels, patches,
          checkpoint.weight(layers.tensor_name("class_embedding"), Shape{config.tower.hidden_dim}),
          checkpoint.weight(layers.tensor_name("position_embedding.weight"),
                            Shape{patches_a_side * patches_a_side + 1, config.tower.hidden_dim}));
    }();
    // The published name, with its slip of the pen.
    x = layers.layer_norm("pre_layrnorm", x, config.tower.hidden_dim, config.tower.epsilon);
    x = build_layers(layers, config.tower, x, {});
    return layers.layer_norm("post_layernorm", layers.first_token(x), config.tower.hidden_dim, config.tower.epsilon);
  }();
  const GraphValue embeds =
      layers.linear("visual_projection", pooled, config.tower.hidden_dim, projection_dim, /*has_bias=*/false);
  graph.output("image_embeds", embeds, DType::kFloat32, {kBatch, Dimension::known(projection_dim)});
  return graph.build();
}

/// [1, 1, seq_len, seq_len]: a position sees itself and what stands before it.
Tensor causal_mask(std::int64_t seq_len) {
  Tensor mask(DType::kFloat32, Shape{1, 1, seq_len, seq_len});
  const auto values = mask.mutable_as<float>();
  for (std::int64_t row = 0; row < seq_len; ++row) {
    for (std::int64_t column = 0; column < seq_len; ++column) {
      values[static_cast<std::size_t>(row * seq_len + column)] = column <= row ? 0.0F : kMaskedScore;
    }
  }
  return mask;
}

/// Index of the end token of each text, int64 [batch, 1]: its first place, or, in configurations from before that was
/// mended (eos_token_id 2), the place of the highest id, which is the end token in OpenAI's vocabulary.
GraphValue build_end_position(GraphBuilder& graph, const ClipTextConfig& config, const GraphValue& ids) {
  GraphValue score = ids;
  if (config.eos_token_id != 2) {
    score = graph.node("Equal", {ids, graph.constant(Tensor::scalar<std::int64_t>(config.eos_token_id))});
  }
  const GraphValue numbers = graph.node("Cast", {score}, {{"to", static_cast<std::int64_t>(DType::kInt32)}});
  return graph.node("ArgMax", {numbers}, {{"axis", std::int64_t{1}}, {"keepdims", std::int64_t{1}}});
}

Model build_text_part(Checkpoint& checkpoint, const ClipTextConfig& config, std::int64_t projection_dim) {
  GraphBuilder graph("clip_text");
  Layers layers(graph, checkpoint);
  const std::int64_t seq_len = config.max_tokens, hidden_dim = config.tower.hidden_dim;
  const GraphValue ids = graph.input("input_ids", DType::kInt64, {kBatch, Dimension::known(seq_len)});
  const GraphValue pooled = [&] {
    const auto scope = graph.scope("text_model");
    GraphValue x = [&] {
      const auto inner = graph.scope("embeddings");
      const std::string token_name = layers.tensor_name("token_embedding.weight");
      const std::string position_name = layers.tensor_name("position_embedding.weight");
      const GraphValue tokens =
          graph.weight(token_name, checkpoint.weight(token_name, Shape{config.vocab_size, hidden_dim}));
      const GraphValue positions =
          graph.weight(position_name, checkpoint.weight(position_name, Shape{seq_len, hidden_dim}));
      return graph.node("Add", {graph.node("Gather", {tokens, ids}), positions});
    }();
    x = build_layers(layers, config.tower, x, graph.weight("causal_mask", causal_mask(seq_len)));
    // The end token has seen the whole text; the norm works on each position by itself.
    const GraphValue end = build_end_position(graph, config, ids);
    const GraphValue last = graph.node("GatherND", {x, end}, {{"batch_dims", std::int64_t{1}}});
    return layers.layer_norm("final_layer_norm", last, hidden_dim, config.tower.epsilon);
  }();
  const GraphValue embeds = layers.linear("text_projection", pooled, hidden_dim, projection_dim, /*has_bias=*/false);
  graph.output("text_embeds", embeds, DType::kFloat32, {kBatch, Dimension::known(projection_dim)});
  return graph.build();
}

class Clip : public ModelDefinition {
 public:
  std::string_view family() const override { return "clip"; }

  /// The picture tower alone, by the name of its output in transformers' exports.
  std::optional<TaskFacts> recognise(const Model& model, const ImportHints& hints) const override {
    const PublishedFacts published = read_published_facts(model, hints);
    if (!published.task.empty() && published.task != "embedding") return std::nullopt;
    const ModelInterface interface = interface_of(model);
    const OutputTensor* embeds = interface.find_output("image_embeds");
    const bool is_tower = interface.image && interface.other_inputs.empty() && embeds != nullptr &&
                          embeds->rank() == 2 && embeds->extent(1);
    if (!is_tower) return std::nullopt;
    EmbeddingFacts facts;
    const std::int64_t size_px = interface.image->height_px.value_or(224);
    facts.image = published.image_input(*interface.image, openai_input(size_px));
    facts.image_embedding_output = embeds->name;
    facts.embedding_dim = *embeds->extent(1);
    return task_of(std::move(facts));
  }

  bool accepts_checkpoint(const nlohmann::json& config) const override {
    return has_model_type(config, {"clip", "clip_vision_model", "clip_text_model"});
  }

  ImportedModel load_checkpoint(const std::filesystem::path& directory, const nlohmann::json& json,
                                const ImportHints& hints) const override {
    const ClipConfig config = read_clip_config(JsonReader(json, (directory / "config.json").string()));
    (void)choose_image_task(hints, /*has_classifier=*/false, directory.string());
    Checkpoint checkpoint(directory);
    ImportedModel imported = imported_checkpoint(directory, family());
    EmbeddingFacts facts;
    facts.embedding_dim = config.projection_dim;
    if (config.vision) {
      imported.parts.push_back({"image", build_image_part(checkpoint, *config.vision, config.projection_dim)});
      facts.image = read_image(directory, *config.vision);
      facts.image_embedding_output = "image_embeds";
    }
    if (config.text) {
      imported.parts.push_back({"text", build_text_part(checkpoint, *config.text, config.projection_dim)});
      facts.text = read_clip_text_input(directory, *config.text, imported.files);
    }
    if (checkpoint.has("logit_scale")) {
      facts.logit_scale = std::exp(static_cast<double>(checkpoint.weight("logit_scale", Shape{}).as<float>()[0]));
    }
    checkpoint.ignore("position_ids");  // 0, 1, 2, ... in older files
    checkpoint.warn_unused("clip");
    if (hints.task != "none") imported.task = task_of(std::move(facts));
    return imported;
  }

 private:
  static ImageInput read_image(const std::filesystem::path& directory, const ClipVisionConfig& config) {
    ImageInput image = read_image_processor(directory, openai_input(config.image_px));
    image.input = "pixel_values";
    image.part = "image";
    if (image.height_px != config.image_px || image.width_px != config.image_px) {
      throw Error(ErrorKind::kBadInput,
                  "pictures are prepared as " + std::to_string(image.height_px) + " x " +
                      std::to_string(image.width_px) + ", but config.json has image_size " +
                      std::to_string(config.image_px),
                  (directory / "preprocessor_config.json").string(), "make the two files agree");
    }
    return image;
  }
};

}  // namespace

const ModelDefinition& clip_definition() {
  static const Clip definition;
  return definition;
}

}  // namespace pajamas
