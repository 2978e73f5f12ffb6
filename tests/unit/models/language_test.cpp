// Configurations of language models: frequencies of all scalings against transformers', what each family reads and
// refuses, the files beside the graph. What the graphs compute is in tests/models/language_test.cpp.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/files.h"
#include "models/language/decoder_config.h"
#include "models/language/language_family.h"
#include "models/language/rope.h"
#include "pajamas/error.h"
#include "support/temporary_folder.h"

namespace pajamas {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

const fs::path kData = fs::path(PAJAMAS_TEST_DATA) / "language";

TEST(Rope, FrequenciesAreThoseOfTransformers) {
  const nlohmann::json cases = nlohmann::json::parse(read_file(kData / "rope.json", 1 << 20));
  ASSERT_GE(cases.size(), 11U);
  for (const auto& [name, expected] : cases.items()) {
    SCOPED_TRACE(name);
    const nlohmann::json config = {{"rope_parameters", expected["rope_parameters"]}};
    const JsonReader reader(config, "config.json");
    RopeContext context;
    context.head_dim = expected["head_dim"];
    context.max_position_embeddings = expected["max_position_embeddings"];
    context.context_length = expected["context_length"];
    const Rope rope = read_rope(reader, rope_section(reader), context);
    EXPECT_NEAR(rope.attention_factor, expected["attention_factor"].get<double>(), 1e-6);
    ASSERT_EQ(rope.inverse_frequencies.size(), expected["inverse_frequencies"].size());
    for (std::size_t i = 0; i < rope.inverse_frequencies.size(); ++i) {
      const double wanted = expected["inverse_frequencies"][i];
      EXPECT_NEAR(rope.inverse_frequencies[i], wanted, 1e-6 * wanted) << i;
    }
  }
}

TEST(Rope, OlderConfigurationsSayTheSame) {
  const auto frequencies = [](const char* text) {
    const nlohmann::json config = nlohmann::json::parse(text);
    const JsonReader reader(config, "config.json");
    RopeContext context;
    context.head_dim = 8;
    context.max_position_embeddings = 64;
    return read_rope(reader, rope_section(reader), context).inverse_frequencies;
  };
  EXPECT_EQ(frequencies(R"({"rope_theta": 500000.0, "rope_scaling": {"type": "linear", "factor": 2.0}})"),
            frequencies(R"({"rope_parameters": {"rope_theta": 500000.0, "rope_type": "linear", "factor": 2.0}})"));
  EXPECT_EQ(frequencies(R"({"rope_scaling": null})"), frequencies("{}"));
  EXPECT_EQ(
      frequencies(R"({"rope_scaling": {"type": "su", "short_factor": [1, 2, 3, 4], "long_factor": [1, 1, 1, 1]}})"),
      frequencies(R"({"rope_scaling": {"type": "yarn", "short_factor": [1, 2, 3, 4], "long_factor": [1, 1, 1, 1]}})"));
  // The factors of a GGUF divide.
  const auto divided = frequencies(R"({"rope_scaling": {"rope_type": "frequency_factors", "factors": [1, 2, 4, 8]}})");
  const auto plain = frequencies("{}");
  for (std::size_t i = 0; i < 4; ++i) EXPECT_FLOAT_EQ(divided[i], plain[i] / static_cast<float>(1 << i));
}

struct BadConfig {
  const char* changes;  ///< Merged into the fixture's configuration; null removes a key.
  const char* message;
};

/// A checkpoint folder with a changed configuration and the weights of the fixture.
class ChangedCheckpoint {
 public:
  ChangedCheckpoint(const std::string& name, const nlohmann::json& changes) {
    nlohmann::json config = nlohmann::json::parse(read_file(kData / name / "config.json", 1 << 20));
    config.merge_patch(changes);
    write("config.json", config.dump());
    fs::copy_file(kData / name / "model.safetensors", folder_.path() / "model.safetensors");
  }
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_.path() / name, std::ios::binary) << text;
  }
  fs::path path() const { return folder_.path(); }
  ImportedModel import(std::int64_t context_length = 0) const {
    ImportHints hints;
    hints.context_length = context_length;
    return load_checkpoint_folder(folder_.path(), hints);
  }

 private:
  test::TemporaryFolder folder_;
};

