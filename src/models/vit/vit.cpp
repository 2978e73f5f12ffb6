// ViT checkpoints (Dosovitskiy et al. 2021) as transformers writes them: ViTForImageClassification and ViTModel.
// A classifier gives "logits"; an encoder its pooled vector ("pooler_output"), or the class token where the checkpoint
// has no pooler. Published ONNX exports are recognised by models/classifier and models/embedder.
#include "models/vit/vit.h"

#include "models/image_processor.h"
#include "models/layers.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

struct VitConfig {
  std::int64_t hidden_dim, num_layers, num_heads, intermediate_dim;
  std::array<std::int64_t, 2> image_px, patch_px;  ///< height, width
  ActivationFunction activation;
  double epsilon;
  bool has_qkv_bias;
};

VitConfig read_vit_config(const JsonReader& json) {
  VitConfig config{};
  config.hidden_dim = read_size(json, "hidden_size", 768);
  config.num_layers = read_size(json, "num_hidden_layers", 12);
  config.num_heads = read_size(json, "num_attention_heads", 12);
  config.intermediate_dim = read_size(json, "intermediate_size", 3072);
  config.image_px = read_size_pair(json, "image_size", 224);
  config.patch_px = read_size_pair(json, "patch_size", 16);
  config.activation = read_activation(json, "hidden_act", "gelu");
  config.epsilon = json.number_or("layer_norm_eps", 1e-12);
  config.has_qkv_bias = json.boolean_or("qkv_bias", true);
  if (config.hidden_dim % config.num_heads != 0) {
    json.member("num_attention_heads").fail("does not divide hidden_size " + std::to_string(config.hidden_dim));
  }
  if (read_size(json, "num_channels", 3) != 3) json.member("num_channels").fail("must be 3: pictures are RGB");
  for (const std::size_t axis : {0U, 1U}) {
    if (config.patch_px[axis] > config.image_px[axis]) json.member("patch_size").fail("is larger than image_size");
  }
  return config;
}

GraphValue build_layer(Layers& layers, const VitConfig& config, const GraphValue& x) {
  GraphBuilder& graph = layers.graph();
  const GraphValue normed = layers.layer_norm("layernorm_before", x, config.hidden_dim, config.epsilon);
  const GraphValue attended = [&] {
    const auto scope = graph.scope("attention");
    return layers.self_attention(
        normed, config.hidden_dim, config.num_heads,
        {"attention.query", "attention.key", "attention.value", "output.dense", config.has_qkv_bias});
  }();
  const GraphValue middle = graph.node("Add", {attended, x});
  const GraphValue normed_again = layers.layer_norm("layernorm_after", middle, config.hidden_dim, config.epsilon);
  const GraphValue wide = layers.linear("intermediate.dense", normed_again, config.hidden_dim, config.intermediate_dim);
  const GraphValue narrow = layers.linear("output.dense", layers.activation(config.activation, wide),
                                          config.intermediate_dim, config.hidden_dim);
  return graph.node("Add", {narrow, middle});
}

/// The class token after the last layer norm, [batch, hidden_dim]. Opens the scopes below the model's own prefix.
GraphValue build_encoder(Layers& layers, const VitConfig& config, const GraphValue& pixels) {
  GraphBuilder& graph = layers.graph();
  GraphValue x = [&] {
    const auto scope = graph.scope("embeddings");
    const std::int64_t num_patches =
        (config.image_px[0] / config.patch_px[0]) * (config.image_px[1] / config.patch_px[1]);
    Layers::Convolution patches{
        3, config.hidden_dim, config.patch_px[0], config.patch_px[1], config.patch_px[0], config.patch_px[1], 0, true};
    Checkpoint& checkpoint = layers.checkpoint();
    return layers.patch_embedding(
        "patch_embeddings.projection", pixels, patches,
        checkpoint.weight(layers.tensor_name("cls_token"), Shape{1, 1, config.hidden_dim}),
        checkpoint.weight(layers.tensor_name("position_embeddings"), Shape{1, num_patches + 1, config.hidden_dim}));
  }();
  for (std::int64_t index = 0; index < config.num_layers; ++index) {
    const auto scope = graph.scope("encoder.layer." + std::to_string(index));
    x = build_layer(layers, config, x);
  }
  // The norm works on each position by itself: only the class token needs it.
  return layers.layer_norm("layernorm", layers.first_token(x), config.hidden_dim, config.epsilon);
}

class Vit : public ModelDefinition {
 public:
  std::string_view family() const override { return "vit"; }

  /// ONNX exports do not say that they are a ViT: the general recognisers take them.
  std::optional<TaskFacts> recognise(const Model&, const ImportHints&) const override { return std::nullopt; }

