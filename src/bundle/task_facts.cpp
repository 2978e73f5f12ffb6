// JSON form of the task facts. The schema is docs/schemas/manifest.schema.json.
#include "bundle/task_facts.h"

#include <utility>

#include "bundle/detection_head_names.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

/// Names of an enumeration's values, in one place for both directions.
template <typename E, std::size_t N>
struct Names {
  std::pair<E, const char*> entries[N];

  const char* name(E value) const {
    for (const auto& [entry, text] : entries) {
      if (entry == value) return text;
    }
    return "";
  }
  const E* find(const std::string& text) const {
    for (const auto& [entry, known] : entries) {
      if (text == known) return &entry;
    }
    return nullptr;
  }
  std::string list() const {
    std::string text;
    for (const auto& [entry, known] : entries) text += (text.empty() ? "" : ", ") + std::string(known);
    return text;
  }
  E parse(const JsonReader& reader) const {
    const std::string text = reader.as_string();
    if (const E* value = find(text)) return *value;
    reader.fail("is '" + text + "', must be one of " + list());
  }
};

constexpr Names<ImageInput::Resize, 5> kResizes{{{ImageInput::Resize::kStretch, "stretch"},
                                                 {ImageInput::Resize::kLetterbox, "letterbox"},
                                                 {ImageInput::Resize::kLetterboxTopLeft, "letterbox_top_left"},
                                                 {ImageInput::Resize::kShortestEdge, "shortest_edge"},
                                                 {ImageInput::Resize::kFit, "fit"}}};
constexpr Names<ImageInput::Interpolation, 3> kInterpolations{{{ImageInput::Interpolation::kNearest, "nearest"},
                                                               {ImageInput::Interpolation::kBilinear, "bilinear"},
                                                               {ImageInput::Interpolation::kBicubic, "bicubic"}}};
constexpr Names<DetectionHead, 8> kHeads{{{DetectionHead::kYoloV5, "yolov5"},
                                          {DetectionHead::kYoloV8, "yolov8"},
                                          {DetectionHead::kYoloEndToEnd, "yolo_end2end"},
                                          {DetectionHead::kYolox, "yolox"},
                                          {DetectionHead::kRtdetr, "rtdetr"},
                                          {DetectionHead::kRtdetrEndToEnd, "rtdetr_end2end"},
                                          {DetectionHead::kSsd, "ssd"},
                                          {DetectionHead::kFasterRcnn, "faster_rcnn"}}};
using Activation = ClassificationFacts::Activation;
constexpr Names<Activation, 3> kActivations{
    {{Activation::kNone, "none"}, {Activation::kSoftmax, "softmax"}, {Activation::kSigmoid, "sigmoid"}}};

/// Largest side of an input picture, and most classes: far above any real model, and small enough that sizes computed
/// from them cannot overflow.
constexpr std::int64_t kMaxSidePx = 65536;
constexpr std::int64_t kMaxClasses = 10'000'000;

template <std::size_t N>
std::array<double, N> read_numbers(const JsonReader& reader) {
  const auto elements = reader.elements();
  if (elements.size() != N) {
    reader.fail("has " + std::to_string(elements.size()) + " entries, must have " + std::to_string(N));
  }
  std::array<double, N> values{};
  for (std::size_t i = 0; i < N; ++i) values[i] = elements[i].as_number();
  return values;
}

ImageInput read_image_input(const JsonReader& json) {
  ImageInput image;
  image.input = json.string("input");
  image.part = json.string_or("part", "model");
  image.width_px = json.integer("width_px", 1, kMaxSidePx);
  image.height_px = json.integer("height_px", 1, kMaxSidePx);
  image.resize = kResizes.parse(json.member("resize"));
  image.interpolation = kInterpolations.parse(json.member("interpolation"));
  image.is_antialiased = json.boolean_or("antialias", false);
  image.resize_px = json.integer_or("resize_px", 0, 0, kMaxSidePx);
  image.max_px = json.integer_or("max_px", 0, 0, kMaxSidePx);
  image.pad_value = json.integer_or("pad_value", 114, 0, 255);
  const std::string channels = json.string_or("channels", "rgb");
  if (channels != "rgb" && channels != "bgr") json.member("channels").fail("must be 'rgb' or 'bgr'");
  image.is_bgr = channels == "bgr";
  const std::string layout = json.string_or("layout", "NCHW");
  if (layout != "NCHW" && layout != "NHWC") json.member("layout").fail("must be 'NCHW' or 'NHWC'");
  image.is_nhwc = layout == "NHWC";
  image.has_batch = json.boolean_or("has_batch", true);
  if (json.has("mean")) image.mean = read_numbers<3>(json.member("mean"));
  if (json.has("std")) image.std = read_numbers<3>(json.member("std"));
  for (const double value : image.std) {
    if (value == 0.0) json.member("std").fail("must not be 0");
  }
  const bool needs_resize_px =
      image.resize == ImageInput::Resize::kShortestEdge || image.resize == ImageInput::Resize::kFit;
  if (needs_resize_px && image.resize_px == 0) json.fail("needs 'resize_px' for this way of resizing");
  return image;
}

