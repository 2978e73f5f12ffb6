// Every detection head against tools/goldens/make_detection_goldens.py, an independent statement in numpy.
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "tasks/detection_runner.h"
#include "tasks/heads/ssd_head.h"

namespace pajamas {
namespace {

struct Goldens {
  nlohmann::json index;
  std::vector<char> bytes;

  Goldens() {
    const std::filesystem::path folder = std::filesystem::path(PAJAMAS_TEST_DATA) / "tasks";
    std::ifstream(folder / "detection.json") >> index;
    std::ifstream file(folder / "detection.bin", std::ios::binary);
    bytes.assign(std::istreambuf_iterator<char>(file), {});
  }

  HeadOutput output(const nlohmann::json& one_case, const char* name) const {
    if (!one_case.at("outputs").contains(name)) return {};
    const auto& entry = one_case.at("outputs").at(name);
    Tensor values(DType::kFloat32, Shape(entry.at("shape").get<std::vector<std::int64_t>>()));
    std::memcpy(values.mutable_bytes().data(), bytes.data() + entry.at("offset").get<std::size_t>(),
                values.size_bytes());
    return {name, values};
  }
};

DetectionFacts facts_of(const nlohmann::json& one_case) {
  DetectionFacts facts;
  facts.head = parse_detection_head(one_case.at("head"));
  facts.num_classes = one_case.at("num_classes");
  facts.background_classes = one_case.at("background_classes");
  facts.is_score_logit = one_case.at("is_score_logit");
  facts.strides = one_case.at("strides").get<std::vector<std::int64_t>>();
  facts.max_detections = one_case.at("max_detections");
  facts.boxes_output = "boxes";
  if (one_case.at("outputs").contains("scores")) facts.scores_output = "scores";
  if (one_case.at("outputs").contains("labels")) facts.labels_output = "labels";
  if (one_case.contains("ssd")) {
    const auto& spec = one_case.at("ssd");
    SsdAnchors anchors;
    anchors.feature_map_sizes = spec.at("feature_map_sizes").get<std::vector<std::array<std::int64_t, 2>>>();
    anchors.min_scale = spec.at("min_scale");
    anchors.max_scale = spec.at("max_scale");
    anchors.aspect_ratios = spec.at("aspect_ratios").get<std::vector<double>>();
    anchors.interpolated_scale_aspect_ratio = spec.at("interpolated_scale_aspect_ratio");
    anchors.reduce_boxes_in_lowest_layer = spec.at("reduce_boxes_in_lowest_layer");
    anchors.box_coder_scales = spec.at("box_coder_scales").get<std::array<double, 4>>();
    facts.ssd = anchors;
  }
  return facts;
}

TEST(DetectionHeads, AgreeWithNumpy) {
  const Goldens goldens;
  ASSERT_GE(goldens.index.at("cases").size(), 15U);
  for (const auto& one_case : goldens.index.at("cases")) {
    const std::string name = one_case.at("name");
    const DetectionFacts facts = facts_of(one_case);
    DetectorOptions options;
    options.score_threshold = goldens.index.at("score_threshold").get<double>();
    options.is_nms_class_agnostic = one_case.at("is_agnostic");
    const ResolvedDetectorOptions resolved = resolve_options(options, facts);
    const auto& place = one_case.at("placement");
    Placement placement;
    placement.source_width_px = place.at("source")[0];
    placement.source_height_px = place.at("source")[1];
    placement.scaled_width_px = place.at("scaled")[0];
    placement.scaled_height_px = place.at("scaled")[1];
    placement.offset_x_px = place.at("left");
    placement.offset_y_px = place.at("top");
    HeadRequest request;
    request.boxes = goldens.output(one_case, "boxes");
    request.scores = goldens.output(one_case, "scores");
    request.labels = goldens.output(one_case, "labels");
    request.batch = one_case.at("batch");
    request.canvas_width_px = one_case.at("canvas")[0];
    request.canvas_height_px = one_case.at("canvas")[1];
    request.score_threshold = resolved.score_threshold;
    const auto decoder = make_head_decoder(facts);
    for (std::size_t picture = 0; picture < request.batch; ++picture) {
      request.picture = picture;
      const auto detections = finish_detections(decoder->decode(request), placement, resolved, facts);
      const auto& expected = one_case.at("detections").at(picture);
      ASSERT_EQ(detections.size(), expected.size()) << name << ", picture " << picture;
      for (std::size_t i = 0; i < detections.size(); ++i) {
        const auto& box = expected[i].at("box");
        EXPECT_EQ(detections[i].class_index, expected[i].at("class").get<int>()) << name << " " << i;
        EXPECT_NEAR(detections[i].score, expected[i].at("score").get<float>(), 2e-6) << name << " " << i;
        EXPECT_NEAR(detections[i].box.x1, box[0].get<float>(), 2e-3) << name << " " << i;
        EXPECT_NEAR(detections[i].box.y1, box[1].get<float>(), 2e-3) << name << " " << i;
        EXPECT_NEAR(detections[i].box.x2, box[2].get<float>(), 2e-3) << name << " " << i;
        EXPECT_NEAR(detections[i].box.y2, box[3].get<float>(), 2e-3) << name << " " << i;
      }
    }
  }
}

TEST(SsdAnchors, AreThe1917OfTheCocoModels) {
  SsdAnchors facts;
  facts.feature_map_sizes = {{19, 19}, {10, 10}, {5, 5}, {3, 3}, {2, 2}, {1, 1}};
  const auto anchors = make_ssd_anchors(facts);
  ASSERT_EQ(anchors.size(), 1917U);
  EXPECT_NEAR(anchors[0].center_x, 0.5 / 19, 1e-12);
  EXPECT_NEAR(anchors[0].width, 0.1, 1e-12);
  EXPECT_NEAR(anchors[1].width, 0.2 * std::sqrt(2.0), 1e-12);
  EXPECT_NEAR(anchors[1916].width, std::sqrt(0.95), 1e-12);  // the last layer's interpolated box, with 1
}

}  // namespace
}  // namespace pajamas
