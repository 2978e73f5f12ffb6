// Tests of the recognisers: which head, classes and preprocessing a published model gets from its outputs, its metadata
// and the user's hints, and when it is refused instead of guessed. The models are hand-made interfaces with the nodes
// that matter; extents and metadata are those of the publishers' exporters.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/model_definition.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr std::int64_t kOpen = -1;  // an extent that varies

ValueInfo tensor_info(const std::string& name, const std::vector<std::int64_t>& extents,
                      DType dtype = DType::kFloat32) {
  ValueType type;
  type.dtype = dtype;
  type.shape.emplace();
  for (std::size_t axis = 0; axis < extents.size(); ++axis) {
    type.shape->push_back(extents[axis] == kOpen ? Dimension::named("axis" + std::to_string(axis))
                                                 : Dimension::known(extents[axis]));
  }
  return {name, type, {}, {}};
}

Model model_of(const std::vector<std::int64_t>& input, const std::vector<ValueInfo>& outputs, Metadata metadata = {}) {
  Model model;
  model.graph.inputs.push_back(tensor_info("images", input));
  model.graph.outputs = outputs;
  model.metadata = std::move(metadata);
  return model;
}

/// Adds nodes that produce the first output, the last one given first: {"Transpose", "Concat", "Conv"}.
void add_chain(Model& model, const std::vector<std::string>& op_types) {
  std::string value = model.graph.outputs[0].name;
  std::vector<Node> nodes;
  for (const std::string& op_type : op_types) {
    Node node;
    node.op_type = op_type;
    node.outputs = {value};
    value = "value" + std::to_string(nodes.size());
    node.inputs = {value};
    nodes.insert(nodes.begin(), node);
  }
  nodes.front().inputs = {"images"};
  model.graph.nodes.insert(model.graph.nodes.end(), nodes.begin(), nodes.end());
}

Metadata ultralytics(const std::string& task, const std::string& names, const std::string& imgsz = "[640, 640]") {
  return {{"description", "Ultralytics model"}, {"stride", "32"}, {"task", task}, {"imgsz", imgsz}, {"names", names}};
}

std::string names_of(int count) {
  std::string text = "{";
  for (int i = 0; i < count; ++i) text += std::to_string(i) + ": 'c" + std::to_string(i) + "', ";
  return text + "}";
}

DetectionFacts detection_of(const Model& model, const ImportHints& hints = {}) {
  const Recognition recognition = recognise_model(model, hints);
  EXPECT_EQ(recognition.task.name, "detection");
  return recognition.task.detection.value();
}

void expect_error(const Model& model, const ImportHints& hints, ErrorKind kind, const std::string& text) {
  try {
    const Recognition recognition = recognise_model(model, hints);
    ADD_FAILURE() << "recognised as " << recognition.family << ", " << recognition.task.name;
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    EXPECT_THAT(error.what(), HasSubstr(text));
  }
}

TEST(Recognise, YoloV8OfAnyClassCount) {
  for (const std::int64_t num_classes : {1, 2, 18, 80, 365}) {
    const auto facts = detection_of(model_of({1, 3, 640, 640}, {tensor_info("output0", {1, 4 + num_classes, 8400})}));
    EXPECT_EQ(facts.head, DetectionHead::kYoloV8);
    EXPECT_EQ(facts.num_classes, num_classes);
    EXPECT_TRUE(facts.labels.empty());  // no names are invented
    EXPECT_EQ(facts.boxes_output, "output0");
    EXPECT_EQ(facts.image.input, "images");
    EXPECT_EQ(facts.image.resize, ImageInput::Resize::kLetterbox);
    EXPECT_EQ(facts.image.pad_value, 114);
    EXPECT_FALSE(facts.image.is_bgr);
  }
}

