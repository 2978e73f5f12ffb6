// ResNet checkpoints (He et al. 2016) as transformers writes them: ResNetForImageClassification and ResNetModel, with
// basic or bottleneck blocks. A classifier gives "logits", an encoder the averaged last feature map ("pooler_output").
// Published ONNX exports are recognised by models/classifier and models/embedder.
#include "models/resnet/resnet.h"

#include "models/image_processor.h"
#include "models/imagenet_input.h"
#include "models/layers.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

struct ResnetConfig {
  std::int64_t stem_channels;
  std::vector<std::int64_t> channels, depths;  ///< By stage.
  bool is_bottleneck;
  bool does_first_stage_downsample;
  bool does_first_convolution_downsample;  ///< Of a bottleneck; else its 3 x 3 convolution does.
  ActivationFunction activation;
};

std::vector<std::int64_t> read_sizes(const JsonReader& json, const char* key, std::vector<std::int64_t> fallback) {
  if (!json.has(key)) return fallback;
  std::vector<std::int64_t> sizes;
  for (const JsonReader& size : json.member(key).elements()) sizes.push_back(size.as_integer(1, 1 << 20));
  if (sizes.empty() || sizes.size() > 64) json.member(key).fail("must have 1 to 64 entries");
  return sizes;
}

ResnetConfig read_resnet_config(const JsonReader& json) {
  ResnetConfig config{};
  config.stem_channels = read_size(json, "embedding_size", 64);
  config.channels = read_sizes(json, "hidden_sizes", {256, 512, 1024, 2048});
  config.depths = read_sizes(json, "depths", {3, 4, 6, 3});
  const std::string layer_type = json.string_or("layer_type", "bottleneck");
  if (layer_type != "bottleneck" && layer_type != "basic") {
    json.member("layer_type").fail("is '" + layer_type + "', must be basic or bottleneck");
  }
  config.is_bottleneck = layer_type == "bottleneck";
  config.does_first_stage_downsample = json.boolean_or("downsample_in_first_stage", false);
  config.does_first_convolution_downsample = json.boolean_or("downsample_in_bottleneck", false);
  config.activation = read_activation(json, "hidden_act", "relu");
  if (config.channels.size() != config.depths.size()) json.fail("hidden_sizes and depths differ in length");
  if (read_size(json, "num_channels", 3) != 3) json.member("num_channels").fail("must be 3: pictures are RGB");
  return config;
}

/// Convolution, batch normalisation and, unless it is the last of a block, the activation.
GraphValue build_convolution(Layers& layers, const std::string& name, const GraphValue& x, std::int64_t in_channels,
                             std::int64_t out_channels, std::int64_t kernel, std::int64_t stride,
                             ActivationFunction activation) {
  const auto scope = layers.graph().scope(name);
  const Layers::Convolution convolution{in_channels, out_channels, kernel, kernel, stride, stride, kernel / 2, false};
  const GraphValue convolved = layers.convolution("convolution", x, convolution);
  return layers.activation(activation, layers.batch_norm("normalization", convolved, out_channels));
}

GraphValue build_block(Layers& layers, const ResnetConfig& config, const GraphValue& x, std::int64_t in_channels,
                       std::int64_t out_channels, std::int64_t stride) {
  constexpr auto kLinear = ActivationFunction::kLinear;
  // transformers' blocks keep ReLU inside whatever hidden_act says; that one stands at the stem and after the sum.
  constexpr auto kInner = ActivationFunction::kRelu;
  GraphValue residual = x;
  if (in_channels != out_channels || stride != 1) {
    residual = build_convolution(layers, "shortcut", x, in_channels, out_channels, 1, stride, kLinear);
  }
  GraphValue y;
  if (config.is_bottleneck) {
    const std::int64_t reduced = out_channels / 4;  // the classes' fixed reduction
    const std::int64_t first = config.does_first_convolution_downsample ? stride : 1;
    y = build_convolution(layers, "layer.0", x, in_channels, reduced, 1, first, kInner);
    y = build_convolution(layers, "layer.1", y, reduced, reduced, 3, stride / first, kInner);
    y = build_convolution(layers, "layer.2", y, reduced, out_channels, 1, 1, kLinear);
  } else {
    y = build_convolution(layers, "layer.0", x, in_channels, out_channels, 3, stride, kInner);
    y = build_convolution(layers, "layer.1", y, out_channels, out_channels, 3, 1, kLinear);
  }
  return layers.activation(config.activation, layers.graph().node("Add", {y, residual}));
}

