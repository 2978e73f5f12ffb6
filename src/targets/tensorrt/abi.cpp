// Calls by virtual-table position. See abi.h for the layout; the numbers below were measured on TensorRT for RTX
// 1.7.1.116 and agree with TensorRT 11 except where SlotTable says otherwise.
#include "targets/tensorrt/abi.h"

#include <array>
#include <cstring>

#include "pajamas/error.h"

namespace pajamas::tensorrt {
namespace {

constexpr SlotTable kRtxTable{.family = Family::kTensorRtRtx,
                              .config_set_num_targets = 55,
                              .config_set_target = 57,
                              .config_get_target = 58,
                              .runtime_engine_validity = 24,
                              .runtime_config_create_cache = 5,
                              .runtime_config_set_cache = 6,
                              .runtime_config_set_dynamic_shapes_strategy = 8,
                              .runtime_config_set_cuda_graph_strategy = 10,
                              .context_is_stream_capturable = 52};
constexpr SlotTable kTensorRtTable{.family = Family::kTensorRt,
                                   .config_set_num_targets = -1,
                                   .config_set_target = -1,
                                   .config_get_target = -1,
                                   .runtime_engine_validity = -1,
                                   .runtime_config_create_cache = -1,
                                   .runtime_config_set_cache = -1,
                                   .runtime_config_set_dynamic_shapes_strategy = -1,
                                   .runtime_config_set_cuda_graph_strategy = -1,
                                   .context_is_stream_capturable = -1};

struct KnownVersions {
  const SlotTable* table;
  int major;
  int first_minor;
  int last_minor;
};
// TensorRT keeps the order of entries within a major version and only appends; 11.1 and 11.4 were looked at. TensorRT
// for RTX gives no such promise: exactly the version that was measured.
constexpr std::array kKnownVersions{KnownVersions{&kRtxTable, 1, 7, 7}, KnownVersions{&kTensorRtTable, 11, 1, 4}};

void** table_of(void* object) { return *static_cast<void***>(object); }

/// A method is called as a plain function with the object as its first argument: both C++ ABIs named in abi.h pass
/// `this`, and the hidden pointer of a returned structure, exactly so.
template <typename Result, typename... Arguments>
Result call_entry(void* object, int slot, Arguments... arguments) {
  if (slot < 0) throw Error(ErrorKind::kInternal, "this TensorRT version has no such entry");
  using Entry = Result (*)(void*, Arguments...);
  return reinterpret_cast<Entry>(table_of(object)[slot])(object, arguments...);
}

void* inner_of(void* object) { return *reinterpret_cast<void**>(static_cast<char*>(object) + sizeof(void*)); }

template <typename Result, typename... Arguments>
Result call(const Handle& handle, int slot, Arguments... arguments) {
  return call_entry<Result>(inner_of(handle.object), slot, arguments...);
}

template <typename H>
H wrap(void* object, const Handle& parent) {
  H handle;
  handle.object = object;
  handle.slots = parent.slots;
  return handle;
}

std::string text_of(const char* text) { return text != nullptr ? text : ""; }

// Positions of the inner tables.
constexpr int kHostMemoryData = 2;
constexpr int kHostMemorySize = 3;
constexpr int kTensorGetName = 3;
constexpr int kTensorGetDimensions = 5;
constexpr int kTensorGetType = 6;
constexpr int kNetworkNumLayers = 12;
constexpr int kNetworkNumInputs = 14;
constexpr int kNetworkGetInput = 15;
constexpr int kNetworkNumOutputs = 16;
constexpr int kNetworkGetOutput = 17;
constexpr int kProfileSetDimensions = 2;
constexpr int kProfileIsValid = 7;
constexpr int kConfigAddProfile = 23;
constexpr int kConfigSetMemoryPoolLimit = 32;
constexpr int kConfigSetOptimizationLevel = 36;
constexpr int kConfigGetOptimizationLevel = 37;
constexpr int kConfigSetProgressMonitor = 45;
constexpr int kBuilderCreateConfig = 5;
constexpr int kBuilderCreateNetwork = 6;
constexpr int kBuilderCreateProfile = 7;
constexpr int kBuilderBuild = 11;
constexpr int kBuilderSetMaxThreads = 14;
constexpr int kRuntimeDeserialize = 3;
constexpr int kEngineNumProfiles = 8;
constexpr int kEngineTensorShape = 15;
constexpr int kEngineTensorType = 16;
constexpr int kEngineTensorLocation = 17;
constexpr int kEngineTensorMode = 19;
constexpr int kEngineProfileShape = 25;
constexpr int kEngineNumTensors = 26;
constexpr int kEngineTensorName = 27;
constexpr int kEngineCreateContextWithConfig = 47;
constexpr int kEngineCreateRuntimeConfig = 48;
constexpr int kContextSetProfile = 16;
constexpr int kContextSetInputShape = 20;
constexpr int kContextTensorShape = 21;
constexpr int kContextSetAddress = 23;
constexpr int kContextInferShapes = 27;
constexpr int kContextSetOutputAllocator = 31;
constexpr int kContextEnqueue = 36;
constexpr int kCacheSerialize = 2;
constexpr int kCacheDeserialize = 3;
// Positions of the parser's and its errors' own tables, and of the public objects' own tables.
constexpr int kParserParse = 0;
constexpr int kParserNumErrors = 3;
constexpr int kParserGetError = 4;
constexpr int kParserDelete = 7;
constexpr int kParserErrorCode = 0;
constexpr int kParserErrorDescription = 1;
constexpr int kParserErrorNode = 5;
constexpr int kParserErrorNodeName = 6;
constexpr int kParserErrorNodeOperator = 7;
constexpr int kObjectDelete = 1;

constexpr std::uint32_t kStronglyTyped = 1U << 0;
constexpr std::int32_t kWorkspacePool = 0;
constexpr std::int32_t kInputMode = 1;
constexpr std::int32_t kHostLocation = 1;

// By the library's DataType numbers.
constexpr std::array kDTypes{DType::kFloat32, DType::kFloat16, DType::kInt8,         DType::kInt32,
                             DType::kBool,    DType::kUint8,   DType::kFloat8E4M3Fn, DType::kBfloat16,
                             DType::kInt64,   DType::kInt4,    DType::kFloat4E2M1,   DType::kFloat8E8M0};

}  // namespace

const char* to_string(Family family) noexcept {
  return family == Family::kTensorRtRtx ? "TensorRT for RTX" : "TensorRT";
}

std::string Version::to_string() const {
  return std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(patch) + "." +
         std::to_string(build);
}

const SlotTable* find_slot_table(const Version& version) noexcept {
  for (const KnownVersions& known : kKnownVersions) {
    if (version.major == known.major && version.minor >= known.first_minor && version.minor <= known.last_minor) {
      return known.table;
    }
  }
  return nullptr;
}

std::string known_versions() {
  std::string text;
  for (const KnownVersions& known : kKnownVersions) {
    text += text.empty() ? "" : ", ";
    text += std::string(to_string(known.table->family)) + " " + std::to_string(known.major) + "." +
            std::to_string(known.first_minor);
    if (known.last_minor != known.first_minor) {
      text += " to " + std::to_string(known.major) + "." + std::to_string(known.last_minor);
    }
  }
  return text;
}

Dims Dims::of(const Shape& shape) {
  if (shape.rank() > kMaxRank) {
    throw Error(ErrorKind::kUnsupported,
                "TensorRT takes tensors of at most 8 dimensions, this one is " + shape.to_string());
  }
  Dims dims;
  dims.num_dims = static_cast<std::int32_t>(shape.rank());
  for (std::size_t axis = 0; axis < shape.rank(); ++axis) dims.extents[axis] = shape[axis];
  return dims;
}

std::vector<std::int64_t> Dims::to_vector() const {
  const bool is_sane = num_dims >= 0 && static_cast<std::size_t>(num_dims) <= kMaxRank;
  return is_sane ? std::vector<std::int64_t>(extents, extents + num_dims) : std::vector<std::int64_t>{};
}

DType dtype_of(std::int32_t library_type) noexcept {
  const bool is_known = library_type >= 0 && static_cast<std::size_t>(library_type) < kDTypes.size();
  return is_known ? kDTypes[static_cast<std::size_t>(library_type)] : DType::kUndefined;
}

void Object::destroy() const noexcept { call_entry<void>(object, kObjectDelete); }

const void* HostMemory::data() const { return call<void*>(*this, kHostMemoryData); }
std::size_t HostMemory::size() const { return call<std::size_t>(*this, kHostMemorySize); }

std::string NetworkTensor::name() const { return text_of(call<const char*>(*this, kTensorGetName)); }
std::vector<std::int64_t> NetworkTensor::extents() const { return call<Dims>(*this, kTensorGetDimensions).to_vector(); }
DType NetworkTensor::dtype() const { return dtype_of(call<std::int32_t>(*this, kTensorGetType)); }

int Network::num_layers() const { return call<std::int32_t>(*this, kNetworkNumLayers); }
int Network::num_inputs() const { return call<std::int32_t>(*this, kNetworkNumInputs); }
NetworkTensor Network::input(int index) const {
  return wrap<NetworkTensor>(call<void*>(*this, kNetworkGetInput, std::int32_t{index}), *this);
}
int Network::num_outputs() const { return call<std::int32_t>(*this, kNetworkNumOutputs); }
NetworkTensor Network::output(int index) const {
  return wrap<NetworkTensor>(call<void*>(*this, kNetworkGetOutput, std::int32_t{index}), *this);
}

bool Profile::set_dimensions(const char* input, Select select, const Dims& dims) const {
  return call<bool>(*this, kProfileSetDimensions, input, static_cast<std::int32_t>(select), &dims);
}
bool Profile::is_valid() const { return call<bool>(*this, kProfileIsValid); }

bool BuilderConfig::set_num_targets(std::int32_t count) const {
  return call<bool>(*this, slots->config_set_num_targets, count);
}
bool BuilderConfig::set_target(std::int32_t sm, std::int32_t index) const {
  return call<bool>(*this, slots->config_set_target, sm, index);
}
std::int32_t BuilderConfig::target(std::int32_t index) const {
  return call<std::int32_t>(*this, slots->config_get_target, index);
}
std::int32_t BuilderConfig::add_profile(const Profile& profile) const {
  return call<std::int32_t>(*this, kConfigAddProfile, profile.object);
}
void BuilderConfig::set_progress_monitor(ProgressMonitor* monitor) const {
  call<void>(*this, kConfigSetProgressMonitor, monitor);
}
void BuilderConfig::set_optimization_level(std::int32_t level) const {
  call<void>(*this, kConfigSetOptimizationLevel, level);
}
std::int32_t BuilderConfig::optimization_level() const {
  return call<std::int32_t>(*this, kConfigGetOptimizationLevel);
}
void BuilderConfig::set_workspace_limit(std::size_t bytes) const {
  call<void>(*this, kConfigSetMemoryPoolLimit, kWorkspacePool, bytes);
}

Owned<BuilderConfig> Builder::create_config() const {
  return Owned(wrap<BuilderConfig>(call<void*>(*this, kBuilderCreateConfig), *this));
}
Owned<Network> Builder::create_network() const {
  return Owned(wrap<Network>(call<void*>(*this, kBuilderCreateNetwork, kStronglyTyped), *this));
}
Profile Builder::create_profile() const { return wrap<Profile>(call<void*>(*this, kBuilderCreateProfile), *this); }
Owned<HostMemory> Builder::build(const Network& network, const BuilderConfig& config) const {
  return Owned(wrap<HostMemory>(call<void*>(*this, kBuilderBuild, network.object, config.object), *this));
}
bool Builder::set_max_threads(std::int32_t count) const { return call<bool>(*this, kBuilderSetMaxThreads, count); }

std::int32_t ParserError::code() const { return call_entry<std::int32_t>(object, kParserErrorCode); }
std::string ParserError::description() const {
  return text_of(call_entry<const char*>(object, kParserErrorDescription));
}
std::int32_t ParserError::node_index() const { return call_entry<std::int32_t>(object, kParserErrorNode); }
std::string ParserError::node_name() const { return text_of(call_entry<const char*>(object, kParserErrorNodeName)); }
std::string ParserError::node_operator() const {
  return text_of(call_entry<const char*>(object, kParserErrorNodeOperator));
}

bool Parser::parse(const void* model, std::size_t size, const char* model_path) const {
  return call_entry<bool>(object, kParserParse, model, size, model_path);
}
int Parser::num_errors() const { return call_entry<std::int32_t>(object, kParserNumErrors); }
ParserError Parser::error(int index) const {
  return wrap<ParserError>(call_entry<void*>(object, kParserGetError, std::int32_t{index}), *this);
}
void Parser::destroy() const noexcept { call_entry<void>(object, kParserDelete); }

Owned<HostMemory> RuntimeCache::serialize() const {
  return Owned(wrap<HostMemory>(call<void*>(*this, kCacheSerialize), *this));
}
bool RuntimeCache::deserialize(const void* blob, std::size_t size) const {
  return call<bool>(*this, kCacheDeserialize, blob, size);
}

Owned<RuntimeCache> RuntimeConfig::create_cache() const {
  return Owned(wrap<RuntimeCache>(call<void*>(*this, slots->runtime_config_create_cache), *this));
}
bool RuntimeConfig::set_cache(const RuntimeCache& cache) const {
  return call<bool>(*this, slots->runtime_config_set_cache, cache.object);
}
void RuntimeConfig::set_dynamic_shapes(DynamicShapes strategy) const {
  call<void>(*this, slots->runtime_config_set_dynamic_shapes_strategy, static_cast<std::int32_t>(strategy));
}
bool RuntimeConfig::set_whole_cuda_graph(bool is_on) const {
  return call<bool>(*this, slots->runtime_config_set_cuda_graph_strategy, std::int32_t{is_on ? 1 : 0});
}

bool ExecutionContext::set_input_shape(const char* name, const Dims& dims) const {
  return call<bool>(*this, kContextSetInputShape, name, &dims);
}
Dims ExecutionContext::tensor_shape(const char* name) const { return call<Dims>(*this, kContextTensorShape, name); }
bool ExecutionContext::set_address(const char* name, void* device_memory) const {
  return call<bool>(*this, kContextSetAddress, name, device_memory);
}
bool ExecutionContext::set_output_allocator(const char* name, OutputAllocator* allocator) const {
  return call<bool>(*this, kContextSetOutputAllocator, name, allocator);
}
std::vector<std::string> ExecutionContext::infer_shapes() const {
  std::array<const char*, 16> names{};
  const std::int32_t num_missing =
      call<std::int32_t>(*this, kContextInferShapes, static_cast<std::int32_t>(names.size()), names.data());
  if (num_missing < 0) return {"(the shapes given do not fit together)"};
  std::vector<std::string> missing;
  for (std::size_t i = 0; i < names.size() && i < static_cast<std::size_t>(num_missing); ++i) {
    missing.push_back(text_of(names[i]));
  }
  return missing;
}
bool ExecutionContext::set_profile(std::int32_t index, void* stream) const {
  return call<bool>(*this, kContextSetProfile, index, stream);
}
bool ExecutionContext::enqueue(void* stream) const { return call<bool>(*this, kContextEnqueue, stream); }
bool ExecutionContext::is_stream_capturable(void* stream) const {
  return slots->context_is_stream_capturable >= 0 && call<bool>(*this, slots->context_is_stream_capturable, stream);
}

std::int32_t CudaEngine::num_tensors() const { return call<std::int32_t>(*this, kEngineNumTensors); }
std::string CudaEngine::tensor_name(std::int32_t index) const {
  return text_of(call<const char*>(*this, kEngineTensorName, index));
}
bool CudaEngine::is_input(const char* name) const {
  return call<std::int32_t>(*this, kEngineTensorMode, name) == kInputMode;
}
DType CudaEngine::tensor_dtype(const char* name) const {
  return dtype_of(call<std::int32_t>(*this, kEngineTensorType, name));
}
Dims CudaEngine::tensor_shape(const char* name) const { return call<Dims>(*this, kEngineTensorShape, name); }
std::int32_t CudaEngine::num_profiles() const { return call<std::int32_t>(*this, kEngineNumProfiles); }
Dims CudaEngine::profile_shape(const char* name, std::int32_t profile, Profile::Select select) const {
  return call<Dims>(*this, kEngineProfileShape, name, profile, static_cast<std::int32_t>(select));
}
bool CudaEngine::is_in_host_memory(const char* name) const {
  return call<std::int32_t>(*this, kEngineTensorLocation, name) == kHostLocation;
}
Owned<RuntimeConfig> CudaEngine::create_runtime_config() const {
  return Owned(wrap<RuntimeConfig>(call<void*>(*this, kEngineCreateRuntimeConfig), *this));
}
Owned<ExecutionContext> CudaEngine::create_context(const RuntimeConfig& config) const {
  return Owned(wrap<ExecutionContext>(call<void*>(*this, kEngineCreateContextWithConfig, config.object), *this));
}

Owned<CudaEngine> Runtime::deserialize(const void* blob, std::size_t size) const {
  return Owned(wrap<CudaEngine>(call<void*>(*this, kRuntimeDeserialize, blob, size), *this));
}
EngineValidity Runtime::validity(const void* blob, std::size_t size, std::uint64_t& diagnostics) const {
  if (slots->runtime_engine_validity < 0) return EngineValidity::kValid;
  return static_cast<EngineValidity>(
      call<std::int32_t>(*this, slots->runtime_engine_validity, blob, static_cast<std::int64_t>(size), &diagnostics));
}

}  // namespace pajamas::tensorrt
