// What a task must know of a model, as it stands in the manifest under "task". Model definitions write it, tasks read
// it; neither knows the other. Also the JSON form of each, documented in docs/bundle-format.md.
#pragma once

#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/json_reader.h"
#include "bundle/speech_facts.h"
#include "bundle/transcription_facts.h"

namespace pajamas {

/// How a picture becomes the model's input tensor.
struct ImageInput {
  enum class Resize {
    kStretch,           ///< To width × height, aspect ratio not kept.
    kLetterbox,         ///< Scaled to fit, centred, padded with pad_value.
    kLetterboxTopLeft,  ///< Scaled to fit, at the top left, padded right and below (YOLOX).
    kShortestEdge,      ///< Shortest edge to resize_px, then the centre crop of width × height.
    kFit,               ///< Shortest edge to resize_px, longest at most max_px, no padding (Faster R-CNN).
  };
  enum class Interpolation { kNearest, kBilinear, kBicubic };
  std::string input;           ///< Name of the engine's input.
  std::string part = "model";  ///< Engine part it belongs to.
  std::int64_t width_px = 0;
  std::int64_t height_px = 0;
  Resize resize = Resize::kStretch;
  Interpolation interpolation = Interpolation::kBilinear;
  bool is_antialiased = false;   ///< Filter widened when scaling down (PIL, torchvision); else sampled (OpenCV).
  std::int64_t resize_px = 0;    ///< kShortestEdge, kFit.
  std::int64_t max_px = 0;       ///< kFit; 0: no limit.
  std::int64_t pad_value = 114;  ///< Pixel value of the padding, 0..255.
  bool is_bgr = false;           ///< Channel order of the input; pictures are RGB.
  bool is_nhwc = false;          ///< Layout; else NCHW.
  bool has_batch = true;         ///< False for a bare [3, height, width] input.
  /// value = (pixel / 255 - mean) / std, per channel in the input's channel order.
  std::array<double, 3> mean{0.0, 0.0, 0.0};
  std::array<double, 3> std{1.0, 1.0, 1.0};
};

/// How boxes come out of a detector.
enum class DetectionHead {
  kYoloV5,        ///< [batch, boxes, 5 + classes]: cx, cy, w, h, objectness, class scores; pixels of the input.
  kYoloV8,        ///< [batch, 4 + classes, boxes]: cx, cy, w, h, class scores; pixels of the input (v8, v9, 11, 12).
  kYoloEndToEnd,  ///< [batch, boxes, 6]: x1, y1, x2, y2, score, class; no NMS needed (v10, 26).
  kYolox,         ///< [batch, boxes, 5 + classes] in grid units per stride 8, 16, 32, to be decoded.
  kRtdetr,        ///< Boxes [batch, queries, 4] (cx, cy, w, h in 0..1) and logits or scores [batch, queries, classes];
                  ///< without a scores_output both in one: [batch, queries, 4 + classes].
  kRtdetrEndToEnd,  ///< [batch, queries, 6]: cx, cy, w, h in 0..1, score, class (Ultralytics' RT-DETR since 2026).
  kSsd,             ///< Box encodings [batch, anchors, 1, 4] and class scores [batch, anchors, 1 + classes].
  kFasterRcnn,      ///< boxes [n, 4] in pixels of the input, labels [n], scores [n]; NMS inside the model.
};

/// Anchors of the TensorFlow object detection API's SSD anchor generator, and its box coder.
struct SsdAnchors {
  std::vector<std::array<std::int64_t, 2>> feature_map_sizes;  ///< (height, width) per layer.
  double min_scale = 0.2;
  double max_scale = 0.95;
  std::vector<double> aspect_ratios{1.0, 2.0, 0.5, 3.0, 1.0 / 3.0};
  double interpolated_scale_aspect_ratio = 1.0;  ///< 0: no interpolated box.
  bool reduce_boxes_in_lowest_layer = true;
  std::array<double, 4> box_coder_scales{10.0, 10.0, 5.0, 5.0};  ///< y, x, height, width.
};

struct DetectionFacts {
  ImageInput image;
  DetectionHead head = DetectionHead::kYoloV8;
  /// By class index; may be empty, and an entry may be empty: then the index is the label. A class index counts from 0
  /// after the background classes: score column (kFasterRcnn: value of the labels output) minus background_classes.
  std::vector<std::string> labels;
  std::int64_t num_classes = 0;         ///< Without the background classes.
  std::string boxes_output;             ///< Output with boxes (or with everything, for the one-output heads).
  std::string scores_output;            ///< kRtdetr, kSsd, kFasterRcnn.
  std::string labels_output;            ///< kFasterRcnn.
  bool is_score_logit = false;          ///< Scores still need a sigmoid (RT-DETR logits, SSD).
  std::int64_t background_classes = 0;  ///< Leading classes that mean "nothing" (SSD, Faster R-CNN: 1).
  std::vector<std::int64_t> strides{8, 16, 32};
  std::optional<SsdAnchors> ssd;
  double score_threshold = 0.25;  ///< Defaults of the task's options.
  double iou_threshold = 0.45;
  std::int64_t max_detections = 300;
};

struct ClassificationFacts {
  ImageInput image;
  std::vector<std::string> labels;
  std::int64_t num_classes = 0;
  std::string scores_output;
  enum class Activation { kNone, kSoftmax, kSigmoid } activation = Activation::kSoftmax;  ///< Still to be applied.
};

/// Byte-level BPE as CLIP uses it. Files lie in the bundle.
struct ClipTextInput {
  std::string part = "text";
  std::string input = "input_ids";
  std::string attention_mask_input;  ///< Empty: the model takes none.
  std::string embedding_output = "text_embeds";
  std::string vocab_file;   ///< vocab.json, or tokenizer.json, which holds the merges too
  std::string merges_file;  ///< merges.txt, or the same tokenizer.json
  std::int64_t max_tokens = 77;
  std::int64_t pad_token_id = 49407;
  bool is_padded = true;  ///< Padded to max_tokens (else the input is as long as the text).
};

struct EmbeddingFacts {
  std::optional<ImageInput> image;
  std::string image_embedding_output;
  std::optional<ClipTextInput> text;
  std::int64_t embedding_dim = 0;
  bool is_normalized = false;  ///< The model already gives unit vectors.
  double logit_scale = 1.0;    ///< exp(logit_scale) of CLIP: factor on cosine similarity before softmax.
};

/// Sampling that a publisher recommends (generation_config.json). Meaning and ranges: include/pajamas/generation.h.
struct SamplingDefaults {
  std::optional<double> temperature;
  std::optional<std::int64_t> top_k;
  std::optional<double> top_p;
  std::optional<double> min_p;
  std::optional<double> repetition_penalty;
  bool is_greedy = false;  ///< The publisher samples nothing (do_sample false or absent).
};

/// A decoder-only language model (docs/language.md).
struct GenerationFacts {
  std::string part = "model";
  std::string architecture;                  ///< "llama", "qwen2", ...: for reports only.
  std::int64_t vocab_size = 0;               ///< Columns of the logits; the tokenizer may have fewer.
  std::int64_t context_length = 0;           ///< Most tokens of a sequence, prompt and answer.
  std::vector<std::int64_t> stop_token_ids;  ///< Any of them ends an answer; may be empty.
  std::string tokenizer_file;
  std::string chat_template_file;  ///< Empty: the model has no chat template.
  SamplingDefaults defaults;
};

/// The task section of a manifest. Exactly one of the facts is set, and `name` says which ("detection",
/// "classification", "embedding", "generation", "transcription", "speech"), or none for a model whose task is not known
/// ("none").
struct TaskFacts {
  std::string name = "none";
  std::optional<DetectionFacts> detection;
  std::optional<ClassificationFacts> classification;
  std::optional<EmbeddingFacts> embedding;
  std::optional<GenerationFacts> generation;
  std::optional<TranscriptionFacts> transcription;
  std::optional<SpeechFacts> speech;
};

/// The section with the task's name set.
TaskFacts task_of(DetectionFacts facts);
TaskFacts task_of(ClassificationFacts facts);
TaskFacts task_of(EmbeddingFacts facts);
TaskFacts task_of(GenerationFacts facts);
TaskFacts task_of(TranscriptionFacts facts);
TaskFacts task_of(SpeechFacts facts);

const char* to_string(DetectionHead head) noexcept;  ///< "yolov5", "yolov8", "yolo_end2end", "yolox", "rtdetr",
                                                     ///< "rtdetr_end2end", "ssd", "faster_rcnn"
/// Throws Error{kUsage} for an unknown name, listing the known ones.
DetectionHead parse_detection_head(const std::string& name);

nlohmann::json to_json(const ImageInput& input);
nlohmann::json to_json(const TaskFacts& facts);
/// Throws Error{kBadInput} naming the JSON path of what is missing, of the wrong type or out of range.
ImageInput parse_image_input(const JsonReader& json);
TaskFacts parse_task_facts(const JsonReader& json);

}  // namespace pajamas