TEST(Recognise, YoloV8WithDynamicExtentsTakesTheSizeFromTheMetadata) {
  const auto model = model_of({kOpen, 3, kOpen, kOpen}, {tensor_info("output0", {kOpen, 22, kOpen})},
                              ultralytics("detect", names_of(18), "[320, 416]"));
  const auto facts = detection_of(model);
  EXPECT_EQ(facts.head, DetectionHead::kYoloV8);
  EXPECT_EQ(facts.image.height_px, 320);
  EXPECT_EQ(facts.image.width_px, 416);
  EXPECT_EQ(facts.labels.size(), 18u);
  EXPECT_EQ(facts.labels[17], "c17");
}

TEST(Recognise, YoloV5ByItsThreeAnchorsACell) {
  auto facts = detection_of(model_of({1, 3, 640, 640}, {tensor_info("output", {1, 25200, 85})}));
  EXPECT_EQ(facts.head, DetectionHead::kYoloV5);
  EXPECT_EQ(facts.num_classes, 80);
  EXPECT_THAT(facts.strides, ElementsAre(8, 16, 32));
  // P6 at 1280, one class: rows of 6 that are no end-to-end output.
  facts = detection_of(model_of({1, 3, 1280, 1280}, {tensor_info("output", {1, 102000, 6})}));
  EXPECT_EQ(facts.head, DetectionHead::kYoloV5);
  EXPECT_EQ(facts.num_classes, 1);
  EXPECT_THAT(facts.strides, ElementsAre(8, 16, 32, 64));
  // With the raw feature maps beside it, as older exports have.
  facts = detection_of(
      model_of({1, 3, 640, 640}, {tensor_info("output", {1, 25200, 85}), tensor_info("345", {1, 3, 80, 80, 85})}));
  EXPECT_EQ(facts.boxes_output, "output");
}

TEST(Recognise, EndToEndYolo) {
  auto model = model_of({1, 3, 640, 640}, {tensor_info("output0", {1, 300, 6})}, ultralytics("detect", names_of(80)));
  add_chain(model, {"Concat", "TopK"});
  const auto facts = detection_of(model);
  EXPECT_EQ(facts.head, DetectionHead::kYoloEndToEnd);
  EXPECT_EQ(facts.num_classes, 80);
  EXPECT_EQ(facts.labels.size(), 80u);
}

TEST(Recognise, YoloxByItsUndecodedOutput) {
  auto model = model_of({1, 3, 640, 640}, {tensor_info("output", {1, 8400, 85})});
  // Nothing tells the undecoded rows from decoded ones: refused with the choices.
  expect_error(model, {}, ErrorKind::kUnsupported, "yolov5, yolox");
  auto raw = model;
  add_chain(raw, {"Transpose", "Concat", "Reshape", "Sigmoid", "Conv"});
  const auto facts = detection_of(raw);
  EXPECT_EQ(facts.head, DetectionHead::kYolox);
  EXPECT_EQ(facts.num_classes, 80);
  EXPECT_TRUE(facts.image.is_bgr);
  EXPECT_EQ(facts.image.resize, ImageInput::Resize::kLetterboxTopLeft);
  EXPECT_DOUBLE_EQ(facts.image.mean[0], 0.0);
  EXPECT_DOUBLE_EQ(1.0 / facts.image.std[0], 255.0);  // pixel values as they are
  auto decoded = model;
  add_chain(decoded, {"Concat", "Mul", "Exp", "Conv"});
  EXPECT_EQ(detection_of(decoded).head, DetectionHead::kYoloV5);
  // The user's word decides.
  ImportHints hints;
  hints.head = "yolox";
  EXPECT_EQ(detection_of(model, hints).head, DetectionHead::kYolox);
}

TEST(Recognise, RtdetrWithTwoOutputs) {
  auto model = model_of({kOpen, 3, 640, 640},
                        {tensor_info("logits", {kOpen, 300, 80}), tensor_info("pred_boxes", {kOpen, 300, 4})});
  add_chain(model, {"Add", "MatMul", "TopK"});
  const auto facts = detection_of(model);
  EXPECT_EQ(facts.head, DetectionHead::kRtdetr);
  EXPECT_EQ(facts.boxes_output, "pred_boxes");
  EXPECT_EQ(facts.scores_output, "logits");
  EXPECT_TRUE(facts.is_score_logit);
  EXPECT_EQ(facts.num_classes, 80);
  EXPECT_EQ(facts.image.resize, ImageInput::Resize::kStretch);
}

