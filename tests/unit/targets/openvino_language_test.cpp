// Language models on the target openvino: paged attention through Session and KvCache against plain loops, weights of
// every stored form, damaged inputs. Models are random and small; real ones are elsewhere (tests/models).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <map>
#include <random>

#include "base/files.h"
#include "engine/target.h"
#include "pajamas/error.h"
#include "support/language_graph.h"
#include "support/temporary_folder.h"
#include "targets/openvino/cpu_features.h"
#include "targets/registry.h"

namespace pajamas {
namespace {

using openvino::cpu_features;
using test::DecoderConfig;
using test::DecoderGraph;
using test::WeightForm;
using ::testing::HasSubstr;

/// One sequence as a scheduler knows it.
struct Sequence {
  std::vector<std::int64_t> tokens;
  std::vector<std::int32_t> blocks;
  std::int32_t num_done = 0;  ///< Tokens whose keys and values are in the cache.
  std::int64_t first_position = 0;
};

/// The inputs of one step.
struct Step {
  std::vector<std::int64_t> input_ids, position_ids, logit_rows;
  std::vector<std::int32_t> past_lens, subsequence_begins{0}, block_indices, block_indices_begins{0};
  std::int32_t max_context_len = 0;

  /// The next `count` tokens of the sequence; logits of all of them.
  void add(Sequence& sequence, std::int32_t count) {
    for (std::int32_t i = 0; i < count; ++i) {
      const std::int32_t position = sequence.num_done + i;
      logit_rows.push_back(static_cast<std::int64_t>(input_ids.size()));
      input_ids.push_back(sequence.tokens[static_cast<std::size_t>(position)]);
      position_ids.push_back(sequence.first_position + position);
    }
    past_lens.push_back(sequence.num_done);
    subsequence_begins.push_back(static_cast<std::int32_t>(input_ids.size()));
    block_indices.insert(block_indices.end(), sequence.blocks.begin(), sequence.blocks.end());
    block_indices_begins.push_back(static_cast<std::int32_t>(block_indices.size()));
    max_context_len = std::max(max_context_len, sequence.num_done + count);
    sequence.num_done += count;
  }
};

template <typename T>
TensorView view(const std::vector<T>& values) {
  return {DTypeOf<T>::value, Shape{static_cast<std::int64_t>(values.size())},
          reinterpret_cast<const std::byte*>(values.data())};
}

class OpenvinoLanguageTest : public ::testing::Test {
 protected:
  void SetUp() override {
    plan_.target = "openvino";
    plan_.precision = Precision::kFp32;
    plan_.num_threads = 1;
    options_.num_threads = 1;
    options_.is_exact_fp32 = true;
  }

  const Target& target_ = find_target("openvino");
  test::TemporaryFolder folder_;
  BuildPlan plan_;
  SessionOptions options_;
  CompiledPart part_;
  std::shared_ptr<const Engine> engine_;
  std::unique_ptr<Session> session_;
  std::shared_ptr<KvCache> cache_;

