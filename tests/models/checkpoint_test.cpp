// Checkpoints of transformers become graphs that compute what transformers computes. The folders and expected outputs
// are made by tools/goldens/make_hf_goldens.py; the graphs are run by ONNX Runtime, so that neither side is ours.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "graph/checker.h"
#include "io/onnx_writer.h"
#include "io/safetensors.h"
#include "models/model_definition.h"
#include "verify/onnxruntime_reference.h"

namespace pajamas {
namespace {

namespace fs = std::filesystem;

fs::path folder_of(const std::string& name) { return fs::path(PAJAMAS_TEST_DATA) / "huggingface" / name; }

/// Relative to the largest expected value: float32 sums of some hundred terms in another order.
constexpr float kTolerance = 1e-5F;

void expect_output(const Model& model, const Safetensors& golden, const std::string& input, const std::string& output) {
  check_model(model);
  const std::string bytes = serialize_onnx(model);
  const OnnxRuntimeSession session(std::as_bytes(std::span(bytes)), {});
  ASSERT_EQ(session.inputs().size(), 1u);
  EXPECT_EQ(session.inputs()[0].name, input);
  ASSERT_EQ(session.outputs().size(), 1u);
  EXPECT_EQ(session.outputs()[0].name, output);
  const auto results = session.run({{input, golden.tensor(input)}});
  const Tensor expected = golden.tensor(output);
  ASSERT_EQ(results.at(0).shape(), expected.shape());
  const auto actual_values = results[0].as<float>();
  const auto expected_values = expected.as<float>();
  float largest = 0, worst = 0;
  std::size_t worst_index = 0;
  for (std::size_t i = 0; i < expected_values.size(); ++i) {
    largest = std::max(largest, std::abs(expected_values[i]));
    const float difference = std::abs(actual_values[i] - expected_values[i]);
    if (!(difference <= worst)) {
      worst = difference;
      worst_index = i;
    }
  }
  EXPECT_GT(largest, 0.1F) << "the golden says too little";
  EXPECT_LE(worst, kTolerance * largest) << "element " << worst_index << ": " << actual_values[worst_index] << " for "
                                         << expected_values[worst_index];
}

ImportedModel import(const std::string& name, const ImportHints& hints = {}) {
  return load_checkpoint_folder(folder_of(name), hints);
}

Safetensors golden_of(const std::string& name) { return Safetensors::read(folder_of(name) / "golden.safetensors"); }

TEST(Checkpoint, VitClassifier) {
  const auto imported = import("vit_classifier");
  EXPECT_EQ(imported.family, "vit");
  EXPECT_EQ(imported.name, "vit_classifier");
  EXPECT_EQ(imported.format, "huggingface");
  const auto& facts = imported.task.classification.value();
  EXPECT_THAT(facts.labels, testing::ElementsAre("cat", "dog", "driver's seat"));
  EXPECT_EQ(facts.scores_output, "logits");
  EXPECT_EQ(facts.activation, ClassificationFacts::Activation::kSoftmax);
  EXPECT_EQ(facts.image.input, "pixel_values");
  EXPECT_EQ(facts.image.width_px, 32);
  EXPECT_EQ(facts.image.resize, ImageInput::Resize::kStretch);
  EXPECT_DOUBLE_EQ(facts.image.mean[0], 0.5);
  expect_output(imported.parts.at(0).model, golden_of("vit_classifier"), "pixel_values", "logits");
}

TEST(Checkpoint, VitWithPoolerRectangleShardsAndNoQkvBias) {
  const auto imported = import("vit_pooler");
  EXPECT_EQ(imported.task.embedding->image_embedding_output, "pooler_output");
  EXPECT_EQ(imported.task.embedding->embedding_dim, 24);
  EXPECT_EQ(imported.task.embedding->image->height_px, 33);
  EXPECT_EQ(imported.task.embedding->image->width_px, 20);
  expect_output(imported.parts.at(0).model, golden_of("vit_pooler"), "pixel_values", "pooler_output");
}

TEST(Checkpoint, VitInBfloat16WithoutPooler) {
  const auto imported = import("vit_bfloat16");
  expect_output(imported.parts.at(0).model, golden_of("vit_bfloat16"), "pixel_values", "class_token");
}

TEST(Checkpoint, VitClassifierAsEmbedder) {
  ImportHints hints;
  hints.task = "embedding";
  const auto imported = import("vit_classifier", hints);
  EXPECT_EQ(imported.task.embedding->image_embedding_output, "class_token");
  EXPECT_EQ(imported.parts.at(0).model.graph.outputs.at(0).name, "class_token");
}

TEST(Checkpoint, ClipGivesTwoParts) {
  const auto imported = import("clip");
  ASSERT_EQ(imported.parts.size(), 2u);
  EXPECT_EQ(imported.parts[0].name, "image");
  EXPECT_EQ(imported.parts[1].name, "text");
  const auto& facts = imported.task.embedding.value();
  EXPECT_EQ(facts.embedding_dim, 18);
  EXPECT_EQ(facts.image->part, "image");
  EXPECT_EQ(facts.image->resize_px, 30);
  EXPECT_EQ(facts.image->interpolation, ImageInput::Interpolation::kBicubic);
  EXPECT_EQ(facts.text->part, "text");
  EXPECT_EQ(facts.text->max_tokens, 11);
  ASSERT_EQ(imported.files.size(), 2u);
  EXPECT_TRUE(fs::exists(imported.files[0].path));
  const auto golden = golden_of("clip");
  expect_output(imported.parts[0].model, golden, "pixel_values", "image_embeds");
  expect_output(imported.parts[1].model, golden, "input_ids", "text_embeds");
}

TEST(Checkpoint, ClipSimilarityIsScaledCosine) {
  const auto golden = golden_of("clip");
  const auto image = golden.tensor("image_embeds"), text = golden.tensor("text_embeds");
  const auto logits = golden.tensor("logits_per_image");
  const double scale = import("clip").task.embedding->logit_scale;
  const auto dim = static_cast<std::size_t>(image.shape()[1]);
  const auto length = [&](std::span<const float> v) {
    double sum = 0;
    for (const float x : v) sum += double{x} * x;
    return std::sqrt(sum);
  };
  for (std::size_t i = 0; i < 2; ++i) {
    for (std::size_t j = 0; j < 3; ++j) {
      const auto a = image.as<float>().subspan(i * dim, dim), b = text.as<float>().subspan(j * dim, dim);
      double dot = 0;
      for (std::size_t k = 0; k < dim; ++k) dot += double{a[k]} * b[k];
      EXPECT_NEAR(scale * dot / length(a) / length(b), logits.as<float>()[i * 3 + j], 1e-4);
    }
  }
}

TEST(Checkpoint, ClipWithTheOldEndToken) {
  const auto imported = import("clip_old_end");
  const auto golden = golden_of("clip_old_end");
  expect_output(imported.parts.at(0).model, golden, "pixel_values", "image_embeds");
  expect_output(imported.parts.at(1).model, golden, "input_ids", "text_embeds");
}

TEST(Checkpoint, ClipVisionTowerAlone) {
  const auto imported = import("clip_vision");
  ASSERT_EQ(imported.parts.size(), 1u);
  EXPECT_FALSE(imported.task.embedding->text.has_value());
  expect_output(imported.parts[0].model, golden_of("clip_vision"), "pixel_values", "image_embeds");
}

TEST(Checkpoint, ResnetOfBasicBlocks) {
  const auto imported = import("resnet_basic");
  const auto& facts = imported.task.classification.value();
  EXPECT_EQ(facts.num_classes, 5);
  EXPECT_TRUE(facts.labels.empty());  // LABEL_0 is no name
  EXPECT_EQ(facts.image.resize, ImageInput::Resize::kShortestEdge);
  EXPECT_EQ(facts.image.resize_px, 64);  // 56 / 0.875
  expect_output(imported.parts.at(0).model, golden_of("resnet_basic"), "pixel_values", "logits");
}

TEST(Checkpoint, ResnetOfBottlenecksWithEarlyDownsampling) {
  const auto imported = import("resnet_bottleneck");
  EXPECT_EQ(imported.task.embedding->embedding_dim, 24);
  expect_output(imported.parts.at(0).model, golden_of("resnet_bottleneck"), "pixel_values", "pooler_output");
}

TEST(Checkpoint, ResnetOfManyLabels) {
  const auto imported = import("resnet_multi_label");
  EXPECT_EQ(imported.task.classification->activation, ClassificationFacts::Activation::kSigmoid);
  expect_output(imported.parts.at(0).model, golden_of("resnet_multi_label"), "pixel_values", "logits");
}

TEST(Checkpoint, BatchIsOpen) {
  const auto imported = import("vit_classifier");
  const std::string bytes = serialize_onnx(imported.parts.at(0).model);
  const OnnxRuntimeSession session(std::as_bytes(std::span(bytes)), {});
  for (const std::int64_t batch : {1, 5}) {
    Tensor pixels(DType::kFloat32, Shape{batch, 3, 32, 32});
    std::ranges::fill(pixels.mutable_as<float>(), 0.25F);
    EXPECT_EQ(session.run({{"pixel_values", pixels}}).at(0).shape(), (Shape{batch, 3}));
  }
}

}  // namespace
}  // namespace pajamas
