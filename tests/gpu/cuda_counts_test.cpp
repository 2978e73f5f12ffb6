// Graphs whose extents the data decide (unit/targets/counted_graphs.h) on a real GPU, in one CUDA graph, against the
// interpreter: some, all and none of the rows chosen, NaN among them, and many candidates of NonMaxSuppression.
#include <gmock/gmock.h>

#include "gpu/run_on_gpu.h"
#include "unit/targets/counted_graphs.h"

namespace pajamas::cuda {
namespace {

TEST(CudaCounts, rows_are_those_of_the_interpreter) {
  PAJAMAS_NEED_GPU();
  for (const counted::CountedCase& item : counted::counted_cases()) {
    SCOPED_TRACE(item.name);
    const Model model = item.model();
    const BuiltEngine built = test::build_on_gpu(test::lowered_for_gpu(model, Precision::kFp32), Precision::kFp32);
    const auto session = built.engine->new_session();
    for (const Tensor& x : item.inputs()) {
      session->set_input(0, x.view());
      session->run();
      EXPECT_LE(difference(run_graph(model, {{"x", x}}).at("y"), Tensor::copy_of(session->output(0))), 1e-5);
    }
  }
}

/// Boxes [1, n, 4] in clusters, scores [1, classes, n]; of equal scores there are some.
struct Candidates {
  Tensor boxes;
  Tensor scores;
};

Candidates candidates(std::int64_t num_boxes, std::int64_t num_classes, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  const auto unit = [&] { return static_cast<float>(random() % 10000) / 10000; };
  Candidates made{Tensor(DType::kFloat32, Shape{1, num_boxes, 4}),
                  Tensor(DType::kFloat32, Shape{1, num_classes, num_boxes})};
  const auto boxes = made.boxes.mutable_as<float>();
  for (std::size_t i = 0; i < boxes.size(); i += 4) {
    const float x = static_cast<float>(random() % 40) * 20 + unit() * 6;
    const float y = static_cast<float>(random() % 40) * 20 + unit() * 6;
    boxes[i] = y;
    boxes[i + 1] = x;
    boxes[i + 2] = y + 15 + unit() * 15;
    boxes[i + 3] = x + 15 + unit() * 15;
  }
  for (float& score : made.scores.mutable_as<float>()) score = std::round(unit() * 4096) / 4096;
  return made;
}

Model suppression(std::int64_t num_boxes, std::int64_t num_classes, std::int64_t most, float score_threshold) {
  GraphBuilder graph("suppression", 18);
  const GraphValue boxes = graph.input("boxes", DType::kFloat32, known(Shape{1, num_boxes, 4}));
  const GraphValue scores = graph.input("scores", DType::kFloat32, known(Shape{1, num_classes, num_boxes}));
  graph.output("y",
               graph.node("NonMaxSuppression", {boxes, scores, graph.constant(Tensor::scalar(most)),
                                                graph.constant(0.5F), graph.constant(score_threshold)}),
               DType::kInt64, {});
  Model model = graph.build();
  model.graph.outputs[0].type->shape.reset();
  return model;
}

TEST(CudaCounts, many_candidates_are_suppressed_in_order) {
  PAJAMAS_NEED_GPU();
  struct Row {
    std::int64_t num_boxes, num_classes, most;
    float threshold;
  };
  for (const Row& row : {Row{4507, 1, 4507, -1}, Row{4507, 1, 300, 0.3F}, Row{1000, 90, 100, 0.6F},
                         Row{20000, 1, 20000, 0.8F}, Row{63, 3, 63, -1}, Row{64, 1, 64, -1}, Row{65, 2, 65, 2}}) {
    SCOPED_TRACE(std::to_string(row.num_boxes) + " boxes, " + std::to_string(row.num_classes) + " classes");
    const Model model = suppression(row.num_boxes, row.num_classes, row.most, row.threshold);
    Candidates given = candidates(row.num_boxes, row.num_classes, 3);
    const BuiltEngine built = test::build_on_gpu(test::lowered_for_gpu(model, Precision::kFp32), Precision::kFp32);
    const auto session = built.engine->new_session();
    for (const bool has_nan : {false, true}) {
      if (has_nan) given.scores.mutable_as<float>()[5] = given.boxes.mutable_as<float>()[9] = std::nanf("");
      session->set_input(0, given.boxes.view());
      session->set_input(1, given.scores.view());
      double device_us = 1e9;
      for (int i = 0; i < 3; ++i) {
        session->run();
        device_us = std::min(device_us, std::chrono::duration<double, std::micro>(session->last_timing().device).count());
      }
      const Tensor wanted = run_graph(model, {{"boxes", given.boxes}, {"scores", given.scores}}).at("y");
      EXPECT_EQ(difference(wanted, Tensor::copy_of(session->output(0))), 0);
      std::cout << "  " << row.num_boxes << " boxes, " << row.num_classes << " classes: " << wanted.shape()[0]
                << " kept, " << device_us << " us\n";
    }
  }
}

}  // namespace
}  // namespace pajamas::cuda
