// The parts of speech models on the GPU and, without one, lowered on the host: Wav2Vec2 and HuBERT, Whisper's encoder,
// aligner and decoder with a dense cache, a voice (VITS) and the voice detector, each as its model definition makes it
// and in the form that targets without paged attention get, against the interpreter in float32. What a part takes from
// the one before it is what the interpreter found there, so that no part is judged by another's roundings.
#include <gmock/gmock.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <map>
#include <random>

#include "gpu/run_on_gpu.h"
#include "graph/inline_functions.h"
#include "graph/interpreter.h"
#include "pajamas/error.h"
#include "targets/cuda/lowering/expansions.h"
#include "targets/cuda/lowering/host_executor.h"
#include "targets/cuda/lowering/lower.h"
#include "targets/cuda/runtime/engine_builder.h"
#include "targets/registry.h"
#include "toolchain/import.h"
#include "toolchain/target_form.h"
#include "verify/comparison.h"
#include "verify/input_cases.h"

namespace pajamas::cuda {
namespace {

namespace fs = std::filesystem;
using Values = std::map<std::string, Tensor>;

fs::path folder_of(const char* variable, const fs::path& otherwise) {
  const char* named = std::getenv(variable);
  return named != nullptr ? fs::path(named) : otherwise;
}

/// PAJAMAS_TEST_DATA_DIR and PAJAMAS_MODELS_DIR name the folders where the program runs on another machine.
fs::path path_of(const std::string& name) {
  const bool is_published = name.find('/') == std::string::npos;
  return is_published ? folder_of("PAJAMAS_MODELS_DIR", fs::path(PAJAMAS_DEPS_DIR) / "models") / name
                      : folder_of("PAJAMAS_TEST_DATA_DIR", PAJAMAS_TEST_DATA) / name;
}

/// Two texts of three tokens each behind a cache of four, a sentence of 13 phonemes.
constexpr std::int64_t kTexts = 2, kStepTokens = 3, kPast = 4, kPhonemes = 13;

std::int64_t extent_of(const std::string& name, const Values& known) {
  static const std::map<std::string, std::int64_t> kExtents{{"num_sequences", kTexts},
                                                            {"num_past_sequences", kTexts},
                                                            {"num_tokens", kTexts * kStepTokens},
                                                            {"num_rows", kTexts},
                                                            {"num_chunks", 1},
                                                            {"phonemes", kPhonemes},
                                                            {"batch_size", 1},
                                                            {"batch", 1},
                                                            {"sequence_length", 5}};
  if (name == "frames") {
    const auto found = known.find("num_frames");
    return found == known.end() ? 32 : std::max<std::int64_t>(1, found->second.as<std::int64_t>()[0]);
  }
  const auto found = kExtents.find(name);
  return found == kExtents.end() ? 1 : found->second;
}

Shape shape_of(const ValueInfo& input, const ImportedPart& part, const Values& known) {
  if (const ShapeProfile* profile = find_profile(part.profiles, input.name)) return profile->opt;
  Shape shape;
  for (const Dimension& dimension : *input.type->shape) {
    shape.push_back(dimension.is_known() ? dimension.extent() : extent_of(dimension.to_string(), known));
  }
  return shape;
}

Tensor integers(const std::string& name, const Shape& shape) {
  std::mt19937 random(7);
  Tensor tensor(DType::kInt64, shape);
  std::int64_t i = 0;
  for (std::int64_t& value : tensor.mutable_as<std::int64_t>()) {
    value = name == "past_len"                          ? kPast
            : name == "parents"                         ? kTexts - 1 - i
            : name == "position_ids"                    ? kPast + i % kStepTokens
            : name == "logit_rows"                      ? i * kStepTokens + kStepTokens - 1
            : name == "frame_index"                     ? i
            : name.find("lengths") != std::string::npos ? kPhonemes
                                                        : static_cast<std::int64_t>(random() % 40);
    ++i;
  }
  return tensor;
}

Tensor input_of(const ValueInfo& input, const Shape& shape, const Values& known) {
  if (const auto found = known.find(input.name); found != known.end()) return found->second;
  if (input.type->dtype == DType::kInt64) return integers(input.name, shape);
  if (input.name == "scales") return Tensor::of<float>({3}, {0.667F, 1.0F, 0.8F});
  return test::random_tensor(DType::kFloat32, shape, static_cast<unsigned>(known.size()) + 11);
}

ConstantTable table_of(const Model& model) {
  ConstantTable constants;
  for (const Initializer& initializer : model.graph.initializers) {
    constants.add(initializer.name, {initializer.tensor.dtype(), initializer.tensor.shape(), initializer.tensor});
  }
  return constants;
}

/// The interpreter has no recurrent operators: those written out, whose own reference is ONNX's cases.
Model written_out(Model model) {
  inline_functions(model);
  if (std::optional<Model> expanded = expand_operators(model, table_of(model))) return std::move(*expanded);
  return model;
}

using Runner = std::function<std::vector<Tensor>(const Model& lowered, Precision, const std::vector<Tensor>& inputs)>;

void expect_parts(const std::string& name, Precision precision, const Runner& run) {
  const fs::path path = path_of(name);
  if (!fs::exists(path)) GTEST_SKIP() << "there is no model at " << path;
  const ImportedModel imported = import_model(path, {});
  Values known;
  for (const ImportedPart& part : imported.parts) {
    SCOPED_TRACE(part.name);
    const Precision own = part.is_float32 ? Precision::kFp32 : precision;
    const Model form = target_form(find_target("cuda"), part.model, imported);
    std::vector<std::pair<std::string, Shape>> shapes;
    std::vector<Tensor> inputs;
    Values named;
    for (const ValueInfo* input : form.graph.required_inputs()) {
      const auto before = known.find(input->name);
      shapes.emplace_back(input->name, before != known.end() ? before->second.shape() : shape_of(*input, part, known));
      inputs.push_back(input_of(*input, shapes.back().second, known));
      named[input->name] = inputs.back();
    }
    const Model lowered = test::lowered_for_gpu(form, own, shapes);
    const Support support = supports_graph(lowered);
    ASSERT_TRUE(support) << support.reason;
    const Model source = test::lowered_for_gpu(form, Precision::kFp32, shapes);
    const auto wanted = run_graph(written_out(source), named);
    std::vector<Tensor> expected;
    for (const ValueInfo& output : form.graph.outputs) expected.push_back(wanted.at(output.name));
    test::expect_near(run(lowered, own, inputs), expected, own, name + ", " + part.name);
    for (const auto& [output, tensor] : wanted) known[output] = tensor;
  }
}

class CudaSpeech : public testing::TestWithParam<std::tuple<const char*, Precision>> {};

TEST_P(CudaSpeech, parts_compute_what_the_interpreter_computes) {
  PAJAMAS_NEED_GPU();
  const auto& [name, precision] = GetParam();
  expect_parts(name, precision, [](const Model& lowered, Precision own, const std::vector<Tensor>& inputs) {
    return test::run_on_gpu(*test::build_on_gpu(lowered, own).engine, inputs);
  });
}

/// In the arena and strides of the GPU, steps by the interpreter.
TEST_P(CudaSpeech, parts_lower_to_what_the_interpreter_computes) {
  const auto& [name, precision] = GetParam();
  expect_parts(name, precision, [](const Model& lowered, Precision, const std::vector<Tensor>& inputs) {
    const ConstantTable constants = table_of(lowered);
    return run_on_host(lower(lowered, constants), constants, inputs);
  });
}

/// As a build does it: the passes see open extents, and shapes are fixed for each plan.
TEST_P(CudaSpeech, parts_lower_at_both_ends_of_their_profiles) {
  const auto& [name, precision] = GetParam();
  const fs::path path = path_of(name);
  if (!fs::exists(path)) GTEST_SKIP() << "there is no model at " << path;
  const ImportedModel imported = import_model(path, {});
  const Target& target = find_target("cuda");
  for (const ImportedPart& part : imported.parts) {
    SCOPED_TRACE(part.name);
    const Model form = target_form(target, part.model, imported);
    const Model lowered = test::lowered_for_gpu(form, part.is_float32 ? Precision::kFp32 : precision);
    std::vector<ShapeProfile> profiles = target_profiles(target, form, part, imported, {});
    for (Shape ShapeProfile::*end : {&ShapeProfile::min, &ShapeProfile::opt, &ShapeProfile::max}) {
      std::vector<ShapeProfile> fixed;
      for (const ShapeProfile& profile : profiles) {
        fixed.push_back({profile.input, profile.*end, profile.*end, profile.*end});
      }
      const Support support = supports_profiles(lowered, fixed);
      EXPECT_TRUE(support) << support.reason;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, CudaSpeech,
                         testing::Combine(testing::Values("ctc/hubert_batch", "ctc/hubert_group", "ctc/wav2vec2_group",
                                                          "ctc/wav2vec2_layer", "whisper/tiny", "en_US-joe-medium.onnx",
                                                          "silero_vad.onnx"),
                                          testing::Values(Precision::kFp32, Precision::kFp16)),
                         [](const auto& test_case) {
                           std::string name = fs::path(std::get<0>(test_case.param)).stem().string();
                           std::replace_if(
                               name.begin(), name.end(), [](char c) { return std::isalnum(c) == 0; }, '_');
                           return name + "_" + to_string(std::get<1>(test_case.param));
                         });

}  // namespace
}  // namespace pajamas::cuda