nlohmann::json ssd_to_json(const SsdAnchors& ssd) {
  return {{"feature_map_sizes", ssd.feature_map_sizes},
          {"min_scale", ssd.min_scale},
          {"max_scale", ssd.max_scale},
          {"aspect_ratios", ssd.aspect_ratios},
          {"interpolated_scale_aspect_ratio", ssd.interpolated_scale_aspect_ratio},
          {"reduce_boxes_in_lowest_layer", ssd.reduce_boxes_in_lowest_layer},
          {"box_coder_scales", ssd.box_coder_scales}};
}

SsdAnchors read_ssd(const JsonReader& json) {
  SsdAnchors ssd;
  for (const JsonReader& size : json.member("feature_map_sizes").elements()) {
    const auto pair = size.elements();
    if (pair.size() != 2) size.fail("must be [height, width]");
    ssd.feature_map_sizes.push_back({pair[0].as_integer(1, 4096), pair[1].as_integer(1, 4096)});
  }
  if (ssd.feature_map_sizes.empty() || ssd.feature_map_sizes.size() > 64) {
    json.member("feature_map_sizes").fail("must have 1 to 64 entries");
  }
  ssd.min_scale = json.number("min_scale");
  ssd.max_scale = json.number("max_scale");
  ssd.aspect_ratios.clear();
  for (const JsonReader& ratio : json.member("aspect_ratios").elements()) {
    if (!(ratio.as_number() > 0)) ratio.fail("must be above 0");
    ssd.aspect_ratios.push_back(ratio.as_number());
  }
  ssd.interpolated_scale_aspect_ratio = json.number_or("interpolated_scale_aspect_ratio", 1.0);
  ssd.reduce_boxes_in_lowest_layer = json.boolean_or("reduce_boxes_in_lowest_layer", true);
  if (json.has("box_coder_scales")) ssd.box_coder_scales = read_numbers<4>(json.member("box_coder_scales"));
  for (const double scale : ssd.box_coder_scales) {
    if (!(scale > 0)) json.member("box_coder_scales").fail("must be above 0");
  }
  return ssd;
}

nlohmann::json detection_to_json(const DetectionFacts& facts) {
  nlohmann::json json = {{"image", to_json(facts.image)},
                         {"head", to_string(facts.head)},
                         {"labels", facts.labels},
                         {"num_classes", facts.num_classes},
                         {"boxes_output", facts.boxes_output},
                         {"score_logits", facts.is_score_logit},
                         {"background_classes", facts.background_classes},
                         {"strides", facts.strides},
                         {"score_threshold", facts.score_threshold},
                         {"iou_threshold", facts.iou_threshold},
                         {"max_detections", facts.max_detections}};
  if (!facts.scores_output.empty()) json["scores_output"] = facts.scores_output;
  if (!facts.labels_output.empty()) json["labels_output"] = facts.labels_output;
  if (facts.ssd) json["ssd"] = ssd_to_json(*facts.ssd);
  return json;
}

double read_fraction(const JsonReader& json, const char* key, double fallback) {
  const double value = json.number_or(key, fallback);
  if (!(value >= 0.0 && value <= 1.0)) json.member(key).fail("must be between 0 and 1");
  return value;
}

DetectionFacts read_detection(const JsonReader& json) {
  DetectionFacts facts;
  facts.image = read_image_input(json.member("image"));
  facts.head = kHeads.parse(json.member("head"));
  facts.labels = json.strings("labels");
  facts.num_classes = json.integer("num_classes", 0, kMaxClasses);
  facts.boxes_output = json.string("boxes_output");
  facts.scores_output = json.string_or("scores_output", "");
  facts.labels_output = json.string_or("labels_output", "");
  facts.is_score_logit = json.boolean_or("score_logits", false);
  facts.background_classes = json.integer_or("background_classes", 0, 0, 1000);
  if (json.has("strides")) {
    facts.strides.clear();
    for (const JsonReader& stride : json.member("strides").elements()) {
      facts.strides.push_back(stride.as_integer(1, 1024));
    }
  }
  if (json.has("ssd")) facts.ssd = read_ssd(json.member("ssd"));
  if (facts.head == DetectionHead::kSsd && !facts.ssd) json.fail("needs 'ssd' for the head 'ssd'");
  facts.score_threshold = read_fraction(json, "score_threshold", facts.score_threshold);
  facts.iou_threshold = read_fraction(json, "iou_threshold", facts.iou_threshold);
  facts.max_detections = json.integer_or("max_detections", facts.max_detections, 1, 1'000'000);
  return facts;
}