/// The averaged last feature map, [batch, channels].
GraphValue build_encoder(Layers& layers, const ResnetConfig& config, const GraphValue& pixels) {
  GraphBuilder& graph = layers.graph();
  GraphValue x =
      build_convolution(layers, "embedder.embedder", pixels, 3, config.stem_channels, 7, 2, config.activation);
  {
    const auto scope = graph.scope("embedder.pooler");
    x = graph.node("MaxPool", {x},
                   {{"kernel_shape", std::vector<std::int64_t>{3, 3}},
                    {"pads", std::vector<std::int64_t>{1, 1, 1, 1}},
                    {"strides", std::vector<std::int64_t>{2, 2}}});
  }
  std::int64_t in_channels = config.stem_channels;
  for (std::size_t stage = 0; stage < config.channels.size(); ++stage) {
    for (std::int64_t block = 0; block < config.depths[stage]; ++block) {
      const auto scope = graph.scope("encoder.stages." + std::to_string(stage) + ".layers." + std::to_string(block));
      const bool does_downsample = block == 0 && (stage > 0 || config.does_first_stage_downsample);
      x = build_block(layers, config, x, in_channels, config.channels[stage], does_downsample ? 2 : 1);
      in_channels = config.channels[stage];
    }
  }
  const auto scope = graph.scope("pooler");
  return graph.node("Flatten", {graph.node("GlobalAveragePool", {x})}, {{"axis", std::int64_t{1}}});
}

class Resnet : public ModelDefinition {
 public:
  std::string_view family() const override { return "resnet"; }

  /// ONNX exports do not say that they are a ResNet: the general recognisers take them.
  std::optional<TaskFacts> recognise(const Model&, const ImportHints&) const override { return std::nullopt; }

  bool accepts_checkpoint(const nlohmann::json& config) const override { return has_model_type(config, {"resnet"}); }

  ImportedModel load_checkpoint(const std::filesystem::path& directory, const nlohmann::json& json,
                                const ImportHints& hints) const override {
    const JsonReader reader(json, (directory / "config.json").string());
    require_architecture(reader, {"ResNetForImageClassification", "ResNetModel"});
    const ResnetConfig config = read_resnet_config(reader);
    Checkpoint checkpoint(directory);
    const std::string prefix = checkpoint.has("resnet.embedder.embedder.convolution.weight") ? "resnet" : "";
    const bool has_classifier = checkpoint.has("classifier.1.weight");
    const ImageTask task = choose_image_task(hints, has_classifier, directory.string());
    const ImageInput image = read_image(directory);

    GraphBuilder graph("resnet");
    Layers layers(graph, checkpoint);
    const auto batch = Dimension::named("batch");
    const GraphValue pixels =
        graph.input("pixel_values", DType::kFloat32,
                    {batch, Dimension::known(3), Dimension::known(image.height_px), Dimension::known(image.width_px)});
    const GraphValue pooled = [&] {
      const auto scope = graph.scope(prefix);
      return build_encoder(layers, config, pixels);
    }();
    ImportedModel imported = imported_checkpoint(directory, family());
    const std::int64_t num_features = config.channels.back();
    if (task == ImageTask::kClassification) {
      const Shape& shape = checkpoint.shape_of("classifier.1.weight");
      const std::int64_t num_classes = shape.rank() == 2 ? shape[0] : 0;
      graph.output("logits", layers.linear("classifier.1", pooled, num_features, num_classes), DType::kFloat32,
                   {batch, Dimension::known(num_classes)});
      imported.task = task_of(classification_facts(reader, image, num_classes, hints.labels));
    } else {
      graph.output("pooler_output", pooled, DType::kFloat32, {batch, Dimension::known(num_features)});
      EmbeddingFacts facts;
      facts.image = image;
      facts.image_embedding_output = "pooler_output";
      facts.embedding_dim = num_features;
      imported.task = task_of(std::move(facts));
      if (has_classifier) checkpoint.ignore("classifier.1.weight");
      if (has_classifier) checkpoint.ignore("classifier.1.bias");
    }
    if (hints.task == "none") imported.task = {};
    checkpoint.ignore("num_batches_tracked");  // of training
    checkpoint.warn_unused("resnet");
    imported.parts.push_back({"model", graph.build()});
    return imported;
  }

 private:
  static ImageInput read_image(const std::filesystem::path& directory) {
    ImageInput image = read_image_processor(directory, imagenet_input({}));
    image.input = "pixel_values";
    return image;
  }
};

}  // namespace

const ModelDefinition& resnet_definition() {
  static const Resnet definition;
  return definition;
}

}  // namespace pajamas
