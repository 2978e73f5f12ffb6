// WeightSource over GGUF: the names and the order that transformers has, from those that the conversion to GGUF made.
// The configuration is gguf_config.cpp's.
#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <map>
#include <mutex>
#include <string_view>
#include <utility>

#include "models/weight_source.h"
#include "pajamas/error.h"
#include "tensor/tensor_file.h"

namespace pajamas {
namespace {

using NamePair = std::pair<std::string_view, std::string_view>;

constexpr std::array<NamePair, 3> kModelNames{{{"token_embd.weight", "model.embed_tokens.weight"},
                                               {"output_norm.weight", "model.norm.weight"},
                                               {"output.weight", "lm_head.weight"}}};

/// Within "blk.N." and "model.layers.N.". The first column that fits the architecture wins.
constexpr std::array<NamePair, 20> kLayerNames{{{"attn_norm.weight", "input_layernorm.weight"},
                                                {"attn_q.weight", "self_attn.q_proj.weight"},
                                                {"attn_k.weight", "self_attn.k_proj.weight"},
                                                {"attn_v.weight", "self_attn.v_proj.weight"},
                                                {"attn_q.bias", "self_attn.q_proj.bias"},
                                                {"attn_k.bias", "self_attn.k_proj.bias"},
                                                {"attn_v.bias", "self_attn.v_proj.bias"},
                                                {"attn_output.weight", "self_attn.o_proj.weight"},
                                                {"attn_output.bias", "self_attn.o_proj.bias"},
                                                {"attn_q_norm.weight", "self_attn.q_norm.weight"},
                                                {"attn_k_norm.weight", "self_attn.k_norm.weight"},
                                                {"attn_qkv.weight", "self_attn.qkv_proj.weight"},
                                                {"ffn_norm.weight", "post_attention_layernorm.weight"},
                                                {"ffn_gate.weight", "mlp.gate_proj.weight"},
                                                {"ffn_up.weight", "mlp.up_proj.weight"},
                                                {"ffn_down.weight", "mlp.down_proj.weight"},
                                                {"ffn_gate.bias", "mlp.gate_proj.bias"},
                                                {"ffn_up.bias", "mlp.up_proj.bias"},
                                                {"ffn_down.bias", "mlp.down_proj.bias"},
                                                {"ffn_gate_inp.weight", "mlp.gate.weight"}}};
/// Phi-3 keeps gate and up in one matrix, gate first, under the name that other models use for up.
constexpr std::array<NamePair, 1> kPhi3LayerNames{{{"ffn_up.weight", "mlp.gate_up_proj.weight"}}};
/// Gemma has a norm before and one behind each half of a layer.
constexpr std::array<NamePair, 3> kGemma3LayerNames{{{"post_attention_norm.weight", "post_attention_layernorm.weight"},
                                                     {"ffn_norm.weight", "pre_feedforward_layernorm.weight"},
                                                     {"post_ffw_norm.weight", "post_feedforward_layernorm.weight"}}};
/// [num_experts, out_dim, in_dim]; the expert's number comes in between.
constexpr std::array<NamePair, 3> kExpertNames{{{"ffn_gate_exps.weight", "gate_proj.weight"},
                                                {"ffn_up_exps.weight", "up_proj.weight"},
                                                {"ffn_down_exps.weight", "down_proj.weight"}}};

template <typename Names>
std::string_view find_name(const Names& names, std::string_view gguf_name) {
  for (const auto& [from, to] : names) {
    if (from == gguf_name) return to;
  }
  return {};
}

/// Repacked blocks below this stay in memory even with a scratch folder.
constexpr std::uint64_t kMinScratchBytes = 1 << 20;
/// Source bytes repacked before their pages are given back.
constexpr std::size_t kReleaseBytes = std::size_t{16} << 20;

class GgufWeightSource : public WeightSource {
 public:
  GgufWeightSource(const Gguf& gguf, const std::filesystem::path& scratch_directory) : gguf_(gguf) {
    if (!scratch_directory.empty()) scratch_ = TensorFile::create_unnamed(scratch_directory);
    const nlohmann::json config = huggingface_config_of(gguf);
    architecture_ = gguf.architecture();
    num_layers_ = config.at("num_hidden_layers").get<std::int64_t>();
    num_experts_ = config.value("num_experts", std::int64_t{0});
    for (const GgufTensor& tensor : gguf.tensors()) add(tensor, config);
  }

