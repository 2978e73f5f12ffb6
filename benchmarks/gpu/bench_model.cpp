// See bench_model.h.
#include "bench_model.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <fstream>
#include <random>
#include <thread>

#include "base/files.h"
#include "bench/statistics.h"
#include "graph/inline_functions.h"
#include "graph/passes/pipeline.h"
#include "graph/passes/quantize_products.h"
#include "graph/passes/raise_opset.h"
#include "io/onnx_reader.h"
#include "pajamas/error.h"
#include "targets/cuda/lowering/lower.h"
#include "targets/cuda/runtime/product_times.h"
#include "tensor/half.h"
#include "verify/comparison.h"
#include "verify/onnxruntime_reference.h"
#include "verify/tolerances.h"

namespace pajamas::gpu_bench {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

/// The model with every open first extent at `batch`, after the passes.
Model lowered(const Model& source, std::int64_t batch, Precision precision, bool has_fp32_interface) {
  Model model = source;
  PassOptions options;
  options.has_fp32_interface = has_fp32_interface;
  if (precision == Precision::kFp16) options.float_type = DType::kFloat16;
  if (precision == Precision::kBf16) options.float_type = DType::kBfloat16;
  for (const ValueInfo* input : model.graph.required_inputs()) {
    Shape shape;
    for (std::size_t axis = 0; axis < input->type->shape->size(); ++axis) {
      const Dimension& dimension = (*input->type->shape)[axis];
      if (!dimension.is_known() && axis != 0) {
        throw Error(ErrorKind::kUnsupported,
                    "axis " + std::to_string(axis) + " of input '" + input->name + "' is open");
      }
      shape.push_back(dimension.is_known() ? dimension.extent() : batch);
    }
    options.fixed_shapes.emplace_back(input->name, shape);
  }
  inline_functions(model);
  if (options.float_type != DType::kFloat32) raise_for_half_quantization(model);
  run_passes(model, options);
  if (const Support support = cuda::supports_graph(model); !support) {
    throw Error(ErrorKind::kUnsupported, support.reason, {}, support.remedy);
  }
  return model;
}

struct InputRange {
  float low = -1.5F;
  float high = 1.5F;
};

/// What the model takes: pixels from 0 to 1 where its metadata are those of a YOLO exporter, else pictures and
/// spectrograms after normalisation. It matters for accuracy: noise of three times a picture's contrast drives the
/// logits of yolov8n to a deviation of 30, where the roundings of float16 alone (emulated with exact sums) make
/// 0.9 % of the boxes; on pixels from 0 to 1 they make 0.04 %.
InputRange input_range(const Model& model) {
  return model.find_metadata("imgsz") != nullptr ? InputRange{0, 1} : InputRange{};
}

/// Zeros for integers.
Tensor random_input(DType dtype, const Shape& shape, const InputRange& range, std::mt19937& random) {
  std::uniform_real_distribution<float> distribution(range.low, range.high);
  Tensor tensor(dtype, shape);
  const auto bytes = tensor.mutable_bytes();
  const auto count = static_cast<std::size_t>(shape.num_elements());
  const auto fill = [&](auto* values, const auto& convert) {
    for (std::size_t i = 0; i < count; ++i) values[i] = convert(distribution(random));
  };
  switch (dtype) {
    case DType::kFloat32: fill(reinterpret_cast<float*>(bytes.data()), [](float value) { return value; }); break;
    case DType::kFloat16: fill(reinterpret_cast<std::uint16_t*>(bytes.data()), float16_from_float); break;
    case DType::kBfloat16: fill(reinterpret_cast<std::uint16_t*>(bytes.data()), bfloat16_from_float); break;
    default: std::fill(bytes.begin(), bytes.end(), std::byte{0}); break;
  }
  return tensor;
}

Tensor as_float32(const Tensor& tensor) {
  if (tensor.dtype() != DType::kFloat16 && tensor.dtype() != DType::kBfloat16) return tensor;
  Tensor result(DType::kFloat32, tensor.shape());
  const auto values = result.mutable_as<float>();
  const auto* bits = reinterpret_cast<const std::uint16_t*>(tensor.bytes().data());
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = tensor.dtype() == DType::kFloat16 ? float_from_float16(bits[i]) : float_from_bfloat16(bits[i]);
  }
  return result;
}

