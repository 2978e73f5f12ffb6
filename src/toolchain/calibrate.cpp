// See calibrate.h.
#include "toolchain/calibrate.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <map>
#include <optional>
#include <utility>

#include "base/log.h"
#include "graph/interpreter.h"
#include "io/onnx_writer.h"
#include "pajamas/error.h"
#include "toolchain/real_inputs.h"
#include "verify/input_cases.h"
#include "verify/onnxruntime_reference.h"

namespace pajamas {
namespace fs = std::filesystem;
namespace {

constexpr const char* kStep = "Calibrating";

using NamedInputs = std::vector<std::pair<std::string, Tensor>>;

/// Runs the model with magnitudes for outputs.
class Runner {
 public:
  Runner(Model model, int num_threads) : model_(std::move(model)) {
    const std::string bytes = serialize_onnx(model_);
    OnnxRuntimeOptions options;
    options.num_threads = num_threads;
    try {
      session_.emplace(std::as_bytes(std::span(bytes)), fs::path(), options);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kDeviceMissing && error.kind() != ErrorKind::kUnsupported) throw;
      log().info("calibrating by the interpreter: {}", error.what());
    }
  }

  std::vector<float> run(const NamedInputs& inputs) const {
    std::vector<float> values;
    if (session_) {
      for (const Tensor& output : session_->run(inputs)) values.push_back(output.as<float>()[0]);
      return values;
    }
    const std::map<std::string, Tensor> results = run_graph(model_, {inputs.begin(), inputs.end()});
    for (const ValueInfo& output : model_.graph.outputs) values.push_back(results.at(output.name).as<float>()[0]);
    return values;
  }

 private:
  Model model_;
  std::optional<OnnxRuntimeSession> session_;
};

}  // namespace

bool quantizes_products(const BuildPlan& plan) { return plan.target == "cuda" && plan.weights == WeightFormat::kFp8; }

Calibration calibrate(const CalibrationRequest& request) {
  const Progress& progress = request.progress;
  progress.step(kStep);
  Calibration result;
  const std::vector<std::string> activations = quantizable_activations(*request.lowered);
  const auto real = read_real_inputs(request.images, *request.task, request.part, request.source->graph);
  if (activations.empty()) return result;
  const Runner runner(with_largest_magnitudes(*request.lowered, activations), request.num_threads);
  const auto inputs = request.source->graph.required_inputs();
  const auto add = [&](const std::vector<Tensor>& given) {
    NamedInputs named;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      const ValueInfo* wanted = request.lowered->graph.find_input(inputs[i]->name);
      if (wanted == nullptr) continue;  // The passes found that nothing needs it.
      const bool is_same = !wanted->type || wanted->type->dtype == given[i].dtype();
      named.emplace_back(inputs[i]->name, is_same ? given[i] : converted(given[i], wanted->type->dtype));
    }
    const std::vector<float> largest = runner.run(named);
    for (std::size_t i = 0; i < activations.size(); ++i) {
      float& known = result.magnitudes[activations[i]];
      // A NaN stays, and whoever reads it leaves the product alone.
      if (!(largest[i] <= known)) known = std::isnan(known) ? known : largest[i];
    }
  };
  std::size_t count = 0;
  for (const std::vector<Tensor>& given : real) {
    progress.check(kStep);
    progress.step(kStep, static_cast<double>(count++) / static_cast<double>(real.size()), "");
    add(given);
  }
  if (!real.empty()) {
    result.inputs = std::to_string(count) + (count == 1 ? " picture" : " pictures");
    return result;
  }
  const auto refine = input_refinement(*request.task, request.part);
  const auto cases = seeded_cases(request.source->graph, request.lowered->graph, request.profiles, request.seed);
  for (const std::vector<InputCaseMaker>& alternatives : cases) {
    progress.check(kStep);
    std::optional<Error> refusal;
    bool is_done = false;
    for (const InputCaseMaker& make : alternatives) {
      try {
        InputCase one = make();
        if (refine) refine(one.inputs);
        add(one.inputs);
        is_done = true;
        break;
      } catch (const Error& error) {
        if (error.kind() != ErrorKind::kBadInput) throw;
        refusal = error;
      }
    }
    if (!is_done && refusal) throw *refusal;
    ++count;
  }
  result.is_made_up = true;
  result.inputs = std::to_string(count) + " made-up inputs";
  return result;
}

std::size_t leave_wide(Calibration& calibration, const nlohmann::json& facts) {
  const auto products = facts.find("products");
  if (products == facts.end()) return 0;
  std::size_t number = 0;
  for (const std::string name : products->at("not_worth_it")) {
    if (calibration.magnitudes.erase(name) == 0) continue;
    calibration.left_wide.push_back(name);
    ++number;
  }
  return number;
}

std::vector<fs::path> pictures_at(const fs::path& path) {
  std::error_code failure;
  if (!fs::is_directory(path, failure)) {
    if (fs::is_regular_file(path, failure)) return {path};
    throw Error(ErrorKind::kBadInput, "there is no such file or folder", path.string(),
                "give a picture or a folder of pictures");
  }
  constexpr std::array kSuffixes{".jpg", ".jpeg", ".png", ".webp", ".bmp"};
  std::vector<fs::path> found;
  for (const fs::directory_entry& entry : fs::directory_iterator(path)) {
    std::string suffix = entry.path().extension().string();
    std::transform(suffix.begin(), suffix.end(), suffix.begin(),
                   [](unsigned char letter) { return static_cast<char>(std::tolower(letter)); });
    const bool is_picture = std::find(kSuffixes.begin(), kSuffixes.end(), suffix) != kSuffixes.end();
    if (is_picture && entry.is_regular_file()) found.push_back(entry.path());
  }
  if (found.empty()) {
    throw Error(ErrorKind::kBadInput, "holds no picture", path.string(),
                "give a folder of JPEG, PNG, WebP or BMP files");
  }
  std::sort(found.begin(), found.end());
  if (found.size() > kMaxCalibrationPictures) found.resize(kMaxCalibrationPictures);
  return found;
}

nlohmann::json to_json(const Calibration& calibration) {
  nlohmann::json magnitudes = nlohmann::json::object();
  for (const auto& [name, largest] : calibration.magnitudes) {
    // JSON has no infinity; what is missing is not quantised.
    if (std::isfinite(largest)) magnitudes[name] = largest;
  }
  return {{"inputs", calibration.inputs}, {"magnitudes", magnitudes}, {"left_wide", calibration.left_wide}};
}

Magnitudes parse_magnitudes(const nlohmann::json& json, const std::string& where) {
  const auto refuse = [&](const std::string& why) {
    throw Error(ErrorKind::kBadInput, "calibration: " + why, where, "build the bundle again");
  };
  const auto found = json.is_object() ? json.find("magnitudes") : json.end();
  if (!json.is_object() || found == json.end() || !found->is_object()) refuse("there are no magnitudes");
  Magnitudes magnitudes;
  for (const auto& [name, largest] : found->items()) {
    if (!largest.is_number()) refuse("the magnitude of '" + name + "' is no number");
    magnitudes[name] = largest.get<float>();
  }
  return magnitudes;
}

}  // namespace pajamas
