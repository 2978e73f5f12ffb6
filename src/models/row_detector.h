// Detectors with one output of rows: YOLOv5, YOLOv8, end-to-end YOLO, YOLOX and Ultralytics' RT-DETR. Their outputs
// look alike, so one place weighs all of them against each other and each family asks it for its own heads.
#pragma once

#include <initializer_list>
#include <optional>

#include "models/published_facts.h"

namespace pajamas {

/// The facts of `model` when its head is one of `heads`; nothing when it is another model, or another family's head.
/// `image` holds the preprocessing and the fallback size of the family.
/// Throws Error{kUnsupported} listing the heads when the file leaves several open, Error{kBadInput} when the head that
/// was named does not fit the outputs, and as read_published_facts.
std::optional<TaskFacts> recognise_row_detector(const Model& model, const ImportHints& hints,
                                                std::initializer_list<DetectionHead> heads, const ImageInput& image);

}  // namespace pajamas
