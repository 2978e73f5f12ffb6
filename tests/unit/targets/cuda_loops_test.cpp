// The loop generator against the interpreter: sources are compiled as host C++ behind host_shim.h, run over their grid
// and compared; and they are compiled by NVRTC where it is present, which needs no GPU.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>
#include <set>
#include <sstream>

#include "base/files.h"
#include "graph/interpreter.h"
#include "graph/shape_inference.h"
#include "io/onnx_reader.h"
#include "onnx.pb.h"
#include "pajamas/error.h"
#include "support/compiled_for_host.h"
#include "support/strided_elements.h"
#include "targets/cuda/loops/loops.h"
#include "tensor/half.h"
#include "unit/targets/nvrtc_probe.h"

namespace pajamas::cuda {
namespace {

/// How the memory of a case's values lies: row-major; channels last with gaps; channels last what is read and row-major
/// what is written.
enum class Layout { kDense, kPermuted, kMixed };

struct Job {
  std::string name;
  LoopKernel kernel;
  std::vector<Value> inputs, outputs;
  std::vector<Tensor> input_values, expected;
  double relative = 1e-4, absolute = 1e-5;
};

TensorDesc desc_of(DType type, const Shape& shape, Layout layout) {
  TensorDesc desc{type, shape, std::vector<std::int64_t>(shape.rank(), 1)};
  std::vector<std::size_t> order(shape.rank());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  // Channels-last, or a transposed matrix, with a gap of one element between rows.
  if (layout != Layout::kDense && order.size() >= 2)
    std::rotate(order.begin() + 1 - (order.size() == 2), order.begin() + 2 - (order.size() == 2), order.end());
  std::int64_t stride = 1;
  for (std::size_t i = order.size(); i-- > 0;) {
    desc.strides[order[i]] = stride;
    stride *= std::max<std::int64_t>(1, shape[order[i]]);
    if (i + 1 == order.size() && layout == Layout::kPermuted) stride += 1;
  }
  return desc;
}

/// A program of one loop step over all nodes of a graph.
struct Wrapped {
  Program program;
  LoopStep step;
};

Wrapped wrap(const Model& model, const std::map<std::string, Tensor>& values, const std::set<std::string>& inputs,
             const std::vector<std::string>& outputs, Layout layout, std::int64_t offset) {
  Wrapped made;
  made.program.opset = model.opset();
  made.program.nodes = model.graph.nodes;
  for (std::size_t i = 0; i < model.graph.nodes.size(); ++i) made.step.nodes.push_back(static_cast<std::int32_t>(i));
  for (const Initializer& constant : model.graph.initializers) {
    if (!inputs.contains(constant.name)) made.program.small_constants.push_back(constant);
  }
  const auto add = [&](const std::string& name, std::vector<ValueId>& list, Layout layout) {
    Value value;
    value.name = name;
    const Tensor& tensor = values.at(name);
    value.desc = desc_of(tensor.dtype(), tensor.shape(), layout);
    value.offset_elements = offset;
    list.push_back(static_cast<ValueId>(made.program.values.size()));
    made.program.values.push_back(value);
  };
  for (const std::string& name : inputs) add(name, made.step.inputs, layout);
  for (const std::string& name : outputs) {
    add(name, made.step.outputs, layout == Layout::kMixed ? Layout::kDense : layout);
  }
  return made;
}

/// Adds the jobs of a graph in all layouts and variants; false when it is refused.
bool add_jobs(std::vector<Job>& jobs, const std::string& name, const Model& model,
              const std::map<std::string, Tensor>& values, const std::set<std::string>& inputs,
              const std::vector<std::string>& outputs, double relative, double absolute, std::string& reason,
              int max_variants = 2, bool has_permuted = true) {
  bool is_first = true;
  for (const Layout layout : {Layout::kDense, Layout::kPermuted, Layout::kMixed}) {
    if (layout == Layout::kPermuted && !has_permuted) continue;
    if (layout == Layout::kMixed && max_variants < 9) continue;
    const Wrapped wrapped = wrap(model, values, inputs, outputs, layout, layout == Layout::kPermuted ? 3 : 0);
    try {
      const int variants = std::min(max_variants, num_loop_variants(wrapped.program, wrapped.step));
      for (int variant = 0; variant < variants; ++variant) {
        if (variant > 0 && layout == Layout::kPermuted && max_variants < 9) continue;
        Job job;
        const char* kind = layout == Layout::kDense ? "/dense" : layout == Layout::kMixed ? "/mixed" : "/permuted";
        job.name = name + kind + std::to_string(variant);
        job.kernel = make_loop_kernel(wrapped.program, wrapped.step, variant);
        for (const ValueId id : wrapped.step.inputs) {
          job.inputs.push_back(wrapped.program.value(id));
          job.input_values.push_back(values.at(job.inputs.back().name));
        }
        for (const ValueId id : wrapped.step.outputs) {
          job.outputs.push_back(wrapped.program.value(id));
          job.expected.push_back(values.at(job.outputs.back().name));
        }
        job.relative = relative;
        job.absolute = absolute;
        jobs.push_back(std::move(job));
      }
    } catch (const Error& error) {
      EXPECT_NE(error.kind(), ErrorKind::kInternal) << name << ": " << error.what();
      if (!is_first && error.kind() == ErrorKind::kUnsupported) continue;
      reason = error.what();
      return false;
    }
    is_first = false;
  }
  return true;
}

/// Sources in one translation unit, each in a namespace of its own; the prelude is in each as it is in NVRTC's.
void* compile(const std::vector<const Job*>& jobs) {
  std::ostringstream file;
  file << "#include \"targets/cuda/loops/host_shim.h\"\n";
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    std::string source = jobs[i]->kernel.source;
    const std::string from = "extern \"C\" __global__";
    const std::size_t at = source.find(from);
    source.replace(at, from.size(), "__global__");
    file << "namespace job" << i << " {\n" << source << "static void run(void* const* a) { pajamas_loop(";
    const std::size_t count = jobs[i]->inputs.size() + jobs[i]->outputs.size();
    for (std::size_t k = 0; k < count; ++k) {
      file << (k == 0 ? "" : ", ") << "lp_any{a[" << k << "]}";
    }
    file << "); }\n}\nextern \"C\" void run" << i << "(void* const* a) { job" << i << "::run(a); }\n";
  }
  std::string text = file.str();
  text.insert(text.find('\n') + 1,
              "struct lp_any { void* p; template <typename T> operator T*() const { return static_cast<T*>(p); } };\n");
  return test::compiled_for_host(text);
}

double element(const Tensor& tensor, std::int64_t i) {
  const auto at = static_cast<std::size_t>(i);
  return tensor.dtype() == DType::kFloat64 ? tensor.as<double>()[at] : static_cast<double>(tensor.as<float>()[at]);
}

std::string run_job(const Job& job, void* library, std::size_t place) {
  using Launch = void (*)(void (*)(void* const*), void* const*, const unsigned*, const unsigned*, int);
  const auto launch = reinterpret_cast<Launch>(dlsym(library, "lp_host_launch"));
  const auto run = reinterpret_cast<void (*)(void* const*)>(dlsym(library, ("run" + std::to_string(place)).c_str()));
  if (launch == nullptr || run == nullptr) return "the kernel is not in its library";
  std::vector<std::vector<std::byte>> memory;
  std::vector<void*> arguments;
  const auto allocate = [&](const Value& value) -> std::byte* {
    const std::size_t bytes = static_cast<std::size_t>(bits_of(value.desc.dtype) / 8);
    memory.emplace_back(bytes * static_cast<std::size_t>(test::reach_of(value.desc) + value.offset_elements) + 64,
                        std::byte{0x7b});
    auto* start = memory.back().data();
    start += (64 - reinterpret_cast<std::uintptr_t>(start) % 64) % 64;
    arguments.push_back(start + bytes * static_cast<std::size_t>(value.offset_elements));
    return static_cast<std::byte*>(arguments.back());
  };
  memory.reserve(job.inputs.size() + job.outputs.size());
  for (std::size_t i = 0; i < job.inputs.size(); ++i) {
    std::byte* to = allocate(job.inputs[i]);
    const std::size_t bytes = static_cast<std::size_t>(bits_of(job.inputs[i].desc.dtype) / 8);
    const std::byte* from = job.input_values[i].bytes().data();
    test::each_element(job.inputs[i].desc, [&](std::int64_t flat, std::int64_t at) {
      std::memcpy(to + static_cast<std::size_t>(at) * bytes, from + static_cast<std::size_t>(flat) * bytes, bytes);
    });
  }
  std::vector<const std::byte*> results;
  for (const Value& output : job.outputs) results.push_back(allocate(output));
  const bool has_barriers =
      job.kernel.source.find("reduce<", job.kernel.source.find("pajamas_loop")) != std::string::npos ||
      job.kernel.source.find("_best<", job.kernel.source.find("pajamas_loop")) != std::string::npos;
  launch(run, arguments.data(), job.kernel.grid, job.kernel.block, has_barriers ? 1 : 0);
  for (std::size_t i = 0; i < job.outputs.size(); ++i) {
    Tensor found(job.outputs[i].desc.dtype, job.outputs[i].desc.extents);
    const std::size_t bytes = static_cast<std::size_t>(bits_of(found.dtype()) / 8);
    std::byte* to = found.mutable_bytes().data();
    test::each_element(job.outputs[i].desc, [&](std::int64_t flat, std::int64_t at) {
      std::memcpy(to + static_cast<std::size_t>(flat) * bytes, results[i] + static_cast<std::size_t>(at) * bytes,
                  bytes);
    });
    Tensor wanted = job.expected[i];
    if (wanted.shape() != found.shape() || wanted.dtype() != found.dtype()) return "another shape or type";
    if (!is_floating_point(found.dtype())) {
      if (std::memcmp(found.bytes().data(), wanted.bytes().data(), wanted.size_bytes()) != 0) return "integers differ";
      continue;
    }
    double relative = job.relative;
    if (found.dtype() == DType::kFloat16) relative = std::max(relative, 2e-3);
    if (found.dtype() == DType::kBfloat16) relative = std::max(relative, 1.6e-2);
    if (found.dtype() != DType::kFloat64) {
      found = to_float32(found.view());
      wanted = to_float32(wanted.view());
    }
    for (std::int64_t k = 0; k < wanted.num_elements(); ++k) {
      const double a = element(found, k);
      const double b = element(wanted, k);
      const bool is_equal =
          (std::isnan(a) && std::isnan(b)) || a == b || std::abs(a - b) <= job.absolute + relative * std::abs(b);
      if (!is_equal) {
        return std::to_string(a) + " instead of " + std::to_string(b) + " at element " + std::to_string(k);
      }
    }
  }
  return {};
}

void run_all(const std::vector<Job>& jobs) {
  constexpr std::size_t kBatch = 60;
  int wrong = 0;
  for (std::size_t start = 0; start < jobs.size(); start += kBatch) {
    std::vector<const Job*> batch;
    for (std::size_t i = start; i < std::min(jobs.size(), start + kBatch); ++i) batch.push_back(&jobs[i]);
    void* library = compile(batch);
    if (library == nullptr) continue;
    for (std::size_t i = 0; i < batch.size(); ++i) {
      const std::string difference = run_job(*batch[i], library, i);
      if (difference.empty()) continue;
      if (++wrong <= 40) ADD_FAILURE() << batch[i]->name << ": " << difference;
    }
  }
  std::printf("%zu kernels, %d wrong\n", jobs.size(), wrong);
}

Tensor read_tensor(const std::filesystem::path& path) {
  onnx::TensorProto proto;
  if (!proto.ParseFromString(read_file(path))) throw Error(ErrorKind::kBadInput, "not a TensorProto", path.string());
  Tensor tensor(static_cast<DType>(proto.data_type()),
                Shape(std::vector<std::int64_t>(proto.dims().begin(), proto.dims().end())));
  const auto bytes = tensor.mutable_bytes();
  std::memcpy(bytes.data(), proto.raw_data().data(), std::min(bytes.size(), proto.raw_data().size()));
  return tensor;
}

/// A spread of the sources, all of them with PAJAMAS_NVRTC_ALL set.
void compile_for_gpus(const std::vector<Job>& jobs, std::size_t stride) {
  const Nvrtc nvrtc;
  if (!nvrtc.is_there()) {
    std::printf("NVRTC is not on this machine: %zu sources were not compiled for GPUs\n", jobs.size());
    return;
  }
  if (std::getenv("PAJAMAS_NVRTC_ALL") != nullptr) stride = 1;
  int count = 0;
  int wrong = 0;
  for (std::size_t i = 0; i < jobs.size(); i += stride, ++count) {
    const char* arch = i / stride % 2 == 0 ? "--gpu-architecture=sm_90" : "--gpu-architecture=sm_89";
    const std::string log = nvrtc.compile(jobs[i].kernel.source, arch);
    if (!log.empty() && ++wrong <= 10) ADD_FAILURE() << jobs[i].name << " for " << arch << " " << log.substr(0, 600);
  }
  std::printf("%d sources compiled by NVRTC, %d refused\n", count, wrong);
}

TEST(CudaLoops, ConformanceCases) {
  const std::filesystem::path folder = std::filesystem::path(PAJAMAS_DEPS_DIR) / "conformance";
  if (!std::filesystem::exists(folder / "cases.json")) GTEST_SKIP() << "no conformance cases under .deps";
  const nlohmann::json json = nlohmann::json::parse(read_file(folder / "cases.json"));
  std::vector<Job> jobs;
  std::map<std::string, int> refused;
  std::set<std::string> kinds;  // Compilers take the time: other strides once for each operator, type and rank.
  int taken = 0;
  for (const nlohmann::json& entry : json.at("cases")) {
    const std::string name = entry.at("name");
    try {
      Model model = read_onnx(folder / name / "model.onnx");
      if (model.graph.nodes.size() != 1) continue;
      std::map<std::string, Tensor> values;
      std::size_t k = 0;
      for (const ValueInfo& input : model.graph.inputs) {
        if (!entry.at("inputs").at(k).is_null()) {
          values[input.name] = read_tensor(folder / name / entry.at("inputs").at(k).get<std::string>());
        }
        ++k;
      }
      std::vector<std::string> outputs;
      k = 0;
      for (const ValueInfo& output : model.graph.outputs) {
        values[output.name] = read_tensor(folder / name / entry.at("outputs").at(k++).get<std::string>());
        outputs.push_back(output.name);
      }
      // Integer inputs past the first are what models have as constants; indices and conditions stay inputs.
      std::set<std::string> inputs;
      const Node& node = model.graph.nodes[0];
      const bool is_indexed = node.op_type.starts_with("Gather") || node.op_type == "Where" || node.op_type == "OneHot";
      for (std::size_t i = 0; i < node.inputs.size(); ++i) {
        const std::string& input = node.inputs[i];
        if (input.empty() || !values.contains(input)) continue;
        const Tensor& tensor = values.at(input);
        const bool is_attribute =
            i > 0 && !is_indexed &&
            (tensor.dtype() == DType::kInt64 || node.op_type == "Resize" || node.op_type == "Upsample") &&
            tensor.shape().rank() <= 1 && node.op_type != "Add" && node.op_type != "Pow" && node.op_type != "Mod";
        const bool is_number =
            node.op_type == "Range" || (node.op_type == "OneHot" && i == 1) || node.op_type == "ConstantOfShape";
        if (is_attribute || is_number) {
          model.graph.set_initializer(input, tensor);
        } else {
          inputs.insert(input);
        }
      }
      std::string reason;
      const Tensor& first = values.at(outputs.at(0));
      const bool is_new =
          kinds.insert(node.op_type + to_string(first.dtype()) + std::to_string(first.shape().rank())).second;
      if (add_jobs(jobs, name, model, values, inputs, outputs, std::max(1e-3, entry.at("rtol").get<double>()),
                   std::max(1e-5, entry.at("atol").get<double>()), reason, 1, is_new)) {
        ++taken;
      } else {
        ++refused[node.op_type];
      }
    } catch (const std::exception&) {  // not a tensor, or a type that the reader refuses
      ++refused["(not read)"];
    }
  }
  std::string list;
  for (const auto& [type, count] : refused) list += " " + type + ":" + std::to_string(count);
  std::printf("%d cases taken; refused:%s\n", taken, list.c_str());
  EXPECT_GT(taken, 700);
  run_all(jobs);
  compile_for_gpus(jobs, 30);
}

/// A small graph by hand: nodes in order, every input float of one type.
struct Builder {
  Model model;
  std::map<std::string, Tensor> feeds;
  std::mt19937 random{20240229};