  bool has(const std::string& name) const override { return entries_.contains(name); }
  std::vector<std::string> names() const override {
    std::vector<std::string> names;
    names.reserve(entries_.size());
    for (const auto& entry : entries_) names.push_back(entry.first);
    return names;
  }
  const Shape& shape_of(const std::string& name) const override { return entry(name).shape; }
  WeightStorage storage_of(const std::string& name) const override {
    const Entry& found = entry(name);
    if (const auto dtype = plain_dtype_of(found.type)) return {*dtype, std::nullopt};
    return {DType::kUndefined, found.type};
  }

  void read_rows_f32(const std::string& name, std::int64_t row_begin, std::int64_t row_count,
                     std::span<float> out) const override {
    const Entry& found = entry(name);
    const WeightRows rows = weight_rows_of(found.shape);
    check_rows(name, rows, row_begin, row_count, out.size(), where());
    try {
      const std::size_t row_bytes = row_bytes_of(found.type, rows.row_elements);
      if (found.rotary_dim == 0 || rows.num_rows == 1) {
        dequantize_blocks(found.type, found.part(row_begin, row_count, row_bytes), out);
      } else {
        const auto row_elements = static_cast<std::size_t>(rows.row_elements);
        for (std::int64_t r = 0; r < row_count; ++r) {
          dequantize_blocks(found.type, found.part(found.stored_row(row_begin + r), 1, row_bytes),
                            out.subspan(static_cast<std::size_t>(r) * row_elements, row_elements));
        }
      }
    } catch (const Error& error) {
      throw Error(error.kind(), "tensor '" + name + "': " + error.message(), where(), error.remedy());
    }
    if (found.rotary_dim != 0 && found.shape.rank() == 1) {
      const std::vector<float> stored(out.begin(), out.end());
      for (std::size_t i = 0; i < out.size(); ++i) {
        out[i] = stored[static_cast<std::size_t>(found.stored_row(static_cast<std::int64_t>(i)))];
      }
    }
    if (found.has_one_added) {
      for (float& value : out) value -= 1;
    }
  }

  Tensor tensor(const std::string& name) const override {
    const Entry& found = entry(name);
    const auto dtype = plain_dtype_of(found.type);
    if (!dtype) {
      throw Error(ErrorKind::kUnsupported, "tensor '" + name + "' is stored in blocks of " + to_string(found.type),
                  where());
    }
    if (found.has_one_added || (found.rotary_dim != 0 && found.shape.rank() == 1)) {
      Tensor changed(DType::kFloat32, found.shape);
      read_rows_f32(name, 0, 1, changed.mutable_as<float>());
      return changed;
    }
    if (found.rotary_dim != 0) {
      Tensor reordered(*dtype, found.shape);
      const auto out = reordered.mutable_bytes();
      const std::size_t row_bytes = row_bytes_of(found.type, found.shape[1]);
      for (std::int64_t r = 0; r < found.shape[0]; ++r) {
        const auto row = found.part(found.stored_row(r), 1, row_bytes);
        std::memcpy(out.data() + static_cast<std::size_t>(r) * row_bytes, row.data(), row_bytes);
      }
      return reordered;
    }
    const auto address = reinterpret_cast<std::uintptr_t>(found.bytes.data());
    if (address % sizeof(float) == 0) return {*dtype, found.shape, found.owner, found.bytes};
    return Tensor::copy_of({*dtype, found.shape, found.bytes.data()});
  }

