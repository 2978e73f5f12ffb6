// Kernels of single operators against the interpreter: their text is compiled as host C++ behind host_shim.h and run
// over its grid, on made-up cases (ties, NaN, duplicates, odd extents, strided results) and on the ONNX conformance
// cases of these operators where they are at hand; and by NVRTC where it is present, which needs no GPU.
#include <dlfcn.h>
#include <gmock/gmock.h>

#include <cmath>
#include <cstring>
#include <random>
#include <sstream>

#include "base/files.h"
#include "graph/interpreter.h"
#include "graph/shape_inference.h"
#include "pajamas/error.h"
#include "support/compiled_for_host.h"
#include "support/strided_elements.h"
#include "targets/cuda/operators/operators.h"
#include "tensor/half.h"
#include "unit/targets/nvrtc_probe.h"

namespace pajamas::cuda {
namespace {

using Ints = std::vector<std::int64_t>;

struct Case {
  std::string name;
  Node node;
  std::vector<Tensor> inputs;  ///< One without a type is left out.
  bool is_permuted = false;    ///< Outputs lie channels-last, with a gap.
  std::int64_t opset = 18;
  double tolerance = 1e-5;
};

struct Job {
  Case item;
  Program program;
  OperatorStep step;
  OperatorSource source;
  std::vector<Tensor> expected;
};

TensorDesc desc_of(DType dtype, const Shape& shape, bool is_permuted) {
  TensorDesc desc = TensorDesc::contiguous(dtype, shape);
  if (!is_permuted || shape.rank() < 2) return desc;
  // The first axis innermost, with a gap behind it.
  std::int64_t stride = shape[0] + 3;
  desc.strides[0] = 1;
  for (std::size_t i = shape.rank(); i-- > 1;) {
    desc.strides[i] = stride;
    stride *= shape[i];
  }
  return desc;
}

Job job_of(Case item) {
  Job job;
  std::vector<const Tensor*> pointers;
  for (std::size_t i = 0; i < item.inputs.size(); ++i) {
    const bool is_there = item.inputs[i].dtype() != DType::kUndefined;
    item.node.inputs.push_back(is_there ? "a" + std::to_string(i) : "");
    pointers.push_back(is_there ? &item.inputs[i] : nullptr);
  }
  const std::size_t num_outputs = item.node.op_type == "TopK" ? 2 : 1;
  for (std::size_t i = 0; i < num_outputs; ++i) item.node.outputs.push_back("y" + std::to_string(i));
  job.expected = evaluate_node(item.node, pointers, item.opset);
  job.program.opset = item.opset;
  job.program.nodes.push_back(item.node);
  job.step.node = 0;
  const auto add = [&](const std::string& name, const TensorDesc& desc) {
    job.program.values.push_back({name, desc, 0, 0});
    return static_cast<ValueId>(job.program.values.size() - 1);
  };
  for (std::size_t i = 0; i < item.inputs.size(); ++i) {
    const Tensor& tensor = item.inputs[i];
    job.step.inputs.push_back(
        pointers[i] == nullptr ? -1 : add(item.node.inputs[i], TensorDesc::contiguous(tensor.dtype(), tensor.shape())));
  }
  for (std::size_t i = 0; i < num_outputs; ++i) {
    const Tensor& tensor = job.expected[i];
    job.step.outputs.push_back(add(item.node.outputs[i], desc_of(tensor.dtype(), tensor.shape(), item.is_permuted)));
  }
  Step step;
  step.work = job.step;
  job.source = make_operator_source(job.program, step).value();
  job.item = std::move(item);
  return job;
}

/// All sources in one translation unit, each in a namespace of its own.
void* compile(const std::vector<Job>& jobs) {
  std::ostringstream text;
  text << "#include \"targets/cuda/loops/host_shim.h\"\n"
          "struct any { void* p; template <typename T> operator T*() const { return static_cast<T*>(p); } };\n";
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    std::string source = jobs[i].source.source;
    const std::string from = "extern \"C\" __global__";
    for (std::size_t at = 0; (at = source.find(from, at)) != std::string::npos;) source.replace(at, from.size(), "");
    text << "namespace job" << i << " {\n" << source << "\n";
    for (std::size_t k = 0; k < jobs[i].source.launches.size(); ++k) {
      text << "void run" << k << "(void* const* a) { " << jobs[i].source.launches[k].entry << "(";
      const std::size_t count = jobs[i].source.arguments.size() + 1;
      for (std::size_t n = 0; n < count; ++n) text << (n == 0 ? "" : ", ") << "any{a[" << n << "]}";
      text << "); }\n";
    }
    text << "}\n";
    // The next source defines its own.
    for (std::size_t at = 0; (at = source.find("#define ", at)) != std::string::npos;) {
      const std::size_t end = source.find(' ', at += 8);
      text << "#undef " << source.substr(at, end - at) << "\n";
    }
    for (std::size_t k = 0; k < jobs[i].source.launches.size(); ++k) {
      text << "extern \"C\" void run" << i << "_" << k << "(void* const* a) { job" << i << "::run" << k << "(a); }\n";
    }
  }
  return test::compiled_for_host(text.str());
}

std::string difference(const Tensor& found, const Tensor& wanted, double tolerance) {
  if (!is_floating_point(wanted.dtype())) {
    return std::ranges::equal(found.bytes(), wanted.bytes()) ? "" : "other integers";
  }
  if (wanted.dtype() == DType::kFloat16) tolerance = std::max(tolerance, 2e-3);
  if (wanted.dtype() == DType::kBfloat16) tolerance = std::max(tolerance, 1.6e-2);
  const Tensor a = to_float32(found.view());
  const Tensor b = to_float32(wanted.view());
  for (std::size_t i = 0; i < b.as<float>().size(); ++i) {
    const float x = a.as<float>()[i];
    const float y = b.as<float>()[i];
    if ((std::isnan(x) && std::isnan(y)) || x == y) continue;
    if (!(std::abs(x - y) <= tolerance * (1 + std::abs(y)))) {
      return std::to_string(x) + " instead of " + std::to_string(y) + " at " + std::to_string(i);
    }
  }
  return {};
}

std::string run(const Job& job, std::size_t index, void* library) {
  using Run = void (*)(void* const*);
  using Launch = void (*)(Run, void* const*, const unsigned*, const unsigned*, int);
  const auto launch = reinterpret_cast<Launch>(dlsym(library, "lp_host_launch"));
  std::vector<std::vector<std::byte>> memory;
  std::vector<void*> arguments;
  memory.reserve(job.source.arguments.size() + 1);
  const auto allocate = [&](std::size_t bytes) {
    memory.emplace_back(bytes + 64, std::byte{0x7b});
    arguments.push_back(memory.back().data());
    return memory.back().data();
  };
  const auto value = [&](ValueId id) { return job.program.value(id); };
  for (std::size_t i = 0; i < job.item.inputs.size(); ++i) {
    if (job.step.inputs[i] < 0) continue;
    const auto bytes = job.item.inputs[i].bytes();
    std::memcpy(allocate(bytes.size()), bytes.data(), bytes.size());
  }
  std::vector<std::byte*> results;
  for (const ValueId id : job.step.outputs) {
    results.push_back(allocate(static_cast<std::size_t>(test::reach_of(value(id).desc)) * 8));
  }
  allocate(job.source.workspace_bytes);
  for (std::size_t k = 0; k < job.source.launches.size(); ++k) {
    const OperatorLaunch& one = job.source.launches[k];
    const unsigned grid[] = {one.num_blocks, 1, 1};
    const unsigned block[] = {one.block_size, 1, 1};
    const std::string name = "run" + std::to_string(index) + "_" + std::to_string(k);
    launch(reinterpret_cast<Run>(dlsym(library, name.c_str())), arguments.data(), grid, block, one.has_barriers);
  }
  for (std::size_t i = 0; i < job.step.outputs.size(); ++i) {
    const TensorDesc desc = value(job.step.outputs[i]).desc;
    Tensor found(desc.dtype, desc.extents);
    const std::size_t bytes = static_cast<std::size_t>(bits_of(desc.dtype)) / 8;
    std::byte* to = found.mutable_bytes().data();
    test::each_element(desc, [&](std::int64_t flat, std::int64_t at) {
      std::memcpy(to + static_cast<std::size_t>(flat) * bytes, results[i] + static_cast<std::size_t>(at) * bytes,
                  bytes);
    });
    const std::string text = difference(found, job.expected[i], job.item.tolerance);
    if (!text.empty()) return "output " + std::to_string(i) + ": " + text;
  }
  return {};
}

void run_all(const std::vector<Case>& cases) {
  std::vector<Job> jobs;
  for (const Case& item : cases) jobs.push_back(job_of(item));
  void* library = compile(jobs);
  if (library == nullptr) return;
  for (std::size_t i = 0; i < jobs.size(); ++i) EXPECT_EQ(run(jobs[i], i, library), "") << jobs[i].item.name;
  const Nvrtc nvrtc;
  if (!nvrtc.is_there()) return;
  // The first and the last, for two chips: the cases of one test differ little.
  EXPECT_EQ(nvrtc.compile(jobs.front().source.source, "--gpu-architecture=sm_89"), "");
  EXPECT_EQ(nvrtc.compile(jobs.back().source.source, "--gpu-architecture=sm_90"), "");
}

Node node_of(const char* type, const std::vector<std::pair<const char*, AttributeValue>>& attributes = {}) {
  Node node;
  node.op_type = type;
  for (const auto& [name, value] : attributes) node.set_attribute(name, value);
  return node;
}

Tensor integers(const Shape& shape, const Ints& values) { return Tensor::of<std::int64_t>(shape, values); }

Tensor floats(DType dtype, const Shape& shape, unsigned seed, int num_levels = 0) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> distribution(-1.0F, 1.0F);
  Tensor wide(DType::kFloat32, shape);
  for (float& value : wide.mutable_as<float>()) {
    value = num_levels > 0
                ? static_cast<float>(static_cast<int>(random() % static_cast<unsigned>(num_levels)) - num_levels / 2)
                : distribution(random);
  }
  if (dtype == DType::kFloat32) return wide;
  Tensor result(dtype, shape);
  const auto from = std::as_const(wide).as<float>();
  for (std::size_t i = 0; i < from.size(); ++i) {
    auto* at = result.mutable_bytes().data() + i * static_cast<std::size_t>(bits_of(dtype)) / 8;
    const auto store = [&](auto value) { std::memcpy(at, &value, sizeof value); };
    switch (dtype) {
      case DType::kFloat16: store(float16_from_float(from[i])); break;
      case DType::kBfloat16: store(bfloat16_from_float(from[i])); break;
      case DType::kFloat64: store(static_cast<double>(from[i])); break;
      case DType::kInt64: store(static_cast<std::int64_t>(from[i])); break;
      case DType::kInt32: store(static_cast<std::int32_t>(from[i])); break;
      case DType::kInt8: store(static_cast<std::int8_t>(from[i])); break;
      default: store(static_cast<std::uint8_t>(from[i] > 0)); break;
    }
  }
  return result;
}

