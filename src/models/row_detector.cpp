// Which head a one-output detector has, from extents, names and how the output is computed. See row_detector.h.
#include "models/row_detector.h"

#include <algorithm>

#include "pajamas/error.h"

namespace pajamas {
namespace {

/// A head that the evidence allows.
struct Candidate {
  DetectionHead head;
  std::int64_t num_classes = 0;  ///< 0: the output does not say.
  std::vector<std::int64_t> strides;
};

struct Evidence {
  std::string output;
  std::optional<std::int64_t> extent1, extent2;  ///< Of [batch, extent1, extent2].
  std::optional<std::int64_t> height_px, width_px;
  std::optional<std::int64_t> num_named;
  bool is_rank_known = false;
  bool is_ultralytics = false;
  bool is_end2end = false;
  bool is_rtdetr = false;
  bool has_nodes = false;
  bool has_selection = false;  ///< TopK or NonMaxSuppression: rows were chosen inside the model.
  OutputOrigin origin = OutputOrigin::kUnknown;
};

/// Strides of the feature maps in use: three levels, with P6, with P2, and YOLOv3-tiny's two.
const std::vector<std::vector<std::int64_t>>& known_strides() {
  static const std::vector<std::vector<std::int64_t>> strides{
      {8, 16, 32}, {8, 16, 32, 64}, {4, 8, 16, 32}, {16, 32}, {8, 16}};
  return strides;
}

/// Strides whose cells, `per_cell` rows each, make up `num_rows`; empty when none do.
std::vector<std::int64_t> strides_of(const Evidence& evidence, std::int64_t num_rows, std::int64_t per_cell) {
  if (!evidence.height_px || !evidence.width_px) return {};
  for (const auto& strides : known_strides()) {
    std::int64_t num_cells = 0;
    for (const std::int64_t stride : strides) {
      num_cells += ((*evidence.height_px + stride - 1) / stride) * ((*evidence.width_px + stride - 1) / stride);
    }
    if (num_cells * per_cell == num_rows) return strides;
  }
  return {};
}

bool is_size_known(const Evidence& evidence) { return evidence.height_px && evidence.width_px; }

/// Whether `num_rows` can be the rows of a dense head: every cell of the feature maps, `per_cell` times.
bool fits_cells(const Evidence& evidence, std::optional<std::int64_t> num_rows, std::int64_t per_cell) {
  if (!num_rows || !is_size_known(evidence)) return true;  // nothing to hold against it
  return !strides_of(evidence, *num_rows, per_cell).empty();
}

std::vector<std::int64_t> strides_or_default(const Evidence& evidence, std::optional<std::int64_t> num_rows,
                                             std::int64_t per_cell) {
  auto strides = num_rows ? strides_of(evidence, *num_rows, per_cell) : std::vector<std::int64_t>();
  return strides.empty() ? known_strides().front() : strides;
}

bool names_fit(const Evidence& evidence, std::int64_t num_classes) {
  return !evidence.num_named || *evidence.num_named == num_classes;
}

void add_yolov8(const Evidence& e, std::vector<Candidate>& candidates) {
  if (!e.extent1 || *e.extent1 < 5 || e.has_selection || e.origin == OutputOrigin::kConvolution) return;
  const std::int64_t num_classes = *e.extent1 - 4;
  if (!names_fit(e, num_classes)) return;
  // Strides of other models are no reason to refuse what the names confirm.
  const bool is_confirmed = e.is_ultralytics && e.num_named;
  if (!is_confirmed && !fits_cells(e, e.extent2, 1)) return;
  if (e.extent2 && !is_size_known(e) && *e.extent2 <= *e.extent1) return;
  candidates.push_back({DetectionHead::kYoloV8, num_classes, strides_or_default(e, e.extent2, 1)});
}

void add_yolov5(const Evidence& e, std::vector<Candidate>& candidates) {
  if (!e.extent2 || *e.extent2 < 6 || e.has_selection || e.origin == OutputOrigin::kConvolution) return;
  const std::int64_t num_classes = *e.extent2 - 5;
  if (!names_fit(e, num_classes)) return;
  // Three anchors a cell (YOLOv5, v7), or one (YOLOv6 and others that decode in the graph).
  const bool is_anchor_based = fits_cells(e, e.extent1, 3);
  const bool is_anchor_free = fits_cells(e, e.extent1, 1);
  if (!is_anchor_based && !is_anchor_free) return;
  if (e.extent1 && !is_size_known(e) && *e.extent1 <= *e.extent2) return;
  candidates.push_back(
      {DetectionHead::kYoloV5, num_classes, strides_or_default(e, e.extent1, is_anchor_based ? 3 : 1)});
}

void add_yolox(const Evidence& e, std::vector<Candidate>& candidates) {
  if (!e.extent2 || *e.extent2 < 6 || e.has_selection || e.is_ultralytics) return;
  if (e.origin != OutputOrigin::kConvolution && e.origin != OutputOrigin::kUnknown) return;
  const std::int64_t num_classes = *e.extent2 - 5;
  if (!names_fit(e, num_classes) || !fits_cells(e, e.extent1, 1)) return;
  if (e.extent1 && !is_size_known(e) && *e.extent1 <= *e.extent2) return;
  candidates.push_back({DetectionHead::kYolox, num_classes, strides_or_default(e, e.extent1, 1)});
}

void add_end_to_end(const Evidence& e, std::vector<Candidate>& candidates) {
  if (e.extent2 != 6 || e.is_rtdetr || (e.has_nodes && !e.has_selection && !e.is_end2end)) return;
  // A dense head of one class has rows of 6 too, but then a row for every cell.
  const bool is_dense =
      e.extent1 && is_size_known(e) && (!strides_of(e, *e.extent1, 1).empty() || !strides_of(e, *e.extent1, 3).empty());
  if (is_dense && !e.is_end2end) return;
  candidates.push_back({DetectionHead::kYoloEndToEnd, e.num_named.value_or(0), known_strides().front()});
}

void add_rtdetr(const Evidence& e, std::vector<Candidate>& candidates) {
  if (!e.extent2 || *e.extent2 < 5 || (e.is_ultralytics && !e.is_rtdetr)) return;
  if (!e.has_selection && !e.is_rtdetr) return;  // queries are selected by TopK
  const std::int64_t num_classes = *e.extent2 - 4;
  if (!names_fit(e, num_classes)) return;
  if (e.extent1 && is_size_known(e) && (!strides_of(e, *e.extent1, 1).empty() || !strides_of(e, *e.extent1, 3).empty()))
    return;
  // Published models have 300 queries, research ones up to 900.
  if (!e.extent1 || *e.extent1 > 1000) return;
  candidates.push_back({DetectionHead::kRtdetr, num_classes, known_strides().front()});
}

/// Ultralytics' RT-DETR of 2026 picks the best pairs of query and class itself. Where two classes could be meant as
/// well, both heads stay open, unless the file says that it is end to end.
void add_rtdetr_end_to_end(const Evidence& e, std::vector<Candidate>& candidates) {
  if (!e.is_rtdetr || e.extent2 != 6) return;
  candidates.push_back({DetectionHead::kRtdetrEndToEnd, e.num_named.value_or(0), known_strides().front()});
}

std::vector<Candidate> candidates_of(const Evidence& evidence) {
  std::vector<Candidate> candidates;
  // Text recognisers and token classifiers have one output of rank 3 too, but end in Softmax; and every detector here
  // halves the picture five times.
  if (evidence.origin == OutputOrigin::kSoftmax) return candidates;
  for (const auto& extent : {evidence.height_px, evidence.width_px}) {
    if (extent && *extent % 32 != 0) return candidates;
  }
  if (evidence.is_end2end && evidence.extent2 == 6) {
    add_end_to_end(evidence, candidates);
    add_rtdetr_end_to_end(evidence, candidates);
    return candidates;
  }
  add_yolov8(evidence, candidates);
  add_yolov5(evidence, candidates);
  add_yolox(evidence, candidates);
  add_end_to_end(evidence, candidates);
  add_rtdetr(evidence, candidates);
  add_rtdetr_end_to_end(evidence, candidates);
  return candidates;
}

/// The head the user (or the file) named, if the output can be of that head at all.
Candidate named_candidate(const Evidence& e, DetectionHead head, const ModelInterface& interface) {
  const auto refuse = [&](const std::string& wanted) {
    throw Error(ErrorKind::kBadInput,
                std::string("the model does not fit the head '") + to_string(head) + "': it needs " + wanted +
                    ", and the outputs are " + interface.describe_outputs(),
                "--head", "name the head the model was exported with, or leave --head away");
  };
  if (!e.is_rank_known) refuse("one float output of rank 3");
  const auto classes = [&](std::optional<std::int64_t> extent, std::int64_t others) -> std::int64_t {
    if (extent && *extent > others) return *extent - others;
    if (extent || !e.num_named) refuse("a known extent of " + std::to_string(others) + " + classes");
    return *e.num_named;
  };
  switch (head) {
    case DetectionHead::kYoloV8: return {head, classes(e.extent1, 4), strides_or_default(e, e.extent2, 1)};
    case DetectionHead::kYoloV5: return {head, classes(e.extent2, 5), strides_or_default(e, e.extent1, 3)};
    case DetectionHead::kYolox: return {head, classes(e.extent2, 5), strides_or_default(e, e.extent1, 1)};
    case DetectionHead::kRtdetr: return {head, classes(e.extent2, 4), known_strides().front()};
    default: break;
  }
  if (e.extent2 && *e.extent2 != 6) refuse("rows of 6 values");
  return {head, e.num_named.value_or(0), known_strides().front()};
}

/// The one float output of rank 3; beside it only raw feature maps of rank 5 may stand (older YOLOv5 exports).
const OutputTensor* rows_output(const ModelInterface& interface) {
  const OutputTensor* rows = nullptr;
  for (const OutputTensor& output : interface.outputs) {
    if (output.rank() == 5) continue;
    if (rows != nullptr || output.rank() != 3 || !output.is_float()) return nullptr;
    rows = &output;
  }
  return rows;
}

Evidence gather_evidence(const Model& model, const ModelInterface& interface, const PublishedFacts& published) {
  Evidence e;
  const OutputTensor* rows = rows_output(interface);
  if (rows == nullptr) return e;
  e.output = rows->name;
  e.is_rank_known = true;
  e.extent1 = rows->extent(1);
  e.extent2 = rows->extent(2);
  e.height_px = interface.image->height_px;
  e.width_px = interface.image->width_px;
  e.num_named = published.num_named();
  e.is_ultralytics = published.is_ultralytics;
  e.is_end2end = published.is_ultralytics_end2end;
  e.is_rtdetr = published.ultralytics_head == "RTDETRDecoder" ||
                (published.is_ultralytics && published.description.find("rtdetr") != std::string::npos);
  e.has_nodes = !model.graph.nodes.empty();
  e.has_selection = has_operator(model.graph, "TopK") || has_operator(model.graph, "NonMaxSuppression");
  e.origin = origin_of(model.graph, rows->name);
  return e;
}

TaskFacts facts_of(const Candidate& candidate, const Evidence& evidence, const ModelInterface& interface,
                   const PublishedFacts& published, const ImageInput& image) {
  DetectionFacts facts;
  facts.image = published.image_input(*interface.image, image);
  facts.head = candidate.head;
  facts.num_classes = candidate.num_classes;
  facts.labels = published.labels(candidate.num_classes);
  facts.boxes_output = evidence.output;
  facts.strides = candidate.strides;
  // Non-maximum suppression as the models' authors set it for prediction: Ultralytics 0.7, the others 0.45.
  facts.iou_threshold = published.iou_threshold.value_or(candidate.head == DetectionHead::kYoloV8 ? 0.7 : 0.45);
  if (candidate.head == DetectionHead::kRtdetr) {
    facts.is_score_logit = evidence.origin != OutputOrigin::kSigmoid && !evidence.is_ultralytics;
  }
  return task_of(std::move(facts));
}

[[noreturn]] void refuse_ambiguous(const std::vector<Candidate>& candidates, const ModelInterface& interface) {
  std::string list;
  for (const Candidate& candidate : candidates) {
    list += (list.empty() ? "" : ", ") + std::string(to_string(candidate.head));
  }
  throw Error(ErrorKind::kUnsupported,
              "the model's outputs (" + interface.describe_outputs() + ") fit more than one detection head: " + list,
              "", "name the right one with --head, or build without a task with --task none");
}

}  // namespace

std::optional<TaskFacts> recognise_row_detector(const Model& model, const ImportHints& hints,
                                                std::initializer_list<DetectionHead> heads, const ImageInput& image) {
  const PublishedFacts published = read_published_facts(model, hints);
  if (!published.task.empty() && published.task != "detection") return std::nullopt;
  const ModelInterface interface = interface_of(model);
  if (!interface.image || !interface.other_inputs.empty()) return std::nullopt;
  const Evidence evidence = gather_evidence(model, interface, published);
  const auto is_mine = [&](DetectionHead head) { return std::find(heads.begin(), heads.end(), head) != heads.end(); };

  if (!published.head.empty()) {
    const DetectionHead head = parse_detection_head(published.head);
    if (!is_mine(head)) return std::nullopt;
    return facts_of(named_candidate(evidence, head, interface), evidence, interface, published, image);
  }
  // Segmentation, pose and oriented boxes have more values a row than detection: the file's own word keeps them out.
  const bool is_other_task = !published.ultralytics_task.empty() && published.ultralytics_task != "detect";
  if (!evidence.is_rank_known || is_other_task) return std::nullopt;
  std::vector<Candidate> candidates = candidates_of(evidence);
  if (candidates.size() > 1) {
    const auto num_labels = static_cast<std::int64_t>(published.labels_of_user.size());
    std::vector<Candidate> named;
    std::copy_if(candidates.begin(), candidates.end(), std::back_inserter(named),
                 [&](const Candidate& candidate) { return candidate.num_classes == num_labels; });
    if (num_labels > 0 && named.size() == 1) candidates = named;
  }
  if (candidates.empty()) return std::nullopt;
  if (candidates.size() > 1) refuse_ambiguous(candidates, interface);
  if (!is_mine(candidates.front().head)) return std::nullopt;
  return facts_of(candidates.front(), evidence, interface, published, image);
}

}  // namespace pajamas
