// OpenVINO bundles beside ONNX Runtime.
#include <algorithm>
#include <memory>
#include <thread>
#include <vector>

#include "bench/measure.h"
#include "bundle/bundle.h"
#include "engine/engine_loader.h"
#include "io/onnx_reader.h"
#include "pajamas/error.h"
#include "rows.h"
#include "verify/comparison.h"
#include "verify/input_cases.h"
#include "verify/onnxruntime_reference.h"
#include "verify/tolerances.h"

namespace pajamas::benchmark {
namespace {

namespace fs = std::filesystem;

/// The goals of the project: as fast at the same precision, half as fast again at the processor's own.
constexpr double kFp32Goal = 1.0;
constexpr double kDefaultGoal = 1.5;

struct Peer {
  const char* model;
  const char* title;
  Shape input;  ///< Batch 1, the size the published model takes.
};

const Peer kPeers[] = {
    {"resnet50", "ResNet-50", {1, 3, 224, 224}},
    {"yolov8n", "YOLOv8n", {1, 3, 640, 640}},
    {"vit_b_16", "ViT-B/16", {1, 3, 224, 224}},
};

/// A session with its input in place. The tensor is borrowed, so it lives here.
struct Loaded {
  std::shared_ptr<const Engine> engine;
  std::unique_ptr<Session> session;
  Tensor input;

  Loaded(std::shared_ptr<const Engine> loaded, const Tensor& values) : engine(std::move(loaded)) {
    if (engine->inputs().size() != 1) throw Error(ErrorKind::kInternal, "a vision model with one input was expected");
    session = engine->new_session();
    input = converted(values, engine->inputs()[0].dtype);
    session->set_input(0, input.view());
    session->run();
  }
  std::vector<Tensor> outputs() const {
    std::vector<Tensor> tensors;
    for (std::size_t i = 0; i < engine->outputs().size(); ++i) tensors.push_back(Tensor::copy_of(session->output(i)));
    return tensors;
  }
};

/// Both contenders' outputs on the very input that is measured.
Verified verify_outputs(const Loaded& peer, const Loaded& own, Precision precision, const std::string& what) {
  const auto expected = peer.outputs();
  const auto actual = own.outputs();
  const Tolerance bounds = tolerance(precision, OperatorClass::kNetwork);
  std::string failure = expected.size() == actual.size() ? "" : "another number of outputs";
  double worst = 0;
  for (std::size_t i = 0; failure.empty() && i < expected.size(); ++i) {
    const auto comparison = compare(own.engine->outputs()[i].name, expected[i], actual[i]);
    worst = std::max(worst, comparison.relative_l2);
    failure = past_tolerance(comparison, bounds).value_or("");
  }
  char error[32];
  std::snprintf(error, sizeof(error), "%.2g", worst);
  return Verified::by(what + (failure.empty() ? std::string(" within relative L2 ") + error : ": " + failure),
                      failure.empty());
}

Precision precision_of(const Engine& engine) {
  return parse_precision(engine.describe().at("precision").get<std::string>());
}

/// One model: ONNX Runtime, and the bundle in float32 and at its own precision, all three in turns.
void measure_peer(const Settings& settings, const Peer& peer, int num_threads, Report& report) {
  const std::string fp32_name = std::string(peer.title) + ": OpenVINO bundle against onnxruntime, FP32";
  const std::string default_name = std::string(peer.title) + ": the same, default precision";
  const Goal fp32_goal{Goal::Kind::kAtLeast, kFp32Goal};
  const Goal default_goal{Goal::Kind::kAtLeast, kDefaultGoal};
  const fs::path source = settings.models / (std::string(peer.model) + ".onnx");
  const fs::path bundle_path = settings.bundles / (std::string(peer.model) + "_auto");
  if (!fs::exists(source) || !fs::exists(bundle_path)) {
    const std::string why = (fs::exists(source) ? bundle_path : source).string() + " is not there";
    report.add_missing(fp32_name, fp32_goal, "×", why);
    report.add_missing(default_name, default_goal, "×", why);
    return;
  }
  const Model model = read_onnx(source);
  auto cases = seeded_cases(model.graph, model.graph,
                            {{model.graph.required_inputs().at(0)->name, peer.input, peer.input, peer.input}}, 1);
  const Tensor values = cases.at(0).at(0)().inputs.at(0);

  OnnxRuntimeOptions options;
  options.num_threads = num_threads;
  options.optimisation = OnnxRuntimeOptions::Optimisation::kAll;  // what its users get
  Loaded onnxruntime(onnxruntime_engine(std::make_shared<const OnnxRuntimeSession>(source, options), num_threads),
                     values);
  const Bundle bundle = Bundle::open(bundle_path);
  Loaded exact(load_engine(bundle, "model", {.num_threads = num_threads, .is_exact_fp32 = true}), values);
  Loaded own(load_engine(bundle, "model", {.num_threads = num_threads, .is_exact_fp32 = false}), values);
  const Precision precision = precision_of(*own.engine);
  const Verified exact_verified = verify_outputs(onnxruntime, exact, Precision::kFp32, "outputs of the measured input");
  const Verified own_verified = verify_outputs(onnxruntime, own, precision, "outputs of the measured input");

  MeasureOptions measure_options;
  measure_options.seconds = settings.seconds;
  measure_options.progress = settings.progress;
  const auto results =
      measure({contender_of("onnxruntime fp32", *onnxruntime.session), contender_of("openvino fp32", *exact.session),
               contender_of(std::string("openvino ") + to_string(precision), *own.session)},
              measure_options);
  const auto add = [&](const std::string& name, const Measurement& measured, const Goal& goal,
                       const Verified& verified) {
    const Ratio ratio = speed_ratio(measured, results[0]);
    Figure figure;
    figure.name = name;
    figure.value = ratio.of_medians;
    figure.unit = "×";
    figure.goal = goal;
    char note[160];
    std::snprintf(note, sizeof(note), "%s %.2f ms, onnxruntime %.2f ms, %d threads, batch 1", measured.name.c_str(),
                  measured.total_ms.p50, results[0].total_ms.p50, num_threads);
    figure.note = note;
    figure.details = {{"ratio", to_json(ratio)}, {"contender", to_json(measured)}, {"baseline", to_json(results[0])}};
    report.add(std::move(figure), verified);
  };
  add(fp32_name, results[1], fp32_goal, exact_verified);
  add(default_name, results[2], default_goal, own_verified);
}

}  // namespace

void add_peer_rows(const Settings& settings, Report& report) {
  const int num_threads =
      settings.num_threads > 0 ? settings.num_threads : static_cast<int>(std::thread::hardware_concurrency());
  for (const auto& peer : kPeers) {
    settings.progress.step("Measuring against onnxruntime", -1, peer.title);
    measure_peer(settings, peer, num_threads, report);
  }
}

}  // namespace pajamas::benchmark
