// Tests of the classification task over a fake engine.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "fake_engine.h"
#include "pajamas/error.h"
#include "tasks/classification_runner.h"

namespace pajamas {
namespace {

using test::known;
using test::tensor_info;
using ::testing::HasSubstr;

ClassificationFacts facts_of(ClassificationFacts::Activation activation) {
  ClassificationFacts facts;
  facts.image.input = "image";
  facts.image.width_px = 4;
  facts.image.height_px = 4;
  facts.scores_output = "logits";
  facts.num_classes = 4;
  facts.labels = {"zero", "one", "", "three"};
  facts.activation = activation;
  return facts;
}

TEST(RankClasses, AppliesTheActivation) {
  using Activation = ClassificationFacts::Activation;
  const std::vector<float> scores{1.0F, 3.0F, 3.0F, -2.0F};
  const double sum = std::exp(1.0) + 2 * std::exp(3.0) + std::exp(-2.0);
  const auto softmax = rank_classes(scores, facts_of(Activation::kSoftmax), 3);
  ASSERT_EQ(softmax.size(), 3U);
  EXPECT_EQ(softmax[0].class_index, 1);  // the tie goes to the lower index
  EXPECT_EQ(softmax[1].class_index, 2);
  EXPECT_EQ(softmax[1].label, "2");  // no name
  EXPECT_EQ(softmax[2].label, "zero");
  EXPECT_NEAR(softmax[0].score, std::exp(3.0) / sum, 1e-6);
  EXPECT_NEAR(softmax[2].score, std::exp(1.0) / sum, 1e-6);
  const auto sigmoid = rank_classes(scores, facts_of(Activation::kSigmoid), 4);
  EXPECT_NEAR(sigmoid[3].score, 1 / (1 + std::exp(2.0)), 1e-6);
  const auto plain = rank_classes(scores, facts_of(Activation::kNone), 100);
  ASSERT_EQ(plain.size(), 4U);  // no more than there are
  EXPECT_EQ(plain[0].score, 3.0F);
}

TEST(RankClasses, SurvivesExtremeLogitsAndRefusesNan) {
  const auto facts = facts_of(ClassificationFacts::Activation::kSoftmax);
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(rank_classes(std::vector{3e38F, -3e38F, 0.0F, -infinity}, facts, 1)[0].score, 1.0F);
  EXPECT_EQ(rank_classes(std::vector{infinity, 0.0F, infinity, 0.0F}, facts, 1)[0].score, 0.5F);
  EXPECT_EQ(rank_classes(std::vector{-infinity, -infinity, -infinity, -infinity}, facts, 1)[0].score, 0.25F);
  try {
    rank_classes(std::vector{1.0F, std::nanf(""), 2.0F, std::nanf("")}, facts, 1);
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("2 of 4 scores"));
  }
}

std::shared_ptr<const Engine> engine(Shape output) {
  return std::make_shared<test::FakeEngine>(std::vector{tensor_info("image", known({-1, 3, 4, 4}))},
                                            std::vector{tensor_info("logits", known({-1, 4}))},
                                            [output](const std::vector<Tensor>& inputs) {
                                              Shape shape = output;
                                              const std::int64_t batch = inputs[0].shape()[0];
                                              if (shape.rank() > 1) shape[0] = batch;
                                              Tensor out(DType::kFloat32, shape);
                                              const auto values = out.mutable_as<float>();
                                              for (std::size_t i = 0; i < values.size(); ++i) {
                                                // The class whose index is the picture's first level wins.
                                                const std::size_t picture = i / 4;
                                                const float level = inputs[0].as<float>()[picture * 48] * 255.0F;
                                                values[i] = -std::abs(level - static_cast<float>(i % 4));
                                              }
                                              return std::vector{out};
                                            });
}

TEST(ClassificationRunner, ClassifiesBatchesWhateverTheOutputsRank) {
  std::vector<Image> images;
  for (const int level : {2, 0, 3, 1, 1, 2, 0, 3, 3}) {
    images.push_back({7, 5, std::vector<std::uint8_t>(105, static_cast<std::uint8_t>(level))});
  }
  for (const Shape& shape : {Shape{1, 4}, Shape{1, 4, 1, 1}}) {
    ClassificationRunner runner(facts_of(ClassificationFacts::Activation::kSoftmax), engine(shape), {});
    const auto results = runner.classify(images);
    ASSERT_EQ(results.size(), images.size());
    for (std::size_t i = 0; i < images.size(); ++i) {
      EXPECT_EQ(results[i].classes[0].class_index, images[i].pixels[0]) << i;
      EXPECT_EQ(results[i].classes.size(), 4U);
    }
  }
  ClassificationRunner flat(facts_of(ClassificationFacts::Activation::kSoftmax), engine(Shape{4}), {});
  EXPECT_EQ(flat.classify(std::span(images).first(1))[0].classes[0].class_index, 2);
}

TEST(ClassificationRunner, RefusesWhatDoesNotFit) {
  const std::vector<Image> images{{1, 1, {1, 1, 1}}};
  auto facts = facts_of(ClassificationFacts::Activation::kSoftmax);
  try {
    ClassificationRunner(facts, engine(Shape{1, 5}), {}).classify(images);
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("[1, 5]"));
    EXPECT_THAT(error.what(), HasSubstr("4 classes"));
  }
  EXPECT_THROW(ClassificationRunner(facts, engine(Shape{1, 2, 2}), {}).classify(images), Error);
  ClassifierOptions options;
  options.top_k = 0;
  EXPECT_THROW(ClassificationRunner(facts, engine(Shape{1, 4}), options), Error);
  facts.labels.pop_back();
  EXPECT_THROW(ClassificationRunner(facts, engine(Shape{1, 4}), {}), Error);
}

}  // namespace
}  // namespace pajamas