/// Item `index` of a batch, as a batch of one.
Tensor item_of(const Tensor& tensor, std::int64_t index) {
  Shape shape = tensor.shape();
  const std::size_t size_bytes = tensor.size_bytes() / static_cast<std::size_t>(std::max<std::int64_t>(shape[0], 1));
  shape[0] = 1;
  return Tensor::copy_of({tensor.dtype(), shape, tensor.bytes().data() + static_cast<std::size_t>(index) * size_bytes});
}

struct Memory {
  double host_mib = 0;
  double device_mib = 0;  ///< In use on the whole device.
};

Memory memory_now() {
  Memory memory;
  // Resident pages are the second number.
  std::ifstream statm("/proc/self/statm");
  double num_pages = 0;
  double num_resident = 0;
  statm >> num_pages >> num_resident;
  memory.host_mib = num_resident * 4096 / 1048576;
  std::size_t free_bytes = 0;
  std::size_t total_bytes = 0;
  cuda::check(cudaMemGetInfo(&free_bytes, &total_bytes), "asking for free GPU memory");
  memory.device_mib = static_cast<double>(total_bytes - free_bytes) / 1048576;
  return memory;
}

nlohmann::json growth(const Memory& before, const Memory& after) {
  return {{"host_mib", after.host_mib - before.host_mib}, {"device_mib", after.device_mib - before.device_mib}};
}

void upload(cuda::DeviceSession& session, const std::vector<Tensor>& inputs) {
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    cuda::check(cudaMemcpyAsync(session.input(i), inputs[i].bytes().data(), inputs[i].size_bytes(),
                                cudaMemcpyHostToDevice, session.stream()),
                "copying an input to the GPU");
  }
  session.synchronize();
}

/// A file that is gone with the object.
struct EngineFile {
  EngineFile() {
    std::string name = (std::filesystem::temp_directory_path() / "gpu-bench-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw Error(ErrorKind::kBadInput, "cannot make a temporary folder", name);
    folder = name;
    path = folder / "model.cuda";
  }
  ~EngineFile() {
    std::error_code ignored;
    std::filesystem::remove_all(folder, ignored);
  }
  EngineFile(const EngineFile&) = delete;
  EngineFile& operator=(const EngineFile&) = delete;
  std::filesystem::path folder, path;
};

std::shared_ptr<const cuda::CudaEngine> load(const std::filesystem::path& path) {
  const auto file = MappedFile::open(path);
  return cuda::read_engine(cuda::DeviceContext::open(), file->bytes(), path.string());
}

/// What the left factors of products range over, by what the model computes of these inputs here.
Magnitudes measure(const Model& model, const std::vector<Tensor>& inputs, const Options& options) {
  const std::vector<std::string> activations = quantizable_activations(model);
  cuda::BuildEngineOptions build;
  build.is_tuned = false;
  build.precision = options.precision;
  build.num_threads = options.num_threads;
  cuda::TimingCache cache;
  const cuda::BuiltEngine built =
      cuda::build_engine(cuda::DeviceContext::open(), with_largest_magnitudes(model, activations), build, cache);
  cuda::DeviceSession session(built.engine);
  session.set_shapes(built.engine->tuned_shapes());
  const std::vector<Tensor> largest = run_once(session, inputs);
  Magnitudes magnitudes;
  for (std::size_t i = 0; i < activations.size(); ++i) magnitudes[activations[i]] = largest[i].as<float>()[0];
  return magnitudes;
}

/// With products in 8-bit floats where they are faster.
cuda::BuiltEngine build_quantized(const Model& model, const cuda::BuildEngineOptions& build, const Options& options,
                                  cuda::TimingCache& cache, Prepared& prepared) {
  const auto device = cuda::DeviceContext::open();
  Magnitudes magnitudes = measure(model, prepared.inputs, options);
  Model quantized = model;
  quantize_products(quantized, magnitudes);
  // The whole of it first, so that its kernels are tried in its plan too.
  cuda::BuiltEngine built = cuda::build_engine(device, quantized, build, cache);
  const cuda::ProductComparison products = cuda::compare_products(device, quantized, build, cache);
  prepared.products = to_json(products);
  const std::vector<std::string> wide = products.not_worth_it();
  if (wide.empty()) return built;
  for (const std::string& name : wide) magnitudes.erase(name);
  quantized = model;
  quantize_products(quantized, magnitudes);
  return cuda::build_engine(device, quantized, build, cache);
}

}  // namespace

