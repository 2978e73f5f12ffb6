// Loading and running engines. See runtime.h.
#include "targets/tensorrt/runtime.h"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <optional>
#include <utility>

#include "base/files.h"
#include "base/log.h"
#include "pajamas/error.h"
#include "targets/tensorrt/engine_file.h"
#include "targets/tensorrt/messages.h"
#include "targets/tensorrt/sm.h"

namespace pajamas::tensorrt {

// ---- Messages ---------------------------------------------------------------------------------------------------

struct RuntimeLogger::State {
  std::mutex mutex;
  std::string errors;
};

RuntimeLogger& RuntimeLogger::instance() {
  static auto* logger = new RuntimeLogger();  // Never deleted: the library may log while the process ends.
  return *logger;
}

RuntimeLogger::State& RuntimeLogger::state() {
  static auto* state = new State();
  return *state;
}

void RuntimeLogger::log(Severity severity, const char* text) noexcept {
  try {
    if (text == nullptr) return;
    pajamas::log().debug("TensorRT: {}", text);
    if (severity > Severity::kError) return;
    const std::lock_guard lock(state().mutex);
    constexpr std::size_t kMost = 4096;
    if (state().errors.size() < kMost) state().errors += (state().errors.empty() ? "" : "; ") + plain_text(text);
  } catch (...) {  // A message lost for want of memory must not end the process inside vendor code.
  }
}

std::string RuntimeLogger::take_errors() {
  const std::lock_guard lock(state().mutex);
  return std::exchange(state().errors, {});
}

namespace {

[[noreturn]] void fail(const std::string& what, ErrorKind kind = ErrorKind::kInternal, const std::string& where = {}) {
  const std::string said = RuntimeLogger::instance().take_errors();
  throw Error(kind, what + (said.empty() ? "" : ": " + said), where);
}

std::vector<Dimension> dimensions_of(const Dims& dims) {
  std::vector<Dimension> dimensions;
  for (const std::int64_t extent : dims.to_vector()) {
    dimensions.push_back(extent < 0 ? Dimension{} : Dimension::known(extent));
  }
  return dimensions;
}

std::string range_text(const Dims& low, const Dims& high) {
  return Shape(low.to_vector()).to_string() + " to " + Shape(high.to_vector()).to_string();
}

/// One input or output with what a session must know of it.
struct Binding {
  TensorInfo info;
  bool is_in_host_memory = false;  ///< A shape tensor: the library reads it on the host.
  Dims low;                        ///< Inputs: smallest and largest shape.
  Dims high;
};

class TensorRtEngine;

/// Memory of an output whose size the run itself decides.
class GrowingOutput final : public OutputAllocator {
 public:
  explicit GrowingOutput(CudaBuffer& buffer) : buffer_(buffer) {}
  void* reallocate_output(const char*, void*, std::uint64_t size, std::uint64_t) noexcept override {
    try {
      return buffer_.reserve(size);
    } catch (...) {
      return nullptr;  // The library turns this into a failed run.
    }
  }
  void* reallocate_output_async(const char* name, void* memory, std::uint64_t size, std::uint64_t alignment,
                                void*) override {
    return reallocate_output(name, memory, size, alignment);
  }
  void notify_shape(const char*, const Dims& dims) noexcept override { dims_ = dims; }
  const Dims& dims() const { return dims_; }

 private:
  CudaBuffer& buffer_;
  Dims dims_;
};

class TensorRtSession final : public Session {
 public:
  explicit TensorRtSession(std::shared_ptr<const TensorRtEngine> engine);
  ~TensorRtSession() override;
  TensorRtSession(const TensorRtSession&) = delete;
  TensorRtSession& operator=(const TensorRtSession&) = delete;
  void set_input(std::size_t index, const TensorView& tensor) override;
  void run() override;
  TensorView output(std::size_t index) const override;
  RunTiming last_timing() const override { return timing_; }