TEST(Recognise, DetrIsNotTakenForRtdetr) {
  auto model = model_of({kOpen, 3, 800, 800},
                        {tensor_info("logits", {kOpen, 100, 92}), tensor_info("pred_boxes", {kOpen, 100, 4})});
  add_chain(model, {"Add", "MatMul"});
  expect_error(model, {}, ErrorKind::kUnsupported, "--head rtdetr");
}

TEST(Recognise, RtdetrOfUltralyticsInOneOutput) {
  auto metadata = ultralytics("detect", names_of(80));
  metadata[0].second = "Ultralytics rtdetr-l model";
  auto model = model_of({1, 3, 640, 640}, {tensor_info("output0", {1, 300, 84})}, metadata);
  add_chain(model, {"Concat", "Sigmoid", "TopK"});
  const auto facts = detection_of(model);
  EXPECT_EQ(facts.head, DetectionHead::kRtdetr);
  EXPECT_TRUE(facts.scores_output.empty());
  EXPECT_FALSE(facts.is_score_logit);
}

TEST(Recognise, RtdetrOfUltralyticsInFinishedRows) {
  const auto model_named = [](int num_names, const std::string& end2end) {
    auto metadata = ultralytics("detect", names_of(num_names));
    metadata.emplace_back("head", "RTDETRDecoder");
    if (!end2end.empty()) metadata.emplace_back("end2end", end2end);
    auto model = model_of({1, 3, 640, 640}, {tensor_info("output0", {1, 300, 6})}, metadata);
    add_chain(model, {"Sigmoid", "TopK", "Concat"});
    return model;
  };
  for (const char* end2end : {"", "False", "True"}) {
    const auto facts = detection_of(model_named(80, end2end));
    EXPECT_EQ(facts.head, DetectionHead::kRtdetrEndToEnd) << end2end;
    EXPECT_EQ(facts.num_classes, 80);
    EXPECT_EQ(facts.labels.size(), 80u);
    EXPECT_FALSE(facts.is_score_logit);
    EXPECT_EQ(facts.image.resize, ImageInput::Resize::kStretch);
  }
  // With two classes the six values may be two scores as well, as the exporter wrote them before.
  expect_error(model_named(2, ""), {}, ErrorKind::kUnsupported, "rtdetr, rtdetr_end2end");
  EXPECT_EQ(detection_of(model_named(2, "True")).head, DetectionHead::kRtdetrEndToEnd);
  for (const char* head : {"rtdetr", "rtdetr_end2end"}) {
    ImportHints hints;
    hints.head = head;
    EXPECT_STREQ(to_string(detection_of(model_named(2, ""), hints).head), head);
  }
}