Prepared prepare(const std::filesystem::path& source, std::int64_t batch, const Options& options) {
  Prepared prepared;
  prepared.source = source;
  prepared.batch = batch;
  const auto begin = Clock::now();
  const Model model = lowered(read_onnx(source), batch, options.precision, options.has_fp32_interface);
  std::mt19937 random(1);
  for (const ValueInfo* input : model.graph.required_inputs()) {
    prepared.inputs.push_back(
        random_input(input->type->dtype, *input->type->static_shape(), input_range(model), random));
  }
  cuda::BuildEngineOptions build;
  build.precision = options.precision;
  build.num_threads = options.num_threads;
  build.max_kernels = options.max_kernels;
  build.progress = options.progress;
  cuda::TimingCache cache;
  if (!options.timing_cache.empty()) cache = cuda::TimingCache::read(options.timing_cache);
  prepared.built = options.is_fp8 ? build_quantized(model, build, options, cache, prepared)
                                  : cuda::build_engine(cuda::DeviceContext::open(), model, build, cache);
  if (!options.timing_cache.empty()) cache.write(options.timing_cache);
  prepared.build_seconds = seconds_since(begin);
  prepared.session = std::make_unique<cuda::DeviceSession>(prepared.built.engine);
  prepared.session->set_shapes(prepared.built.engine->tuned_shapes());
  return prepared;
}

std::vector<Tensor> run_once(cuda::DeviceSession& session, const std::vector<Tensor>& inputs) {
  upload(session, inputs);
  // What no kernel writes must show: NaN patterns, as float16, bfloat16 and float32.
  const auto& infos = session.engine().outputs();
  for (std::size_t i = 0; i < infos.size(); ++i) {
    cuda::check(cudaMemsetAsync(session.output(i), 0xff, session.output_bytes(i), session.stream()), "poisoning");
  }
  session.launch();
  session.synchronize();
  std::vector<Tensor> outputs;
  for (std::size_t i = 0; i < infos.size(); ++i) {
    Tensor tensor(infos[i].dtype, session.output_shape(i));
    cuda::check(
        cudaMemcpy(tensor.mutable_bytes().data(), session.output(i), tensor.size_bytes(), cudaMemcpyDeviceToHost),
        "copying an output from the GPU");
    outputs.push_back(std::move(tensor));
  }
  return outputs;
}

