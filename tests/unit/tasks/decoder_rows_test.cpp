// Tests of tasks/transcription/decoder_rows.h over a dense cache: which rows a step is told to continue, what comes
// back, and what is refused. The numbers are tested on real graphs (tests/models/whisper_test.cpp).
#include "tasks/transcription/decoder_rows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/dense_step.h"
#include "pajamas/error.h"
#include "unit/tasks/fake_engine.h"

namespace pajamas {
namespace {

using test::known;
using test::tensor_info;
using testing::ElementsAre;
using testing::HasSubstr;

/// A cache of 6 tokens, of each its id; logits are the ids of a row's whole text.
class FakeDecoder {
 public:
  static constexpr std::int64_t kCapacity = 6;

  std::shared_ptr<const Engine> engine(std::int64_t value_capacity = kCapacity) {
    const auto vector = [](const char* name) { return tensor_info(name, known({-1}), DType::kInt64); };
    return std::make_shared<test::FakeEngine>(
        std::vector<TensorInfo>{vector("parents"), vector("input_ids"), vector("position_ids"), vector("logit_rows"),
                                tensor_info("past_len", known({1}), DType::kInt64),
                                tensor_info("past_key.0", known({-1, 1, kCapacity, 1})),
                                tensor_info("past_value.0", known({-1, 1, value_capacity, 1}))},
        std::vector<TensorInfo>{tensor_info("logits", known({-1, kCapacity})),
                                tensor_info("present_key.0", known({-1, 1, kCapacity, 1})),
                                tensor_info("present_value.0", known({-1, 1, value_capacity, 1}))},
        [this](const std::vector<Tensor>& inputs) {
          given = inputs;
          const auto parents = inputs[0].as<std::int64_t>(), ids = inputs[1].as<std::int64_t>();
          const auto past = static_cast<std::size_t>(inputs[4].as<std::int64_t>()[0]);
          const auto num_rows = parents.size(), num_new = ids.size() / num_rows;
          Tensor key(DType::kFloat32, Shape{static_cast<std::int64_t>(num_rows), 1, kCapacity, 1});
          const auto out = key.mutable_as<float>();
          const auto in = inputs[5].as<float>();
          for (std::size_t row = 0; row < num_rows; ++row) {
            for (std::size_t i = 0; i < kCapacity; ++i) {
              const bool is_new = i >= past && i < past + num_new;
              out[row * kCapacity + i] = is_new ? static_cast<float>(ids[row * num_new + i - past])
                                                : in[static_cast<std::size_t>(parents[row]) * kCapacity + i];
            }
          }
          return std::vector<Tensor>{key, key, key};
        });
  }
  std::vector<std::int64_t> input(std::size_t index) const {
    const auto values = given[index].as<std::int64_t>();
    return {values.begin(), values.end()};
  }
  std::vector<Tensor> given;
};

struct Rig {
  FakeDecoder fake;
  std::shared_ptr<const Engine> engine = fake.engine();
  std::unique_ptr<Session> session = engine->new_session();
  std::unique_ptr<DecoderRows> rows = make_dense_rows(engine, FakeDecoder::kCapacity);

  std::vector<float> run() {
    rows->bind(*session);
    session->run();
    rows->take(*session);
    const auto values = session->output(0).as<float>();
    return {values.begin(), values.end()};
  }
};

TEST(DenseRows, StepsContinueTheRowsThatWereKept) {
  Rig rig;
  const std::vector<std::vector<std::int32_t>> prompts{{1, 2}, {3, 4}, {5, 6}};
  rig.rows->begin(prompts);
  rig.rows->add_logit_row(1);
  EXPECT_THAT(rig.run(), ElementsAre(1, 2, 0, 0, 0, 0, 3, 4, 0, 0, 0, 0, 5, 6, 0, 0, 0, 0));
  EXPECT_THAT(rig.fake.input(0), ElementsAre(0, 0, 0));
  EXPECT_THAT(rig.fake.input(2), ElementsAre(0, 1, 0, 1, 0, 1));
  EXPECT_EQ(rig.rows->num_rows(), 3U);
  EXPECT_EQ(rig.rows->num_logit_rows(), 1U);

  // Two beams a chunk, then the middle chunk ends, then the beams cross.
  const std::vector<StepModel::Row> fork{{0, 7}, {0, 8}, {1, 9}, {1, 10}, {2, 11}, {2, 12}};
  rig.rows->step(fork);
  EXPECT_EQ(rig.rows->num_logit_rows(), 0U) << "of the step alone";
  rig.run();
  EXPECT_THAT(rig.fake.input(0), ElementsAre(0, 0, 1, 1, 2, 2));
  EXPECT_THAT(rig.fake.input(4), ElementsAre(2));
  const std::vector<std::size_t> kept{0, 1, 4, 5};
  rig.rows->keep(kept);
  EXPECT_EQ(rig.rows->num_rows(), 4U);
  const std::vector<StepModel::Row> crossed{{1, 13}, {0, 14}, {3, 15}, {3, 16}};
  rig.rows->step(crossed);
  EXPECT_THAT(rig.run(), ElementsAre(1, 2, 8, 13, 0, 0, 1, 2, 7, 14, 0, 0, 5, 6, 12, 15, 0, 0, 5, 6, 12, 16, 0, 0));
  EXPECT_THAT(rig.fake.input(0), ElementsAre(1, 0, 5, 5));

  rig.rows->begin(std::span(prompts).first(1));
  EXPECT_THAT(rig.run(), ElementsAre(1, 2, 0, 0, 0, 0)) << "nothing is left of the texts before";
  rig.rows->clear();
  EXPECT_EQ(rig.rows->num_rows(), 0U);
}

std::string error_of(const std::function<void()>& run) {
  try {
    run();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(DenseRows, WhatDoesNotFitIsRefused) {
  Rig rig;
  EXPECT_THAT(error_of([&] { make_dense_rows(rig.engine, FakeDecoder::kCapacity + 1); }), HasSubstr("holds 6 tokens"));
  EXPECT_EQ(error_of([&] { make_dense_rows(rig.engine, 2); }), "no error");
  EXPECT_THAT(error_of([&] { DenseStep(*rig.fake.engine(5)); }), HasSubstr("past_value.0"));
  EXPECT_THAT(
      error_of([&] { DenseStep(test::FakeEngine({tensor_info("input_ids", known({-1}), DType::kInt64)}, {}, {})); }),
      HasSubstr("position_ids"));

  DenseStep step(*rig.engine);
  const std::vector<std::int64_t> ids{1, 2, 3, 4, 5, 6, 7}, one{0}, two{0, 0}, other{1};
  EXPECT_THAT(error_of([&] { step.set_tokens(ids, one); }), HasSubstr("longer than the cache of 6"));
  EXPECT_THAT(error_of([&] { step.set_tokens(std::span(ids).first(3), two); }), HasSubstr("not equally many"));
  EXPECT_THAT(error_of([&] { step.set_tokens({}, one); }), HasSubstr("not equally many"));
  EXPECT_THAT(error_of([&] { step.set_tokens(ids, {}); }), HasSubstr("not equally many"));
  EXPECT_THAT(error_of([&] { step.set_tokens(std::span(ids).first(2), other); }), HasSubstr("row 1"));
  step.set_tokens(std::span(ids).first(6), one);
  EXPECT_THAT(error_of([&] { step.set_positions(one); }), HasSubstr("1 positions for 6 tokens"));
  EXPECT_TRUE(has_dense_cache(*rig.engine));
  EXPECT_EQ(step.capacity(), 6);
}

}  // namespace
}  // namespace pajamas