TEST(CudaOperators, top_k) {
  std::vector<Case> cases;
  const auto add = [&](const std::string& name, Tensor x, std::int64_t axis, std::int64_t k, bool is_largest,
                       bool is_permuted = false) {
    Node node = node_of("TopK", {{"axis", axis}, {"largest", std::int64_t{is_largest ? 1 : 0}}});
    cases.push_back({name, node, {std::move(x), integers({1}, {k})}, is_permuted});
  };
  for (const DType dtype : {DType::kFloat32, DType::kFloat16, DType::kBfloat16, DType::kFloat64, DType::kInt64,
                            DType::kInt32, DType::kInt8, DType::kUint8}) {
    const std::string name = to_string(dtype);
    add("ties of " + name, floats(dtype, {3, 41}, 1, 9), -1, 17, true);
    add("least of " + name, floats(dtype, {3, 41}, 2, 9), -1, 41, false);
  }
  add("middle axis", floats(DType::kFloat32, {2, 37, 3}, 3), 1, 5, true, true);
  add("one", floats(DType::kFloat32, {1}, 4), 0, 1, true);
  add("first axis", floats(DType::kFloat16, {300, 2}, 5), 0, 7, false, true);
  Tensor odd = floats(DType::kFloat32, {1, 70}, 6, 3);
  for (const std::size_t i : {3, 40, 41}) odd.mutable_as<float>()[i] = NAN;
  odd.mutable_as<float>()[5] = INFINITY;
  odd.mutable_as<float>()[6] = -INFINITY;
  odd.mutable_as<float>()[7] = -0.0F;
  add("odd numbers", odd, 1, 70, true);
  add("odd numbers, least first", odd, 1, 70, false);
  add("long", floats(DType::kFloat32, {1, 16500}, 7), 1, 100, true);
  add("long with ties", floats(DType::kFloat16, {1, 16400}, 8, 5), 1, 300, false);
  run_all(cases);
}

