// The table of model families, and the two ways in: a published ONNX model and a checkpoint folder.
#include <algorithm>

#include "base/json_reader.h"
#include "base/log.h"
#include "bundle/detection_head_names.h"
#include "graph/shape_inference.h"
#include "models/checkpoint.h"
#include "models/classifier/classifier.h"
#include "models/clip/clip.h"
#include "models/embedder/embedder.h"
#include "models/faster_rcnn/faster_rcnn.h"
#include "models/language/language_family.h"
#include "models/model_definition.h"
#include "models/published_facts.h"
#include "models/resnet/resnet.h"
#include "models/rtdetr/rtdetr.h"
#include "models/ssd/ssd.h"
#include "models/vit/vit.h"
#include "models/vits/vits.h"
#include "models/wav2vec2/wav2vec2.h"
#include "models/weight_source.h"
#include "models/whisper/whisper.h"
#include "models/yolo/yolo.h"
#include "models/yolox/yolox.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

[[noreturn]] void refuse_hints(const Model& model, const PublishedFacts& published) {
  const ModelInterface interface = interface_of(model);
  const std::string wanted =
      published.head.empty() ? "the task '" + published.task + "'" : "the head '" + published.head + "'";
  throw Error(
      ErrorKind::kUnsupported,
      "the model was to be built for " + wanted + ", but " +
          (interface.image ? "its outputs do not fit: " + interface.describe_outputs()
                           : std::string("it has no input for pictures")),
      "", "name another head (" + detection_head_names() + ") with --head, or build without a task with --task none");
}

/// Whether an output leaves extents open, the batch aside.
bool has_open_output(const Model& model) {
  return std::any_of(model.graph.outputs.begin(), model.graph.outputs.end(), [](const ValueInfo& output) {
    if (!output.type || output.type->kind != ValueType::Kind::kTensor) return false;
    if (!output.type->shape) return true;
    const auto& shape = *output.type->shape;
    return std::any_of(shape.begin() + (shape.empty() ? 0 : 1), shape.end(),
                       [](const Dimension& dimension) { return !dimension.is_known(); });
  });
}

/// The model with its outputs' extents filled in from what the graph computes: exporters with an open batch give other
/// extents names of their own making ("Concatoutput0_dim_1"), though they are fixed. Weights are shared, not copied.
Model with_inferred_outputs(const Model& model) {
  Model inferred = model;
  try {
    infer_shapes(inferred);
  } catch (const Error& error) {
    log().debug("outputs stay as declared: {}", error.what());  // the passes report it when the model is built
    return model;
  }
  return inferred;
}

ImportedModel load_by_config(const std::filesystem::path& path, const nlohmann::json& config, const ImportHints& hints,
                             const std::filesystem::path& config_file) {
  for (const ModelDefinition* definition : model_definitions()) {
    if (definition->accepts_checkpoint(config)) return definition->load_checkpoint(path, config, hints);
  }
  const JsonReader reader(config, config_file.string());
  throw Error(ErrorKind::kUnsupported, "model_type '" + reader.string_or("model_type", "") + "' is not known",
              config_file.string(),
              std::string("checkpoints of vit, clip, resnet, whisper, wav2vec2, hubert and the language models ") +
                  language_model_types() + " are read; export another model to ONNX");
}

}  // namespace

const std::vector<const ModelDefinition*>& model_definitions() {
  // Detectors first: their outputs tell most. The general recognisers come last.
  static const std::vector<const ModelDefinition*> definitions{
      &ssd_definition(),          //
      &yolo_definition(),         //
      &yolox_definition(),        //
      &rtdetr_definition(),       //
      &faster_rcnn_definition(),  //
      &clip_definition(),         //
      &vit_definition(),          //
      &resnet_definition(),       //
      &classifier_definition(),   //
      &embedder_definition(),     //
      &llama_definition(),        //
      &mistral_definition(),      //
      &qwen2_definition(),        //
      &qwen3_definition(),        //
      &qwen3_moe_definition(),    //
      &phi3_definition(),         //
      &gemma3_definition(),       //
      &whisper_definition(),      //
      &vits_definition(),         //
      &wav2vec2_definition(),     //
      &hubert_definition(),       //
  };
  return definitions;
}

Recognition recognise_model(const Model& declared, const ImportHints& hints) {
  const PublishedFacts published = read_published_facts(declared, hints);
  if (published.task == "none") return {};
  const Model inferred = has_open_output(declared) ? with_inferred_outputs(declared) : Model{};
  const Model& model = has_open_output(declared) ? inferred : declared;
  for (const ModelDefinition* definition : model_definitions()) {
    if (auto task = definition->recognise(model, hints)) return {std::string(definition->family()), std::move(*task)};
  }
  if (!hints.task.empty() || !published.head.empty()) refuse_hints(model, published);
  if (published.is_ultralytics) {
    log().warn(
        "the model's own metadata names task '{}' and head '{}', which no task here decodes: built without a task",
        published.ultralytics_task, published.ultralytics_head);
  }
  return {};
}

ImportedModel load_checkpoint_folder(const std::filesystem::path& directory, const ImportHints& hints) {
  const nlohmann::json config = read_config(directory);
  return load_by_config(directory, config, hints, directory / "config.json");
}

const ModelDefinition* find_definition_of_path(const std::filesystem::path& path) {
  for (const ModelDefinition* definition : model_definitions()) {
    if (definition->accepts_path(path)) return definition;
  }
  return nullptr;
}

ImportedModel load_gguf(const std::filesystem::path& file, const ImportHints& hints) {
  return load_by_config(file, huggingface_config_of(Gguf::read(file)), hints, file);
}

}  // namespace pajamas
