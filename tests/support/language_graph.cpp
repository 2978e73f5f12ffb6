// See language_graph.h.
#include "support/language_graph.h"

#include <algorithm>

namespace pajamas::test {

namespace {

std::int64_t rotary_dim_of(const DecoderConfig& config) {
  return config.rotary_dim != 0 ? config.rotary_dim : config.head_dim;
}

}  // namespace

GraphValue DecoderGraph::vector(GraphBuilder& builder, const std::string& name, std::int64_t size, float center) {
  std::vector<float> values(static_cast<std::size_t>(size));
  for (float& value : values) value = center + 0.3F * random();
  vectors_[name] = values;
  return builder.weight(name, Tensor::of<float>(Shape{size}, values));
}

GraphValue DecoderGraph::matrix(GraphBuilder& builder, const std::string& name, std::int64_t num_rows,
                                std::int64_t num_columns, WeightForm form) {
  const auto count = static_cast<std::size_t>(num_rows * num_columns);
  // Rows of length sqrt(3), whatever their number of columns.
  const float scale = std::sqrt(3.0F / static_cast<float>(num_columns));
  Matrix reference{num_rows, num_columns, {}};
  if (config_.has_reference) reference.values.resize(count);
  const auto keep = [&](std::size_t index, float value) {
    if (config_.has_reference) reference.values[index] = value;
  };
  GraphValue result;
  if (form == WeightForm::kFloat32) {
    Tensor tensor(DType::kFloat32, Shape{num_rows, num_columns});
    const auto values = tensor.mutable_as<float>();
    for (std::size_t i = 0; i < count; ++i) keep(i, values[i] = scale * random());
    result = builder.weight(name, tensor);
  } else if (form == WeightForm::kBfloat16) {
    Tensor tensor(DType::kBfloat16, Shape{num_rows, num_columns});
    auto* bits = reinterpret_cast<std::uint16_t*>(tensor.mutable_bytes().data());
    for (std::size_t i = 0; i < count; ++i) {
      bits[i] = bfloat16_from_float(scale * random());
      keep(i, float_from_bfloat16(bits[i]));
    }
    result = builder.node("Cast", {builder.weight(name, tensor)}, {{"to", std::int64_t{1}}});
  } else if (form == WeightForm::kInt8Row) {
    Tensor tensor(DType::kInt8, Shape{num_rows, num_columns});
    Tensor scales(DType::kFloat32, Shape{num_rows});
    const auto values = tensor.mutable_as<std::int8_t>();
    for (std::int64_t row = 0; row < num_rows; ++row) {
      const float factor = scale / 127.0F * (1.0F + 0.2F * random());
      scales.mutable_as<float>()[static_cast<std::size_t>(row)] = factor;
      for (std::int64_t column = 0; column < num_columns; ++column) {
        const auto index = static_cast<std::size_t>(row * num_columns + column);
        values[index] = static_cast<std::int8_t>(static_cast<int>(generator_() % 255U) - 127);
        keep(index, factor * static_cast<float>(values[index]));
      }
    }
    result = builder.node("DequantizeLinear", {builder.weight(name, tensor), builder.weight(name + ".scale", scales)},
                          {{"axis", std::int64_t{0}}});
  } else {
    const bool has_minimum = form == WeightForm::kUint4Min;
    const std::int64_t group_size = has_minimum ? 32 : config_.group_size;
    const std::int64_t num_groups = num_columns / group_size;
    Tensor tensor(DType::kUint4, Shape{num_rows, num_columns});
    Tensor scales(DType::kFloat32, Shape{num_rows, num_groups});
    Tensor zero_points(DType::kUint4, Shape{num_rows, num_groups});
    Tensor minima(DType::kFloat32, Shape{num_rows, num_groups, 1});
    const auto packed = tensor.mutable_bytes();
    const auto packed_zero_points = zero_points.mutable_bytes();
    std::fill(packed_zero_points.begin(), packed_zero_points.end(), std::byte{0});
    for (std::size_t i = 0; i < packed.size(); ++i) packed[i] = static_cast<std::byte>(generator_() & 0xffU);
    for (std::size_t group = 0; group < static_cast<std::size_t>(num_rows * num_groups); ++group) {
      const float factor = scale / 7.5F * (1.0F + 0.2F * random());
      const auto zero_point = static_cast<int>(6U + generator_() % 4U);
      const float minimum = -7.5F * factor * (1.0F + 0.1F * random());
      scales.mutable_as<float>()[group] = factor;
      minima.mutable_as<float>()[group] = minimum;
      packed_zero_points[group / 2] |= static_cast<std::byte>(zero_point << (group % 2 * 4));
      if (!config_.has_reference) continue;
      for (std::int64_t i = 0; i < group_size; ++i) {
        const std::size_t index = group * static_cast<std::size_t>(group_size) + static_cast<std::size_t>(i);
        const int q = (std::to_integer<int>(packed[index / 2]) >> (index % 2 * 4)) & 15;
        keep(index,
             has_minimum ? factor * static_cast<float>(q) + minimum : factor * static_cast<float>(q - zero_point));
      }
    }
    if (has_minimum) {
      const GraphValue scaled =
          builder.node("DequantizeLinear", {builder.weight(name, tensor), builder.weight(name + ".scale", scales)},
                       {{"axis", std::int64_t{1}}, {"block_size", group_size}});
      const GraphValue grouped =
          builder.node("Reshape", {scaled, builder.integers({num_rows, num_groups, group_size})});
      const GraphValue raised = builder.node("Add", {grouped, builder.weight(name + ".minimum", minima)});
      result = builder.node("Reshape", {raised, builder.integers({num_rows, num_columns})});
    } else {
      result = builder.node("DequantizeLinear",
                            {builder.weight(name, tensor), builder.weight(name + ".scale", scales),
                             builder.weight(name + ".zero_point", zero_points)},
                            {{"axis", std::int64_t{1}}, {"block_size", group_size}});
    }
  }
  matrices_[name] = std::move(reference);
  return result;
}

GraphValue DecoderGraph::rotate(GraphBuilder& builder, const GraphValue& x, std::int64_t num_heads,
                                const GraphValue& cosine, const GraphValue& sine) {
  const GraphValue batched = builder.node("Unsqueeze", {x, builder.integers({0})});
  const GraphValue turned = builder.node("RotaryEmbedding", {batched, cosine, sine},
                                         {{"num_heads", num_heads}, {"rotary_embedding_dim", config_.rotary_dim}});
  return builder.node("Squeeze", {turned, builder.integers({0})});
}

DecoderGraph::DecoderGraph(const DecoderConfig& config) : config_(config), generator_(config.seed) {
  GraphBuilder builder("decoder", 23);
  const Dimension num_tokens = Dimension::named("num_tokens");
  const GraphValue input_ids = builder.input("input_ids", DType::kInt64, {num_tokens});
  const GraphValue position_ids = builder.input("position_ids", DType::kInt64, {num_tokens});
  const Dimension num_sequences = Dimension::named("num_sequences");
  const Dimension num_begins = Dimension::named("num_sequences + 1");
  const GraphValue past_lens = builder.input("past_lens", DType::kInt32, {num_sequences});
  const GraphValue subsequence_begins = builder.input("subsequence_begins", DType::kInt32, {num_begins});
  const GraphValue block_indices = builder.input("block_indices", DType::kInt32, {Dimension::named("num_blocks")});
  const GraphValue block_indices_begins = builder.input("block_indices_begins", DType::kInt32, {num_begins});
  const GraphValue max_context_len = builder.input("max_context_len", DType::kInt32, {});
  const GraphValue logit_rows = builder.input("logit_rows", DType::kInt64, {Dimension::named("num_rows")});

  const GraphValue table = matrix(builder, "embed", config.vocab_size, config.hidden_dim, config.embedding);
  GraphValue x = builder.node("Gather", {table, input_ids}, {{"axis", std::int64_t{0}}});

  const std::int64_t rotary_dim = rotary_dim_of(config);
  std::vector<float> frequencies;
  for (std::int64_t i = 0; i < rotary_dim / 2; ++i) {
    frequencies.push_back(static_cast<float>(
        std::pow(config.rope_base, -2.0 * static_cast<double>(i) / static_cast<double>(rotary_dim))));
  }
  const GraphValue positions = builder.node(
      "Unsqueeze", {builder.node("Cast", {position_ids}, {{"to", std::int64_t{1}}}), builder.integers({1})});
  const GraphValue angles = builder.node(
      "Mul", {positions, builder.weight("frequencies", Tensor::of<float>(Shape{1, rotary_dim / 2}, frequencies))});
  const GraphValue cosine = builder.node("Unsqueeze", {builder.node("Cos", {angles}), builder.integers({0})});
  const GraphValue sine = builder.node("Unsqueeze", {builder.node("Sin", {angles}), builder.integers({0})});

  const std::int64_t query_dim = config.num_heads * config.head_dim;
  const std::int64_t key_dim = config.num_kv_heads * config.head_dim;
  const auto linear = [&](const GraphValue& input, const std::string& name, std::int64_t out_dim, std::int64_t in_dim,
                          bool has_bias) {
    const GraphValue weight = matrix(builder, name, out_dim, in_dim, config.linear);
    if (!has_bias) return builder.node("Gemm", {input, weight}, {{"transB", std::int64_t{1}}});
    return builder.node("Gemm", {input, weight, vector(builder, name + ".bias", out_dim, 0.0F)},
                        {{"transB", std::int64_t{1}}});
  };
  const auto normal = [&](const GraphValue& input, const std::string& name, std::int64_t size) {
    return builder.node("RMSNormalization", {input, vector(builder, name, size, 1.0F)}, {{"epsilon", config.epsilon}});
  };
  const auto head_normal = [&](const GraphValue& input, const std::string& name, std::int64_t num_heads) {
    const GraphValue heads = builder.node("Reshape", {input, builder.integers({-1, num_heads, config.head_dim})});
    return builder.node("Reshape",
                        {normal(heads, name, config.head_dim), builder.integers({-1, num_heads * config.head_dim})});
  };
  for (std::int64_t layer = 0; layer < config.num_layers; ++layer) {
    const std::string name = "layer." + std::to_string(layer);
    const auto scope = builder.scope(name);
    const GraphValue h = normal(x, name + ".norm1", config.hidden_dim);
    GraphValue q = linear(h, name + ".q", query_dim, config.hidden_dim, config.has_qkv_bias);
    GraphValue k = linear(h, name + ".k", key_dim, config.hidden_dim, config.has_qkv_bias);
    const GraphValue v = linear(h, name + ".v", key_dim, config.hidden_dim, config.has_qkv_bias);
    if (config.has_qk_norm) {
      q = head_normal(q, name + ".q_norm", config.num_heads);
      k = head_normal(k, name + ".k_norm", config.num_kv_heads);
    }
    q = rotate(builder, q, config.num_heads, cosine, sine);
    k = rotate(builder, k, config.num_kv_heads, cosine, sine);
    const GraphValue attention =
        builder.node("PagedAttention",
                     {q, k, v, past_lens, subsequence_begins, block_indices, block_indices_begins, max_context_len},
                     {{"layer_index", layer},
                      {"num_heads", config.num_heads},
                      {"num_kv_heads", config.num_kv_heads},
                      {"head_dim", config.head_dim},
                      {"scale", 1.0F / std::sqrt(static_cast<float>(config.head_dim))},
                      {"sliding_window", config.sliding_window},
                      {"softcap", 0.0F}});
    x = builder.node("Add", {x, linear(attention, name + ".o", config.hidden_dim, query_dim, false)});
    const GraphValue h2 = normal(x, name + ".norm2", config.hidden_dim);
    const GraphValue gate = linear(h2, name + ".gate", config.ffn_dim, config.hidden_dim, false);
    const GraphValue up = linear(h2, name + ".up", config.ffn_dim, config.hidden_dim, false);
    const GraphValue activated =
        builder.node("Mul", {builder.node("Mul", {gate, builder.node("Sigmoid", {gate})}), up});
    x = builder.node("Add", {x, linear(activated, name + ".down", config.hidden_dim, config.ffn_dim, false)});
  }
  const GraphValue rows = builder.node("Gather", {x, logit_rows}, {{"axis", std::int64_t{0}}});
  const GraphValue last = normal(rows, "norm", config.hidden_dim);
  const GraphValue logits = builder.node("Gemm", {last, table}, {{"transB", std::int64_t{1}}});
  builder.output("logits", logits, DType::kFloat32,
                 {Dimension::named("num_rows"), Dimension::known(config.vocab_size)});
  model_ = builder.build();
  for (Node& node : model_.graph.nodes) {
    if (node.op_type == "PagedAttention") node.domain = "pajamas";
  }
  model_.opset_imports.emplace_back("pajamas", 1);
}

std::vector<double> DecoderGraph::apply(const std::string& name, const std::vector<double>& x) const {
  const Matrix& matrix = matrices_.at(name);
  std::vector<double> result(static_cast<std::size_t>(matrix.num_rows));
  const auto bias = vectors_.find(name + ".bias");
  for (std::size_t row = 0; row < result.size(); ++row) {
    double sum = bias != vectors_.end() ? static_cast<double>(bias->second[row]) : 0.0;
    const std::size_t begin = row * x.size();
    for (std::size_t i = 0; i < x.size(); ++i) sum += static_cast<double>(matrix.values[begin + i]) * x[i];
    result[row] = sum;
  }
  return result;
}

void DecoderGraph::normalize(std::vector<double>& x, std::size_t begin, std::int64_t size,
                             const std::string& scale) const {
  const std::vector<float>& factors = vectors_.at(scale);
  double sum = 0.0;
  for (std::size_t i = 0; i < static_cast<std::size_t>(size); ++i) sum += x[begin + i] * x[begin + i];
  const double factor = 1.0 / std::sqrt(sum / static_cast<double>(size) + static_cast<double>(config_.epsilon));
  for (std::size_t i = 0; i < static_cast<std::size_t>(size); ++i) {
    x[begin + i] *= factor * static_cast<double>(factors[i]);
  }
}

void DecoderGraph::turn(std::vector<double>& x, std::int64_t num_heads, std::int64_t position) const {
  const std::int64_t rotary_dim = rotary_dim_of(config_);
  for (std::int64_t head = 0; head < num_heads; ++head) {
    for (std::int64_t i = 0; i < rotary_dim / 2; ++i) {
      // The angle is a float in the graph, and so it is here: at position 32,000 that matters.
      const auto frequency = static_cast<float>(
          std::pow(config_.rope_base, -2.0 * static_cast<double>(i) / static_cast<double>(rotary_dim)));
      const auto angle = static_cast<double>(static_cast<float>(position) * frequency);
      const auto a = static_cast<std::size_t>(head * config_.head_dim + i);
      const std::size_t b = a + static_cast<std::size_t>(rotary_dim / 2);
      const double first = x[a] * std::cos(angle) - x[b] * std::sin(angle);
      x[b] = x[b] * std::cos(angle) + x[a] * std::sin(angle);
      x[a] = first;
    }
  }
}

std::vector<float> DecoderGraph::logits(const std::vector<std::int64_t>& tokens, std::int64_t first_position) const {
  const std::size_t count = tokens.size();
  std::vector<std::vector<double>> x(count);
  const Matrix& table = matrices_.at("embed");
  const auto hidden_dim = static_cast<std::size_t>(config_.hidden_dim);
  for (std::size_t t = 0; t < count; ++t) {
    const auto begin = table.values.begin() + tokens[t] * config_.hidden_dim;
    x[t].assign(begin, begin + config_.hidden_dim);
  }
  const std::int64_t group = config_.num_heads / config_.num_kv_heads;
  for (std::int64_t layer = 0; layer < config_.num_layers; ++layer) {
    const std::string name = "layer." + std::to_string(layer);
    std::vector<std::vector<double>> keys(count);
    std::vector<std::vector<double>> values(count);
    for (std::size_t t = 0; t < count; ++t) {
      const std::int64_t position = first_position + static_cast<std::int64_t>(t);
      std::vector<double> h = x[t];
      normalize(h, 0, config_.hidden_dim, name + ".norm1");
      std::vector<double> q = apply(name + ".q", h);
      keys[t] = apply(name + ".k", h);
      values[t] = apply(name + ".v", h);
      const auto head_dim = static_cast<std::size_t>(config_.head_dim);
      if (config_.has_qk_norm) {
        for (std::size_t i = 0; i < q.size(); i += head_dim) normalize(q, i, config_.head_dim, name + ".q_norm");
        for (std::size_t i = 0; i < keys[t].size(); i += head_dim) {
          normalize(keys[t], i, config_.head_dim, name + ".k_norm");
        }
      }
      turn(q, config_.num_heads, position);
      turn(keys[t], config_.num_kv_heads, position);
      std::vector<double> attended(q.size(), 0.0);
      const std::size_t first = config_.sliding_window > 0 && t + 1 > static_cast<std::size_t>(config_.sliding_window)
                                    ? t + 1 - static_cast<std::size_t>(config_.sliding_window)
                                    : 0;
      for (std::int64_t head = 0; head < config_.num_heads; ++head) {
        const auto own = static_cast<std::size_t>(head) * head_dim;
        const auto shared = static_cast<std::size_t>(head / group) * head_dim;
        std::vector<double> scores;
        double largest = -1e300;
        for (std::size_t s = first; s <= t; ++s) {
          double score = 0.0;
          for (std::size_t i = 0; i < head_dim; ++i) score += q[own + i] * keys[s][shared + i];
          scores.push_back(score / std::sqrt(static_cast<double>(config_.head_dim)));
          largest = std::max(largest, scores.back());
        }
        double sum = 0.0;
        for (double& score : scores) sum += score = std::exp(score - largest);
        for (std::size_t s = first; s <= t; ++s) {
          for (std::size_t i = 0; i < head_dim; ++i) {
            attended[own + i] += scores[s - first] / sum * values[s][shared + i];
          }
        }
      }
      const std::vector<double> mixed = apply(name + ".o", attended);
      for (std::size_t i = 0; i < hidden_dim; ++i) x[t][i] += mixed[i];
    }
    for (std::size_t t = 0; t < count; ++t) {
      std::vector<double> h = x[t];
      normalize(h, 0, config_.hidden_dim, name + ".norm2");
      std::vector<double> gate = apply(name + ".gate", h);
      const std::vector<double> up = apply(name + ".up", h);
      for (std::size_t i = 0; i < gate.size(); ++i) gate[i] = gate[i] / (1.0 + std::exp(-gate[i])) * up[i];
      const std::vector<double> mixed = apply(name + ".down", gate);
      for (std::size_t i = 0; i < hidden_dim; ++i) x[t][i] += mixed[i];
    }
  }
  std::vector<float> result;
  for (std::size_t t = 0; t < count; ++t) {
    normalize(x[t], 0, config_.hidden_dim, "norm");
    for (const double value : apply("embed", x[t])) result.push_back(static_cast<float>(value));
  }
  return result;
}

}  // namespace pajamas::test
