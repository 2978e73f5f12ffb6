// WeightSource: the tensors of a checkpoint under the names that Hugging Face transformers gives them,
// whatever the container. It never converts a checkpoint as a whole: callers take rows, or a tensor that shares the
// mapped file. Not the configuration of a folder (models/checkpoint.h: read_config); for GGUF, huggingface_config_of
// makes one.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "io/gguf.h"
#include "io/safetensors.h"
#include "tensor/block_weight.h"
#include "tensor/ggml_blocks.h"

namespace pajamas {

/// How a checkpoint stores a tensor: an array of `dtype`, blocks of `block_type` (then dtype is kUndefined), or
/// integers of `dtype` with a scale for each row.
struct WeightStorage {
  DType dtype = DType::kUndefined;
  std::optional<GgmlType> block_type;
  bool has_row_scales = false;

  /// Whether WeightSource::blocks gives it.
  bool is_blocks() const { return block_type.has_value() || has_row_scales; }
  /// "bfloat16", "Q4_K", "int8 with a scale a row".
  std::string to_string() const;
};

/// Immutable and shareable between threads. Methods that take a name throw Error{kBadInput} naming tensor and file when
/// there is none of it.
class WeightSource {
 public:
  virtual ~WeightSource() = default;
  virtual bool has(const std::string& name) const = 0;
  /// In alphabetic order.
  virtual std::vector<std::string> names() const = 0;
  /// As transformers has it: linear layers [out_dim, in_dim].
  virtual const Shape& shape_of(const std::string& name) const = 0;
  virtual WeightStorage storage_of(const std::string& name) const = 0;
  /// Rows [row_begin, row_begin + row_count) of the tensor seen as [shape[0], everything else], as float32 into `out`
  /// of exactly that size. A vector is one row of all its elements, a scalar one of one. Throws Error{kUnsupported} for
  /// a storage that cannot be read (integers, GGUF types known by name only).
  virtual void read_rows_f32(const std::string& name, std::int64_t row_begin, std::int64_t row_count,
                             std::span<float> out) const = 0;
  /// A tensor stored as an array, in its own type; shares the mapped file unless its values had to be reordered or
  /// changed. Throws Error{kUnsupported} for blocks.
  virtual Tensor tensor(const std::string& name) const = 0;
  /// A matrix stored as blocks or with row scales, repacked without loss. Throws Error{kUnsupported} for arrays and for
  /// blocks that BlockWeight cannot hold (is_block_weight_type).
  virtual BlockWeight blocks(const std::string& name) const = 0;
  /// Gives the memory of the tensor's pages back to the system. They are read from the file again when touched again.
  virtual void release(const std::string& name) const = 0;
  /// Folder or file, for messages.
  virtual const std::string& where() const = 0;
};

/// A tensor as read_rows_f32 sees it.
struct WeightRows {
  std::int64_t num_rows = 0;
  std::int64_t row_elements = 0;
};
WeightRows weight_rows_of(const Shape& shape);
/// Throws Error{kInternal} naming the tensor when the rows are not there or do not fill `out_size` elements.
void check_rows(const std::string& name, const WeightRows& rows, std::int64_t row_begin, std::int64_t row_count,
                std::size_t out_size, const std::string& where);

/// Over a checkpoint folder or a single .safetensors file.
std::shared_ptr<const WeightSource> weight_source_of(Safetensors weights);
/// Over a GGUF of an architecture of huggingface_config_of. Undoes what the conversion to GGUF did: names, the order of
/// rows of Q and K of the llama architecture, the one added to Gemma's norm weights, stacked experts. Throws
/// Error{kUnsupported} for another architecture, Error{kBadInput} for tensors that contradict the metadata. With a
/// `scratch_directory` repacked blocks go to a nameless file there in place of memory, which is then needed for one
/// matrix at a time.
std::shared_ptr<const WeightSource> weight_source_of(const Gguf& gguf,
                                                     const std::filesystem::path& scratch_directory = {});
/// The type of blocks that stands for a plain array which can be read as float32; nothing for other arrays.
std::optional<GgmlType> plain_type_of(DType dtype);
/// By what `path` is: a folder with safetensors, a .safetensors file or a GGUF file. Throws as these.
std::shared_ptr<const WeightSource> open_weight_source(const std::filesystem::path& path,
                                                       const std::filesystem::path& scratch_directory = {});

/// What config.json of the same model says, in transformers' keys: model_type, hidden_size, intermediate_size,
/// num_hidden_layers, num_attention_heads, num_key_value_heads, head_dim, vocab_size, max_position_embeddings,
/// rms_norm_eps, rope_theta, rope_scaling, sliding_window, tie_word_embeddings, bos_token_id, eos_token_id,
/// torch_dtype, and those of the family (num_experts, ...). For llama (also Mistral and SmolLM2, which are published as
/// llama), qwen2, qwen3, qwen3moe, phi3, gemma3. Where the file holds frequency factors (rope_freqs.weight, as of
/// Llama 3.1), rope_scaling is {"rope_type": "frequency_factors", "factors": [...]}: each inverse frequency is divided
/// by its factor, which is what "llama3" scaling amounts to. Throws Error{kUnsupported} naming the architecture and
/// those known, Error{kBadInput} for missing or absurd values.
nlohmann::json huggingface_config_of(const Gguf& gguf);

}  // namespace pajamas
