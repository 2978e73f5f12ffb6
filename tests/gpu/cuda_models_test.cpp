// Whole models and single operators on a real GPU against the project's interpreter: every published family of
// tests/data (tiny, as exporters write them), and the ONNX conformance cases where they are at hand.
#include <gmock/gmock.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <map>
#include <mutex>
#include <thread>

#include "base/files.h"
#include "gpu/run_on_gpu.h"
#include "graph/checker.h"
#include "io/onnx_reader.h"
#include "onnx.pb.h"
#include "targets/cuda/lowering/host_executor.h"
#include "targets/cuda/lowering/lower.h"
#include "tensor/half.h"
#include "verify/comparison.h"
#include "verify/input_cases.h"
#include "verify/runner.h"
#include "verify/selection.h"
#include "verify/tolerances.h"

namespace pajamas::cuda {
namespace {

namespace fs = std::filesystem;

/// PAJAMAS_TEST_DATA_DIR names tests/data where the program runs on another machine than it was built on.
fs::path test_data() {
  const char* named = std::getenv("PAJAMAS_TEST_DATA_DIR");
  return named != nullptr ? fs::path(named) : fs::path(PAJAMAS_TEST_DATA);
}

fs::path conformance_cases() {
  const char* named = std::getenv("PAJAMAS_CONFORMANCE_DIR");
  return named != nullptr ? fs::path(named) : fs::path(PAJAMAS_DEPS_DIR) / "conformance";
}

/// As the proof of a bundle judges (verify/proof.cpp): a level of 8 bits more or less is no error of the rest.
OperatorClass class_of(const Model& model) {
  const auto& nodes = model.graph.nodes;
  return std::any_of(nodes.begin(), nodes.end(), [](const Node& node) { return node.is("QuantizeLinear"); })
             ? OperatorClass::kQuantised
             : OperatorClass::kNetwork;
}

/// Weights as trained networks have them: each column's sum of products keeps the size of its terms. The tiny models
/// carry what their libraries start training from (deviation 0.02 whatever the width), which takes RT-DETR's
/// activations down to 1e-7, where float16 has two digits, and leaves the scores of detectors all alike.
Model well_scaled(Model model) {
  std::map<std::string, std::int64_t> num_terms;
  for (const Node& node : model.graph.nodes) {
    const bool is_conv = node.is("Conv");
    if (!is_conv && !node.is("Gemm") && !node.is("MatMul")) continue;
    const Initializer* weights = model.graph.find_initializer(node.inputs[1]);
    if (weights == nullptr || weights->tensor.dtype() != DType::kFloat32 || weights->tensor.shape().rank() < 2)
      continue;
    const Shape& shape = weights->tensor.shape();
    const bool is_row = is_conv || node.int_attribute("transB", 0) != 0;
    num_terms[weights->name] = is_row ? shape.num_elements() / shape[0] : shape[shape.rank() - 2];
  }
  for (const auto& [name, count] : num_terms) {
    Tensor scaled = Tensor::copy_of(model.graph.find_initializer(name)->tensor.view());
    double squares = 0;
    for (const float value : scaled.as<float>()) squares += double{value} * double{value};
    const double deviation = std::sqrt(squares / static_cast<double>(scaled.num_elements()));
    const auto factor = static_cast<float>(std::sqrt(2.0 / static_cast<double>(count)) / deviation);
    for (float& value : scaled.mutable_as<float>()) value *= factor;
    model.graph.set_initializer(name, std::move(scaled));
  }
  return model;
}

/// Outputs by name of a lowered model.
using NamedRunner = std::function<std::map<std::string, Tensor>(const Model& lowered, const NamedTensors& inputs)>;

/// Outputs of a model that picks rows by TopK. Below float32 near-ties fall either way, so the reference is given the
/// GPU's picks, which must be near-ties, and then every row must be alike (verify/selection.h).
void expect_near_with_picks(const Model& model, const Model& lowered, const NamedTensors& named, Precision precision,
                            GivenSelections& given, const NamedRunner& run) {
  const auto actual = run(with_more_outputs(lowered, given.picks()), named);
  const Tolerance bounds = tolerance(precision, class_of(model));
  const auto result = given.run(named, actual, interpreter_runner(model, {}).run(named), bounds);
  ASSERT_FALSE(result.finding.fault) << *result.finding.fault;
  for (const ValueInfo& output : model.graph.outputs) {
    const Tensor& expected = result.expected.at(output.name);
    const Comparison comparison = compare(output.name, expected, actual.at(output.name));
    const auto fault = fault_of_given_rows(comparison, expected, actual.at(output.name), bounds);
    EXPECT_FALSE(fault) << *fault << "; " << describe(comparison);
  }
}

NamedTensors named(const Model& model, const std::vector<Tensor>& inputs) {
  NamedTensors all;
  const auto infos = model.graph.required_inputs();
  for (std::size_t i = 0; i < infos.size(); ++i) all.emplace_back(infos[i]->name, inputs[i]);
  return all;
}

std::vector<std::pair<std::string, Shape>> shapes_of(const NamedTensors& inputs) {
  std::vector<std::pair<std::string, Shape>> shapes;
  for (const auto& [name, tensor] : inputs) shapes.emplace_back(name, tensor.shape());
  return shapes;
}

/// In the arena and strides of the GPU, steps by the interpreter, results rounded after every operator.
std::map<std::string, Tensor> run_named_on_host(const Model& lowered, const NamedTensors& inputs,
                                                const HostRunOptions& options = {}) {
  ConstantTable constants;
  for (const Initializer& initializer : lowered.graph.initializers) {
    constants.add(initializer.name, {initializer.tensor.dtype(), initializer.tensor.shape(), initializer.tensor});
  }
  std::vector<Tensor> given;
  for (const ValueInfo* input : lowered.graph.required_inputs()) {
    const auto found =
        std::find_if(inputs.begin(), inputs.end(), [&](const auto& i) { return i.first == input->name; });
    given.push_back(converted(found->second, input->type->dtype));
  }
  std::map<std::string, Tensor> outputs;
  std::vector<Tensor> results = run_on_host(lower(lowered, constants), constants, given, options);
  for (std::size_t i = 0; i < results.size(); ++i) outputs[lowered.graph.outputs[i].name] = std::move(results[i]);
  return outputs;
}

std::vector<Tensor> in_order(const Model& model, const std::map<std::string, Tensor>& outputs) {
  std::vector<Tensor> all;
  for (const ValueInfo& output : model.graph.outputs) all.push_back(outputs.at(output.name));
  return all;
}

bool is_near(const Model& model, const std::vector<Tensor>& wanted, const std::vector<Tensor>& found,
             const Tolerance& bounds) {
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    if (past_tolerance(compare(model.graph.outputs[i].name, wanted[i], found[i]), bounds)) return false;
  }
  return true;
}

/// Each number moved by up to 2^-9 of the range of a picture: more than the roundings of float16 do to what follows.
std::vector<Tensor> stirred(const std::vector<Tensor>& inputs, unsigned seed) {
  std::vector<Tensor> result;
  for (const Tensor& input : inputs) {
    Tensor moved = Tensor::copy_of(input.view());
    const Tensor noise = test::random_tensor(DType::kFloat32, input.shape(), seed);
    const auto values = moved.mutable_as<float>();
    for (std::size_t i = 0; i < values.size(); ++i) values[i] += noise.as<float>()[i] / 512;
    result.push_back(std::move(moved));
  }
  return result;
}

/// Pictures on which no decision of a detector (a score above the threshold, an overlap, an order) hangs on a rounding:
/// float32 finds the same boxes where the picture is stirred, and so does the host in this precision. On others every
/// implementation below float32 finds some boxes of its own, and nothing could be said of single ones.
std::vector<InputCase> decided_pictures(const Model& model, Precision precision, std::size_t count) {
  constexpr std::uint64_t kMaxSeeds = 400;
  constexpr unsigned kTries = 3;
  const Model inlined = test::lowered_for_gpu(model, Precision::kFp32);
  std::vector<InputCase> found;
  for (std::uint64_t seed = 1; seed <= kMaxSeeds && found.size() < count; ++seed) {
    InputCase picture = seeded_cases(model.graph, inlined.graph, {}, seed).front().front()();
    const auto wanted = test::run_by_interpreter(model, picture.inputs);
    const Tolerance bounds = tolerance(Precision::kBf16, class_of(model));  // Boxes move with the picture.
    bool is_decided = true;
    for (unsigned i = 0; is_decided && i < kTries; ++i) {
      is_decided = is_near(model, wanted, test::run_by_interpreter(model, stirred(picture.inputs, i)), bounds);
    }
    if (!is_decided) continue;
    const NamedTensors inputs = named(model, picture.inputs);
    const Model lowered = test::lowered_for_gpu(model, precision, shapes_of(inputs));
    for (const bool rounds_once : {false, true}) {
      const auto on_host = in_order(model, run_named_on_host(lowered, inputs, {.rounds_loops_once = rounds_once}));
      is_decided = is_decided && is_near(model, wanted, on_host, tolerance(precision, class_of(model)));
    }
    if (!is_decided) continue;
    picture.name += ", seed " + std::to_string(seed);
    found.push_back(std::move(picture));
  }
  return found;
}

bool suppresses(const Graph& graph) {
  return std::any_of(graph.nodes.begin(), graph.nodes.end(),
                     [](const Node& node) { return node.is("NonZero") || node.is("NonMaxSuppression"); });
}

class CudaFamilyTest : public testing::TestWithParam<std::tuple<std::string, Precision>> {};

void expect_family(const std::string& name, Precision precision, const NamedRunner& run) {
  const Model published = read_onnx(test_data() / "families" / (name + ".onnx"));
  const bool picks = !selected_values(published.graph).empty();
  const Model model = picks && precision != Precision::kFp32 ? well_scaled(published) : published;
  std::vector<InputCase> cases;
  if (precision != Precision::kFp32 && suppresses(model.graph)) {
    constexpr std::size_t kPictures = 3;
    cases = decided_pictures(model, precision, kPictures);
    ASSERT_EQ(cases.size(), kPictures) << "the host in this precision finds other boxes on nearly all pictures";
  } else {
    const Model inlined = test::lowered_for_gpu(model, Precision::kFp32);
    for (const auto& alternatives : seeded_cases(model.graph, inlined.graph, {}, 1)) {
      cases.push_back(alternatives.front()());
    }
  }
  for (const InputCase& one : cases) {
    const NamedTensors inputs = named(model, one.inputs);
    const Model lowered = test::lowered_for_gpu(model, precision, shapes_of(inputs));
    const Support support = supports_graph(lowered);
    ASSERT_TRUE(support) << support.reason;
    GivenSelections given(
        model, lowered.graph, [&](const auto& extra) { return interpreter_runner(model, extra); }, interpreter_runner);
    if (precision != Precision::kFp32 && given.is_applicable()) {
      expect_near_with_picks(model, lowered, inputs, precision, given, run);
      continue;
    }
    test::expect_near(in_order(model, run(lowered, inputs)), test::run_by_interpreter(model, one.inputs), precision,
                      name + ", " + one.name, class_of(model));
  }
}

TEST_P(CudaFamilyTest, computes_what_the_interpreter_computes) {
  PAJAMAS_NEED_GPU();
  const auto& [name, precision] = GetParam();
  expect_family(name, precision, [precision = precision](const Model& lowered, const NamedTensors& inputs) {
    const BuiltEngine built = test::build_on_gpu(lowered, precision);
    return engine_runner(*built.engine).run(inputs);
  });
}

TEST_P(CudaFamilyTest, lowers_to_what_the_interpreter_computes) {
  const auto& [name, precision] = GetParam();
  expect_family(name, precision,
                [](const Model& lowered, const NamedTensors& inputs) { return run_named_on_host(lowered, inputs); });
}

INSTANTIATE_TEST_SUITE_P(
    Families, CudaFamilyTest,
    testing::Combine(testing::Values("clip_image", "clip_text", "faster_rcnn", "faster_rcnn_opset17", "mobilenet_v3",
                                     "quantised", "rtdetr", "ssd_torchvision", "vit_torchvision_dynamo",
                                     "vit_transformers", "yolov10", "yolov5", "yolov8", "yolov8_dynamo", "yolox"),
                     testing::Values(Precision::kFp32, Precision::kFp16)),
    [](const auto& test_case) { return std::get<0>(test_case.param) + "_" + to_string(std::get<1>(test_case.param)); });

Tensor read_tensor(const fs::path& path) {
  onnx::TensorProto proto;
  if (!proto.ParseFromString(read_file(path))) throw Error(ErrorKind::kBadInput, "not a TensorProto", path.string());
  Tensor tensor(static_cast<DType>(proto.data_type()),
                Shape(std::vector<std::int64_t>(proto.dims().begin(), proto.dims().end())));
  const std::string& raw = proto.raw_data();
  if (raw.size() != tensor.size_bytes()) throw Error(ErrorKind::kBadInput, "raw data of another size", path.string());
  std::copy(raw.begin(), raw.end(), reinterpret_cast<char*>(tensor.mutable_bytes().data()));
  return tensor;
}

double element(const Tensor& tensor, std::int64_t index) {
  if (tensor.dtype() == DType::kFloat64) return tensor.as<double>()[static_cast<std::size_t>(index)];
  return static_cast<double>(tensor.as<float>()[static_cast<std::size_t>(index)]);
}

/// Empty when equal within the case's tolerance (floats) or exactly (all else). Of 16-bit floats the last place may
/// differ: a value in the middle of two goes either way, and the tolerances of the cases are those of float32. The GPU
/// rounds once a kernel (`num_places` 1), but in attention twice, the probabilities and what they weight; the host
/// after every operator.
std::string difference(Tensor actual, Tensor expected, double relative, double absolute, int num_places) {
  if (expected.dtype() == DType::kFloat16) relative = std::max(relative, num_places * 1.0 / (1 << 10));
  if (expected.dtype() == DType::kBfloat16) relative = std::max(relative, num_places * 1.0 / (1 << 7));
  if (actual.dtype() != expected.dtype()) return std::string("type ") + to_string(actual.dtype());
  if (actual.shape() != expected.shape()) return "shape " + actual.shape().to_string();
  if (!is_floating_point(actual.dtype())) {
    return std::ranges::equal(actual.bytes(), expected.bytes()) ? "" : "other values";
  }
  if (actual.dtype() != DType::kFloat64) {
    actual = to_float32(actual.view());
    expected = to_float32(expected.view());
  }
  for (std::int64_t i = 0; i < expected.num_elements(); ++i) {
    const double a = element(actual, i);
    const double b = element(expected, i);
    const bool is_equal =
        (std::isnan(a) && std::isnan(b)) || a == b ||
        (std::isfinite(a) && std::isfinite(b) && std::abs(a - b) <= absolute + relative * std::abs(b));
    if (!is_equal) return std::to_string(a) + " instead of " + std::to_string(b) + " at " + std::to_string(i);
  }
  return {};
}

/// Outputs of a lowered model; `read` gives an input by its name.
using Runner =
    std::function<std::vector<Tensor>(const Model& lowered, const std::function<Tensor(const std::string&)>& read)>;

std::vector<Tensor> run_on_device(const Model& lowered, const std::function<Tensor(const std::string&)>& read) {
  const BuiltEngine built = test::build_on_gpu(lowered, Precision::kFp32);
  std::vector<Tensor> inputs;
  for (const TensorInfo& input : built.engine->inputs()) inputs.push_back(read(input.name));
  return test::run_on_gpu(*built.engine, inputs);
}

/// In the arena and strides of the GPU, steps by the interpreter.
std::vector<Tensor> run_lowered_on_host(const Model& lowered, const std::function<Tensor(const std::string&)>& read) {
  ConstantTable constants;
  for (const Initializer& initializer : lowered.graph.initializers) {
    constants.add(initializer.name, {initializer.tensor.dtype(), initializer.tensor.shape(), initializer.tensor});
  }
  std::vector<Tensor> inputs;
  for (const ValueInfo* input : lowered.graph.required_inputs()) inputs.push_back(read(input->name));
  return run_on_host(lower(lowered, constants), constants, inputs);
}

bool has_attention(const Model& model) {
  return std::any_of(model.graph.nodes.begin(), model.graph.nodes.end(),
                     [](const Node& node) { return node.op_type == "Attention" || node.op_type == "Softmax"; });
}

/// "" passed, "refused: ...", or what is wrong.
std::string run_case(const nlohmann::json& item, const fs::path& folder, const Runner& run, int num_places) {
  std::vector<Tensor> outputs;
  try {
    const Model model = read_onnx(folder / "model.onnx");
    check_model(model);
    if (has_attention(model)) num_places = std::max(num_places, 2);
    const Model lowered = test::lowered_for_gpu(model, Precision::kFp32);
    if (const Support support = supports_graph(lowered); !support) return "refused: " + support.reason;
    std::map<std::string, std::string> files;
    for (std::size_t i = 0; i < item["inputs"].size() && i < model.graph.inputs.size(); ++i) {
      files[model.graph.inputs[i].name] = item["inputs"][i].is_null() ? "" : item["inputs"][i].get<std::string>();
    }
    outputs = run(lowered, [&](const std::string& name) { return read_tensor(folder / files.at(name)); });
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::kInternal) return std::string("failed: ") + error.what();
    return std::string("refused: ") + error.what();
  }
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const std::string text = difference(outputs[i], read_tensor(folder / item["outputs"][i].get<std::string>()),
                                        item["rtol"], item["atol"], num_places);
    if (!text.empty()) return "output " + std::to_string(i) + ": " + text;
  }
  return {};
}