 private:
  struct Input {
    explicit Input(const CudaDriver& driver)
        : device(driver, CudaBuffer::Kind::kDevice), pinned(driver, CudaBuffer::Kind::kPinned) {}
    CudaBuffer device;
    CudaBuffer pinned;  ///< Holds the given values from set_input on, so that runs can be repeated.
    Shape shape;
    std::size_t size = 0;
    bool is_given = false;
    Shape bound_shape;  ///< What the context has, once is_bound.
    bool is_bound = false;
  };
  struct Output {
    explicit Output(const CudaDriver& driver)
        : device(driver, CudaBuffer::Kind::kDevice), pinned(driver, CudaBuffer::Kind::kPinned), growing(device) {}
    CudaBuffer device;
    CudaBuffer pinned;
    GrowingOutput growing;
    Shape shape;
    bool is_growing = false;
  };
  void bind_inputs();
  void bind_outputs();
  void copy_outputs();

  std::shared_ptr<const TensorRtEngine> engine_;
  const CudaDriver& driver_;
  void* stream_ = nullptr;
  void* begin_ = nullptr;
  void* end_ = nullptr;
  Owned<RuntimeConfig> config_;
  Owned<ExecutionContext> context_;
  std::vector<std::unique_ptr<Input>> inputs_;
  std::vector<std::unique_ptr<Output>> outputs_;
  bool has_run_ = false;
  std::chrono::steady_clock::duration staging_time_{0};  ///< Of the copies in set_input since the last run.
  RunTiming timing_;
};

class TensorRtEngine final : public Engine, public std::enable_shared_from_this<TensorRtEngine> {
 public:
  TensorRtEngine(std::shared_ptr<const Library> library, Owned<Runtime> runtime, Owned<CudaEngine> engine,
                 const CudaDriver& driver, GpuDevice device, EngineOptions options)
      : library_(std::move(library)),
        runtime_(std::move(runtime)),
        engine_(std::move(engine)),
        driver_(driver),
        device_(std::move(device)),
        options_(std::move(options)) {
    for (std::int32_t i = 0; i < engine_->num_tensors(); ++i) {
      Binding binding;
      binding.info.name = engine_->tensor_name(i);
      const char* name = binding.info.name.c_str();
      binding.info.dtype = engine_->tensor_dtype(name);
      if (binding.info.dtype == DType::kUndefined) {
        fail("the engine's tensor '" + binding.info.name + "' has an element type this program does not know",
             ErrorKind::kUnsupported);
      }
      binding.info.shape = dimensions_of(engine_->tensor_shape(name));
      binding.is_in_host_memory = engine_->is_in_host_memory(name);
      const bool is_input = engine_->is_input(name);
      if (is_input) {
        binding.low = engine_->profile_shape(name, 0, Profile::Select::kMin);
        binding.high = engine_->profile_shape(name, 0, Profile::Select::kMax);
      }
      (is_input ? input_infos_ : output_infos_).push_back(binding.info);
      (is_input ? inputs_ : outputs_).push_back(std::move(binding));
    }
  }
  ~TensorRtEngine() override {
    save_cache();
    try {
      driver_.make_current(device_.index);  // The members free GPU memory.
    } catch (const std::exception& error) {
      log().info("unloading an engine: {}", error.what());
    }
  }

  const std::vector<TensorInfo>& inputs() const override { return input_infos_; }
  const std::vector<TensorInfo>& outputs() const override { return output_infos_; }
  std::unique_ptr<Session> new_session() const override {
    return std::make_unique<TensorRtSession>(shared_from_this());
  }
  nlohmann::json describe() const override {
    return {{"device", device_.name},
            {"sm", sm_name(device_.sm)},
            {"library", library_ ? std::string(to_string(library_->family())) + " " + library_->version().to_string()
                                 : std::string()},
            {"cuda_graph", uses_cuda_graph()},
            {"driver", driver_.version()}};
  }

  const CudaDriver& driver() const { return driver_; }
  const GpuDevice& device() const { return device_; }
  const CudaEngine& object() const { return *engine_; }
  const std::vector<Binding>& input_bindings() const { return inputs_; }
  const std::vector<Binding>& output_bindings() const { return outputs_; }
  bool uses_cuda_graph() const {
    return options_.use_cuda_graph && engine_->slots->runtime_config_set_cuda_graph_strategy >= 0;
  }

