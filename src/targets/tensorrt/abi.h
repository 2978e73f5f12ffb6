// The binary interface of NVIDIA TensorRT as far as this project calls it: virtual-table positions, call-back
// interfaces and constants, declared by us because the libraries ship without headers and because the public headers
// of TensorRT 11 do not fit TensorRT for RTX. The only file that knows positions; library.h opens the libraries.
//
// How an object is laid out (Itanium C++ ABI, Linux x86-64 and arm64): the public object holds its own virtual table
// and, at offset 8, a pointer to an inner object; all methods are entries of the inner object's table. Exceptions: the
// ONNX parser and its errors have their entries in their own table. Positions were measured on the libraries themselves
// (docs/targets-tensorrt.md); they hold for the versions named in known_versions() and for no other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "pajamas/tensor.h"

namespace pajamas::tensorrt {

enum class Family {
  kTensorRtRtx,  ///< TensorRT for RTX: builds for listed SMs without a GPU.
  kTensorRt,     ///< TensorRT 11: builds on the GPU it runs on.
};
/// "TensorRT for RTX", "TensorRT".
const char* to_string(Family family) noexcept;

struct Version {
  int major = 0;
  int minor = 0;
  int patch = 0;
  int build = 0;
  std::string to_string() const;  ///< "1.7.1.116"
};

/// Positions that differ between families; -1: the family has no such entry. Positions common to all known versions
/// are constants in abi.cpp.
struct SlotTable {
  Family family;
  int config_set_num_targets;   ///< (int32 count) -> bool
  int config_set_target;        ///< (int32 sm, int32 index) -> bool
  int config_get_target;        ///< (int32 index) -> int32
  int runtime_engine_validity;  ///< (blob, int64 size, uint64* diagnostics) -> int32
  int runtime_config_create_cache;
  int runtime_config_set_cache;
  int runtime_config_set_dynamic_shapes_strategy;
  int runtime_config_set_cuda_graph_strategy;
  int context_is_stream_capturable;
};

/// The table for a library version, or nullptr when the version is not known.
const SlotTable* find_slot_table(const Version& version) noexcept;
/// "TensorRT for RTX 1.7, TensorRT 11.1 to 11.4": for messages.
std::string known_versions();

/// Extents as the library passes them.
struct Dims {
  std::int32_t num_dims = 0;
  std::int64_t extents[8] = {};

  static constexpr std::size_t kMaxRank = 8;
  /// Throws Error{kUnsupported} above kMaxRank dimensions.
  static Dims of(const Shape& shape);
  std::vector<std::int64_t> to_vector() const;
};

/// The library's element types as ours; kUndefined for one that we do not know.
DType dtype_of(std::int32_t library_type) noexcept;

// ---- Call-back interfaces: implemented by us, called by the library ---------------------------------------------

struct InterfaceInfo {
  const char* kind;
  std::int32_t major;
  std::int32_t minor;
};

/// Common start of every call-back interface. The order of virtual functions here and below is the binary interface.
class VersionedInterface {
 public:
  virtual std::int32_t api_language() const noexcept { return 0; }
  virtual InterfaceInfo interface_info() const noexcept = 0;
  virtual ~VersionedInterface() = default;
};

enum class Severity : std::int32_t { kInternalError = 0, kError = 1, kWarning = 2, kInfo = 3, kVerbose = 4 };

/// Receives the library's messages, from any of its threads. Must live as long as the process: the library keeps the
/// first one it is given.
class Logger : public VersionedInterface {
 public:
  InterfaceInfo interface_info() const noexcept override { return {"ILogger", 1, 0}; }
  virtual void log(Severity severity, const char* text) noexcept = 0;
};

/// Receives the progress of a build, on the building thread. `step_complete` answers false to cancel.
class ProgressMonitor : public VersionedInterface {
 public:
  InterfaceInfo interface_info() const noexcept override { return {"IProgressMonitor", 1, 0}; }
  virtual void phase_start(const char* phase, const char* parent, std::int32_t num_steps) noexcept = 0;
  virtual bool step_complete(const char* phase, std::int32_t step) noexcept = 0;
  virtual void phase_finish(const char* phase) noexcept = 0;
};

/// Gives memory for outputs whose size only the run decides.
class OutputAllocator : public VersionedInterface {
 public:
  InterfaceInfo interface_info() const noexcept override { return {"IOutputAllocator", 1, 0}; }
  virtual void* reallocate_output(const char* name, void* memory, std::uint64_t size,
                                  std::uint64_t alignment) noexcept = 0;
  virtual void* reallocate_output_async(const char* name, void* memory, std::uint64_t size, std::uint64_t alignment,
                                        void* stream) = 0;
  virtual void notify_shape(const char* name, const Dims& dims) noexcept = 0;
};

// ---- The library's objects --------------------------------------------------------------------------------------

/// A borrowed pointer to an object of the library, with the table that its calls use. Null when `object` is.
struct Handle {
  void* object = nullptr;
  const SlotTable* slots = nullptr;
  explicit operator bool() const noexcept { return object != nullptr; }
};

/// Owns an object of the library: deletes it through its own virtual destructor. `H` is a Handle type.
template <typename H>
class Owned {
 public:
  Owned() = default;
  explicit Owned(H handle) : handle_(handle) {}
  ~Owned() { reset(); }
  Owned(Owned&& other) noexcept : handle_(std::exchange(other.handle_, H{})) {}
  Owned& operator=(Owned&& other) noexcept {
    if (this != &other) {
      reset();
      handle_ = std::exchange(other.handle_, H{});
    }
    return *this;
  }
  void reset() noexcept {
    if (handle_) handle_.destroy();
    handle_ = H{};
  }
  const H& operator*() const noexcept { return handle_; }
  const H* operator->() const noexcept { return &handle_; }
  explicit operator bool() const noexcept { return static_cast<bool>(handle_); }