TEST(Recognise, SsdByItsMetadata) {
  const Metadata metadata{
      {"pajamas.head", "ssd"},
      {"pajamas.labels", R"({"1": "person", "90": "toothbrush"})"},
      {"pajamas.preprocess",
       R"({"width": 300, "height": 300, "resize": "stretch", "interpolation": "bilinear", "channels": "rgb",
           "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "layout": "NCHW"})"},
      {"pajamas.ssd",
       R"({"num_layers": 2, "feature_map_sizes": [[19, 19], [10, 10]], "min_scale": 0.25, "iou_threshold": 0.5,
           "score_converter": "sigmoid", "background_class": 0})"},
      {"pajamas.task", "detection"}};
  const std::vector<ValueInfo> outputs{tensor_info("box_encodings", {kOpen, 1917, 1, 4}),
                                       tensor_info("class_logits", {kOpen, 1917, 91})};
  const auto model = model_of({kOpen, 3, 300, 300}, outputs, metadata);
  const Recognition recognition = recognise_model(model, {});
  EXPECT_EQ(recognition.family, "ssd");
  const DetectionFacts& facts = recognition.task.detection.value();
  EXPECT_EQ(facts.head, DetectionHead::kSsd);
  EXPECT_EQ(facts.num_classes, 90);
  EXPECT_EQ(facts.background_classes, 1);
  ASSERT_EQ(facts.labels.size(), 90u);
  EXPECT_EQ(facts.labels[0], "person");
  EXPECT_EQ(facts.labels[1], "");
  EXPECT_EQ(facts.labels[89], "toothbrush");
  EXPECT_EQ(facts.boxes_output, "box_encodings");
  EXPECT_EQ(facts.scores_output, "class_logits");
  EXPECT_TRUE(facts.is_score_logit);
  EXPECT_DOUBLE_EQ(facts.iou_threshold, 0.5);
  ASSERT_TRUE(facts.ssd.has_value());
  EXPECT_EQ(facts.ssd->feature_map_sizes.size(), 2u);
  EXPECT_DOUBLE_EQ(facts.ssd->min_scale, 0.25);
  EXPECT_EQ(facts.image.width_px, 300);
  EXPECT_DOUBLE_EQ(facts.image.mean[2], 0.5);

  // Metadata that contradicts the model, or is not what it should be, is refused by name.
  auto wrong_size = metadata;
  wrong_size[2].second = R"({"width": 320, "height": 300, "resize": "stretch", "interpolation": "bilinear"})";
  expect_error(model_of({kOpen, 3, 300, 300}, outputs, wrong_size), {}, ErrorKind::kBadInput, "width 320");
  auto damaged = metadata;
  damaged[3].second = R"({"feature_map_sizes": [[19]]})";
  expect_error(model_of({kOpen, 3, 300, 300}, outputs, damaged), {}, ErrorKind::kBadInput, "pajamas.ssd");
  auto without_anchors = metadata;
  without_anchors.erase(without_anchors.begin() + 3);
  expect_error(model_of({kOpen, 3, 300, 300}, outputs, without_anchors), {}, ErrorKind::kBadInput, "pajamas.ssd");
}

TEST(Recognise, FasterRcnn) {
  const std::vector<ValueInfo> outputs{tensor_info("boxes", {kOpen, 4}), tensor_info("labels", {kOpen}, DType::kInt64),
                                       tensor_info("scores", {kOpen})};
  auto facts = detection_of(model_of({3, kOpen, kOpen}, outputs));
  EXPECT_EQ(facts.head, DetectionHead::kFasterRcnn);
  EXPECT_FALSE(facts.image.has_batch);
  EXPECT_EQ(facts.image.resize, ImageInput::Resize::kFit);
  EXPECT_EQ(facts.image.resize_px, 800);
  EXPECT_EQ(facts.image.max_px, 1333);
  EXPECT_EQ(facts.boxes_output, "boxes");
  EXPECT_EQ(facts.labels_output, "labels");
  EXPECT_EQ(facts.scores_output, "scores");
  facts = detection_of(model_of({1, 3, 480, 640}, outputs));
  EXPECT_EQ(facts.image.resize, ImageInput::Resize::kLetterboxTopLeft);
  EXPECT_EQ(facts.image.height_px, 480);
  EXPECT_EQ(facts.image.width_px, 640);
}

