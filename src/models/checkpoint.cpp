// Config and weights of a checkpoint folder. See checkpoint.h.
#include "models/checkpoint.h"

#include <algorithm>

#include "base/files.h"
#include "base/log.h"
#include "pajamas/error.h"
#include "tensor/half.h"

namespace pajamas {
namespace {

/// Above every published model and small enough that products of two cannot overflow.
constexpr std::int64_t kMaxSize = 1 << 24;
constexpr std::uint64_t kMaxConfigBytes = 16 << 20;

Tensor transposed(const Tensor& matrix) {
  const std::int64_t num_rows = matrix.shape()[0], num_columns = matrix.shape()[1];
  Tensor result(DType::kFloat32, Shape{num_columns, num_rows});
  const auto from = matrix.as<float>();
  const auto to = result.mutable_as<float>();
  // Blocks of 32 x 32 floats keep both sides in the first-level cache.
  constexpr std::int64_t kBlock = 32;
  for (std::int64_t row0 = 0; row0 < num_rows; row0 += kBlock) {
    for (std::int64_t column0 = 0; column0 < num_columns; column0 += kBlock) {
      const std::int64_t row_end = std::min(row0 + kBlock, num_rows);
      const std::int64_t column_end = std::min(column0 + kBlock, num_columns);
      for (std::int64_t column = column0; column < column_end; ++column) {
        for (std::int64_t row = row0; row < row_end; ++row) {
          to[static_cast<std::size_t>(column * num_rows + row)] =
              from[static_cast<std::size_t>(row * num_columns + column)];
        }
      }
    }
  }
  return result;
}

}  // namespace

Tensor Checkpoint::weight(const std::string& name, const Shape& shape) {
  if (!weights_.has(name)) {
    throw Error(ErrorKind::kBadInput, "tensor '" + name + "' " + shape.to_string() + " is missing", weights_.where(),
                "config.json and the weights may belong to different models: fetch the folder again");
  }
  if (weights_.shape_of(name) != shape) {
    throw Error(ErrorKind::kBadInput,
                "tensor '" + name + "' is " + weights_.shape_of(name).to_string() + ", but config.json makes it " +
                    shape.to_string(),
                weights_.where(), "config.json and the weights may belong to different models: fetch the folder again");
  }
  used_.insert(name);
  const DType dtype = weights_.dtype_of(name);
  if (dtype == DType::kFloat32) return weights_.tensor(name);
  if (dtype == DType::kFloat16 || dtype == DType::kBfloat16 || dtype == DType::kFloat64) {
    return to_float32(weights_.tensor(name).view());
  }
  throw Error(ErrorKind::kUnsupported, "tensor '" + name + "' is " + to_string(dtype) + ", not a floating-point weight",
              weights_.where(), "give the checkpoint before quantisation");
}

Tensor Checkpoint::transposed_weight(const std::string& name, std::int64_t in_dim, std::int64_t out_dim) {
  return transposed(weight(name, Shape{out_dim, in_dim}));
}

std::vector<std::string> Checkpoint::unused() const {
  std::vector<std::string> result;
  for (const std::string& name : weights_.names()) {
    const bool is_ignored = std::any_of(ignored_.begin(), ignored_.end(),
                                        [&](const std::string& suffix) { return name.ends_with(suffix); });
    if (!used_.contains(name) && !is_ignored) result.push_back(name);
  }
  return result;
}

void warn_unused_tensors(const std::vector<std::string>& names, std::string_view family, const std::string& where) {
  if (names.empty()) return;
  constexpr std::size_t kShown = 5;
  std::string list;
  for (std::size_t i = 0; i < std::min(names.size(), kShown); ++i) list += (i == 0 ? "" : ", ") + names[i];
  if (names.size() > kShown) list += ", ...";
  log().warn("{}: {} tensors are not part of the {} that was built: {}", where, names.size(), family, list);
}

void Checkpoint::warn_unused(std::string_view family) const { warn_unused_tensors(unused(), family, weights_.where()); }

nlohmann::json read_config(const std::filesystem::path& directory) {
  const auto path = directory / "config.json";
  nlohmann::json json = parse_json(read_file(path, kMaxConfigBytes), path.string());
  if (!json.is_object()) throw Error(ErrorKind::kBadInput, "is no JSON object", path.string());
  return json;
}

std::int64_t read_size(const JsonReader& config, const char* key, std::int64_t fallback) {
  return config.integer_or(key, fallback, 1, kMaxSize);
}

std::array<std::int64_t, 2> read_size_pair(const JsonReader& config, const char* key, std::int64_t fallback) {
  if (!config.has(key)) return {fallback, fallback};
  const JsonReader value = config.member(key);
  if (!value.json().is_array()) {
    const std::int64_t size = value.as_integer(1, kMaxSize);
    return {size, size};
  }
  const auto elements = value.elements();
  if (elements.size() != 2) value.fail("must be one size or [height, width]");
  return {elements[0].as_integer(1, kMaxSize), elements[1].as_integer(1, kMaxSize)};
}

bool has_model_type(const nlohmann::json& config, std::initializer_list<std::string_view> types) {
  const auto type = config.find("model_type");
  return type != config.end() && type->is_string() &&
         std::find(types.begin(), types.end(), type->get_ref<const std::string&>()) != types.end();
}

std::string architecture_of(const JsonReader& config) {
  if (!config.has("architectures")) return {};
  const auto names = config.strings("architectures");
  return names.empty() ? std::string() : names.front();
}

void require_architecture(const JsonReader& config, std::initializer_list<std::string_view> known) {
  const std::string architecture = architecture_of(config);
  if (architecture.empty() || std::find(known.begin(), known.end(), architecture) != known.end()) return;
  std::string list;
  for (const std::string_view one : known) list += (list.empty() ? "" : ", ") + std::string(one);
  throw Error(ErrorKind::kUnsupported, "architecture '" + architecture + "' is not known", config.where(),
              "the known ones are " + list);
}

std::vector<std::string> checkpoint_labels(const JsonReader& config, std::int64_t num_classes,
                                           const std::vector<std::string>& user_labels) {
  const auto size = static_cast<std::size_t>(num_classes);
  if (!user_labels.empty()) {
    if (user_labels.size() == size) return user_labels;
    throw Error(ErrorKind::kUsage,
                "gives " + std::to_string(user_labels.size()) + " class names, but the model has " +
                    std::to_string(num_classes) + " classes",
                "--labels", "give one name a line, in the order of the model's classes");
  }
  if (!config.has("id2label")) return {};
  const JsonReader reader = config.member("id2label");
  std::vector<std::string> labels(size);
  bool is_placeholder = true;
  for (const auto& [key, value] : reader.members()) {
    const bool is_number = !key.empty() && key.size() <= 9 && key.find_first_not_of("0123456789") == std::string::npos;
    if (!is_number || std::stoul(key) >= size) {
      value.fail("names class '" + key + "', but the weights have " + std::to_string(num_classes) + " classes");
    }
    labels[std::stoul(key)] = value.as_string();
    is_placeholder = is_placeholder && value.as_string() == "LABEL_" + key;
  }
  if (is_placeholder) labels.clear();
  return labels;
}

ClassificationFacts classification_facts(const JsonReader& config, const ImageInput& image, std::int64_t num_classes,
                                         const std::vector<std::string>& user_labels) {
  ClassificationFacts facts;
  facts.image = image;
  facts.num_classes = num_classes;
  facts.labels = checkpoint_labels(config, num_classes, user_labels);
  facts.scores_output = "logits";
  const bool is_multi_label = config.string_or("problem_type", "") == "multi_label_classification";
  facts.activation =
      is_multi_label ? ClassificationFacts::Activation::kSigmoid : ClassificationFacts::Activation::kSoftmax;
  return facts;
}

ImageTask choose_image_task(const ImportHints& hints, bool has_classifier, const std::string& where) {
  if (!hints.head.empty()) {
    throw Error(ErrorKind::kUsage, "the model is no detector", "--head", "leave --head away");
  }
  if (hints.task == "detection") {
    throw Error(ErrorKind::kUsage, "the model is no detector", "--task",
                has_classifier ? "use classification or embedding" : "use embedding");
  }
  if (hints.task == "classification" && !has_classifier) {
    throw Error(ErrorKind::kBadInput, "the checkpoint has no classifier: it can only embed", where,
                "use --task embedding, or a checkpoint that was trained to classify");
  }
  const bool is_embedding = hints.task == "embedding" || !has_classifier;
  return is_embedding ? ImageTask::kEmbedding : ImageTask::kClassification;
}

ImportedModel imported_checkpoint(const std::filesystem::path& directory, std::string_view family) {
  auto normal = std::filesystem::absolute(directory).lexically_normal();
  if (normal.filename().empty()) normal = normal.parent_path();
  ImportedModel imported;
  imported.name = normal.filename().string();
  imported.family = family;
  imported.format = "huggingface";
  return imported;
}

}  // namespace pajamas
