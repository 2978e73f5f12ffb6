// A Hugging Face checkpoint folder as model definitions read it: config.json with typed access and the weights with
// shape checks, kept account of so that what nobody asked for is reported. Tokenizers and preprocessing have their own
// readers (image_processor.h, text/).
#pragma once

#include <array>
#include <filesystem>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/json_reader.h"
#include "io/safetensors.h"
#include "models/model_definition.h"

namespace pajamas {

/// Logs `names`, if any, as a warning: tensors that nobody asked for, so the model may differ from what was built.
void warn_unused_tensors(const std::vector<std::string>& names, std::string_view family, const std::string& where);

/// The weights of a folder. Not thread-safe.
class Checkpoint {
 public:
  /// Throws as Safetensors::read_directory.
  explicit Checkpoint(const std::filesystem::path& directory) : weights_(Safetensors::read_directory(directory)) {}

  bool has(const std::string& name) const { return weights_.has(name); }
  const Shape& shape_of(const std::string& name) const { return weights_.shape_of(name); }
  /// The tensor as float32: shared with the file when it is stored so, converted from half precision otherwise.
  /// Throws Error{kBadInput} naming tensor and shape when it is missing or of another shape, Error{kUnsupported} for
  /// integers and 8-bit floats (quantised checkpoints).
  Tensor weight(const std::string& name, const Shape& shape);
  /// A linear layer's [out_dim, in_dim] as [in_dim, out_dim], the order of MatMul.
  Tensor transposed_weight(const std::string& name, std::int64_t in_dim, std::int64_t out_dim);
  /// A tensor that is known and not needed (position_ids, num_batches_tracked): by the end of its name.
  void ignore(const std::string& suffix) { ignored_.push_back(suffix); }
  /// Tensors that were neither read nor ignored, in alphabetic order.
  std::vector<std::string> unused() const;
  /// Logs unused(), if any, as a warning: the model may differ from what was built.
  void warn_unused(std::string_view family) const;
  const std::string& where() const { return weights_.where(); }

 private:
  Safetensors weights_;
  std::set<std::string> used_;
  std::vector<std::string> ignored_;
};

/// config.json of a folder. Throws Error{kBadInput} when it is missing or no JSON object.
nlohmann::json read_config(const std::filesystem::path& directory);

/// A positive size of the configuration, or its default where the key is missing, as transformers leaves defaults out.
/// Throws Error{kBadInput} for zero, negative and absurd values.
std::int64_t read_size(const JsonReader& config, const char* key, std::int64_t fallback);
/// (height, width) from one number for both or a pair.
std::array<std::int64_t, 2> read_size_pair(const JsonReader& config, const char* key, std::int64_t fallback);

/// Whether the configuration's model_type is one of `types`.
bool has_model_type(const nlohmann::json& config, std::initializer_list<std::string_view> types);

/// The one entry of "architectures", or "" when the key is missing or empty.
std::string architecture_of(const JsonReader& config);
/// Throws Error{kUnsupported} listing `known` when the configuration names another architecture; one that names none is
/// taken.
void require_architecture(const JsonReader& config, std::initializer_list<std::string_view> known);

/// Class names of id2label for `num_classes` classes; empty when there are none, or only transformers' placeholders
/// ("LABEL_0"). `user_labels` win and must be as many. Throws Error{kUsage} or Error{kBadInput} for a wrong count.
std::vector<std::string> checkpoint_labels(const JsonReader& config, std::int64_t num_classes,
                                           const std::vector<std::string>& user_labels);

/// Facts of a classifier whose output is "logits": one class per picture, or independent ones where problem_type says
/// so.
ClassificationFacts classification_facts(const JsonReader& config, const ImageInput& image, std::int64_t num_classes,
                                         const std::vector<std::string>& user_labels);

/// What the graph of an image classifier or encoder is built for.
enum class ImageTask { kClassification, kEmbedding };
/// The user's task, or classification where the checkpoint has a classifier. Throws Error{kUsage} for a head and for a
/// task that the checkpoint cannot do.
ImageTask choose_image_task(const ImportHints& hints, bool has_classifier, const std::string& where);

/// What every family says of a folder: the name (the last part of its path), the family and the format.
ImportedModel imported_checkpoint(const std::filesystem::path& directory, std::string_view family);

}  // namespace pajamas