nlohmann::json verify(Prepared& prepared, const Options& options) {
  const std::vector<Tensor> actual = run_once(*prepared.session, prepared.inputs);
  const Model source = read_onnx(prepared.source);
  const auto inputs = source.graph.required_inputs();
  const bool is_batch_open = !inputs.empty() && !(*inputs[0]->type->shape)[0].is_known();
  const cuda::CudaEngine& engine = *prepared.built.engine;
  const bool is_quantised = options.is_fp8 || std::any_of(source.graph.nodes.begin(), source.graph.nodes.end(),
                                                          [](const Node& node) { return node.is("QuantizeLinear"); });
  const Tolerance bound =
      tolerance(options.precision, is_quantised ? OperatorClass::kQuantised : OperatorClass::kNetwork);
  nlohmann::json compared = nlohmann::json::array();
  const auto judge = [&](std::size_t output, const Tensor& expected, const Tensor& got, std::int64_t item) {
    const Comparison comparison = compare(engine.outputs()[output].name, expected, got);
    if (const auto failure = past_tolerance(comparison, bound)) {
      throw Error(ErrorKind::kUnsupported, "output '" + comparison.name + "' of item " + std::to_string(item) +
                                               " is wrong: " + *failure + " (" + describe(comparison) + ")");
    }
    compared.push_back({{"output", comparison.name}, {"item", item}, {"relative_l2", comparison.relative_l2}});
  };
  if (options.is_verified_by_onnxruntime) {
    OnnxRuntimeOptions reference;
    reference.num_threads = options.num_threads;
    const OnnxRuntimeSession session(prepared.source, reference);
    // Items of a batch do not know of each other: the first and the last tell whether all is right.
    std::vector<std::int64_t> items{0};
    if (is_batch_open && prepared.batch > 1) items.push_back(prepared.batch - 1);
    for (const std::int64_t item : items) {
      std::vector<std::pair<std::string, Tensor>> given;
      for (std::size_t i = 0; i < inputs.size(); ++i) {
        const Tensor input = as_float32(prepared.inputs[i]);
        given.emplace_back(inputs[i]->name, is_batch_open ? item_of(input, item) : input);
      }
      const std::vector<Tensor> expected = session.run(given);
      for (std::size_t i = 0; i < actual.size(); ++i) {
        judge(i, expected[i], is_batch_open ? item_of(actual[i], item) : actual[i], item);
      }
    }
    return {{"by", "onnxruntime " + session.version()}, {"compared", compared}};
  }
  cuda::BuildEngineOptions build;
  build.is_tuned = false;
  build.num_threads = options.num_threads;
  cuda::TimingCache cache;
  const cuda::BuiltEngine reference = cuda::build_engine(
      cuda::DeviceContext::open(), lowered(source, prepared.batch, Precision::kFp32, true), build, cache);
  cuda::DeviceSession session(reference.engine);
  session.set_shapes(reference.engine->tuned_shapes());
  std::vector<Tensor> given;
  for (const Tensor& input : prepared.inputs) given.push_back(as_float32(input));
  const std::vector<Tensor> expected = run_once(session, given);
  for (std::size_t i = 0; i < actual.size(); ++i) judge(i, expected[i], actual[i], 0);
  return {{"by", "own fp32 engine, untuned"}, {"compared", compared}};
}

nlohmann::json measure(Prepared& prepared, const Options& options) {
  cuda::DeviceSession& session = *prepared.session;
  upload(session, prepared.inputs);
  for (int i = 0; i < 10; ++i) session.launch();
  session.synchronize();
  const cuda::Event begin;
  const cuda::Event end;
  std::vector<double> times_ms;
  for (int i = 0; i < options.num_replays; ++i) {
    begin.record(session.stream());
    session.launch();
    end.record(session.stream());
    session.synchronize();
    times_ms.push_back(end.us_since(begin) / 1000);
  }
  begin.record(session.stream());
  for (int i = 0; i < options.num_replays; ++i) session.launch();
  end.record(session.stream());
  session.synchronize();
  return {{"gpu_ms", to_json(statistics_of(times_ms))},
          {"in_a_row_ms", end.us_since(begin) / 1000 / options.num_replays}};
}