nlohmann::json classification_to_json(const ClassificationFacts& facts) {
  return {{"image", to_json(facts.image)},
          {"labels", facts.labels},
          {"num_classes", facts.num_classes},
          {"scores_output", facts.scores_output},
          {"activation", kActivations.name(facts.activation)}};
}

ClassificationFacts read_classification(const JsonReader& json) {
  ClassificationFacts facts;
  facts.image = read_image_input(json.member("image"));
  facts.labels = json.strings("labels");
  facts.num_classes = json.integer("num_classes", 1, kMaxClasses);
  facts.scores_output = json.string("scores_output");
  facts.activation = kActivations.parse(json.member("activation"));
  return facts;
}

nlohmann::json embedding_to_json(const EmbeddingFacts& facts) {
  nlohmann::json json = {
      {"embedding_dim", facts.embedding_dim}, {"normalized", facts.is_normalized}, {"logit_scale", facts.logit_scale}};
  if (facts.image) {
    json["image"] = to_json(*facts.image);
    json["image_embedding_output"] = facts.image_embedding_output;
  }
  if (facts.text) {
    const ClipTextInput& text = *facts.text;
    json["text"] = {{"part", text.part},
                    {"input", text.input},
                    {"attention_mask_input", text.attention_mask_input},
                    {"embedding_output", text.embedding_output},
                    {"vocab_file", text.vocab_file},
                    {"merges_file", text.merges_file},
                    {"max_tokens", text.max_tokens},
                    {"pad_token_id", text.pad_token_id},
                    {"padded", text.is_padded}};
  }
  return json;
}

EmbeddingFacts read_embedding(const JsonReader& json) {
  EmbeddingFacts facts;
  facts.embedding_dim = json.integer("embedding_dim", 1, kMaxClasses);
  facts.is_normalized = json.boolean_or("normalized", false);
  facts.logit_scale = json.number_or("logit_scale", 1.0);
  if (json.has("image")) {
    facts.image = read_image_input(json.member("image"));
    facts.image_embedding_output = json.string("image_embedding_output");
  }
  if (json.has("text")) {
    const JsonReader part = json.member("text");
    ClipTextInput text;
    text.part = part.string_or("part", text.part);
    text.input = part.string_or("input", text.input);
    text.attention_mask_input = part.string_or("attention_mask_input", "");
    text.embedding_output = part.string("embedding_output");
    text.vocab_file = part.string("vocab_file");
    text.merges_file = part.string("merges_file");
    text.max_tokens = part.integer("max_tokens", 2, 1 << 20);
    text.pad_token_id = part.integer("pad_token_id", 0, INT32_MAX);
    text.is_padded = part.boolean_or("padded", true);
    facts.text = std::move(text);
  }
  if (!facts.image && !facts.text) json.fail("has neither 'image' nor 'text'");
  return facts;
}

nlohmann::json generation_to_json(const GenerationFacts& facts) {
  nlohmann::json defaults = {{"greedy", facts.defaults.is_greedy}};
  const auto put = [&](const char* key, const auto& value) {
    if (value) defaults[key] = *value;
  };
  put("temperature", facts.defaults.temperature);
  put("top_k", facts.defaults.top_k);
  put("top_p", facts.defaults.top_p);
  put("min_p", facts.defaults.min_p);
  put("repetition_penalty", facts.defaults.repetition_penalty);
  nlohmann::json json = {{"part", facts.part},
                         {"architecture", facts.architecture},
                         {"vocab_size", facts.vocab_size},
                         {"context_length", facts.context_length},
                         {"stop_token_ids", facts.stop_token_ids},
                         {"tokenizer_file", facts.tokenizer_file},
                         {"defaults", std::move(defaults)}};
  if (!facts.chat_template_file.empty()) json["chat_template_file"] = facts.chat_template_file;
  return json;
}

