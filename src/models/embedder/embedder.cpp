// Picture encoders as ONNX (ViT, ResNet, DINO and their kin): one output holds a feature vector. Recognised by the
// names that transformers' and timm's exports give it, or by --task embedding. CLIP has its own place, models/clip.
#include "models/embedder/embedder.h"

#include "base/log.h"
#include "models/imagenet_input.h"
#include "models/published_facts.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

bool is_vector_output(const OutputTensor& output) {
  if (!output.is_float() || !output.extent(1)) return false;
  return output.rank() == 2 || (output.rank() == 4 && output.extent(2) == 1 && output.extent(3) == 1);
}

const OutputTensor* find_embedding(const ModelInterface& interface, bool is_named) {
  for (const char* name :
       {"image_embeds", "image_embedding", "image_features", "pooler_output", "embedding", "embeddings", "features"}) {
    const OutputTensor* output = interface.find_output(name);
    if (output != nullptr && is_vector_output(*output)) return output;
  }
  if (!is_named || interface.outputs.size() != 1 || !is_vector_output(interface.outputs[0])) return nullptr;
  return &interface.outputs[0];
}

class EmbedderDefinition : public ModelDefinition {
 public:
  std::string_view family() const override { return "embedder"; }

  std::optional<TaskFacts> recognise(const Model& model, const ImportHints& hints) const override {
    const PublishedFacts published = read_published_facts(model, hints);
    const bool is_named = published.task == "embedding";
    if (!published.task.empty() && !is_named) return std::nullopt;
    const ModelInterface interface = interface_of(model);
    const OutputTensor* embedding = find_embedding(interface, is_named);
    if (!interface.image || !interface.other_inputs.empty() || embedding == nullptr) {
      if (!is_named) return std::nullopt;
      throw Error(ErrorKind::kBadInput,
                  "an embedder needs one picture input and an output [batch, embedding_dim]; the outputs are " +
                      interface.describe_outputs(),
                  "--task", "leave --task away, or build with --task none");
    }
    if (!published.preprocess) {
      log().warn(
          "the model does not say how it sees a picture: ImageNet's mean, standard deviation and crop are assumed");
    }
    EmbeddingFacts facts;
    facts.image = published.image_input(*interface.image, imagenet_input(*interface.image));
    facts.image_embedding_output = embedding->name;
    facts.embedding_dim = *embedding->extent(1);
    return task_of(std::move(facts));
  }
};

}  // namespace

const ModelDefinition& embedder_definition() {
  static const EmbedderDefinition definition;
  return definition;
}

}  // namespace pajamas
