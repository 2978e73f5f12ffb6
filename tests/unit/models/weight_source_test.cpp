// Tests of models/weight_source.h: names, orders and configurations that the conversion to GGUF changed, on
// files written here by the conversion's own rules, and on published models where the dependencies are installed.
#include "models/weight_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <numeric>
#include <random>

#include "base/files.h"
#include "pajamas/error.h"
#include "support/gguf_writer.h"
#include "support/hostile_bytes.h"
#include "support/temporary_folder.h"

namespace pajamas {
namespace {

using test::error_of;
using test::GgufWriter;
using testing::ElementsAre;
using testing::HasSubstr;

Gguf parse_bytes(const std::string& bytes) {
  auto owner = std::make_shared<const std::string>(bytes);
  return Gguf::parse(std::as_bytes(std::span(*owner)), owner, "test.gguf");
}

std::vector<float> counted(std::size_t count, float first = 0) {
  std::vector<float> values(count);
  std::iota(values.begin(), values.end(), first);
  return values;
}

std::vector<float> all_of(const WeightSource& source, const std::string& name) {
  const WeightRows rows = weight_rows_of(source.shape_of(name));
  std::vector<float> values(static_cast<std::size_t>(rows.num_rows * rows.row_elements));
  source.read_rows_f32(name, 0, rows.num_rows, values);
  return values;
}

constexpr std::uint32_t kHidden = 32, kHeads = 2, kLayers = 1;

/// What every architecture's metadata has in common; two heads of 16, one of keys and values.
GgufWriter metadata(const std::string& architecture) {
  GgufWriter writer;
  writer.text("general.architecture", architecture);
  writer.uint32(architecture + ".embedding_length", kHidden).uint32(architecture + ".block_count", kLayers);
  writer.uint32(architecture + ".feed_forward_length", 64).uint32(architecture + ".context_length", 128);
  writer.uint32(architecture + ".attention.head_count", kHeads).uint32(architecture + ".attention.head_count_kv", 1);
  writer.float32(architecture + ".attention.layer_norm_rms_epsilon", 1e-5F);
  return writer;
}

/// The conversion's order of the rows of Q and K: [heads, 2, half, ...] with the middle axes exchanged.
std::vector<float> permuted(const std::vector<float>& rows, std::size_t num_heads, std::size_t row_elements) {
  const std::size_t head_dim = rows.size() / row_elements / num_heads;
  std::vector<float> result;
  for (std::size_t head = 0; head < num_heads; ++head) {
    for (std::size_t i = 0; i < head_dim / 2; ++i) {
      for (std::size_t half = 0; half < 2; ++half) {
        const std::size_t row = head * head_dim + half * head_dim / 2 + i;
        result.insert(result.end(), rows.begin() + static_cast<std::ptrdiff_t>(row * row_elements),
                      rows.begin() + static_cast<std::ptrdiff_t>((row + 1) * row_elements));
      }
    }
  }
  return result;
}

TEST(WeightSource, UndoesWhatTheConversionDidToLlama) {
  const auto q = counted(32 * 32), k = counted(16 * 32, 5000), bias = counted(32, 100);
  GgufWriter writer = metadata("llama");
  writer.floats("token_embd.weight", {10, 32}, counted(320)).floats("output_norm.weight", {32}, counted(32));
  writer.floats("blk.0.attn_q.weight", {32, 32}, permuted(q, 2, 32));
  writer.floats("blk.0.attn_k.weight", {16, 32}, permuted(k, 1, 32));
  writer.floats("blk.0.attn_q.bias", {32}, permuted(bias, 2, 1));
  writer.floats("blk.0.attn_v.weight", {16, 32}, counted(16 * 32)).floats("blk.0.ffn_norm.weight", {32}, counted(32));
  writer.floats("rope_freqs.weight", {8}, {1, 1, 1, 1, 2, 4, 8, 8});
  const auto source = weight_source_of(parse_bytes(writer.bytes()));
  EXPECT_THAT(source->names(),
              ElementsAre("model.embed_tokens.weight", "model.layers.0.post_attention_layernorm.weight",
                          "model.layers.0.self_attn.k_proj.weight", "model.layers.0.self_attn.q_proj.bias",
                          "model.layers.0.self_attn.q_proj.weight", "model.layers.0.self_attn.v_proj.weight",
                          "model.norm.weight", "rope_freqs.weight"));
  const std::string layer = "model.layers.0.self_attn.";
  EXPECT_EQ(all_of(*source, layer + "q_proj.weight"), q);
  EXPECT_EQ(all_of(*source, layer + "k_proj.weight"), k);
  EXPECT_EQ(all_of(*source, layer + "q_proj.bias"), bias);
  std::vector<float> two(64);
  source->read_rows_f32(layer + "q_proj.weight", 7, 2, two);
  EXPECT_EQ(two, std::vector<float>(q.begin() + 7 * 32, q.begin() + 9 * 32));
  EXPECT_THAT(source->tensor(layer + "q_proj.weight").as<float>(), testing::ElementsAreArray(q));
  EXPECT_THAT(source->tensor(layer + "q_proj.bias").as<float>(), testing::ElementsAreArray(bias));
  EXPECT_EQ(source->storage_of(layer + "q_proj.weight").to_string(), "float32");
  source->release(layer + "v_proj.weight");
  EXPECT_THAT(error_of([&] { source->blocks(layer + "q_proj.weight"); }), HasSubstr("cannot be kept in blocks"));
  EXPECT_THAT(error_of([&] { source->shape_of("nothing"); }), HasSubstr("no tensor 'nothing'"));
  EXPECT_THAT(error_of([&] { source->read_rows_f32(layer + "q_proj.weight", 31, 2, two); }), HasSubstr("rows 31"));

  const auto config = huggingface_config_of(parse_bytes(writer.bytes()));
  EXPECT_EQ(config["model_type"], "llama");
  EXPECT_EQ(config["vocab_size"], 10);
  EXPECT_EQ(config["head_dim"], 16);
  EXPECT_EQ(config["tie_word_embeddings"], true);
  EXPECT_EQ(config["attention_bias"], true);
  EXPECT_EQ(config["rope_theta"], 10000.0);
  EXPECT_EQ(config["rope_scaling"]["rope_type"], "frequency_factors");
  EXPECT_EQ(config["rope_scaling"]["factors"].size(), 8u);
  EXPECT_EQ(config["rope_scaling"]["factors"][5], 4.0);
}

TEST(WeightSource, KeepsBlocksWithoutLossInTheirRightOrder) {
  // Q8_0 rows whose integers say which row they are.
  std::string rows;
  for (int r = 0; r < 32; ++r) {
    std::string row("\x00\x3C", 2);  // scale 1
    row += std::string(32, static_cast<char>(r));
    rows += row;
  }
  for (const bool has_scratch : {false, true}) {
    const test::TemporaryFolder folder;
    GgufWriter writer = metadata("llama");
    writer.floats("token_embd.weight", {10, 32}, counted(320));
    writer.tensor("blk.0.attn_q.weight", GgmlType::kQ8_0, {32, 32}, rows);
    writer.tensor("blk.0.attn_output.weight", GgmlType::kQ8_0, {32, 32}, rows);
    const auto source =
        weight_source_of(parse_bytes(writer.bytes()), has_scratch ? folder.path() : std::filesystem::path());
    const std::string name = "model.layers.0.self_attn.q_proj.weight";
    EXPECT_EQ(source->storage_of(name).to_string(), "Q8_0");
    const BlockWeight q = source->blocks(name);
    std::vector<float> kept(32 * 32);
    dequantize_rows(q, 0, 32, kept);
    EXPECT_EQ(kept, all_of(*source, name));
    // Row 1 of the first head is the second pair's first: row 2 of the file. Row 8 is the first pair's second: row 1.
    EXPECT_EQ(kept[1 * 32], 2);
    EXPECT_EQ(kept[8 * 32], 1);
    EXPECT_EQ(kept[16 * 32], 16);
    std::vector<float> other(32 * 32);
    dequantize_rows(source->blocks("model.layers.0.self_attn.o_proj.weight"), 0, 32, other);
    EXPECT_EQ(other[5 * 32], 5);
    EXPECT_THAT(error_of([&] { source->tensor(name); }), HasSubstr("in blocks of Q8_0"));
  }
}

TEST(WeightSource, GemmaNormsLoseTheirOneAndHaveFourNames) {
  GgufWriter writer = metadata("gemma3");
  writer.uint32("gemma3.attention.key_length", 16).uint32("gemma3.attention.value_length", 16);
  writer.uint32("gemma3.attention.sliding_window", 512);
  writer.floats("token_embd.weight", {10, 32}, counted(320));
  for (const char* name : {"attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"}) {
    writer.floats(std::string("blk.0.") + name + ".weight", {32}, counted(32));
  }
  writer.floats("blk.0.attn_q_norm.weight", {16}, counted(16)).floats("output_norm.weight", {32}, counted(32));
  const Gguf file = parse_bytes(writer.bytes());
  const auto source = weight_source_of(file);
  for (const char* name :
       {"input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm"}) {
    EXPECT_EQ(all_of(*source, std::string("model.layers.0.") + name + ".weight"), counted(32, -1)) << name;
  }
  EXPECT_EQ(all_of(*source, "model.layers.0.self_attn.q_norm.weight"), counted(16, -1));
  EXPECT_THAT(source->tensor("model.norm.weight").as<float>(), testing::ElementsAreArray(counted(32, -1)));
  EXPECT_EQ(all_of(*source, "model.embed_tokens.weight"), counted(320));
  const auto config = huggingface_config_of(file);
  EXPECT_EQ(config["model_type"], "gemma3_text");
  EXPECT_EQ(config["layer_types"], nlohmann::json({"sliding_attention"}));
  EXPECT_EQ(config["sliding_window"], 512);
  EXPECT_EQ(config["rope_theta"], 1e6);
  EXPECT_EQ(config["rope_local_base_freq"], 1e4);
  EXPECT_EQ(config["query_pre_attn_scalar"], 16);
}

TEST(WeightSource, ExpertsAreTakenApart) {
  GgufWriter writer = metadata("qwen3moe");
  writer.uint32("qwen3moe.expert_count", 3).uint32("qwen3moe.expert_used_count", 2);
  writer.uint32("qwen3moe.expert_feed_forward_length", 4).uint32("qwen3moe.attention.key_length", 16);
  writer.floats("token_embd.weight", {10, 32}, counted(320)).floats("output.weight", {10, 32}, counted(320, 1));
  writer.floats("blk.0.ffn_gate_exps.weight", {3, 4, 32}, counted(3 * 4 * 32));
  writer.floats("blk.0.ffn_gate_inp.weight", {3, 32}, counted(96));
  const Gguf file = parse_bytes(writer.bytes());
  const auto source = weight_source_of(file);
  EXPECT_EQ(source->shape_of("model.layers.0.mlp.experts.2.gate_proj.weight"), (Shape{4, 32}));
  EXPECT_EQ(all_of(*source, "model.layers.0.mlp.experts.2.gate_proj.weight"), counted(128, 256));
  EXPECT_TRUE(source->has("model.layers.0.mlp.gate.weight"));
  EXPECT_TRUE(source->has("lm_head.weight"));
  const auto config = huggingface_config_of(file);
  EXPECT_EQ(config["model_type"], "qwen3_moe");
  EXPECT_EQ(config["num_experts"], 3);
  EXPECT_EQ(config["num_experts_per_tok"], 2);
  EXPECT_EQ(config["moe_intermediate_size"], 4);
  EXPECT_EQ(config["tie_word_embeddings"], false);
}

TEST(WeightSource, Phi3KeepsItsFusedMatricesAndLongFactors) {
  GgufWriter writer = metadata("phi3");
  writer.uint32("phi3.rope.dimension_count", 8).uint32("phi3.rope.scaling.original_context_length", 64);
  writer.uint32("phi3.attention.sliding_window", 0).float32("phi3.rope.scaling.attn_factor", 1.19F);
  writer.floats("token_embd.weight", {10, 32}, counted(320));
  writer.floats("blk.0.attn_qkv.weight", {64, 32}, counted(64 * 32));
  writer.floats("blk.0.ffn_up.weight", {128, 32}, counted(128 * 32));
  writer.floats("rope_factors_long.weight", {4}, {4, 3, 2, 1}).floats("rope_factors_short.weight", {4}, {1, 1, 1, 1});
  const Gguf file = parse_bytes(writer.bytes());
  const auto source = weight_source_of(file);
  EXPECT_TRUE(source->has("model.layers.0.self_attn.qkv_proj.weight"));
  EXPECT_TRUE(source->has("model.layers.0.mlp.gate_up_proj.weight"));
  const auto config = huggingface_config_of(file);
  EXPECT_EQ(config["partial_rotary_factor"], 0.5);
  EXPECT_EQ(config["sliding_window"], nullptr);
  EXPECT_EQ(config["rope_scaling"]["rope_type"], "longrope");
  EXPECT_EQ(config["rope_scaling"]["long_factor"], nlohmann::json({4.0, 3.0, 2.0, 1.0}));
  EXPECT_EQ(config["original_max_position_embeddings"], 64);
}

TEST(WeightSource, RefusesWhatContradictsItself) {
  const auto config_of = [](const std::function<void(GgufWriter&)>& change, const std::string& architecture = "llama") {
    GgufWriter writer = metadata(architecture);
    change(writer);
    return error_of([&] {
      const Gguf file = parse_bytes(writer.bytes());
      huggingface_config_of(file);
      weight_source_of(file);
    });
  };
  const auto embedding = [](GgufWriter& w) { w.floats("token_embd.weight", {10, 32}, counted(320)); };
  EXPECT_EQ(config_of(embedding), "no error");
  EXPECT_THAT(config_of(embedding, "mamba"),
              AllOf(HasSubstr("architecture 'mamba'"), HasSubstr("the known ones are llama, qwen2")));
  EXPECT_THAT(config_of([](auto& w) {
                w.floats("token_embd.weight", {10, 31}, counted(310));
              }),
              HasSubstr("contradicts llama.embedding_length, 32"));
  EXPECT_THAT(config_of([&](auto& w) {
                embedding(w);
                w.floats("blk.1.attn_v.weight", {16, 32}, counted(512));
              }),
              HasSubstr("belongs to a layer that the metadata does not have"));
  EXPECT_THAT(config_of([&](auto& w) {
                embedding(w);
                w.floats("blk.0.attn_q.weight", {30, 32}, counted(960));
              }),
              HasSubstr("cannot be divided into the 2 heads"));
  EXPECT_THAT(config_of([&](auto& w) {
                embedding(w);
                w.uint32("llama.expert_count", 8);
              }),
              HasSubstr("a mixture of 8 experts"));
  EXPECT_THAT(config_of([&](auto& w) {
                embedding(w);
                w.text("llama.rope.scaling.type", "dynamic");
              }),
              AllOf(HasSubstr("by 'dynamic'"), HasSubstr("none, linear, yarn and longrope")));
  EXPECT_THAT(config_of([&](auto& w) {
                embedding(w);
                w.floats("rope_freqs.weight", {8}, {1, 1, 1, 0, 1, 1, 1, 1});
              }),
              HasSubstr("not positive"));
  EXPECT_THAT(config_of([&](auto& w) {
                embedding(w);
                w.floats("rope_factors_long.weight", {8}, counted(8, 1));
              }),
              HasSubstr("only one of"));
  // Where one dimension is 0, no byte of the file bounds the others: rows and experts would be counted to 2^40.
  constexpr std::uint64_t kMany = std::uint64_t{1} << 40;
  EXPECT_THAT(config_of([&](auto& w) {
                embedding(w);
                w.floats("blk.0.attn_q.weight", {kMany, 0}, {});
              }),
              HasSubstr("has no elements"));
  EXPECT_THAT(config_of([&](auto& w) {
                embedding(w);
                w.floats("rope_freqs.weight", {0}, {});
              }),
              HasSubstr("must be F32[8]"));
  const auto mixture = [&](std::uint32_t num_experts, std::vector<std::uint64_t> shape) {
    return config_of(
        [&](auto& w) {
          embedding(w);
          w.uint32("qwen3moe.expert_count", num_experts);
          w.uint32("qwen3moe.expert_used_count", 1);
          w.uint32("qwen3moe.expert_feed_forward_length", 4);
          w.floats("blk.0.ffn_up_exps.weight", shape, {});
        },
        "qwen3moe");
  };
  EXPECT_THAT(mixture(4, {kMany, 0, 32}), HasSubstr("has no elements"));
  EXPECT_THAT(mixture(4, {4, 0, 32}), HasSubstr("has no elements"));
  EXPECT_THAT(mixture(1U << 31, {kMany, 4, 0}), HasSubstr("key 'qwen3moe.expert_count' is 2147483648"));

  GgufWriter empty;
  empty.text("general.architecture", "llama");
  EXPECT_THAT(error_of([&] { huggingface_config_of(parse_bytes(empty.bytes())); }), HasSubstr("has no key 'llama."));
  EXPECT_THAT(error_of([&] { huggingface_config_of(parse_bytes(GgufWriter().bytes())); }),
              HasSubstr("has no key 'general.architecture'"));
}

TEST(WeightSource, ReadsSafetensorsFromFoldersAndFiles) {
  const test::TemporaryFolder folder;
  std::string data(12 + 4, '\0');
  const std::uint16_t halves[6] = {0x3F80, 0x4000, 0xBF80, 0x4040, 0x3F00, 0x0000};  // bfloat16 1 2 -1 3 0.5 0
  std::memcpy(data.data(), halves, 12);
  const std::string header = R"({"m":{"dtype":"BF16","shape":[3,2],"data_offsets":[0,12]},)"
                             R"("i":{"dtype":"I32","shape":[1],"data_offsets":[12,16]}} )";
  std::string bytes = GgufWriter::packed<std::uint64_t>(header.size()) + header + data;
  write_file(folder.path() / "model.safetensors", std::string_view(bytes));
  for (const auto& path : {folder.path(), folder.path() / "model.safetensors"}) {
    const auto source = open_weight_source(path);
    EXPECT_THAT(all_of(*source, "m"), ElementsAre(1, 2, -1, 3, 0.5F, 0));
    std::vector<float> row(2);
    source->read_rows_f32("m", 1, 1, row);
    EXPECT_THAT(row, ElementsAre(-1, 3));
    EXPECT_EQ(source->tensor("m").dtype(), DType::kBfloat16);
    EXPECT_EQ(source->storage_of("m").to_string(), "bfloat16");
    source->release("m");
    EXPECT_THAT(all_of(*source, "m"), ElementsAre(1, 2, -1, 3, 0.5F, 0));
    EXPECT_THAT(error_of([&] { all_of(*source, "i"); }), HasSubstr("stored as int32"));
    EXPECT_THAT(error_of([&] { source->blocks("m"); }), HasSubstr("not in blocks"));
  }
  EXPECT_THAT(error_of([&] { open_weight_source(folder.path() / "missing"); }), HasSubstr("missing"));
}

/// Published files: the tensors and the configuration were compared with transformers' own reading of them, bit for
/// bit (scratch comparison with transformers 5.23); a few numbers of it are held here.
TEST(WeightSource, ReadsPublishedModels) {
  const std::filesystem::path models = std::string(PAJAMAS_DEPS_DIR) + "/models";
  const auto smollm2 = models / "SmolLM2-135M-Instruct.Q4_1.gguf", gemma = models / "gemma-3-270m.Q4_K_M.gguf";
  if (!std::filesystem::exists(smollm2) || !std::filesystem::exists(gemma)) {
    GTEST_SKIP() << "the models are not in " << models << ": run ./dev setup";
  }
  const auto source = open_weight_source(smollm2);
  EXPECT_EQ(source->names().size(), 272u);
  EXPECT_EQ(source->storage_of("model.embed_tokens.weight").to_string(), "Q8_0");
  const std::string down = "model.layers.29.mlp.down_proj.weight";
  const BlockWeight blocks = source->blocks(down);
  EXPECT_TRUE(blocks.has_minimums());
  std::vector<float> kept(576 * 1536);
  dequantize_rows(blocks, 0, 576, kept);
  EXPECT_EQ(kept, all_of(*source, down));
  const test::TemporaryFolder folder;
  const BlockWeight table = open_weight_source(smollm2, folder.path())->blocks("model.embed_tokens.weight");
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));  // its file has no name, and outlives the source
  std::vector<float> from_file(576), from_source(576);
  dequantize_rows(table, 49151, 1, from_file);
  source->read_rows_f32("model.embed_tokens.weight", 49151, 1, from_source);
  EXPECT_EQ(from_file, from_source);
  const auto config = huggingface_config_of(Gguf::read(gemma));
  EXPECT_EQ(config["layer_types"].size(), 18u);
  EXPECT_EQ(config["layer_types"][5], "full_attention");
  EXPECT_EQ(config["vocab_size"], 262144);
  EXPECT_EQ(weight_source_of(Gguf::read(gemma))->names().size(), 236u);
}

}  // namespace
}  // namespace pajamas