 private:
  H handle_;
};

/// An object whose methods are in its inner object's table.
struct Object : Handle {
  void destroy() const noexcept;
};

struct HostMemory : Object {
  const void* data() const;
  std::size_t size() const;
};

struct NetworkTensor : Object {
  std::string name() const;
  std::vector<std::int64_t> extents() const;  ///< -1 for a dynamic one.
  DType dtype() const;
};

struct Network : Object {
  int num_layers() const;
  int num_inputs() const;
  NetworkTensor input(int index) const;
  int num_outputs() const;
  NetworkTensor output(int index) const;
};

struct Profile : Object {
  enum class Select : std::int32_t { kMin = 0, kOpt = 1, kMax = 2 };
  bool set_dimensions(const char* input, Select select, const Dims& dims) const;
  bool is_valid() const;
};

struct BuilderConfig : Object {
  bool set_num_targets(std::int32_t count) const;
  bool set_target(std::int32_t sm, std::int32_t index) const;
  std::int32_t target(std::int32_t index) const;
  /// Index of the profile, -1 when it is invalid.
  std::int32_t add_profile(const Profile& profile) const;
  void set_progress_monitor(ProgressMonitor* monitor) const;
  void set_optimization_level(std::int32_t level) const;
  std::int32_t optimization_level() const;
  void set_workspace_limit(std::size_t bytes) const;
};

struct Builder : Object {
  Owned<BuilderConfig> create_config() const;
  /// Strongly typed: the types in the graph are the types computed in.
  Owned<Network> create_network() const;
  /// The profile belongs to the builder.
  Profile create_profile() const;
  Owned<HostMemory> build(const Network& network, const BuilderConfig& config) const;
  bool set_max_threads(std::int32_t count) const;
};

/// One error of the ONNX parser. Valid until the parser is used again.
struct ParserError : Handle {
  std::int32_t code() const;
  std::string description() const;
  std::int32_t node_index() const;  ///< -1 when the error is not at a node.
  std::string node_name() const;
  std::string node_operator() const;
};

struct Parser : Handle {
  /// `model_path` locates external data; may be null.
  bool parse(const void* model, std::size_t size, const char* model_path) const;
  int num_errors() const;
  ParserError error(int index) const;
  void destroy() const noexcept;
};

struct RuntimeCache : Object {
  Owned<HostMemory> serialize() const;
  bool deserialize(const void* blob, std::size_t size) const;
};

struct RuntimeConfig : Object {
  enum class DynamicShapes : std::int32_t { kLazy = 0, kEager = 1, kNone = 2 };
  Owned<RuntimeCache> create_cache() const;
  bool set_cache(const RuntimeCache& cache) const;
  void set_dynamic_shapes(DynamicShapes strategy) const;
  bool set_whole_cuda_graph(bool is_on) const;
};

/// One execution context. `stream` is a CUDA stream. Names are those of the engine's inputs and outputs.
struct ExecutionContext : Object {
  bool set_input_shape(const char* name, const Dims& dims) const;
  Dims tensor_shape(const char* name) const;
  bool set_address(const char* name, void* device_memory) const;
  bool set_output_allocator(const char* name, OutputAllocator* allocator) const;
  /// Names of tensors whose shapes cannot be known yet; empty when all are known.
  std::vector<std::string> infer_shapes() const;
  bool set_profile(std::int32_t index, void* stream) const;
  bool enqueue(void* stream) const;
  /// False also where the family cannot tell.
  bool is_stream_capturable(void* stream) const;
};

struct CudaEngine : Object {
  std::int32_t num_tensors() const;
  std::string tensor_name(std::int32_t index) const;
  bool is_input(const char* name) const;
  DType tensor_dtype(const char* name) const;
  Dims tensor_shape(const char* name) const;
  std::int32_t num_profiles() const;
  Dims profile_shape(const char* name, std::int32_t profile, Profile::Select select) const;
  bool is_in_host_memory(const char* name) const;  ///< Shape tensors live in host memory.
  Owned<RuntimeConfig> create_runtime_config() const;
  Owned<ExecutionContext> create_context(const RuntimeConfig& config) const;
};

enum class EngineValidity : std::int32_t { kValid = 0, kSuboptimal = 1, kInvalid = 2 };

struct Runtime : Object {
  Owned<CudaEngine> deserialize(const void* blob, std::size_t size) const;
  /// Only TensorRT for RTX; elsewhere kValid. `diagnostics` receives the library's bits.
  EngineValidity validity(const void* blob, std::size_t size, std::uint64_t& diagnostics) const;
};

}  // namespace pajamas::tensorrt
