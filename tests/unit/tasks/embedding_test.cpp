// Tests of the embedding task over fake engines, and of cosine ranking.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "fake_engine.h"
#include "pajamas/error.h"
#include "tasks/embedding_runner.h"

namespace pajamas {
namespace {

using test::known;
using test::tensor_info;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(CosineSimilarity, IsTheCosine) {
  EXPECT_FLOAT_EQ(cosine_similarity(std::vector{3.0F, 4.0F}, std::vector{4.0F, 3.0F}), 24.0F / 25.0F);
  EXPECT_FLOAT_EQ(cosine_similarity(std::vector{1e-20F, 0.0F}, std::vector{-1e20F, 0.0F}), -1.0F);
  EXPECT_EQ(cosine_similarity(std::vector{0.0F, 0.0F}, std::vector{1.0F, 2.0F}), 0.0F);
  EXPECT_EQ(cosine_similarity({}, {}), 0.0F);
  EXPECT_THROW(cosine_similarity(std::vector{1.0F}, std::vector{1.0F, 2.0F}), Error);
}

TEST(RankBySimilarity, OrdersAndKeepsTiesByIndex) {
  const std::vector<std::vector<float>> candidates{{0, 1}, {1, 1}, {1, 0}, {2, 0}, {-1, 0}};
  std::vector<std::size_t> order;
  for (const RankedItem& item : rank_by_similarity(std::vector{1.0F, 0.0F}, candidates)) order.push_back(item.index);
  EXPECT_THAT(order, ElementsAre(2, 3, 1, 0, 4));
  EXPECT_TRUE(rank_by_similarity(std::vector{1.0F}, {}).empty());
}

EmbeddingFacts clip_facts() {
  EmbeddingFacts facts;
  facts.image.emplace();
  facts.image->input = "pixel_values";
  facts.image->width_px = 2;
  facts.image->height_px = 2;
  facts.image_embedding_output = "image_embeds";
  facts.text.emplace();
  facts.text->attention_mask_input = "attention_mask";
  facts.text->max_tokens = 6;
  facts.text->pad_token_id = 9;
  facts.embedding_dim = 3;
  facts.logit_scale = 10.0;
  return facts;
}

/// The mean of each channel.
std::shared_ptr<const Engine> image_engine(std::vector<float> added = {0, 0, 0}) {
  return std::make_shared<test::FakeEngine>(std::vector{tensor_info("pixel_values", known({-1, 3, 2, 2}))},
                                            std::vector{tensor_info("image_embeds", known({-1, 3}))},
                                            [added](const std::vector<Tensor>& inputs) {
                                              std::vector<float> values = added;
                                              for (std::size_t i = 0; i < 12; ++i)
                                                values[i / 4] += inputs[0].as<float>()[i] / 4;
                                              return std::vector{Tensor::of<float>(Shape{1, 3}, values)};
                                            });
}

/// Token 1, 2 or 3 among the ids says which axis the text lies on.
std::shared_ptr<const Engine> text_engine(DType dtype, std::vector<std::int64_t>* mask_seen) {
  return std::make_shared<test::FakeEngine>(
      std::vector{tensor_info("input_ids", known({-1, 6}), dtype), tensor_info("attention_mask", known({-1, 6}))},
      std::vector{tensor_info("text_embeds", known({-1, 3}))}, [dtype, mask_seen](const std::vector<Tensor>& inputs) {
        std::vector<float> values{0, 0, 0};
        for (std::size_t i = 0; i < 6; ++i) {
          const std::int64_t id =
              dtype == DType::kInt64 ? inputs[0].as<std::int64_t>()[i] : inputs[0].as<std::int32_t>()[i];
          if (id >= 1 && id <= 3) values[static_cast<std::size_t>(id - 1)] = 5;
        }
        mask_seen->assign(inputs[1].as<std::int64_t>().begin(), inputs[1].as<std::int64_t>().end());
        return std::vector{Tensor::of<float>(Shape{1, 3}, values)};
      });
}

std::vector<std::int64_t> encode_color(const std::string& text) {
  std::vector<std::int64_t> ids{8, 0, 9, 9, 9, 9};
  if (text == "the red one") ids[1] = 1;
  if (text == "the green one") ids[1] = 2;
  if (text == "the blue one") ids[1] = 3;
  return ids;
}

std::shared_ptr<const Engine> with_int64_mask(std::shared_ptr<const Engine> engine) {
  auto inputs = engine->inputs();
  inputs[1].dtype = DType::kInt64;
  struct Renamed : Engine {
    std::shared_ptr<const Engine> inner;
    std::vector<TensorInfo> infos;
    const std::vector<TensorInfo>& inputs() const override { return infos; }
    const std::vector<TensorInfo>& outputs() const override { return inner->outputs(); }
    std::unique_ptr<Session> new_session() const override { return inner->new_session(); }
    nlohmann::json describe() const override { return {}; }
  };
  auto renamed = std::make_shared<Renamed>();
  renamed->inner = std::move(engine);
  renamed->infos = std::move(inputs);
  return renamed;
}

TEST(EmbeddingRunner, EmbedsPicturesAndTextsAndMatchesThem) {
  const Image green{2, 2, {0, 200, 10, 0, 200, 10, 0, 200, 10, 0, 200, 10}};
  std::vector<std::int64_t> mask;
  for (const DType dtype : {DType::kInt64, DType::kInt32}) {
    EmbeddingRunner runner(clip_facts(), image_engine(), with_int64_mask(text_engine(dtype, &mask)), encode_color, {});
    EXPECT_TRUE(runner.has_image());
    EXPECT_TRUE(runner.has_text());
    const auto picture = runner.embed_image(green).values;
    ASSERT_EQ(picture.size(), 3U);
    EXPECT_NEAR(picture[0] * picture[0] + picture[1] * picture[1] + picture[2] * picture[2], 1.0, 1e-6);
    EXPECT_NEAR(picture[1] / picture[2], 20.0, 1e-4);
    EXPECT_THAT(runner.embed_text("the red one").values, ElementsAre(1, 0, 0));
    EXPECT_THAT(mask, ElementsAre(1, 1, 1, 0, 0, 0));  // start, word, end; then padding with the end token

    const std::vector<std::string> labels{"red", "green", "blue"};
    const auto classes = runner.classify_zero_shot(green, labels, "the {} one");
    ASSERT_EQ(classes.size(), 3U);
    EXPECT_EQ(classes[0].label, "green");
    EXPECT_EQ(classes[0].class_index, 1);
    EXPECT_EQ(classes[1].label, "blue");
    const double length = std::sqrt(200.0 * 200 + 100);
    const double green_logit = std::exp(10 * 200 / length);
    const double blue_logit = std::exp(10 * 10 / length);
    EXPECT_NEAR(classes[0].score, green_logit / (green_logit + blue_logit + 1), 1e-5);
    EXPECT_THROW(runner.classify_zero_shot(green, {}, "the {} one"), Error);
    EXPECT_THROW(runner.classify_zero_shot(green, labels, "no place for it"), Error);
  }
}

TEST(EmbeddingRunner, LeavesTheLengthWhenAsked) {
  EmbedderOptions options;
  options.is_normalized = false;
  EmbeddingRunner runner(clip_facts(), image_engine({3, 0, 0}), nullptr, {}, options);
  EXPECT_NEAR(runner.embed_image({1, 1, {255, 255, 0}}).values[0], 4.0F, 1e-6);
  EXPECT_FALSE(runner.has_text());
  EXPECT_THROW(runner.embed_text("anything"), Error);
}

TEST(EmbeddingRunner, RefusesWrongSizesAndNan) {
  EmbeddingFacts facts = clip_facts();
  facts.embedding_dim = 4;
  EmbeddingRunner wrong(facts, image_engine(), nullptr, {}, {});
  try {
    wrong.embed_image({1, 1, {1, 2, 3}});
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("[1, 3]"));
    EXPECT_THAT(error.what(), HasSubstr("4 values"));
  }
  EmbeddingRunner broken(clip_facts(), image_engine({std::nanf(""), 0, 0}), nullptr, {}, {});
  EXPECT_THROW(broken.embed_image({1, 1, {1, 2, 3}}), Error);
}

}  // namespace
}  // namespace pajamas