  Builder() {
    model.ir_version = 10;
    model.opset_imports = {{"", 20}};
  }
  void input(const std::string& name, DType type, const Shape& shape) {
    Tensor values(DType::kFloat32, shape);
    std::normal_distribution<float> normal(0, 1.5F);
    for (float& value : values.mutable_as<float>()) value = normal(random);
    feeds[name] = type == DType::kFloat32 ? values : from_float32(values.view(), type);
    ValueInfo info;
    info.name = name;
    ValueType value_type;
    value_type.dtype = type;
    value_type.shape.emplace();
    for (const std::int64_t extent : shape) value_type.shape->push_back(Dimension::known(extent));
    info.type = value_type;
    model.graph.inputs.push_back(info);
  }
  void constant(const std::string& name, const std::vector<std::int64_t>& values) {
    model.graph.set_initializer(name, Tensor::of<std::int64_t>({static_cast<std::int64_t>(values.size())}, values));
  }
  Node& node(const std::string& type, std::vector<std::string> inputs, const std::string& output) {
    Node made;
    made.op_type = type;
    made.inputs = std::move(inputs);
    made.outputs = {output};
    model.graph.nodes.push_back(std::move(made));
    return model.graph.nodes.back();
  }
  void output(const std::string& name) {
    ValueInfo info;
    info.name = name;
    model.graph.outputs.push_back(info);
  }
  static Tensor from_float32(const TensorView& view, DType type) {
    Tensor made(type, view.shape);
    const auto from = view.as<float>();
    auto* to = reinterpret_cast<std::uint16_t*>(made.mutable_bytes().data());
    for (std::size_t i = 0; i < from.size(); ++i) {
      to[i] = type == DType::kFloat16 ? float16_from_float(from[i]) : bfloat16_from_float(from[i]);
    }
    return made;
  }
  /// With `has_all_variants` every kernel that there is for the graph in both layouts, else the first two.
  void add(std::vector<Job>& jobs, const std::string& name, bool has_all_variants, double relative, double absolute) {
    RunOptions options;
    options.has_all_values = true;
    const auto values = run_graph(model, feeds, options);
    std::map<std::string, Tensor> all = feeds;
    for (const auto& [key, value] : values) all[key] = value;
    std::set<std::string> inputs;
    for (const auto& [key, value] : feeds) inputs.insert(key);
    std::vector<std::string> outputs;
    for (const ValueInfo& info : model.graph.outputs) outputs.push_back(info.name);
    std::string reason;
    EXPECT_TRUE(add_jobs(jobs, name, model, all, inputs, outputs, relative, absolute, reason, has_all_variants ? 9 : 2))
        << name << reason;
  }
};

TEST(CudaLoops, FusedChains) {
  std::vector<Job> jobs;
  for (const DType type : {DType::kFloat32, DType::kFloat16, DType::kBfloat16}) {
    const std::string suffix = std::string("/") + to_string(type);
    // Values in registers are not rounded, the interpreter's are: what separates them is a few roundings.
    const double absolute = type == DType::kFloat32 ? 1e-5 : type == DType::kFloat16 ? 2e-2 : 1.5e-1;
    for (const std::int64_t width : {1, 7, 64, 197, 768, 1500}) {
      // The half types differ from float32 by conversions and by the width of vectors.
      if (type != DType::kFloat32 && width != 7 && width != 768) continue;
      const bool has_all = type == DType::kFloat32 ? width == 7 || width == 1500 : width == 768;
      Builder b;
      b.input("x", type, {3, 5, width});
      b.input("residual", type, {3, 5, width});
      b.input("scale", type, {width});
      b.input("bias", type, {width});
      b.node("Add", {"x", "residual"}, "sum");
      b.node("LayerNormalization", {"sum", "scale", "bias"}, "normal");
      b.node("Gelu", {"normal"}, "y");
      b.output("sum");
      b.output("y");
      b.add(jobs, "layer_normalization" + std::to_string(width) + suffix, has_all, 2e-4, absolute * 3);
      Builder s;
      s.input("x", type, {2, 4, 3, width});
      s.input("mask", type, {2, 1, 1, width});
      s.node("Add", {"x", "mask"}, "masked");
      s.node("Softmax", {"masked"}, "y");
      s.output("y");
      s.add(jobs, "softmax" + std::to_string(width) + suffix, has_all, 2e-4, absolute);
      Builder c;
      c.input("x", type, {2, 33, width});
      c.node("Relu", {"x"}, "r");
      c.node("Softmax", {"r"}, "y").set_attribute("axis", std::int64_t{1});
      c.output("y");
      c.add(jobs, "column_softmax" + std::to_string(width) + suffix, has_all, 2e-4, absolute);
    }
    for (const std::int64_t width : {1, 5, 16, 20}) {
      if (type != DType::kFloat32 && width != 5 && width != 16) continue;
      const bool has_all = width == 5 || width == 16;
      // Heads: reshape, transpose, scale; and a concatenation of pieces of odd widths behind an activation.
      Builder h;
      h.input("x", type, {2, 9, 4 * width});
      h.constant("shape", {2, 9, 4, width});
      h.constant("flat", {2, 9, 4 * width});
      h.node("Sigmoid", {"x"}, "gate");
      h.node("Mul", {"x", "gate"}, "silu");
      h.node("Reshape", {"silu", "shape"}, "heads");
      h.node("Transpose", {"heads"}, "y").set_attribute("perm", std::vector<std::int64_t>{0, 2, 1, 3});
      h.node("Transpose", {"y"}, "back").set_attribute("perm", std::vector<std::int64_t>{0, 2, 1, 3});
      h.node("Reshape", {"back", "flat"}, "z");
      h.output("y");
      h.output("z");
      h.add(jobs, "heads" + std::to_string(width) + suffix, has_all, 1e-4, absolute);
      Builder c;
      c.input("a", type, {2, width, 6, 7});
      c.input("b", type, {2, 3, 6, 7});
      c.input("d", type, {2, 8, 3, 7});
      c.constant("pads", {0, 0, 1, 2, 0, 0, 2, 0});
      c.node("Tanh", {"a"}, "t");
      c.node("Concat", {"t", "b", "a"}, "joined").set_attribute("axis", std::int64_t{1});
      c.node("Pad", {"joined", "pads"}, "padded");
      c.node("Neg", {"padded"}, "y");
      c.output("y");
      c.add(jobs, "concat" + std::to_string(width) + suffix, has_all, 1e-4, absolute);
      Builder p;
      p.input("x", type, {2, width, 9, 11});
      Node& pool = p.node("MaxPool", {"x"}, "y");
      pool.set_attribute("kernel_shape", std::vector<std::int64_t>{5, 5});
      pool.set_attribute("pads", std::vector<std::int64_t>{2, 2, 2, 2});
      p.output("y");
      p.add(jobs, "max_pool" + std::to_string(width) + suffix, has_all, 1e-4, absolute);
      Builder g;
      g.input("x", type, {2, 8 * width, 5, 5});
      g.node("GlobalAveragePool", {"x"}, "y");
      g.output("y");
      g.add(jobs, "global_average_pool" + std::to_string(width) + suffix, has_all, 1e-4, absolute);
    }
  }
  run_all(jobs);
  compile_for_gpus(jobs, 20);
}

/// The end of a YOLO detector: boxes as expectations over softmaxes, classes, all anchors of two levels.
/// Masks with -inf and tables with NaN: constants that have no literal.
TEST(CudaLoops, TablesOfNumbersWithoutDigits) {
  std::vector<Job> jobs;
  const float infinity = std::numeric_limits<float>::infinity();
  Builder b;
  b.input("x", DType::kFloat32, {3, 2, 3});
  b.model.graph.set_initializer(
      "mask", Tensor::of<float>({2, 3}, std::vector<float>{0, -infinity, infinity, std::nanf(""), -0.0F, 1}));
  b.node("Add", {"x", "mask"}, "y");
  b.output("y");
  b.add(jobs, "mask", true, 0, 0);
  Builder d;
  d.input("x", DType::kFloat32, {5, 2});
  d.model.graph.set_initializer("table", Tensor::of<double>({2}, std::vector<double>{-infinity, 0.5}));
  d.node("Cast", {"x"}, "wide").set_attribute("to", std::int64_t{11});
  d.node("Max", {"wide", "table"}, "y");
  d.output("y");
  d.add(jobs, "doubles", true, 0, 0);
  run_all(jobs);
  compile_for_gpus(jobs, 1);
}

TEST(CudaLoops, DetectorHeads) {
  std::vector<Job> jobs;
  for (const DType type : {DType::kFloat32, DType::kFloat16}) {
    const std::string suffix = std::string("/") + to_string(type);
    const double tolerance = type == DType::kFloat32 ? 1e-4 : 1e-2;
    {
      Builder b;
      b.input("b0", type, {2, 32, 2, 4});
      b.input("b1", type, {2, 32, 1, 4});
      b.constant("s0", {2, 32, 8});
      b.constant("s1", {2, 32, 4});
      b.constant("s2", {2, 4, 8, 12});
      b.constant("s3", {2, 4, 12});
      b.constant("axis", {1});
      Tensor weights(DType::kFloat32, {1, 8, 1, 1});
      for (std::size_t i = 0; i < 8; ++i) weights.mutable_as<float>()[i] = static_cast<float>(i) - 2.5F;
      b.model.graph.set_initializer("w",
                                    type == DType::kFloat32 ? weights : Builder::from_float32(weights.view(), type));
      b.node("Reshape", {"b0", "s0"}, "r0");
      b.node("Reshape", {"b1", "s1"}, "r1");
      b.node("Concat", {"r0", "r1"}, "c").set_attribute("axis", std::int64_t{2});
      b.node("Reshape", {"c", "s2"}, "d");
      b.node("Transpose", {"d"}, "t").set_attribute("perm", std::vector<std::int64_t>{0, 2, 1, 3});
      b.node("Softmax", {"t"}, "p").set_attribute("axis", std::int64_t{1});
      b.node("Mul", {"p", "w"}, "m");
      b.node("ReduceSum", {"m", "axis"}, "e");
      b.node("Reshape", {"e", "s3"}, "y");
      b.output("y");
      b.add(jobs, "boxes" + suffix, true, tolerance, tolerance);
    }
    {
      Builder b;
      b.input("boxes", type, {2, 4, 24});
      b.input("c0", type, {2, 20, 4, 4});
      b.input("c1", type, {2, 20, 2, 4});
      b.constant("s0", {2, 20, 16});
      b.constant("s1", {2, 20, 8});
      b.node("Reshape", {"c0", "s0"}, "r0");
      b.node("Reshape", {"c1", "s1"}, "r1");
      b.node("Concat", {"r0", "r1"}, "c").set_attribute("axis", std::int64_t{2});
      b.node("Sigmoid", {"c"}, "p");
      b.node("Concat", {"boxes", "p"}, "y").set_attribute("axis", std::int64_t{1});
      b.output("y");
      b.add(jobs, "classes" + suffix, true, tolerance, tolerance);
    }
    {
      Builder b;
      b.input("x", type, {2, 24, 40});
      b.node("Transpose", {"x"}, "t").set_attribute("perm", std::vector<std::int64_t>{0, 2, 1});
      b.node("Tanh", {"t"}, "y");
      b.output("y");
      b.add(jobs, "transposed" + suffix, true, tolerance, tolerance);
    }
    {
      Builder b;
      b.input("x", type, {2, 8, 5, 6});
      Node& pool = b.node("MaxPool", {"x"}, "y");
      pool.set_attribute("kernel_shape", std::vector<std::int64_t>{5, 3});
      pool.set_attribute("pads", std::vector<std::int64_t>{2, 1, 2, 1});
      b.output("y");
      b.add(jobs, "pooled" + suffix, true, tolerance, tolerance);
    }
  }
  run_all(jobs);
  compile_for_gpus(jobs, 5);
}

TEST(CudaLoops, PartitionJoinsWhatOneKernelCanDo) {
  Builder b;
  b.input("x", DType::kFloat32, {2, 5, 64});
  b.input("w", DType::kFloat32, {64, 64});
  b.input("scale", DType::kFloat32, {64});
  b.node("Mul", {"x", "x"}, "a");
  b.node("MatMul", {"a", "w"}, "m");
  b.node("Add", {"m", "a"}, "sum");
  b.node("RMSNormalization", {"sum", "scale"}, "n");
  b.node("Sigmoid", {"n"}, "y");
  b.output("y");
  b.model.opset_imports = {{"", 23}};
  const auto facts = infer_facts(b.model);
  const std::vector<std::int32_t> free_nodes{0, 2, 3, 4};
  const auto regions = partition_loops(b.model, *facts, free_nodes);
  // The first product of elements feeds the matrix product: joined to what follows it would be a cycle.
  ASSERT_EQ(regions.size(), 2U);
  EXPECT_EQ(regions[0].nodes, (std::vector<std::int32_t>{0}));
  EXPECT_EQ(regions[1].nodes, (std::vector<std::int32_t>{2, 3, 4}));
}

}  // namespace
}  // namespace pajamas::cuda