TEST(CudaOperators, scatter) {
  std::vector<Case> cases;
  for (const char* reduction : {"none", "add", "mul", "max", "min"}) {
    for (const DType dtype : {DType::kFloat32, DType::kFloat16, DType::kInt64, DType::kInt32}) {
      const std::string name = std::string(reduction) + " of " + to_string(dtype);
      const std::string text = reduction;
      // Twice the same target, negative indices.
      cases.push_back(
          {"elements, " + name,
           node_of("ScatterElements", {{"axis", std::int64_t{1}}, {"reduction", text}}),
           {floats(dtype, {2, 5}, 1, 5), integers({2, 4}, {1, -1, 1, 0, 4, 4, 4, 4}), floats(dtype, {2, 4}, 2, 5)}});
      cases.push_back({"slices, " + name,
                       node_of("ScatterND", {{"reduction", text}}),
                       {floats(dtype, {4, 3, 2}, 3, 5), integers({3, 1}, {2, -4, 2}), floats(dtype, {3, 3, 2}, 4, 5)},
                       true});
      cases.push_back(
          {"points, " + name,
           node_of("ScatterND", {{"reduction", text}}),
           {floats(dtype, {4, 3}, 5, 5), integers({2, 2, 2}, {0, 0, 3, 2, 3, -1, 1, 1}), floats(dtype, {2, 2}, 6, 5)}});
    }
  }
  cases.push_back(
      {"first axis",
       node_of("ScatterElements", {{"axis", std::int64_t{0}}}),
       {floats(DType::kUint8, {5, 3}, 1), integers({2, 3}, {0, 1, 2, 4, 3, 0}), floats(DType::kUint8, {2, 3}, 2)},
       true});
  run_all(cases);
}

