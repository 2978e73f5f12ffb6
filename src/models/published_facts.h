// What a published ONNX file says about itself in its metadata: keys of this project ("pajamas.*", written by
// tools/fetch_models; docs/add-a-model.md lists them) and those of Ultralytics' exporter. Read once, for every
// recogniser. What the user said on the command line is laid over it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "models/label_text.h"
#include "models/model_definition.h"
#include "models/model_interface.h"

namespace pajamas {

struct PublishedFacts {
  std::string task;  ///< "", "detection", "classification", "embedding": the user's word, else the file's.
  std::string head;  ///< "", or a DetectionHead name: the user's word, else the file's.
  LabelsById labels_by_id;
  std::string labels_where;  ///< Metadata key the names come from.
  std::vector<std::string> labels_of_user;
  std::optional<ImageInput> preprocess;  ///< pajamas.preprocess; `input` is not set.
  std::optional<SsdAnchors> ssd;
  std::optional<double> iou_threshold;
  std::optional<ClassificationFacts::Activation> activation;
  bool is_score_logit = true;           ///< pajamas.ssd.score_converter; only read with `ssd`.
  std::int64_t background_classes = 1;  ///< Only read with `ssd`.

  bool is_ultralytics = false;
  std::string ultralytics_task;  ///< "detect", "classify", "segment", ...
  std::string ultralytics_head;  ///< Class of the head, e.g. "Detect", "v10Detect", "RTDETRDecoder".
  bool is_ultralytics_end2end = false;
  std::string description;
  std::optional<std::int64_t> height_px;  ///< imgsz
  std::optional<std::int64_t> width_px;

  /// How many classes the file's names speak of; empty without names.
  std::optional<std::int64_t> num_named() const;
  /// The names for `num_classes` classes (0: unknown), numbered in the file from 0 with `background_classes` first.
  /// Throws Error{kUsage} when the user's names are too few or too many, Error{kBadInput} when the file's are.
  std::vector<std::string> labels(std::int64_t num_classes, std::int64_t num_background = 0) const;
  /// `fallback`, or pajamas.preprocess in its place, for the model's picture input; the extents the model declares,
  /// else imgsz, else those of `fallback`. Throws Error{kBadInput} when the metadata contradicts the declared extents.
  ImageInput image_input(const ImageTensor& image, const ImageInput& fallback) const;
};

/// Throws Error{kBadInput} naming the metadata key that cannot be read, Error{kUsage} for unknown hints.
PublishedFacts read_published_facts(const Model& model, const ImportHints& hints);

}  // namespace pajamas