  BlockWeight blocks(const std::string& name) const override {
    const Entry& found = entry(name);
    if (!is_block_weight_type(found.type) || found.shape.rank() != 2) {
      throw Error(
          ErrorKind::kUnsupported,
          "tensor '" + name + "', " + to_string(found.type) + found.shape.to_string() + ", cannot be kept in blocks",
          where(), "quantise the model to one of " + readable_ggml_types());
    }
    BlockWeight weight = allocate_block_weight(found.type, found.shape[0], found.shape[1]);
    const std::size_t row_bytes = row_bytes_of(found.type, found.shape[1]);
    if (found.rotary_dim != 0) {
      for (std::int64_t r = 0; r < found.shape[0]; ++r) {
        repack_rows(found.type, found.part(found.stored_row(r), 1, row_bytes), r, weight);
      }
      release_file_memory(found.bytes);
    } else {
      const auto step =
          static_cast<std::int64_t>(std::max<std::size_t>(kReleaseBytes / std::max<std::size_t>(row_bytes, 1), 1));
      for (std::int64_t r = 0; r < found.shape[0]; r += step) {
        const auto rows = found.part(r, std::min(step, found.shape[0] - r), row_bytes);
        repack_rows(found.type, rows, r, weight);
        release_file_memory(rows);
      }
    }
    if (scratch_ && weight.size_bytes() >= kMinScratchBytes) {
      const std::lock_guard lock(scratch_mutex_);
      weight.values = scratch_->append(name, weight.values);
      weight.scales = scratch_->append(name + ".scale", weight.scales);
      if (weight.has_minimums()) weight.minimums = scratch_->append(name + ".minimum", weight.minimums);
    }
    return weight;
  }

  void release(const std::string& name) const override { release_file_memory(entry(name).bytes); }
  const std::string& where() const override { return gguf_.where(); }

 private:
  struct Entry {
    GgmlType type = GgmlType::kF32;
    Shape shape;
    std::span<const std::byte> bytes;
    std::shared_ptr<const void> owner;
    /// Rows of a head (Q and K of the llama architecture), whose order is that of rotating neighbours; 0: in order.
    std::int64_t rotary_dim = 0;
    bool has_one_added = false;

    std::span<const std::byte> part(std::int64_t row_begin, std::int64_t row_count, std::size_t row_bytes) const {
      return bytes.subspan(static_cast<std::size_t>(row_begin) * row_bytes,
                           static_cast<std::size_t>(row_count) * row_bytes);
    }
    /// transformers rotates element i of a head's first half with element i of its second. The conversion put such
    /// pairs side by side: its row 2 i + half of a head is transformers' row half * dim / 2 + i.
    std::int64_t stored_row(std::int64_t row) const {
      const std::int64_t head = row / rotary_dim, within = row % rotary_dim, half_dim = rotary_dim / 2;
      return head * rotary_dim + 2 * (within % half_dim) + within / half_dim;
    }
  };

  [[noreturn]] void fail(const GgufTensor& tensor, const std::string& message) const {
    throw Error(ErrorKind::kBadInput,
                "tensor '" + tensor.name + "' of shape " + tensor.shape.to_string() + " " + message, gguf_.where(),
                "the file contradicts itself: fetch it again, or convert the model again with llama.cpp");
  }

  void insert(const std::string& name, Entry entry, const GgufTensor& tensor) {
    if (!entries_.emplace(name, std::move(entry)).second)
      fail(tensor, "stands for '" + name + "', which is there already");
  }