  bool accepts_checkpoint(const nlohmann::json& config) const override { return has_model_type(config, {"vit"}); }

  ImportedModel load_checkpoint(const std::filesystem::path& directory, const nlohmann::json& json,
                                const ImportHints& hints) const override {
    const JsonReader reader(json, (directory / "config.json").string());
    require_architecture(reader, {"ViTForImageClassification", "ViTModel"});
    const VitConfig config = read_vit_config(reader);
    Checkpoint checkpoint(directory);
    const std::string prefix = checkpoint.has("vit.embeddings.cls_token") ? "vit" : "";
    const bool has_classifier = checkpoint.has("classifier.weight");
    const ImageTask task = choose_image_task(hints, has_classifier, directory.string());

    GraphBuilder graph("vit");
    Layers layers(graph, checkpoint);
    const auto batch = Dimension::named("batch");
    const GraphValue pixels = graph.input(
        "pixel_values", DType::kFloat32,
        {batch, Dimension::known(3), Dimension::known(config.image_px[0]), Dimension::known(config.image_px[1])});
    ImportedModel imported = imported_checkpoint(directory, family());
    const GraphValue token = [&] {
      const auto scope = graph.scope(prefix);
      return build_encoder(layers, config, pixels);
    }();
    const ImageInput image = read_image(directory, config);
    if (task == ImageTask::kClassification) {
      add_classifier(layers, reader, config, token, image, hints, imported.task);
    } else {
      add_embedding(layers, reader, config, prefix, token, image, imported.task);
    }
    if (hints.task == "none") imported.task = {};
    checkpoint.ignore("mask_token");
    if (has_classifier && task == ImageTask::kEmbedding) checkpoint.ignore("classifier.weight");
    if (has_classifier && task == ImageTask::kEmbedding) checkpoint.ignore("classifier.bias");
    checkpoint.warn_unused("vit");
    imported.parts.push_back({"model", graph.build()});
    return imported;
  }

 private:
  static ImageInput read_image(const std::filesystem::path& directory, const VitConfig& config) {
    ImageInput fallback;  // ViTImageProcessor's own defaults
    fallback.height_px = config.image_px[0];
    fallback.width_px = config.image_px[1];
    fallback.mean = {0.5, 0.5, 0.5};
    fallback.std = {0.5, 0.5, 0.5};
    ImageInput image = read_image_processor(directory, fallback);
    image.input = "pixel_values";
    if (image.height_px != config.image_px[0] || image.width_px != config.image_px[1]) {
      throw Error(ErrorKind::kBadInput,
                  "pictures are prepared as " + std::to_string(image.height_px) + " x " +
                      std::to_string(image.width_px) + ", but config.json has image_size " +
                      std::to_string(config.image_px[0]) + " x " + std::to_string(config.image_px[1]),
                  (directory / "preprocessor_config.json").string(), "make the two files agree");
    }
    return image;
  }

  static void add_classifier(Layers& layers, const JsonReader& reader, const VitConfig& config, const GraphValue& token,
                             const ImageInput& image, const ImportHints& hints, TaskFacts& task) {
    const Shape& shape = layers.checkpoint().shape_of("classifier.weight");
    const std::int64_t num_classes = shape.rank() == 2 ? shape[0] : 0;
    const GraphValue logits = layers.linear("classifier", token, config.hidden_dim, num_classes);
    layers.graph().output("logits", logits, DType::kFloat32,
                          {Dimension::named("batch"), Dimension::known(num_classes)});
    task = task_of(classification_facts(reader, image, num_classes, hints.labels));
  }

  static void add_embedding(Layers& layers, const JsonReader& reader, const VitConfig& config,
                            const std::string& prefix, const GraphValue& token, const ImageInput& image,
                            TaskFacts& task) {
    const auto scope = layers.graph().scope(prefix);
    EmbeddingFacts facts;
    facts.image = image;
    facts.embedding_dim = config.hidden_dim;
    facts.image_embedding_output = "class_token";
    GraphValue vector = token;
    if (layers.checkpoint().has(layers.tensor_name("pooler.dense.weight"))) {
      facts.embedding_dim = read_size(reader, "pooler_output_size", config.hidden_dim);
      facts.image_embedding_output = "pooler_output";
      vector = layers.activation(read_activation(reader, "pooler_act", "tanh"),
                                 layers.linear("pooler.dense", token, config.hidden_dim, facts.embedding_dim));
    }
    layers.graph().output(facts.image_embedding_output, vector, DType::kFloat32,
                          {Dimension::named("batch"), Dimension::known(facts.embedding_dim)});
    task = task_of(std::move(facts));
  }
};

}  // namespace

const ModelDefinition& vit_definition() {
  static const Vit definition;
  return definition;
}

}  // namespace pajamas