  /// The configuration of one context. The kernel cache is shared by all of them.
  Owned<RuntimeConfig> new_config() const {
    Owned<RuntimeConfig> config = engine_->create_runtime_config();
    if (!config) fail("TensorRT could not create a run-time configuration");
    if (engine_->slots->family != Family::kTensorRtRtx) return config;
    // Kernels for a new shape are compiled when it comes; until they are there, general ones serve.
    config->set_dynamic_shapes(RuntimeConfig::DynamicShapes::kLazy);
    if (uses_cuda_graph() && !config->set_whole_cuda_graph(true)) log().info("TensorRT refused CUDA graphs");
    const std::lock_guard lock(cache_mutex_);
    if (!cache_) {
      cache_ = config->create_cache();
      read_cache();
    }
    if (cache_ && !config->set_cache(*cache_)) log().info("TensorRT refused the kernel cache");
    return config;
  }

  /// Writes the cache when it has grown. Called when the engine goes; never throws.
  void save_cache() const noexcept {
    try {
      const std::lock_guard lock(cache_mutex_);
      if (!cache_ || options_.cache_file.empty()) return;
      const Owned<HostMemory> blob = cache_->serialize();
      if (!blob || blob->size() == cached_bytes_) return;
      write_file(options_.cache_file, std::span(static_cast<const std::byte*>(blob->data()), blob->size()));
      cached_bytes_ = blob->size();
    } catch (const std::exception& error) {
      log().info("the kernel cache was not kept: {}", error.what());
    }
  }

 private:
  void read_cache() const {
    std::error_code ignored;
    if (!cache_ || options_.cache_file.empty() || !std::filesystem::exists(options_.cache_file, ignored)) return;
    try {
      const std::string blob = read_file(options_.cache_file);
      if (cache_->deserialize(blob.data(), blob.size())) {
        cached_bytes_ = blob.size();
        return;
      }
      log().info("the kernel cache {} is of no use and will be made again", options_.cache_file.string());
    } catch (const Error& error) {
      log().info("the kernel cache cannot be read: {}", error.what());
    }
  }

