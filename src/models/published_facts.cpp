// Metadata of published ONNX files. See published_facts.h.
#include "models/published_facts.h"

#include <array>

#include "base/json_reader.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

std::string where_of(std::string_view key) { return "metadata '" + std::string(key) + "'"; }

std::string text_of(const Model& model, std::string_view key) {
  const std::string* value = model.find_metadata(key);
  return value ? *value : std::string();
}

/// The metadata spells the fields as tools/fetch_models does, the manifest with units: one reader for both.
ImageInput read_preprocess(const std::string& text) {
  const std::string where = where_of("pajamas.preprocess");
  nlohmann::json json = parse_json(text, where);
  const JsonReader reader(json, where);
  (void)reader.has("width");  // refuses what is no object
  for (const auto& [from, to] : {std::pair{"width", "width_px"}, std::pair{"height", "height_px"}}) {
    if (json.contains(from)) json[to] = json[from];
  }
  json["input"] = "image";
  ImageInput input = parse_image_input(JsonReader(json, where));
  input.input.clear();
  return input;
}

SsdAnchors read_ssd(const JsonReader& json, PublishedFacts& facts) {
  SsdAnchors ssd;
  for (const JsonReader& size : json.member("feature_map_sizes").elements()) {
    const auto extents = size.elements();
    if (extents.size() != 2) size.fail("must be [height, width]");
    ssd.feature_map_sizes.push_back({extents[0].as_integer(1, 4096), extents[1].as_integer(1, 4096)});
  }
  if (json.has("num_layers") && json.integer("num_layers") != static_cast<std::int64_t>(ssd.feature_map_sizes.size())) {
    json.member("num_layers").fail("differs from the number of feature_map_sizes");
  }
  ssd.min_scale = json.number_or("min_scale", ssd.min_scale);
  ssd.max_scale = json.number_or("max_scale", ssd.max_scale);
  if (json.has("aspect_ratios")) {
    ssd.aspect_ratios.clear();
    for (const JsonReader& ratio : json.member("aspect_ratios").elements()) {
      ssd.aspect_ratios.push_back(ratio.as_number());
      if (!(ssd.aspect_ratios.back() > 0)) ratio.fail("must be above 0");
    }
  }
  ssd.interpolated_scale_aspect_ratio =
      json.number_or("interpolated_scale_aspect_ratio", ssd.interpolated_scale_aspect_ratio);
  ssd.reduce_boxes_in_lowest_layer = json.boolean_or("reduce_boxes_in_lowest_layer", ssd.reduce_boxes_in_lowest_layer);
  if (json.has("box_coder_scales")) {
    const auto scales = json.member("box_coder_scales").elements();
    if (scales.size() != ssd.box_coder_scales.size()) json.member("box_coder_scales").fail("must have 4 entries");
    for (std::size_t i = 0; i < scales.size(); ++i) ssd.box_coder_scales[i] = scales[i].as_number();
  }
  if (json.has("iou_threshold")) facts.iou_threshold = json.number("iou_threshold");
  const std::string converter = json.string_or("score_converter", "sigmoid");
  if (converter != "sigmoid" && converter != "identity") {
    json.member("score_converter").fail("is '" + converter + "', must be sigmoid or identity");
  }
  facts.is_score_logit = converter == "sigmoid";
  // The column of the background; only a leading one, or none (-1), can be said in the task facts.
  facts.background_classes = json.integer_or("background_class", 0, -1, 0) == 0 ? 1 : 0;
  return ssd;
}

void require_one_of(const std::string& value, const std::vector<std::string>& known, const std::string& where) {
  if (value.empty()) return;
  std::string list;
  for (const std::string& entry : known) {
    if (entry == value) return;
    list += (list.empty() ? "" : ", ") + entry;
  }
  throw Error(where.starts_with("--") ? ErrorKind::kUsage : ErrorKind::kBadInput, "unknown value '" + value + "'",
              where, "use one of " + list);
}

void read_own_keys(const Model& model, PublishedFacts& facts) {
  facts.task = text_of(model, "pajamas.task");
  require_one_of(facts.task, {"detection", "classification", "embedding"}, where_of("pajamas.task"));
  facts.head = text_of(model, "pajamas.head");
  if (!facts.head.empty()) (void)parse_detection_head(facts.head);
  if (const auto* text = model.find_metadata("pajamas.labels")) {
    facts.labels_where = where_of("pajamas.labels");
    facts.labels_by_id = parse_labels(*text, facts.labels_where);
  }
  if (const auto* text = model.find_metadata("pajamas.preprocess")) facts.preprocess = read_preprocess(*text);
  if (const auto* text = model.find_metadata("pajamas.ssd")) {
    const auto json = parse_json(*text, where_of("pajamas.ssd"));
    facts.ssd = read_ssd(JsonReader(json, where_of("pajamas.ssd")), facts);
  }
  const std::string activation = text_of(model, "pajamas.activation");
  require_one_of(activation, {"none", "softmax", "sigmoid"}, where_of("pajamas.activation"));
  using Activation = ClassificationFacts::Activation;
  if (activation == "none") facts.activation = Activation::kNone;
  if (activation == "softmax") facts.activation = Activation::kSoftmax;
  if (activation == "sigmoid") facts.activation = Activation::kSigmoid;
}

