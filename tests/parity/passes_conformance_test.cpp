// The interpreter, shape inference and the passes on the node cases of the onnx package (tools/make_conformance_cases):
// each case must compute the expected numbers or be refused as unsupported; what shape inference says must be what is
// computed; and the passes must not change the result, neither with the inputs as inputs nor with them as constants.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/files.h"
#include "graph/inline_functions.h"
#include "graph/interpreter.h"
#include "graph/passes/pipeline.h"
#include "graph/shape_inference.h"
#include "io/onnx_reader.h"
#include "onnx.pb.h"
#include "pajamas/error.h"
#include "tensor/half.h"

namespace pajamas {
namespace {

struct Case {
  std::string name;
  double relative_tolerance = 0;
  double absolute_tolerance = 0;
  std::vector<std::string> inputs;
  std::vector<std::string> outputs;
};

struct LoadedCase {
  Model model;
  std::map<std::string, Tensor> inputs;
  std::vector<Tensor> expected;
};

const std::filesystem::path kFolder = std::filesystem::path(PAJAMAS_DEPS_DIR) / "conformance";

std::vector<Case> read_cases() {
  std::vector<Case> cases;
  if (!std::filesystem::exists(kFolder / "cases.json")) return cases;
  const auto json = nlohmann::json::parse(read_file(kFolder / "cases.json"));
  for (const auto& entry : json.at("cases")) {
    Case item{entry.at("name"), entry.at("rtol"), entry.at("atol"), {}, {}};
    for (const auto& file : entry.at("inputs")) item.inputs.push_back(file.is_null() ? "" : file.get<std::string>());
    for (const auto& file : entry.at("outputs")) item.outputs.push_back(file.is_null() ? "" : file.get<std::string>());
    cases.push_back(std::move(item));
  }
  return cases;
}

/// Nothing for strings and packed forms that the case files do not use.
std::optional<Tensor> read_tensor(const std::filesystem::path& path) {
  onnx::TensorProto proto;
  if (!proto.ParseFromString(read_file(path))) return std::nullopt;
  const auto dtype = static_cast<DType>(proto.data_type());
  const Shape shape(std::vector<std::int64_t>(proto.dims().begin(), proto.dims().end()));
  if (dtype == DType::kString) {
    return Tensor(shape, std::vector<std::string>(proto.string_data().begin(), proto.string_data().end()));
  }
  Tensor tensor(dtype, shape);
  if (proto.raw_data().size() != tensor.size_bytes()) return std::nullopt;
  std::copy(proto.raw_data().begin(), proto.raw_data().end(), reinterpret_cast<char*>(tensor.mutable_bytes().data()));
  return tensor;
}

std::optional<LoadedCase> load(const Case& item) {
  LoadedCase loaded;
  try {
    loaded.model = read_onnx(kFolder / item.name / "model.onnx");
    inline_functions(loaded.model);
  } catch (const Error&) {
    return std::nullopt;
  }
  for (std::size_t i = 0; i < item.inputs.size(); ++i) {
    if (item.inputs[i].empty() || i >= loaded.model.graph.inputs.size()) return std::nullopt;
    auto tensor = read_tensor(kFolder / item.name / item.inputs[i]);
    if (!tensor) return std::nullopt;
    loaded.inputs[loaded.model.graph.inputs[i].name] = std::move(*tensor);
  }
  for (const std::string& file : item.outputs) {
    auto tensor = file.empty() ? std::nullopt : read_tensor(kFolder / item.name / file);
    if (!tensor) return std::nullopt;
    loaded.expected.push_back(std::move(*tensor));
  }
  return loaded;
}

double element(const Tensor& tensor, std::int64_t index) {
  return tensor.dtype() == DType::kFloat64 ? tensor.as<double>()[index]
                                           : static_cast<double>(tensor.as<float>()[index]);
}

std::string difference(const Tensor& found, const Tensor& wanted, double relative, double absolute) {
  if (found.dtype() != wanted.dtype()) {
    return std::string("type ") + to_string(found.dtype()) + " instead of " + to_string(wanted.dtype());
  }
  if (found.shape() != wanted.shape()) {
    return "shape " + found.shape().to_string() + " instead of " + wanted.shape().to_string();
  }
  if (found.dtype() == DType::kString) return found.strings() == wanted.strings() ? "" : "other strings";
  const bool is_wide = found.dtype() == DType::kFloat32 || found.dtype() == DType::kFloat16 ||
                       found.dtype() == DType::kBfloat16 || found.dtype() == DType::kFloat64;
  if (!is_wide) {
    const auto a = found.bytes();
    const auto b = wanted.bytes();
    return std::equal(a.begin(), a.end(), b.begin()) ? "" : "other elements";
  }
  // Chains of 16-bit operators round after each one, so an order of sums shows in the last two digits.
  if (found.dtype() == DType::kFloat16) relative = std::max(relative, 0x1p-9);
  if (found.dtype() == DType::kBfloat16) relative = std::max(relative, 0x1p-6);
  const Tensor a = found.dtype() == DType::kFloat64 ? found : to_float32(found.view());
  const Tensor b = wanted.dtype() == DType::kFloat64 ? wanted : to_float32(wanted.view());
  for (std::int64_t i = 0; i < a.num_elements(); ++i) {
    const double x = element(a, i);
    const double y = element(b, i);
    if (x == y || (std::isnan(x) && std::isnan(y))) continue;
    if (!(std::abs(x - y) <= absolute + relative * std::abs(y))) {
      return std::to_string(x) + " instead of " + std::to_string(y) + " at element " + std::to_string(i);
    }
  }
  return {};
}

/// Runs a model and compares with what the case expects.
std::string run_and_compare(const Model& model, const LoadedCase& loaded, const Case& item,
                            const std::map<std::string, Tensor>& inputs) {
  const auto outputs = run_graph(model, inputs);
  for (std::size_t i = 0; i < loaded.expected.size(); ++i) {
    const std::string& name = model.graph.outputs.at(i).name;
    const std::string text =
        difference(outputs.at(name), loaded.expected[i], item.relative_tolerance, item.absolute_tolerance);
    if (!text.empty()) return name + ": " + text;
  }
  return {};
}

/// Calls `check` for every case the interpreter can do; gives how many there were.
int for_each_case(const std::function<void(const Case&, const LoadedCase&)>& check) {
  int count = 0;
  for (const Case& item : read_cases()) {
    // Random results are compared by nobody.
    if (item.name.find("bernoulli") != std::string::npos || item.name.find("training") != std::string::npos) continue;
    const auto loaded = load(item);
    if (!loaded) continue;
    try {
      check(item, *loaded);
      ++count;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kUnsupported) << item.name << ": " << error.what();
    }
  }
  return count;
}

TEST(PassesConformance, InterpreterGivesTheExpectedNumbers) {
  if (read_cases().empty()) GTEST_SKIP() << "no conformance cases: run tools/make_conformance_cases";
  const int count = for_each_case([](const Case& item, const LoadedCase& loaded) {
    EXPECT_EQ(run_and_compare(loaded.model, loaded, item, loaded.inputs), "") << item.name;
  });
  RecordProperty("cases", count);
  std::printf("%d cases computed\n", count);
  EXPECT_GE(count, 1200);
}

TEST(PassesConformance, ShapeInferenceSaysWhatIsComputed) {
  if (read_cases().empty()) GTEST_SKIP() << "no conformance cases: run tools/make_conformance_cases";
  int num_known = 0;
  int num_shapes = 0;
  for_each_case([&](const Case& item, const LoadedCase& loaded) {
    Model model = loaded.model;
    // What the file declares must not help.
    model.graph.value_infos.clear();
    for (ValueInfo& output : model.graph.outputs) output.type.reset();
    const auto facts = infer_facts(model);
    RunOptions options;
    options.has_all_values = true;
    const auto values = run_graph(model, loaded.inputs, options);
    for (const auto& [name, tensor] : values) {
      const ValueFact* fact = facts->find(name);
      ++num_shapes;
      if (fact == nullptr) continue;
      if (fact->dtype != DType::kUndefined) {
        EXPECT_EQ(fact->dtype, tensor.dtype()) << item.name << " " << name;
      }
      if (!fact->shape) continue;
      ASSERT_EQ(fact->shape->size(), tensor.shape().rank()) << item.name << " " << name;
      for (std::size_t i = 0; i < fact->shape->size(); ++i) {
        if ((*fact->shape)[i].is_known()) {
          EXPECT_EQ((*fact->shape)[i].value(), tensor.shape()[i]) << item.name << " " << name << " axis " << i;
        }
      }
      if (fact->static_shape()) ++num_known;
      const auto elements = fact->known_elements();
      if (elements && tensor.dtype() == DType::kInt64) {
        const auto found = tensor.as<std::int64_t>();
        EXPECT_EQ(*elements, std::vector<std::int64_t>(found.begin(), found.end())) << item.name << " " << name;
      }
    }
  });
  std::printf("%d of %d shapes known\n", num_known, num_shapes);
  EXPECT_GE(num_known * 10, num_shapes * 8);
}

TEST(PassesConformance, PassesKeepTheResult) {
  if (read_cases().empty()) GTEST_SKIP() << "no conformance cases: run tools/make_conformance_cases";
  for_each_case([](const Case& item, const LoadedCase& loaded) {
    if (!run_and_compare(loaded.model, loaded, item, loaded.inputs).empty()) return;  // reported above
    Model model = loaded.model;
    run_passes(model, {});
    EXPECT_EQ(run_and_compare(model, loaded, item, loaded.inputs), "") << item.name;
  });
}

TEST(PassesConformance, FoldingOfConstantInputsKeepsTheResult) {
  if (read_cases().empty()) GTEST_SKIP() << "no conformance cases: run tools/make_conformance_cases";
  int num_folded = 0;
  for_each_case([&](const Case& item, const LoadedCase& loaded) {
    if (!run_and_compare(loaded.model, loaded, item, loaded.inputs).empty()) return;
    Model model = loaded.model;
    for (const auto& [name, tensor] : loaded.inputs) {
      model.graph.initializers.push_back(Initializer{name, tensor, {}, {}});
    }
    model.graph.inputs.clear();
    run_passes(model, {});
    num_folded += model.graph.nodes.size() <= model.graph.outputs.size() ? 1 : 0;
    EXPECT_EQ(run_and_compare(model, loaded, item, {}), "") << item.name;
  });
  EXPECT_GE(num_folded, 900);
}

}  // namespace
}  // namespace pajamas