void expect_refused(const std::string& fixture, const char* changes, const char* message) {
  SCOPED_TRACE(std::string(fixture) + " " + changes);
  const ChangedCheckpoint checkpoint(fixture, nlohmann::json::parse(changes));
  try {
    checkpoint.import();
    FAIL() << "was taken";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr(message));
    EXPECT_FALSE(error.where().empty());
  }
}

TEST(LanguageConfig, ContradictionsAreNamed) {
  expect_refused("llama", R"({"hidden_size": 40, "head_dim": 6})",
                 "'model.embed_tokens.weight' is [71, 36], but the configuration makes it [71, 40]");
  expect_refused("llama", R"({"num_hidden_layers": 3})",
                 "tensor 'model.layers.2.input_layernorm.weight' [36] is missing");
  expect_refused("llama", R"({"tie_word_embeddings": false})", "tensor 'lm_head.weight' [71, 36] is missing");
  expect_refused("llama", R"({"num_key_value_heads": 4})", "num_key_value_heads 4 does not divide");
  expect_refused("llama", R"({"head_dim": null, "num_attention_heads": 7, "num_key_value_heads": 7})",
                 "num_attention_heads 7 does not divide hidden_size 36");
  expect_refused("llama", R"({"hidden_size": 0})", "hidden_size");
  expect_refused("llama", R"({"num_hidden_layers": 100000})", "num_hidden_layers");
  expect_refused("llama", R"({"vocab_size": "many"})", "vocab_size");
  expect_refused("llama", R"({"hidden_act": "snake"})", "snake");
  expect_refused("llama", R"({"rms_norm_eps": -1})", "rms_norm_eps");
  expect_refused("llama", R"({"rope_scaling": {"rope_type": "spiral"}})", "rope_type 'spiral' is not known");
  expect_refused("llama", R"({"rope_scaling": {"rope_type": "llama3", "factor": 0}})", "factor");
  expect_refused("llama", R"({"rope_theta": -5})", "rope_theta");
  expect_refused("phi3_long", R"({"rope_parameters": {"long_factor": [1, 2]}})", "has 2 factors for 3 frequencies");
  expect_refused("phi3_long", R"({"rope_parameters": {"partial_rotary_factor": 0.1}})", "channels of a head");
  expect_refused("mistral", R"({"sliding_window": -3})", "sliding_window");
  expect_refused("gemma3", R"({"layer_types": ["full_attention"]})", "has 1 entries for 4 layers");
  expect_refused("gemma3", R"({"query_pre_attn_scalar": 0})", "query_pre_attn_scalar");
  expect_refused("qwen3_moe", R"({"num_experts_per_tok": 9})", "num_experts_per_tok");
}

TEST(LanguageConfig, WhatIsNotReadIsNamed) {
  for (const char* method : {"gptq", "awq", "bitsandbytes", "fp8"}) {
    const nlohmann::json changes = {{"quantization_config", {{"quant_method", method}}}};
    expect_refused("llama", changes.dump().c_str(), method);
  }
  expect_refused("llama", R"({"model_type": "mamba"})", "model_type 'mamba' is not known");
  expect_refused("llama", R"({"architectures": ["LlamaForSequenceClassification"]})", "LlamaForSequenceClassification");
  expect_refused("gemma3", R"({"model_type": "gemma3", "architectures": ["Gemma3ForConditionalGeneration"]})",
                 "picture encoder");
  expect_refused("gemma3", R"({"use_bidirectional_attention": true})", "use_bidirectional_attention");
  expect_refused("qwen2", R"({"layer_types": ["full_attention", "linear_attention"]})", "linear_attention");
}

TEST(LanguageConfig, ContextLengthIsTheModelsOwnUnlessAskedFor) {
  const ChangedCheckpoint checkpoint("smollm2", nlohmann::json::object());
  EXPECT_EQ(checkpoint.import().task.generation->context_length, 64);
  EXPECT_EQ(checkpoint.import(32).task.generation->context_length, 32);
  try {
    checkpoint.import(65);
    FAIL() << "was taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    EXPECT_THAT(error.what(), HasSubstr("made for 64"));
  }
  // Scaling by a factor of 4 from 16 tokens gives no more than the 64 that are there; from 32 it does.
  const ChangedCheckpoint yarn("llama_biased", {{"rope_parameters", {{"original_max_position_embeddings", 32}}}});
  EXPECT_EQ(yarn.import(128).task.generation->context_length, 128);
}

