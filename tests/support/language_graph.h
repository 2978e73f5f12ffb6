// A small decoder in the form of docs/language.md with random weights of any sizes, and its logits computed by plain
// loops in double precision, one sequence at a time: what tests of engines and schedulers compare with. Not a family of
// models: those are in src/models/language/.
#pragma once

#include <cmath>
#include <cstdint>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "graph/graph_builder.h"
#include "tensor/half.h"

namespace pajamas::test {

enum class WeightForm {
  kFloat32,
  kBfloat16,    ///< Cast to float32 in the graph.
  kInt8Row,     ///< Symmetric int8, one scale an output row.
  kUint4Group,  ///< Asymmetric uint4 in groups.
  kUint4Min,    ///< uint4 in groups of 32 with a minimum, as GGUF's Q4_1.
};

struct DecoderConfig {
  std::int64_t vocab_size = 97;
  std::int64_t hidden_dim = 64;
  std::int64_t num_layers = 2;
  std::int64_t num_heads = 4;
  std::int64_t num_kv_heads = 2;
  std::int64_t head_dim = 16;
  std::int64_t rotary_dim = 0;  ///< 0: head_dim.
  std::int64_t ffn_dim = 96;
  std::int64_t sliding_window = 0;
  std::int64_t group_size = 32;  ///< Of kUint4Group.
  double rope_base = 10000.0;
  float epsilon = 1e-5F;
  bool has_qkv_bias = false;
  bool has_qk_norm = false;
  WeightForm linear = WeightForm::kFloat32;
  WeightForm embedding = WeightForm::kFloat32;  ///< Shared by the output layer.
  bool has_reference = true;                    ///< Keep the weights as floats for DecoderGraph::logits().
  std::uint32_t seed = 1;
};

/// The graph, and the same model as loops.
class DecoderGraph {
 public:
  explicit DecoderGraph(const DecoderConfig& config);

  const DecoderConfig& config() const { return config_; }
  const Model& model() const { return model_; }
  /// Logits [tokens.size() * vocab_size] of one sequence from position `first_position` on, without a past.
  std::vector<float> logits(const std::vector<std::int64_t>& tokens, std::int64_t first_position = 0) const;

 private:
  struct Matrix {
    std::int64_t num_rows = 0;
    std::int64_t num_columns = 0;
    std::vector<float> values;
  };
  float random() { return uniform_(generator_); }
  GraphValue matrix(GraphBuilder& builder, const std::string& name, std::int64_t num_rows, std::int64_t num_columns,
                    WeightForm form);
  GraphValue vector(GraphBuilder& builder, const std::string& name, std::int64_t size, float center);
  GraphValue rotate(GraphBuilder& builder, const GraphValue& x, std::int64_t num_heads, const GraphValue& cosine,
                    const GraphValue& sine);
  std::vector<double> apply(const std::string& name, const std::vector<double>& x) const;
  void normalize(std::vector<double>& x, std::size_t begin, std::int64_t size, const std::string& scale) const;
  void turn(std::vector<double>& x, std::int64_t num_heads, std::int64_t position) const;

  DecoderConfig config_;
  Model model_;
  std::map<std::string, Matrix> matrices_;
  std::map<std::string, std::vector<float>> vectors_;
  std::mt19937 generator_;
  std::uniform_real_distribution<float> uniform_{-1.0F, 1.0F};
};

}  // namespace pajamas::test