GenerationFacts read_generation(const JsonReader& json) {
  GenerationFacts facts;
  facts.part = json.string("part");
  facts.architecture = json.string("architecture");
  facts.vocab_size = json.integer("vocab_size", 1, kMaxClasses);
  facts.context_length = json.integer("context_length", 1, 1LL << 32);
  for (const JsonReader& id : json.member("stop_token_ids").elements()) {
    facts.stop_token_ids.push_back(id.as_integer(0, facts.vocab_size - 1));
  }
  facts.tokenizer_file = json.string("tokenizer_file");
  facts.chat_template_file = json.string_or("chat_template_file", "");
  const JsonReader defaults = json.member("defaults");
  facts.defaults.is_greedy = defaults.boolean("greedy");
  const auto number = [&](const char* key, std::optional<double>& value) {
    if (defaults.has(key)) value = defaults.number(key);
  };
  number("temperature", facts.defaults.temperature);
  if (defaults.has("top_k")) facts.defaults.top_k = defaults.integer("top_k", 0, kMaxClasses);
  number("top_p", facts.defaults.top_p);
  number("min_p", facts.defaults.min_p);
  number("repetition_penalty", facts.defaults.repetition_penalty);
  return facts;
}

TaskFacts read_task(const JsonReader& json) {
  TaskFacts facts;
  facts.name = json.string("name");
  if (facts.name == "detection") {
    facts.detection = read_detection(json);
  } else if (facts.name == "classification") {
    facts.classification = read_classification(json);
  } else if (facts.name == "embedding") {
    facts.embedding = read_embedding(json);
  } else if (facts.name == "generation") {
    facts.generation = read_generation(json);
  } else if (facts.name == "transcription") {
    facts.transcription = parse_transcription_facts(json);
  } else if (facts.name == "speech") {
    facts.speech = parse_speech_facts(json);
  } else if (facts.name != "none") {
    json.member("name").fail(
        "is '" + facts.name +
        "', must be detection, classification, embedding, generation, transcription, speech or none");
  }
  return facts;
}

}  // namespace

TaskFacts task_of(DetectionFacts facts) {
  TaskFacts task;
  task.name = "detection";
  task.detection = std::move(facts);
  return task;
}

TaskFacts task_of(ClassificationFacts facts) {
  TaskFacts task;
  task.name = "classification";
  task.classification = std::move(facts);
  return task;
}

TaskFacts task_of(EmbeddingFacts facts) {
  TaskFacts task;
  task.name = "embedding";
  task.embedding = std::move(facts);
  return task;
}

TaskFacts task_of(GenerationFacts facts) {
  TaskFacts task;
  task.name = "generation";
  task.generation = std::move(facts);
  return task;
}

TaskFacts task_of(TranscriptionFacts facts) {
  TaskFacts task;
  task.name = "transcription";
  task.transcription = std::move(facts);
  return task;
}

TaskFacts task_of(SpeechFacts facts) {
  TaskFacts task;
  task.name = "speech";
  task.speech = std::move(facts);
  return task;
}

const char* to_string(DetectionHead head) noexcept { return kHeads.name(head); }

std::string detection_head_names() { return kHeads.list(); }

DetectionHead parse_detection_head(const std::string& name) {
  if (const DetectionHead* head = kHeads.find(name)) return *head;
  throw Error(ErrorKind::kUsage, "unknown detection head '" + name + "'", "--head",
              "use one of " + detection_head_names());
}

nlohmann::json to_json(const ImageInput& image) {
  nlohmann::json json = {{"input", image.input},
                         {"part", image.part},
                         {"width_px", image.width_px},
                         {"height_px", image.height_px},
                         {"resize", kResizes.name(image.resize)},
                         {"interpolation", kInterpolations.name(image.interpolation)},
                         {"antialias", image.is_antialiased},
                         {"pad_value", image.pad_value},
                         {"channels", image.is_bgr ? "bgr" : "rgb"},
                         {"layout", image.is_nhwc ? "NHWC" : "NCHW"},
                         {"has_batch", image.has_batch},
                         {"mean", image.mean},
                         {"std", image.std}};
  if (image.resize_px > 0) json["resize_px"] = image.resize_px;
  if (image.max_px > 0) json["max_px"] = image.max_px;
  return json;
}

nlohmann::json to_json(const TaskFacts& facts) {
  nlohmann::json json = nlohmann::json::object();
  if (facts.detection) json = detection_to_json(*facts.detection);
  if (facts.classification) json = classification_to_json(*facts.classification);
  if (facts.embedding) json = embedding_to_json(*facts.embedding);
  if (facts.generation) json = generation_to_json(*facts.generation);
  if (facts.transcription) json = to_json(*facts.transcription);
  if (facts.speech) json = to_json(*facts.speech);
  json["name"] = facts.name;
  return json;
}

ImageInput parse_image_input(const JsonReader& json) { return read_image_input(json); }

TaskFacts parse_task_facts(const JsonReader& json) { return read_task(json); }

}  // namespace pajamas