TEST(LanguageFacts, EndsSamplingAndTemplateAreRead) {
  const ChangedCheckpoint checkpoint("llama", nlohmann::json::object());
  EXPECT_THAT(checkpoint.import().task.generation->stop_token_ids, ElementsAre(2));
  EXPECT_TRUE(checkpoint.import().task.generation->defaults.is_greedy);
  EXPECT_EQ(checkpoint.import().task.generation->architecture, "llama");
  EXPECT_EQ(checkpoint.import().task.generation->vocab_size, 71);

  checkpoint.write("generation_config.json",
                   R"({"eos_token_id": [7, 5, 7], "do_sample": true, "temperature": 0.6, "top_k": 20, "top_p": null})");
  checkpoint.write(
      "tokenizer_config.json",
      R"({"chat_template": [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]})");
  ImportedModel imported = checkpoint.import();
  const GenerationFacts& facts = *imported.task.generation;
  EXPECT_THAT(facts.stop_token_ids, ElementsAre(5, 7));
  EXPECT_FALSE(facts.defaults.is_greedy);
  EXPECT_EQ(facts.defaults.temperature, 0.6);
  EXPECT_EQ(facts.defaults.top_k, 20);
  EXPECT_FALSE(facts.defaults.top_p);
  ASSERT_EQ(imported.files.size(), 1U);
  EXPECT_EQ(facts.chat_template_file, imported.files[0].name);
  EXPECT_EQ(imported.files[0].contents, "D");

  checkpoint.write("chat_template.jinja", "J");
  EXPECT_EQ(checkpoint.import().files.at(0).contents, "J");

  checkpoint.write("generation_config.json", R"({"eos_token_id": 71})");
  EXPECT_THROW(checkpoint.import(), Error);
  checkpoint.write("generation_config.json", R"({"temperature": -1})");
  EXPECT_THROW(checkpoint.import(), Error);
  checkpoint.write("generation_config.json", "[]");
  EXPECT_THROW(checkpoint.import(), Error);
}

constexpr const char* kTokenizer = R"({"version": "1.0", "truncation": null, "padding": null, "added_tokens": [
  {"id": 3, "content": "<|im_end|>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
   "special": true},
  {"id": 4, "content": "<|eot_id|>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
   "special": true}],
  "normalizer": null, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
  "use_regex": true}, "post_processor": null, "decoder": {"type": "ByteLevel", "add_prefix_space": true,
  "trim_offsets": true, "use_regex": true}, "model": {"type": "BPE", "dropout": null, "unk_token": null,
  "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
  "vocab": {"a": 0, "b": 1, "ab": 2, "<|im_end|>": 3, "<|eot_id|>": 4}, "merges": [["a", "b"]]}})";

TEST(LanguageFacts, TheTokenizerGoesIntoTheBundleAndTurnsEnd) {
  const ChangedCheckpoint checkpoint("llama", nlohmann::json::object());
  checkpoint.write("tokenizer.json", kTokenizer);
  checkpoint.write("chat_template.jinja", "{{ '<|im_end|>' }}");
  const ImportedModel imported = checkpoint.import();
  // 2 is config.json's; the template ends turns with 3 and never writes 4.
  EXPECT_THAT(imported.task.generation->stop_token_ids, ElementsAre(2, 3));
  ASSERT_EQ(imported.files.size(), 2U);
  EXPECT_EQ(imported.files[1].role, "tokenizer");
  EXPECT_EQ(imported.files[1].name, imported.task.generation->tokenizer_file);
  EXPECT_FALSE(imported.files[1].contents.empty());
  checkpoint.write("tokenizer.json", "{}");
  EXPECT_THROW(checkpoint.import(), Error);
}

TEST(LanguageFacts, OtherTasksAreRefused) {
  for (const char* task : {"detection", "classification", "embedding"}) {
    ImportHints hints;
    hints.task = task;
    EXPECT_THROW(load_checkpoint_folder(kData / "llama", hints), Error);
  }
  ImportHints none;
  none.task = "none";
  EXPECT_EQ(load_checkpoint_folder(kData / "llama", none).task.name, "none");
}

}  // namespace
}  // namespace pajamas