TEST(CudaOperators, roi_align) {
  std::vector<Case> cases;
  for (const DType dtype : {DType::kFloat32, DType::kFloat16, DType::kFloat64}) {
    for (const std::int64_t ratio : {0, 2}) {
      for (const char* mode : {"half_pixel", "output_half_pixel"}) {
        Tensor regions = floats(dtype, {5, 4}, 9, 40);
        cases.push_back({std::string(mode) + std::to_string(ratio) + to_string(dtype),
                         node_of("RoiAlign", {{"output_height", std::int64_t{3}},
                                              {"output_width", std::int64_t{2}},
                                              {"sampling_ratio", ratio},
                                              {"spatial_scale", 0.5F},
                                              {"coordinate_transformation_mode", std::string(mode)}}),
                         {floats(dtype, {2, 3, 9, 11}, 10), regions, integers({5}, {0, 1, 1, 0, 1})},
                         ratio == 2});
        cases.back().tolerance = 1e-4;
      }
    }
  }
  run_all(cases);
}

TEST(CudaOperators, non_max_suppression) {
  std::vector<Case> cases;
  for (const bool is_centered : {false, true}) {
    for (const std::int64_t most : {0, 3, 1000}) {
      for (const float threshold : {-10.0F, 0.25F}) {
        Tensor boxes = floats(DType::kFloat32, {2, 700, 4}, 11);
        if (is_centered) {
          for (float& value : boxes.mutable_as<float>()) value = std::abs(value);
        }
        // Few levels: equal scores, whose order counts.
        cases.push_back({"most " + std::to_string(most),
                         node_of("NonMaxSuppression", {{"center_point_box", std::int64_t{is_centered ? 1 : 0}}}),
                         {boxes, floats(DType::kFloat32, {2, 3, 700}, 12, 40), integers({1}, {most}),
                          Tensor::of<float>({1}, std::vector<float>{0.4F}),
                          Tensor::of<float>({1}, std::vector<float>{threshold})}});
      }
    }
  }
  // Too many boxes for masks of all pairs; boxes and scores without a number.
  Tensor boxes = floats(DType::kFloat32, {1, 23300, 4}, 15);
  Tensor scores = floats(DType::kFloat32, {1, 1, 23300}, 16, 4000);
  for (const std::size_t i : {7U, 11U, 20000U}) {
    boxes.mutable_as<float>()[4 * i + 1] = std::nanf("");
    scores.mutable_as<float>()[i] = 1000;
    scores.mutable_as<float>()[i + 1] = std::nanf("");
  }
  float threshold = 0;
  {
    std::vector<float> ordered(scores.as<float>().begin(), scores.as<float>().end());
    std::erase_if(ordered, [](float score) { return std::isnan(score); });
    std::nth_element(ordered.begin(), ordered.begin() + 600, ordered.end(), std::greater<>());
    threshold = ordered[600];
  }
  for (const std::int64_t most : {90, 100000}) {
    cases.push_back({"many boxes, most " + std::to_string(most),
                     node_of("NonMaxSuppression"),
                     {boxes, scores, integers({1}, {most}), Tensor::of<float>({1}, std::vector<float>{0.4F}),
                      Tensor::of<float>({1}, std::vector<float>{threshold})}});
  }
  cases.push_back(
      {"defaults",
       node_of("NonMaxSuppression"),
       {floats(DType::kFloat32, {1, 5, 4}, 13), floats(DType::kFloat32, {1, 1, 5}, 14), integers({1}, {5})}});
  run_all(cases);
}

TEST(CudaOperators, non_zero) {
  std::vector<Case> cases;
  for (const DType dtype : {DType::kFloat32, DType::kFloat16, DType::kInt64, DType::kBool}) {
    for (const Shape& shape : {Shape{7}, Shape{3, 5}, Shape{2, 3, 4}, Shape{5, 1000}}) {
      cases.push_back({std::string(to_string(dtype)) + shape.to_string(),
                       node_of("NonZero"),
                       {floats(dtype, shape, 15, 4)},
                       shape.rank() == 3});
    }
  }
  run_all(cases);
}

}  // namespace
}  // namespace pajamas::cuda