TEST(Recognise, ClassifierOfImagenet) {
  auto model = model_of({kOpen, 3, 224, 224}, {tensor_info("output", {kOpen, 1000})});
  const Recognition recognition = recognise_model(model, {});
  EXPECT_EQ(recognition.family, "classifier");
  const ClassificationFacts& facts = recognition.task.classification.value();
  EXPECT_EQ(facts.num_classes, 1000);
  EXPECT_EQ(facts.activation, ClassificationFacts::Activation::kSoftmax);
  EXPECT_EQ(facts.image.resize, ImageInput::Resize::kShortestEdge);
  EXPECT_EQ(facts.image.resize_px, 256);
  EXPECT_TRUE(facts.image.is_antialiased);
  EXPECT_DOUBLE_EQ(facts.image.mean[0], 0.485);
  add_chain(model, {"Softmax", "Gemm"});
  EXPECT_EQ(recognise_model(model, {}).task.classification->activation, ClassificationFacts::Activation::kNone);
}

TEST(Recognise, ClassifierMetadataWins) {
  const Metadata metadata{
      {"pajamas.task", "classification"},
      {"pajamas.activation", "sigmoid"},
      {"pajamas.labels", "[\"a\", \"b\", \"c\"]"},
      {"pajamas.preprocess",
       R"({"width": 224, "height": 224, "resize": "shortest_edge", "resize_px": 248, "antialias": true,
                               "interpolation": "bicubic", "mean": [0.1, 0.2, 0.3], "std": [1, 2, 3]})"}};
  const auto recognition =
      recognise_model(model_of({kOpen, 3, 224, 224}, {tensor_info("y", {kOpen, 3})}, metadata), {});
  const ClassificationFacts& facts = recognition.task.classification.value();
  EXPECT_EQ(facts.activation, ClassificationFacts::Activation::kSigmoid);
  EXPECT_THAT(facts.labels, ElementsAre("a", "b", "c"));
  EXPECT_EQ(facts.image.resize_px, 248);
  EXPECT_EQ(facts.image.interpolation, ImageInput::Interpolation::kBicubic);
  EXPECT_DOUBLE_EQ(facts.image.std[2], 3.0);
}

TEST(Recognise, ClassifierOfUltralytics) {
  auto model =
      model_of({1, 3, 224, 224}, {tensor_info("output0", {1, 5})}, ultralytics("classify", names_of(5), "[224, 224]"));
  add_chain(model, {"Softmax", "Gemm"});
  const auto recognition = recognise_model(model, {});
  const ClassificationFacts& facts = recognition.task.classification.value();
  EXPECT_EQ(facts.activation, ClassificationFacts::Activation::kNone);
  EXPECT_EQ(facts.image.resize_px, 224);
  EXPECT_DOUBLE_EQ(facts.image.mean[0], 0.0);
  EXPECT_EQ(facts.labels.size(), 5u);
}

TEST(Recognise, AVectorThatMayBeScoresOrFeaturesIsRefusedUntilTheUserSays) {
  const auto model = model_of({kOpen, 3, 224, 224}, {tensor_info("output", {kOpen, 384})});
  expect_error(model, {}, ErrorKind::kUnsupported, "--task");
  ImportHints hints;
  hints.task = "embedding";
  const auto recognition = recognise_model(model, hints);
  EXPECT_EQ(recognition.family, "embedder");
  EXPECT_EQ(recognition.task.embedding->embedding_dim, 384);
  EXPECT_EQ(recognition.task.embedding->image_embedding_output, "output");
  hints.task = "classification";
  EXPECT_EQ(recognise_model(model, hints).task.classification->num_classes, 384);
  hints.task = "none";
  EXPECT_EQ(recognise_model(model, hints).task.name, "none");
}

TEST(Recognise, EmbedderByOutputName) {
  const auto model = model_of({kOpen, 3, 224, 224}, {tensor_info("last_hidden_state", {kOpen, 197, 768}),
                                                     tensor_info("pooler_output", {kOpen, 768})});
  const auto recognition = recognise_model(model, {});
  EXPECT_EQ(recognition.family, "embedder");
  EXPECT_EQ(recognition.task.embedding->image_embedding_output, "pooler_output");
}