  void compile(const Model& model) { part_ = target_.compile({model, plan_, "model", folder_.path(), {}}); }
  void load() {
    const auto open = [this](const CompiledFile& file) { return MappedFile::open(folder_.path() / file.name); };
    engine_ = target_.load({folder_.path(), "model", part_.files, open, part_.facts, plan_, options_});
    session_ = engine_->new_session();
  }
  void start(const Model& model, std::int64_t num_blocks) {
    compile(model);
    load();
    cache_ = engine_->new_kv_cache(num_blocks);
    session_->set_kv_cache(cache_);
  }
  void give(const Step& step) {
    const std::map<std::string, TensorView> views{
        {"input_ids", view(step.input_ids)},
        {"position_ids", view(step.position_ids)},
        {"logit_rows", view(step.logit_rows)},
        {"past_lens", view(step.past_lens)},
        {"subsequence_begins", view(step.subsequence_begins)},
        {"block_indices", view(step.block_indices)},
        {"block_indices_begins", view(step.block_indices_begins)},
        {"max_context_len", {DType::kInt32, Shape{}, reinterpret_cast<const std::byte*>(&step.max_context_len)}},
    };
    for (std::size_t i = 0; i < engine_->inputs().size(); ++i) {
      session_->set_input(i, views.at(engine_->inputs()[i].name));
    }
  }
  std::vector<float> run(const Step& step) {
    give(step);
    session_->run();
    const auto values = session_->output(0).as<float>();
    return {values.begin(), values.end()};
  }
};

std::vector<std::int64_t> random_tokens(std::size_t count, std::int64_t vocab_size, std::uint32_t seed) {
  std::mt19937 generator(seed);
  std::vector<std::int64_t> tokens(count);
  for (auto& token : tokens) token = static_cast<std::int64_t>(generator() % static_cast<std::uint64_t>(vocab_size));
  return tokens;
}

/// Largest difference relative to the root mean square of what is expected.
double difference(const std::vector<float>& found, const std::vector<float>& expected) {
  EXPECT_EQ(found.size(), expected.size());
  double squares = 0.0;
  double largest = 0.0;
  for (std::size_t i = 0; i < std::min(found.size(), expected.size()); ++i) {
    squares += static_cast<double>(expected[i]) * static_cast<double>(expected[i]);
    const double gap = std::abs(static_cast<double>(found[i]) - static_cast<double>(expected[i]));
    if (!(gap <= largest)) largest = gap;  // NaN too
  }
  return largest / std::sqrt(squares / static_cast<double>(expected.size()));
}

std::vector<float> rows_of(const std::vector<float>& logits, std::size_t vocab_size, std::size_t begin,
                           std::size_t end) {
  return {logits.begin() + static_cast<std::ptrdiff_t>(begin * vocab_size),
          logits.begin() + static_cast<std::ptrdiff_t>(end * vocab_size)};
}

constexpr double kExact = 2e-5;

TEST_F(OpenvinoLanguageTest, PrefillDecodeAndBothAtOnceEqualPlainAttention) {
  const DecoderGraph decoder({});
  const auto vocab_size = static_cast<std::size_t>(decoder.config().vocab_size);
  start(decoder.model(), 16);
  ASSERT_NE(engine_->kv_cache_layout(), nullptr);
  EXPECT_EQ(engine_->kv_cache_layout()->num_layers, 2);
  EXPECT_EQ(engine_->kv_cache_layout()->block_size_tokens, 32);
  EXPECT_EQ(engine_->kv_cache_layout()->block_bytes, 2U * 2U * 2U * 32U * 16U * 4U);
  EXPECT_EQ(engine_->inputs().size(), 8U);

  // Three sequences over shuffled blocks.
  Sequence a{random_tokens(71, 97, 1), {9, 2, 14}};
  Sequence b{random_tokens(40, 97, 2), {5, 0}};
  Sequence c{random_tokens(33, 97, 3), {11, 3}};
  const auto expected_a = decoder.logits(a.tokens);
  const auto expected_b = decoder.logits(b.tokens);
  const auto expected_c = decoder.logits(c.tokens);
  {
    Step step;
    step.add(a, 37);
    EXPECT_LT(difference(run(step), rows_of(expected_a, vocab_size, 0, 37)), kExact);
  }
  for (int i = 0; i < 3; ++i) {  // decode
    Step step;
    const auto begin = static_cast<std::size_t>(a.num_done);
    step.add(a, 1);
    EXPECT_LT(difference(run(step), rows_of(expected_a, vocab_size, begin, begin + 1)), kExact);
  }
  {  // one decodes, one starts, and the next step one more
    Step step;
    step.add(a, 1);
    step.add(b, 31);
    auto expected = rows_of(expected_a, vocab_size, 40, 41);
    const auto more = rows_of(expected_b, vocab_size, 0, 31);
    expected.insert(expected.end(), more.begin(), more.end());
    EXPECT_LT(difference(run(step), expected), kExact);
  }
  {  // a chunk of a prefill, a decoding sequence, a first chunk of one token
    Step step;
    step.add(a, 29);
    step.add(b, 1);
    step.add(c, 1);
    step.logit_rows = {28, 29, 30};
    auto expected = rows_of(expected_a, vocab_size, 69, 70);
    const auto second = rows_of(expected_b, vocab_size, 31, 32);
    const auto third = rows_of(expected_c, vocab_size, 0, 1);
    expected.insert(expected.end(), second.begin(), second.end());
    expected.insert(expected.end(), third.begin(), third.end());
    EXPECT_LT(difference(run(step), expected), kExact);
  }
  {  // a chunk nobody wants the logits of
    Step step;
    step.add(c, 31);
    step.logit_rows.clear();
    EXPECT_TRUE(run(step).empty());
  }
  Step step;
  step.add(c, 1);
  EXPECT_LT(difference(run(step), rows_of(expected_c, vocab_size, 32, 33)), kExact);
}

struct FormCase {
  const char* name;
  DecoderConfig config;
};

class OpenvinoLanguageForms : public OpenvinoLanguageTest, public ::testing::WithParamInterface<FormCase> {};

TEST_P(OpenvinoLanguageForms, EqualsTheReference) {
  const DecoderGraph decoder(GetParam().config);
  const auto vocab_size = static_cast<std::size_t>(decoder.config().vocab_size);
  start(decoder.model(), 4);
  Sequence a{random_tokens(50, decoder.config().vocab_size, 1), {2, 1}};
  const auto expected = decoder.logits(a.tokens);
  Step prefill;
  prefill.add(a, 49);
  EXPECT_LT(difference(run(prefill), rows_of(expected, vocab_size, 0, 49)), kExact);
  Step decode;
  decode.add(a, 1);
  EXPECT_LT(difference(run(decode), rows_of(expected, vocab_size, 49, 50)), kExact);
}

DecoderConfig with(const std::function<void(DecoderConfig&)>& change) {
  DecoderConfig config;
  change(config);
  return config;
}

INSTANTIATE_TEST_SUITE_P(
    All, OpenvinoLanguageForms,
    ::testing::Values(FormCase{"bfloat16", with([](auto& c) { c.linear = c.embedding = WeightForm::kBfloat16; })},
                      FormCase{"int8_rows", with([](auto& c) { c.linear = c.embedding = WeightForm::kInt8Row; })},
                      FormCase{"uint4_groups", with([](auto& c) {
                                 c.linear = WeightForm::kUint4Group;
                                 c.embedding = WeightForm::kInt8Row;
                               })},
                      FormCase{"uint4_groups_of_128", with([](auto& c) {
                                 c.hidden_dim = 128;
                                 c.head_dim = 32;
                                 c.ffn_dim = 384;
                                 c.group_size = 128;
                                 c.linear = c.embedding = WeightForm::kUint4Group;
                               })},
                      FormCase{"uint4_with_minimum",
                               with([](auto& c) { c.linear = c.embedding = WeightForm::kUint4Min; })},
                      FormCase{"sliding_window", with([](auto& c) { c.sliding_window = 7; })},
                      FormCase{"all_heads_have_keys", with([](auto& c) { c.num_kv_heads = 4; })},
                      FormCase{"one_key_head", with([](auto& c) { c.num_kv_heads = 1; })},
                      FormCase{"odd_numbers_of_heads", with([](auto& c) {
                                 c.num_heads = 9;
                                 c.num_kv_heads = 3;
                                 c.head_dim = 64;
                                 c.ffn_dim = 160;
                               })},
                      FormCase{"partial_rotary", with([](auto& c) { c.rotary_dim = 8; })},
                      FormCase{"bias_and_head_norms", with([](auto& c) { c.has_qkv_bias = c.has_qk_norm = true; })},
                      FormCase{"one_layer", with([](auto& c) { c.num_layers = 1; })}),
    [](const auto& form) { return std::string(form.param.name); });

TEST_F(OpenvinoLanguageTest, ABlockCopiedIsTheSamePast) {
  const DecoderGraph decoder({});
  start(decoder.model(), 8);
  Sequence a{random_tokens(40, 97, 1), {6, 3}};
  const auto expected = decoder.logits(a.tokens);
  Step prefill;
  prefill.add(a, 39);
  run(prefill);
  cache_->copy_block(6, 0);
  cache_->copy_block(3, 7);
  cache_->copy_block(7, 7);
  Sequence b = a;
  b.blocks = {0, 7};
  Step step;
  step.add(b, 1);
  EXPECT_LT(difference(run(step), rows_of(expected, 97, 39, 40)), kExact);
  EXPECT_THROW(cache_->copy_block(8, 0), Error);
  EXPECT_THROW(cache_->copy_block(0, -1), Error);
}

TEST_F(OpenvinoLanguageTest, CachesOfEveryPrecisionKeepThePast) {
  const DecoderGraph decoder(with([](auto& c) { c.head_dim = 32; }));
  compile(decoder.model());
  options_.is_exact_fp32 = false;
  const std::pair<KvPrecision, double> cases[] = {
      {KvPrecision::kFp32, 0.002}, {KvPrecision::kFp16, 0.005}, {KvPrecision::kUint8, 0.08}};
  std::size_t bytes = SIZE_MAX;
  for (const auto& [precision, tolerance] : cases) {
    options_.kv_precision = precision;
    load();
    cache_ = engine_->new_kv_cache(4);
    session_->set_kv_cache(cache_);
    EXPECT_LT(cache_->layout().block_bytes, bytes);
    bytes = cache_->layout().block_bytes;
    EXPECT_EQ(cache_->layout().block_size_tokens, 32);
    Sequence a{random_tokens(70, 97, 1), {2, 0, 1}};
    const auto expected = decoder.logits(a.tokens);
    Step prefill;
    prefill.add(a, 65);
    EXPECT_LT(difference(run(prefill), rows_of(expected, 97, 0, 65)), tolerance);
    for (std::size_t t = 65; t < 70; ++t) {
      Step step;
      step.add(a, 1);
      EXPECT_LT(difference(run(step), rows_of(expected, 97, t, t + 1)), tolerance);
    }
  }
}

TEST_F(OpenvinoLanguageTest, AutoPacksWeightsOfFourBits) {
  if (!cpu_features().has_avx512_vnni) GTEST_SKIP() << "this processor has no AVX512-VNNI";
  plan_.precision = Precision::kAuto;
  options_.is_exact_fp32 = false;
  const DecoderGraph decoder(with([](auto& c) {
    c.linear = WeightForm::kUint4Group;
    c.embedding = WeightForm::kInt8Row;
    c.has_qkv_bias = true;
    c.num_layers = 1;
  }));
  start(decoder.model(), 4);
  ASSERT_TRUE(engine_->describe().contains("packed_linear")) << engine_->describe().dump();
  EXPECT_EQ(part_.facts.count("cache"), 0U);
  Sequence a{random_tokens(60, 97, 1), {2, 1}};
  const auto expected = decoder.logits(a.tokens);
  // Weights are exact, activations of int8 (few tokens) and bfloat16 (many) are not.
  constexpr double kTolerance = 0.12;
  Step prefill;
  prefill.add(a, 50);
  EXPECT_LT(difference(run(prefill), rows_of(expected, 97, 0, 50)), kTolerance);
  Step few;
  few.add(a, 9);
  EXPECT_LT(difference(run(few), rows_of(expected, 97, 50, 59)), kTolerance);
  Step decode;
  decode.add(a, 1);
  EXPECT_LT(difference(run(decode), rows_of(expected, 97, 59, 60)), kTolerance);

  options_.is_exact_fp32 = true;
  load();
  EXPECT_FALSE(engine_->describe().contains("packed_linear"));
}

TEST_F(OpenvinoLanguageTest, AnglesStayExactAtHighPositions) {
  if (!cpu_features().is_bf16_native()) GTEST_SKIP() << "this processor has no bfloat16 instructions";
  plan_.precision = Precision::kBf16;
  options_.is_exact_fp32 = false;
  const DecoderGraph decoder(with([](auto& c) {
    c.num_layers = 1;
    c.head_dim = 64;
  }));
  start(decoder.model(), 4);
  // An angle of bfloat16 would be off by up to 64 radians there.
  for (const std::int64_t position : {0, 1000, 32'003}) {
    Sequence a{random_tokens(40, 97, 1), {2, 1}, 0, position};
    const auto expected = decoder.logits(a.tokens, position);
    Step step;
    step.add(a, 40);
    EXPECT_LT(difference(run(step), expected), 0.15) << "position " << position;
  }
}

TEST_F(OpenvinoLanguageTest, InputsThatWouldLeadAstrayAreNamed) {
  const DecoderGraph decoder(with([](auto& c) { c.num_layers = 1; }));
  compile(decoder.model());
  load();
  Sequence a{random_tokens(40, 97, 1), {3, 1}};
  Sequence b{random_tokens(40, 97, 2), {0}};
  Step good;
  good.add(a, 33);
  good.add(b, 2);
  give(good);
  EXPECT_THAT(([&] {
                try {
                  session_->run();
                } catch (const Error& error) {
                  return std::string(error.what());
                }
                return std::string();
              })(),
              HasSubstr("no key/value cache"));
  cache_ = engine_->new_kv_cache(4);
  session_->set_kv_cache(cache_);
  const std::vector<float> expected = run(good);

  const auto message = [&](const std::function<void(Step&)>& change) {
    Step bad = good;
    change(bad);
    try {
      run(bad);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kBadInput) << error.what();
      return std::string(error.what());
    }
    return std::string("no error");
  };
  EXPECT_THAT(message([](Step& s) { s.input_ids[4] = 97; }), HasSubstr("token 4 has the id 97"));
  EXPECT_THAT(message([](Step& s) { s.input_ids[4] = -1; }), HasSubstr("id -1"));
  EXPECT_THAT(message([](Step& s) { s.block_indices[1] = 4; }), HasSubstr("entry 1 is block 4"));
  EXPECT_THAT(message([](Step& s) { s.block_indices[1] = -1; }), HasSubstr("block -1"));
  EXPECT_THAT(message([](Step& s) { s.subsequence_begins = {0, 33, 34}; }), HasSubstr("ends with 34"));
  EXPECT_THAT(message([](Step& s) { s.subsequence_begins = {1, 33, 35}; }), HasSubstr("begins with 1"));
  EXPECT_THAT(message([](Step& s) { s.subsequence_begins = {0, 36, 35}; }), HasSubstr("sequence 1"));
  EXPECT_THAT(message([](Step& s) { s.subsequence_begins = {0, 35, 35}; }), HasSubstr("no token"));
  EXPECT_THAT(message([](Step& s) {
                s.subsequence_begins = s.block_indices_begins = {0, 35};
              }),
              HasSubstr("2 entries for 2"));
  EXPECT_THAT(message([](Step& s) { s.block_indices_begins = {0, 3, 2}; }), HasSubstr("backwards"));
  EXPECT_THAT(message([](Step& s) { s.block_indices_begins = {0, 1, 3}; }), HasSubstr("its 1 blocks hold 32"));
  EXPECT_THAT(message([](Step& s) { s.past_lens[1] = 31; }), HasSubstr("sequence 1 would have 33"));
  EXPECT_THAT(message([](Step& s) { s.past_lens[1] = -1; }), HasSubstr("-1 past"));
  EXPECT_THAT(message([](Step& s) { s.past_lens[1] = INT32_MAX; }), HasSubstr("sequence 1"));
  EXPECT_THAT(message([](Step& s) { s.max_context_len = 34; }), HasSubstr("longest sequence has 33"));
  EXPECT_THAT(message([](Step& s) { s.logit_rows[2] = 35; }), HasSubstr("row 35 of 35"));
  EXPECT_THAT(message([](Step& s) { s.logit_rows[2] = -1; }), HasSubstr("row -1"));
  EXPECT_THAT(message([](Step& s) { s.position_ids.pop_back(); }), HasSubstr("num_tokens"));
  EXPECT_THAT(message([](Step& s) {
                s.past_lens.clear();
                s.subsequence_begins = s.block_indices_begins = {0};
              }),
              HasSubstr("no sequence"));
  // The session works after all these, and the cache holds what it held.
  EXPECT_EQ(run(good), expected);
}

TEST_F(OpenvinoLanguageTest, CachesOfOtherEnginesAndOfNoSizeAreRefused) {
  const DecoderGraph decoder(with([](auto& c) { c.num_layers = 1; }));
  start(decoder.model(), 1);
  const std::shared_ptr<KvCache> other = cache_;
  EXPECT_THROW(engine_->new_kv_cache(0), Error);
  try {
    engine_->new_kv_cache(std::int64_t{1} << 50);
    ADD_FAILURE() << "a cache of 2^50 blocks";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kDeviceMissing);
    EXPECT_THAT(error.what(), HasSubstr("does not fit"));
  }
  load();
  EXPECT_THROW(session_->set_kv_cache(other), Error);
  EXPECT_THROW(session_->set_kv_cache(nullptr), Error);
}

TEST_F(OpenvinoLanguageTest, GraphsThatTheSessionCouldNotCheckAreRefused) {
  const auto refusal = [&](const std::function<void(Node&)>& change) {
    Model model = DecoderGraph(with([](auto& c) { c.num_layers = 1; })).model();
    for (Node& node : model.graph.nodes) {
      if (node.op_type == "PagedAttention") change(node);
    }
    return target_.supports(model, plan_).reason;
  };
  EXPECT_EQ(refusal([](Node&) {}), "");
  EXPECT_THAT(refusal([](Node& n) { n.set_attribute("softcap", 50.0F); }), HasSubstr("softcap"));
  EXPECT_THAT(refusal([](Node& n) { n.inputs[3] = "logit_rows"; }), HasSubstr("must be the graph's input 'past_lens'"));
  EXPECT_THAT(refusal([](Node& n) { n.inputs.pop_back(); }), HasSubstr("7 inputs"));
  EXPECT_THAT(refusal([](Node& n) { n.set_attribute("num_kv_heads", std::int64_t{3}); }), HasSubstr("no multiple"));
  EXPECT_THAT(refusal([](Node& n) { n.set_attribute("num_heads", std::int64_t{0}); }), HasSubstr("num_heads"));
  EXPECT_THAT(refusal([](Node& n) { n.set_attribute("sinks", std::int64_t{1}); }), HasSubstr("'sinks'"));
}

}  // namespace
}  // namespace pajamas