void read_ultralytics_keys(const Model& model, PublishedFacts& facts) {
  // YOLOv5's exporter writes only these two; the later ones add the rest.
  const std::string* names = model.find_metadata("names");
  if (names == nullptr || model.find_metadata("stride") == nullptr) return;
  facts.is_ultralytics = true;
  facts.ultralytics_task = text_of(model, "task");
  facts.ultralytics_head = text_of(model, "head");
  facts.is_ultralytics_end2end = text_of(model, "end2end") == "True";
  facts.description = text_of(model, "description");
  if (facts.labels_by_id.empty()) {
    facts.labels_where = where_of("names");
    facts.labels_by_id = parse_labels(*names, facts.labels_where);
  }
  if (const auto* text = model.find_metadata("imgsz")) {
    const auto extents = parse_integers(*text, where_of("imgsz"));
    for (const std::int64_t extent : extents) {
      if (extent < 1 || extent > 65536) {
        throw Error(ErrorKind::kBadInput, "picture size " + std::to_string(extent) + " is out of range",
                    where_of("imgsz"));
      }
    }
    facts.height_px = extents.front();
    facts.width_px = extents.back();
  }
  if (facts.task.empty() && facts.ultralytics_task == "classify") facts.task = "classification";
  if (facts.task.empty() && (facts.ultralytics_task == "detect" || facts.ultralytics_task.empty())) {
    facts.task = "detection";
  }
}

std::int64_t resolve_extent(const char* name, std::optional<std::int64_t> declared, std::int64_t wanted,
                            bool is_published) {
  if (!declared) return wanted;
  if (is_published && wanted != *declared) {
    throw Error(ErrorKind::kBadInput,
                std::string("says ") + name + " " + std::to_string(wanted) + ", but the model's input has " +
                    std::to_string(*declared),
                where_of("pajamas.preprocess"));
  }
  return *declared;
}

}  // namespace

std::optional<std::int64_t> PublishedFacts::num_named() const {
  if (labels_by_id.empty()) return std::nullopt;
  return labels_by_id.rbegin()->first + 1;
}

std::vector<std::string> PublishedFacts::labels(std::int64_t num_classes, std::int64_t num_background) const {
  if (labels_of_user.empty()) return dense_labels(labels_by_id, num_background, num_classes, labels_where);
  const auto count = static_cast<std::int64_t>(labels_of_user.size());
  if (num_classes == 0 || count == num_classes) return labels_of_user;
  if (num_background > 0 && count == num_classes + num_background) {
    return {labels_of_user.begin() + num_background, labels_of_user.end()};
  }
  throw Error(
      ErrorKind::kUsage,
      "gives " + std::to_string(count) + " class names, but the model has " + std::to_string(num_classes) + " classes",
      "--labels", "give one name a line, in the order of the model's classes");
}

ImageInput PublishedFacts::image_input(const ImageTensor& image, const ImageInput& fallback) const {
  ImageInput input = preprocess.value_or(fallback);
  input.input = image.name;
  input.part = fallback.part;
  input.has_batch = image.has_batch;
  if (preprocess && input.is_nhwc != image.is_nhwc) {
    throw Error(ErrorKind::kBadInput,
                std::string("says layout ") + (input.is_nhwc ? "NHWC" : "NCHW") + ", but input '" + image.name +
                    "' is " + (image.is_nhwc ? "NHWC" : "NCHW"),
                where_of("pajamas.preprocess"));
  }
  input.is_nhwc = image.is_nhwc;
  if (!preprocess) {
    input.height_px = height_px.value_or(fallback.height_px);
    input.width_px = width_px.value_or(fallback.width_px);
  }
  input.height_px = resolve_extent("height", image.height_px, input.height_px, preprocess.has_value());
  input.width_px = resolve_extent("width", image.width_px, input.width_px, preprocess.has_value());
  return input;
}

PublishedFacts read_published_facts(const Model& model, const ImportHints& hints) {
  require_one_of(hints.task, {"detection", "classification", "embedding", "none"}, "--task");
  if (!hints.head.empty()) (void)parse_detection_head(hints.head);
  if (!hints.head.empty() && !hints.task.empty() && hints.task != "detection") {
    throw Error(ErrorKind::kUsage, "a head is for detection, but the task is " + hints.task, "--head",
                "leave one of --head and --task away");
  }
  PublishedFacts facts;
  read_own_keys(model, facts);
  read_ultralytics_keys(model, facts);
  if (!hints.task.empty()) facts.task = hints.task;
  if (!hints.head.empty()) {
    facts.head = hints.head;
    facts.task = "detection";
  }
  facts.labels_of_user = hints.labels;
  return facts;
}

}  // namespace pajamas
