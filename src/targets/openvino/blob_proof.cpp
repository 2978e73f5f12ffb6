// See blob_proof.h.
#include "targets/openvino/blob_proof.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <random>
#include <vector>

namespace pajamas::openvino {

namespace {

/// Floats from 0 to 1, where images and scores lie; integers 0 and 1, which are valid as indices, masks and tokens.
void fill(ov::Tensor& tensor, std::mt19937& generator) {
  const std::size_t count = tensor.get_size();
  const ov::element::Type type = tensor.get_element_type();
  std::uniform_real_distribution<float> uniform(0.0F, 1.0F);
  if (type == ov::element::f32) {
    auto* data = tensor.data<float>();
    for (std::size_t i = 0; i < count; ++i) data[i] = uniform(generator);
  } else if (type == ov::element::f16) {
    auto* data = tensor.data<ov::float16>();
    for (std::size_t i = 0; i < count; ++i) data[i] = ov::float16(uniform(generator));
  } else if (type == ov::element::bf16) {
    auto* data = tensor.data<ov::bfloat16>();
    for (std::size_t i = 0; i < count; ++i) data[i] = ov::bfloat16(uniform(generator));
  } else if (type == ov::element::f64) {
    auto* data = tensor.data<double>();
    for (std::size_t i = 0; i < count; ++i) data[i] = static_cast<double>(uniform(generator));
  } else {
    // Little-endian integers of any width: one byte of each element is 0 or 1.
    auto* bytes = static_cast<unsigned char*>(tensor.data());
    std::memset(bytes, 0, tensor.get_byte_size());
    for (std::size_t i = 0; i < count; ++i) bytes[i * type.size()] = static_cast<unsigned char>(generator() & 1U);
  }
}

/// Open axes: the first is the batch (1), the others `extent`.
std::vector<ov::Tensor> make_inputs(const ov::CompiledModel& compiled, const BuildPlan& plan, std::int64_t extent) {
  std::mt19937 generator(20240229);
  std::vector<ov::Tensor> inputs;
  for (const auto& port : compiled.inputs()) {
    const ShapeProfile* profile = nullptr;
    for (const ShapeProfile& candidate : plan.profiles) {
      if (port.get_names().count(candidate.input) != 0) profile = &candidate;
    }
    const ov::PartialShape& declared = port.get_partial_shape();
    ov::Shape shape;
    for (std::size_t axis = 0; axis < declared.size(); ++axis) {
      if (declared[axis].is_static()) {
        shape.push_back(static_cast<std::size_t>(declared[axis].get_length()));
      } else if (profile != nullptr && axis < profile->opt.rank()) {
        shape.push_back(static_cast<std::size_t>(profile->opt[axis]));
      } else {
        shape.push_back(axis == 0 ? 1U : static_cast<std::size_t>(extent));
      }
    }
    ov::Tensor tensor(port.get_element_type(), shape);
    fill(tensor, generator);
    inputs.push_back(tensor);
  }
  return inputs;
}

/// Outputs of one run; nothing when the model does not take the inputs.
std::optional<std::vector<ov::Tensor>> run(ov::CompiledModel& compiled, const std::vector<ov::Tensor>& inputs) {
  try {
    ov::InferRequest request = compiled.create_infer_request();
    for (std::size_t i = 0; i < inputs.size(); ++i) request.set_input_tensor(i, inputs[i]);
    request.infer();
    std::vector<ov::Tensor> outputs;
    for (std::size_t i = 0; i < compiled.outputs().size(); ++i) {
      const ov::Tensor output = request.get_output_tensor(i);
      ov::Tensor copy(output.get_element_type(), output.get_shape());
      output.copy_to(copy);
      outputs.push_back(copy);
    }
    return outputs;
  } catch (const std::exception&) {
    return std::nullopt;
  }
}

/// Largest difference relative to the largest magnitude; 0 when both are bitwise equal or of types not compared so.
float relative_difference(const ov::Tensor& a, const ov::Tensor& b) {
  if (std::memcmp(a.data(), b.data(), a.get_byte_size()) == 0) return 0.0F;
  if (a.get_element_type() != ov::element::f32) return a.get_element_type().is_real() ? 0.0F : 1.0F;
  float largest = 0.0F;
  float difference = 0.0F;
  const auto* left = a.data<const float>();
  const auto* right = b.data<const float>();
  for (std::size_t i = 0; i < a.get_size(); ++i) {
    if (std::isnan(left[i]) && std::isnan(right[i])) continue;
    if (left[i] == right[i]) continue;
    if (!std::isfinite(left[i]) || !std::isfinite(right[i])) return 1.0F;
    largest = std::max(largest, std::abs(left[i]));
    difference = std::max(difference, std::abs(left[i] - right[i]));
  }
  return largest > 0.0F ? difference / largest : (difference > 0.0F ? 1.0F : 0.0F);
}

/// Why made-up inputs could do harm; empty when they cannot. OpenVINO does not check values that it uses as shapes,
/// counts or indices, nor whether inputs of open extents fit each other, and dies of bad ones. Scalars and vectors are
/// often such values; pictures, features, masks and token rows are not.
std::string danger_of(const ov::CompiledModel& compiled, const BuildPlan& plan) {
  for (const auto& port : compiled.inputs()) {
    const std::string name = port.get_names().empty() ? "?" : port.get_any_name();
    const ov::PartialShape shape = port.get_partial_shape();
    if (shape.rank().is_dynamic() || shape.size() < 2) return "input '" + name + "' may be a shape or a count";
    const bool has_profile = std::any_of(plan.profiles.begin(), plan.profiles.end(), [&](const ShapeProfile& profile) {
      return port.get_names().count(profile.input) != 0;
    });
    if (has_profile || compiled.inputs().size() == 1) continue;
    for (std::size_t axis = 1; axis < shape.size(); ++axis) {
      if (shape[axis].is_dynamic()) return "the extents of input '" + name + "' are open";
    }
  }
  return {};
}

}  // namespace

std::string difference_of(ov::CompiledModel& compiled, ov::CompiledModel& imported, const BuildPlan& plan) {
  // The same kernels on the same data: only sums that threads share may differ, by far less than this. A lost operator
  // attribute gives differences of the size of the values.
  constexpr float kTolerance = 1e-3F;
  if (const std::string danger = danger_of(compiled, plan); !danger.empty()) {
    return danger + ", so that the export cannot be proven with made-up values";
  }
  const bool has_open_axis = std::any_of(compiled.inputs().begin(), compiled.inputs().end(),
                                         [](const auto& port) { return port.get_partial_shape().is_dynamic(); });
  const std::vector<std::int64_t> extents =
      has_open_axis ? std::vector<std::int64_t>{64, 224, 640, 8, 1, 2, 3} : std::vector<std::int64_t>{1};
  for (const std::int64_t extent : extents) {
    const std::vector<ov::Tensor> inputs = make_inputs(compiled, plan, extent);
    const auto expected = run(compiled, inputs);
    if (!expected) continue;
    const auto found = run(imported, inputs);
    if (!found) return "the import does not take inputs that the compiled model takes";
    for (std::size_t i = 0; i < expected->size(); ++i) {
      const ov::Tensor& a = (*expected)[i];
      const ov::Tensor& b = (*found)[i];
      if (a.get_element_type() != b.get_element_type() || a.get_shape() != b.get_shape()) {
        return "output " + std::to_string(i) + " has another type or shape after the import";
      }
      if (relative_difference(a, b) > kTolerance) return "output " + std::to_string(i) + " differs after the import";
    }
    return {};
  }
  return "no inputs of usual sizes fit the model, so that its export cannot be compared";
}

}  // namespace pajamas::openvino