  std::shared_ptr<const Library> library_;
  Owned<Runtime> runtime_;
  Owned<CudaEngine> engine_;
  const CudaDriver& driver_;
  GpuDevice device_;
  EngineOptions options_;
  std::vector<Binding> inputs_;
  std::vector<Binding> outputs_;
  std::vector<TensorInfo> input_infos_;
  std::vector<TensorInfo> output_infos_;
  mutable std::mutex cache_mutex_;
  mutable Owned<RuntimeCache> cache_;
  mutable std::size_t cached_bytes_ = 0;
};

// ---- Session ----------------------------------------------------------------------------------------------------

TensorRtSession::TensorRtSession(std::shared_ptr<const TensorRtEngine> engine)
    : engine_(std::move(engine)), driver_(engine_->driver()) {
  driver_.make_current(engine_->device().index);
  RuntimeLogger::instance().take_errors();
  config_ = engine_->new_config();
  context_ = engine_->object().create_context(*config_);
  if (!context_) fail("TensorRT could not create an execution context");
  for (std::size_t i = 0; i < engine_->inputs().size(); ++i) inputs_.push_back(std::make_unique<Input>(driver_));
  for (std::size_t i = 0; i < engine_->outputs().size(); ++i) outputs_.push_back(std::make_unique<Output>(driver_));
  stream_ = driver_.create_stream();
  begin_ = driver_.create_event();
  end_ = driver_.create_event();
}

TensorRtSession::~TensorRtSession() {
  try {
    driver_.make_current(engine_->device().index);
    if (stream_ != nullptr) driver_.synchronize(stream_);
  } catch (const std::exception& error) {
    log().info("ending a session: {}", error.what());
  }
  context_.reset();
  config_.reset();
  if (end_ != nullptr) driver_.destroy_event(end_);
  if (begin_ != nullptr) driver_.destroy_event(begin_);
  if (stream_ != nullptr) driver_.destroy_stream(stream_);
}

void TensorRtSession::set_input(std::size_t index, const TensorView& tensor) {
  if (index >= inputs_.size()) {
    throw Error(ErrorKind::kInternal, "the engine has " + std::to_string(inputs_.size()) +
                                          " inputs, not one of index " + std::to_string(index));
  }
  const Binding& binding = engine_->input_bindings()[index];
  const std::string where = "input '" + binding.info.name + "'";
  if (tensor.dtype != binding.info.dtype) {
    throw Error(
        ErrorKind::kBadInput,
        std::string("is ") + to_string(tensor.dtype) + " where the engine takes " + to_string(binding.info.dtype),
        where);
  }
  const std::vector<std::int64_t> low = binding.low.to_vector();
  const std::vector<std::int64_t> high = binding.high.to_vector();
  bool is_inside = tensor.shape.rank() == low.size() && low.size() == high.size();
  for (std::size_t axis = 0; is_inside && axis < low.size(); ++axis) {
    is_inside = tensor.shape[axis] >= low[axis] && tensor.shape[axis] <= high[axis];
  }
  if (!is_inside) {
    throw Error(ErrorKind::kBadInput,
                "has shape " + tensor.shape.to_string() + " and the engine was built for " +
                    range_text(binding.low, binding.high),
                where, "give another shape, or build the engine with other --shapes");
  }
  const auto start = std::chrono::steady_clock::now();
  driver_.make_current(engine_->device().index);
  Input& input = *inputs_[index];
  input.is_given = false;  // Should the next line fail, the old values are gone.
  const std::size_t size = tensor.size_bytes();
  void* pinned = input.pinned.reserve(size);
  if (size > 0) std::memcpy(pinned, tensor.data, size);
  input.shape = tensor.shape;
  input.size = size;
  input.is_given = true;
  staging_time_ += std::chrono::steady_clock::now() - start;
}

void TensorRtSession::bind_inputs() {
  for (std::size_t i = 0; i < inputs_.size(); ++i) {
    Input& input = *inputs_[i];
    const Binding& binding = engine_->input_bindings()[i];
    const char* name = binding.info.name.c_str();
    if (!input.is_given) throw Error(ErrorKind::kBadInput, "was not given", "input '" + binding.info.name + "'");
    void* address = input.pinned.data();
    if (!binding.is_in_host_memory) {
      address = input.device.reserve(input.size);
      driver_.copy_to_device(address, input.pinned.data(), input.size, stream_);
    }
    if (!input.is_bound || input.bound_shape != input.shape) {
      if (!context_->set_input_shape(name, Dims::of(input.shape))) {
        fail("TensorRT refused the shape " + input.shape.to_string(), ErrorKind::kBadInput,
             "input '" + binding.info.name + "'");
      }
      input.bound_shape = input.shape;
      input.is_bound = true;
    }
    if (!context_->set_address(name, address)) fail("TensorRT refused the memory of input '" + binding.info.name + "'");
  }
  const std::vector<std::string> missing = context_->infer_shapes();
  if (!missing.empty()) fail("TensorRT cannot tell the shape of '" + missing.front() + "' from the inputs");
}

void TensorRtSession::bind_outputs() {
  for (std::size_t i = 0; i < outputs_.size(); ++i) {
    Output& output = *outputs_[i];
    const Binding& binding = engine_->output_bindings()[i];
    const char* name = binding.info.name.c_str();
    const std::vector<std::int64_t> extents = context_->tensor_shape(name).to_vector();
    output.is_growing = std::any_of(extents.begin(), extents.end(), [](std::int64_t extent) { return extent < 0; });
    if (output.is_growing) {
      if (!context_->set_output_allocator(name, &output.growing)) {
        fail("TensorRT refused an allocator for output '" + binding.info.name + "'");
      }
      continue;
    }
    output.shape = Shape(extents);
    const std::size_t size = bytes_of(binding.info.dtype, output.shape);
    void* address = binding.is_in_host_memory ? output.pinned.reserve(size) : output.device.reserve(size);
    if (!context_->set_address(name, address))
      fail("TensorRT refused the memory of output '" + binding.info.name + "'");
  }
}

void TensorRtSession::copy_outputs() {
  bool has_growing = false;
  for (const auto& output : outputs_) has_growing = has_growing || output->is_growing;
  if (has_growing) driver_.synchronize(stream_);  // Only then are the shapes known.
  for (std::size_t i = 0; i < outputs_.size(); ++i) {
    Output& output = *outputs_[i];
    const Binding& binding = engine_->output_bindings()[i];
    if (output.is_growing) output.shape = Shape(output.growing.dims().to_vector());
    if (binding.is_in_host_memory) continue;
    const std::size_t size = bytes_of(binding.info.dtype, output.shape);
    driver_.copy_to_host(output.pinned.reserve(size), output.device.data(), size, stream_);
  }
}

void TensorRtSession::run() {
  const auto start = std::chrono::steady_clock::now();
  driver_.make_current(engine_->device().index);
  RuntimeLogger::instance().take_errors();
  has_run_ = false;
  bind_inputs();
  bind_outputs();
  driver_.record(begin_, stream_);
  if (!context_->enqueue(stream_)) {
    try {
      driver_.synchronize(stream_);  // Nothing may still use the buffers when the session goes on.
    } catch (const Error& error) {
      log().info("after a failed run: {}", error.what());
    }
    fail("TensorRT could not run the engine");
  }
  driver_.record(end_, stream_);
  copy_outputs();
  driver_.synchronize(stream_);
  const auto total = std::chrono::steady_clock::now() - start + std::exchange(staging_time_, {});
  timing_.device =
      std::chrono::nanoseconds(static_cast<std::int64_t>(static_cast<double>(driver_.elapsed_ms(begin_, end_)) * 1e6));
  timing_.host = std::max(std::chrono::nanoseconds(0), std::chrono::nanoseconds(total) - timing_.device);
  has_run_ = true;
}

TensorView TensorRtSession::output(std::size_t index) const {
  if (index >= outputs_.size() || !has_run_) {
    throw Error(ErrorKind::kInternal, "output " + std::to_string(index) + " asked for before a run, or there is none");
  }
  const Output& output = *outputs_[index];
  return {engine_->outputs()[index].dtype, output.shape, static_cast<const std::byte*>(output.pinned.data())};
}

}  // namespace

std::shared_ptr<const Engine> make_engine(std::shared_ptr<const Library> library, Owned<Runtime> runtime,
                                          Owned<CudaEngine> engine, const CudaDriver& driver, const GpuDevice& device,
                                          const EngineOptions& options) {
  return std::make_shared<TensorRtEngine>(std::move(library), std::move(runtime), std::move(engine), driver, device,
                                          options);
}

std::shared_ptr<const Engine> load_engine_file(const std::filesystem::path& path, std::span<const std::byte> bytes,
                                               const EngineOptions& options) {
  const LibraryPaths paths = find_library();
  const bool is_rtx = paths.library.filename().string().find("nvinfer") == std::string::npos;
  std::optional<EngineHead> head;
  if (is_rtx) head = parse_engine_head(bytes, path);
  // Before the GPU is looked at: another version cannot load the engine on any machine.
  auto library = Library::open(paths);
  if (head && library->family() == Family::kTensorRtRtx) check_engine_version(*head, library->version(), path);
  const CudaDriver& driver = system_cuda_driver();
  const std::vector<GpuDevice> devices = driver.devices();
  if (options.device_index < 0 || static_cast<std::size_t>(options.device_index) >= devices.size()) {
    throw Error(ErrorKind::kDeviceMissing,
                "there is no GPU " + std::to_string(options.device_index) + "; this machine has " +
                    std::to_string(devices.size()),
                {}, "choose a device from 0 to " + std::to_string(devices.size() - 1));
  }
  const GpuDevice& device = devices[static_cast<std::size_t>(options.device_index)];
  if (head) check_engine_sm(*head, device.sm, device.name, path);
  driver.make_current(device.index);
  RuntimeLogger& logger = RuntimeLogger::instance();
  logger.take_errors();
  Owned<Runtime> runtime = library->create_runtime(logger);
  std::uint64_t diagnostics = 0;
  if (runtime->validity(bytes.data(), bytes.size(), diagnostics) == EngineValidity::kInvalid) {
    fail("TensorRT finds the engine invalid on this machine (diagnostic bits " + std::to_string(diagnostics) + ")",
         ErrorKind::kUnsupported, path.string());
  }
  Owned<CudaEngine> engine = runtime->deserialize(bytes.data(), bytes.size());
  if (!engine) fail("TensorRT could not load the engine", ErrorKind::kBadInput, path.string());
  return make_engine(std::move(library), std::move(runtime), std::move(engine), driver, device, options);
}

}  // namespace pajamas::tensorrt
