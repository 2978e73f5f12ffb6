// Perplexity and agreement, against sums written out here.
#include "verify/text_quality.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "pajamas/error.h"

namespace pajamas {
namespace {

/// Logits that depend on the token and, by `skew`, on how far back the window reaches.
class TableModel final : public TextModel {
 public:
  explicit TableModel(float scale) : scale_(scale) {}
  void predict(std::span<const std::int64_t> window, std::int64_t first_row,
               const std::function<void(std::int64_t, std::span<const float>)>& use) override {
    for (std::int64_t row = first_row; row < static_cast<std::int64_t>(window.size()); ++row) {
      const auto logits = logits_of(window[static_cast<std::size_t>(row)]);
      ++num_rows;
      shortest_past = std::min(shortest_past, row);
      use(row, logits);
    }
  }
  std::vector<float> logits_of(std::int64_t token) const {
    std::vector<float> logits(kVocabSize);
    for (std::size_t i = 0; i < logits.size(); ++i) {
      logits[i] = scale_ * static_cast<float>((static_cast<std::size_t>(token) * 7 + i * 3) % 11);
    }
    return logits;
  }
  static constexpr std::size_t kVocabSize = 13;
  int num_rows = 0;
  std::int64_t shortest_past = 1000;

 private:
  float scale_;
};

std::vector<std::int64_t> text(std::size_t size) {
  std::vector<std::int64_t> tokens;
  for (std::size_t i = 0; i < size; ++i) tokens.push_back(static_cast<std::int64_t>((i * i + 3 * i) % 13));
  return tokens;
}

double log_probability(const std::vector<float>& logits, std::int64_t token) {
  double sum = 0;
  for (const float value : logits) sum += std::exp(static_cast<double>(value));
  return static_cast<double>(logits[static_cast<std::size_t>(token)]) - std::log(sum);
}

TEST(TextQuality, CountsEveryTokenOnceWhateverTheWindows) {
  for (const std::size_t size : {2U, 3U, 8U, 17U, 64U, 65U}) {
    const auto tokens = text(size);
    double loss = 0;
    const TableModel table(0.5F);
    for (std::size_t i = 1; i < size; ++i) loss -= log_probability(table.logits_of(tokens[i - 1]), tokens[i]);
    for (const std::int64_t context : {2, 5, 16, 100}) {
      for (const std::int64_t stride : {1, 2, 5, 16}) {
        if (stride > context) continue;
        TableModel model(0.5F);
        const TextQuality quality = measure_text_quality(tokens, model, nullptr, {context, stride, 0});
        const double expected = std::exp(loss / static_cast<double>(size - 1));
        EXPECT_NEAR(quality.perplexity / expected, 1, 1e-6)  // log-probabilities are kept in float32
            << size << " tokens, context " << context << ", stride " << stride;
        EXPECT_EQ(quality.num_predicted, static_cast<std::int64_t>(size) - 1);
        EXPECT_EQ(model.num_rows, static_cast<int>(size) - 1);
      }
    }
  }
}

TEST(TextQuality, GivesCountedTokensTheirContext) {
  class Watch final : public TextModel {
   public:
    void predict(std::span<const std::int64_t> window, std::int64_t first_row,
                 const std::function<void(std::int64_t, std::span<const float>)>& use) override {
      if (num_windows++ > 0) {
        EXPECT_GE(first_row, 5);  // context 8 - stride 2 = 6 tokens before: rows 0..5
      }
      const std::vector<float> logits(13, 0.0F);
      for (std::int64_t row = first_row; row < static_cast<std::int64_t>(window.size()); ++row) use(row, logits);
    }
    int num_windows = 0;
  } model;
  const TextQuality quality = measure_text_quality(text(40), model, nullptr, {8, 2, 0});
  EXPECT_NEAR(quality.perplexity, 13, 1e-4);
  EXPECT_GT(model.num_windows, 10);
}

TEST(TextQuality, ComparesWithAReference) {
  TableModel model(0.5F), same(0.5F), sharper(1.0F);
  const auto tokens = text(50);
  const TextQuality equal = measure_text_quality(tokens, model, &same, {16, 8, 0});
  EXPECT_NEAR(equal.mean_kl, 0, 1e-9);
  EXPECT_EQ(equal.top1_agreement, 1);
  EXPECT_EQ(equal.perplexity, equal.reference_perplexity);
  const TextQuality other = measure_text_quality(tokens, model, &sharper, {16, 8, 0});
  EXPECT_GT(other.mean_kl, 0.05);
  EXPECT_EQ(other.top1_agreement, 1);  // Scaling moves no maximum.
  EXPECT_NE(other.perplexity, other.reference_perplexity);
}

TEST(TextQuality, RefusesWhatCannotBeMeasured) {
  TableModel model(1);
  EXPECT_THROW(measure_text_quality(text(1), model, nullptr, {}), Error);
  EXPECT_THROW(measure_text_quality(text(9), model, nullptr, {4, 5, 0}), Error);
  EXPECT_THROW(measure_text_quality(std::vector<std::int64_t>{1, 99}, model, nullptr, {}), Error);
  class Broken final : public TextModel {
    void predict(std::span<const std::int64_t>, std::int64_t first_row,
                 const std::function<void(std::int64_t, std::span<const float>)>& use) override {
      use(first_row, std::vector<float>(13, NAN));
    }
  } broken;
  EXPECT_THROW(measure_text_quality(text(9), broken, nullptr, {}), Error);
}

}  // namespace
}  // namespace pajamas