TEST(Recognise, LabelsOfTheUserMustBeAsManyAsClasses) {
  const auto model = model_of({1, 3, 640, 640}, {tensor_info("output0", {1, 6, 8400})});
  ImportHints hints;
  hints.labels = {"cat", "dog"};
  EXPECT_THAT(detection_of(model, hints).labels, ElementsAre("cat", "dog"));
  hints.labels.push_back("cow");
  expect_error(model, hints, ErrorKind::kUsage, "3 class names");
}

TEST(Recognise, UserLabelsChooseBetweenHeads) {
  const auto model = model_of({kOpen, 3, kOpen, kOpen}, {tensor_info("output", {kOpen, 300, 6})});
  expect_error(model, {}, ErrorKind::kUnsupported, "--head");
  ImportHints hints;
  hints.head = "yolo_end2end";
  EXPECT_EQ(detection_of(model, hints).head, DetectionHead::kYoloEndToEnd);
}

TEST(Recognise, HintsThatDoNotFitAreRefused) {
  const auto model = model_of({1, 3, 640, 640}, {tensor_info("output0", {1, 84, 8400})});
  ImportHints hints;
  hints.head = "ssd";
  expect_error(model, hints, ErrorKind::kBadInput, "pajamas.ssd");
  hints.head = "faster_rcnn";
  expect_error(model, hints, ErrorKind::kBadInput, "output0 float32[1, 84, 8400]");
  hints.head = "yolov9000";
  expect_error(model, hints, ErrorKind::kUsage, "yolov9000");
  hints.head.clear();
  hints.task = "poetry";
  expect_error(model, hints, ErrorKind::kUsage, "poetry");
  hints.task = "classification";
  expect_error(model, hints, ErrorKind::kBadInput, "[batch, classes]");
  hints.head = "yolov8";
  expect_error(model, hints, ErrorKind::kUsage, "--head");
}

TEST(Recognise, OtherModelsHaveNoTask) {
  // Segmentation and pose of Ultralytics, a text recogniser, a text model.
  EXPECT_EQ(
      recognise_model(model_of({1, 3, 640, 640},
                               {tensor_info("output0", {1, 116, 8400}), tensor_info("output1", {1, 32, 160, 160})},
                               ultralytics("segment", names_of(80))),
                      {})
          .task.name,
      "none");
  EXPECT_EQ(
      recognise_model(
          model_of({1, 3, 640, 640}, {tensor_info("output0", {1, 56, 8400})}, ultralytics("pose", names_of(1))), {})
          .task.name,
      "none");
  auto text = model_of({kOpen, 3, 48, kOpen}, {tensor_info("softmax", {kOpen, kOpen, 6625})});
  add_chain(text, {"Softmax", "Gemm"});
  EXPECT_EQ(recognise_model(text, {}).task.name, "none");
  Model words;
  words.graph.inputs = {tensor_info("input_ids", {kOpen, kOpen}, DType::kInt64)};
  words.graph.outputs = {tensor_info("logits", {kOpen, 2})};
  EXPECT_EQ(recognise_model(words, {}).task.name, "none");
  Model empty;
  EXPECT_EQ(recognise_model(empty, {}).task.name, "none");
}

TEST(Recognise, DamagedMetadataIsNamed) {
  const std::vector<ValueInfo> outputs{tensor_info("output0", {1, 84, 8400})};
  expect_error(model_of({1, 3, 640, 640}, outputs, ultralytics("detect", "{0: ")), {}, ErrorKind::kBadInput,
               "metadata 'names'");
  expect_error(model_of({1, 3, 640, 640}, outputs, ultralytics("detect", names_of(80), "[0, 640]")), {},
               ErrorKind::kBadInput, "metadata 'imgsz'");
  expect_error(model_of({1, 3, 640, 640}, outputs, {{"pajamas.task", "poetry"}}), {}, ErrorKind::kBadInput, "poetry");
  expect_error(model_of({1, 3, 640, 640}, outputs, {{"pajamas.preprocess", "[]"}}), {}, ErrorKind::kBadInput,
               "pajamas.preprocess");
}

}  // namespace
}  // namespace pajamas