/// What has no error of its own, how much is refused, and a report under the name that the environment gives.
void expect_none_wrong(const std::map<std::string, std::string>& results, const char* report_variable) {
  std::size_t num_passed = 0;
  std::size_t num_refused = 0;
  for (const auto& [name, result] : results) {
    if (result.empty()) {
      ++num_passed;
    } else if (result.rfind("refused: ", 0) == 0) {
      ++num_refused;
    } else {
      ADD_FAILURE() << name << ": " << result;
    }
  }
  std::cout << "conformance cases: " << num_passed << " passed, " << num_refused << " refused, "
            << results.size() - num_passed - num_refused << " wrong\n";
  if (const char* path = std::getenv(report_variable)) {
    std::ofstream report(path);
    for (const auto& [name, result] : results) report << name << '\t' << (result.empty() ? "passed" : result) << '\n';
  }
  EXPECT_GT(num_passed, 900U);
}

/// One process runs the cases on several threads.
std::map<std::string, std::string> run_cases(const fs::path& folder, int num_threads, const Runner& run, int num_places,
                                             const std::function<void()>& begin_thread) {
  const nlohmann::json cases = nlohmann::json::parse(read_file(folder / "cases.json"))["cases"];
  std::map<std::string, std::string> results;
  std::mutex mutex;
  std::atomic<std::size_t> next{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < num_threads; ++i) {
    threads.emplace_back([&] {
      begin_thread();
      for (std::size_t index = next++; index < cases.size(); index = next++) {
        const std::string name = cases[index]["name"];
        std::string result;
        try {
          result = run_case(cases[index], folder / name, run, num_places);
        } catch (const std::exception& exception) {
          result = std::string("no Error: ") + exception.what();
        }
        const std::lock_guard lock(mutex);
        results[name] = result;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return results;
}

TEST(CudaConformance, gives_the_expected_numbers_or_a_reason) {
  PAJAMAS_NEED_GPU();
  const fs::path folder = conformance_cases();
  if (!fs::exists(folder / "cases.json")) GTEST_SKIP() << "the cases are not at " << folder;
  expect_none_wrong(run_cases(folder, 8, run_on_device, 1, [] { test::gpu()->make_current(); }),
                    "PAJAMAS_CONFORMANCE_REPORT");
}

/// Without a GPU: what lowering makes of each case, in numbers.
TEST(CudaConformance, lowers_to_the_expected_numbers_or_a_reason) {
  const fs::path folder = conformance_cases();
  if (!fs::exists(folder / "cases.json")) GTEST_SKIP() << "the cases are not at " << folder;
  expect_none_wrong(run_cases(folder, 2, run_lowered_on_host, 2, [] {}), "PAJAMAS_LOWERING_REPORT");
}

}  // namespace
}  // namespace pajamas::cuda