nlohmann::json measure_load(Prepared& prepared) {
  const EngineFile file;
  cuda::write_engine(prepared.built, file.path);
  const auto begin = Clock::now();
  const auto engine = load(file.path);
  const double load_ms = seconds_since(begin) * 1000;
  cuda::DeviceSession session(engine);
  session.set_shapes(engine->tuned_shapes());
  const double ready_ms = seconds_since(begin) * 1000;
  const std::vector<Tensor> expected = run_once(*prepared.session, prepared.inputs);
  const std::vector<Tensor> actual = run_once(session, prepared.inputs);
  bool is_same = true;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    is_same = is_same && std::ranges::equal(expected[i].bytes(), actual[i].bytes());
  }
  return {{"file_mb", static_cast<double>(std::filesystem::file_size(file.path)) / 1e6},
          {"load_ms", load_ms},
          {"first_session_ms", ready_ms},
          {"gives_same_bits", is_same}};
}

nlohmann::json measure_streams(Prepared& prepared, const Options& options) {
  const auto throughput = [&](int num_sessions) {
    std::vector<std::unique_ptr<cuda::DeviceSession>> sessions;
    for (int i = 0; i < num_sessions; ++i) {
      sessions.push_back(std::make_unique<cuda::DeviceSession>(prepared.built.engine));
      sessions.back()->set_shapes(prepared.built.engine->tuned_shapes());
      upload(*sessions.back(), prepared.inputs);
    }
    std::atomic<bool> is_started{false};
    std::atomic<bool> is_stopped{false};
    std::atomic<std::int64_t> num_runs{0};
    std::vector<std::thread> threads;
    for (auto& session : sessions) {
      threads.emplace_back([&is_started, &is_stopped, &num_runs, &session = *session] {
        session.engine().device().make_current();
        while (!is_started) std::this_thread::yield();
        while (!is_stopped) {
          // A few in a row, as a busy server has them; all of them finished when they are counted.
          constexpr int kInARow = 8;
          for (int i = 0; i < kInARow; ++i) session.launch();
          session.synchronize();
          num_runs += kInARow;
        }
      });
    }
    is_started = true;
    std::this_thread::sleep_for(std::chrono::milliseconds(200));  // Warm-up.
    const std::int64_t before = num_runs;
    const auto begin = Clock::now();
    std::this_thread::sleep_for(std::chrono::milliseconds(1000));
    const std::int64_t after = num_runs;
    const double seconds = seconds_since(begin);
    is_stopped = true;
    for (std::thread& thread : threads) thread.join();
    return static_cast<double>((after - before) * prepared.batch) / seconds;
  };
  const double one = throughput(1);
  const double many = throughput(options.num_streams);
  return {{"num_streams", options.num_streams}, {"one_per_s", one}, {"all_per_s", many}, {"ratio", many / one}};
}

nlohmann::json measure_growth(Prepared& prepared, const Options& options) {
  nlohmann::json report;
  if (options.num_growth_runs > 0) {
    const auto session = prepared.built.engine->new_session();
    for (std::size_t i = 0; i < prepared.inputs.size(); ++i) session->set_input(i, prepared.inputs[i].view());
    for (int i = 0; i < 100; ++i) session->run();
    const Memory before = memory_now();
    for (int i = 0; i < options.num_growth_runs; ++i) session->run();
    report["runs"] = growth(before, memory_now());
    report["runs"]["count"] = options.num_growth_runs;
  }
  if (options.num_reloads > 0) {
    const EngineFile file;
    cuda::write_engine(prepared.built, file.path);
    const auto cycle = [&] {
      const auto engine = load(file.path);
      const auto session = engine->new_session();
      for (std::size_t i = 0; i < prepared.inputs.size(); ++i) session->set_input(i, prepared.inputs[i].view());
      session->run();
    };
    for (int i = 0; i < 10; ++i) cycle();
    const Memory before = memory_now();
    const auto begin = Clock::now();
    for (int i = 0; i < options.num_reloads; ++i) cycle();
    report["reloads"] = growth(before, memory_now());
    report["reloads"]["count"] = options.num_reloads;
    report["reloads"]["ms_each"] = seconds_since(begin) * 1000 / options.num_reloads;
  }
  return report;
}

}  // namespace pajamas::gpu_bench