  void add(const GgufTensor& tensor, const nlohmann::json& config) {
    // No bytes bound the other dimensions of such a tensor: rows and experts could be counted to 2^63.
    if (tensor.shape.num_elements() == 0) fail(tensor, "has no elements");
    Entry entry;
    entry.type = tensor.type;
    entry.shape = tensor.shape;
    entry.bytes = tensor.bytes;
    entry.owner = tensor.owner;
    const bool is_gemma3 = architecture_ == "gemma3";
    entry.has_one_added = is_gemma3 && tensor.name.ends_with("norm.weight");

    const std::string_view name = tensor.name;
    if (const auto model_name = find_name(kModelNames, name); !model_name.empty()) {
      insert(std::string(model_name), std::move(entry), tensor);
      return;
    }
    constexpr std::string_view kBlock = "blk.";
    std::int64_t layer = -1;
    std::string_view inner;
    if (name.starts_with(kBlock)) {
      const auto [end, error] = std::from_chars(name.data() + kBlock.size(), name.data() + name.size(), layer);
      if (error == std::errc() && end != name.data() + name.size() && *end == '.') {
        inner = name.substr(static_cast<std::size_t>(end - name.data()) + 1);
      }
    }
    if (inner.empty()) {  // rope_freqs.weight and others that transformers has no tensor for
      insert(tensor.name, std::move(entry), tensor);
      return;
    }
    if (layer < 0 || layer >= num_layers_) {
      fail(tensor, "belongs to a layer that the metadata does not have; it says " + std::to_string(num_layers_));
    }
    const std::string prefix = "model.layers." + std::to_string(layer) + ".";
    if (const auto expert_name = find_name(kExpertNames, inner); !expert_name.empty()) {
      add_experts(tensor, prefix + "mlp.experts.", std::string(expert_name));
      return;
    }
    std::string_view layer_name;
    if (architecture_ == "phi3") layer_name = find_name(kPhi3LayerNames, inner);
    if (is_gemma3) layer_name = find_name(kGemma3LayerNames, inner);
    if (layer_name.empty()) layer_name = find_name(kLayerNames, inner);
    if (layer_name.empty()) {
      insert(tensor.name, std::move(entry), tensor);
      return;
    }
    if (architecture_ == "llama" && (inner.starts_with("attn_q.") || inner.starts_with("attn_k."))) {
      const std::int64_t num_heads =
          config.at(inner.starts_with("attn_q.") ? "num_attention_heads" : "num_key_value_heads").get<std::int64_t>();
      if (tensor.shape.rank() == 0 || tensor.shape[0] % (2 * num_heads) != 0 || tensor.shape[0] == 0) {
        fail(tensor, "cannot be divided into the " + std::to_string(num_heads) + " heads of the metadata");
      }
      entry.rotary_dim = tensor.shape[0] / num_heads;
    }
    insert(prefix + std::string(layer_name), std::move(entry), tensor);
  }

  void add_experts(const GgufTensor& tensor, const std::string& prefix, const std::string& name) {
    if (tensor.shape.rank() != 3 || tensor.shape[0] != num_experts_ || num_experts_ == 0) {
      fail(tensor, "does not hold the " + std::to_string(num_experts_) + " experts of the metadata");
    }
    const std::size_t expert_bytes = tensor.bytes.size() / static_cast<std::size_t>(num_experts_);
    for (std::int64_t expert = 0; expert < num_experts_; ++expert) {
      Entry entry;
      entry.type = tensor.type;
      entry.shape = Shape{tensor.shape[1], tensor.shape[2]};
      entry.bytes = tensor.bytes.subspan(static_cast<std::size_t>(expert) * expert_bytes, expert_bytes);
      entry.owner = tensor.owner;
      insert(prefix + std::to_string(expert) + "." + name, std::move(entry), tensor);
    }
  }

  const Entry& entry(const std::string& name) const {
    const auto found = entries_.find(name);
    if (found == entries_.end()) throw Error(ErrorKind::kBadInput, "there is no tensor '" + name + "'", where());
    return found->second;
  }

  Gguf gguf_;
  std::string architecture_;
  std::int64_t num_layers_ = 0;
  std::int64_t num_experts_ = 0;
  std::map<std::string, Entry> entries_;
  mutable std::mutex scratch_mutex_;
  mutable std::optional<TensorFile> scratch_;
};

}  // namespace

std::shared_ptr<const WeightSource> weight_source_of(const Gguf& gguf, const std::filesystem::path& scratch_directory) {
  return std::make_shared<GgufWeightSource>(gguf, scratch_directory);
}

}  // namespace pajamas
