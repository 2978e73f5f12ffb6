// ONNX Runtime's shared library, opened at run time through its C interface: finding it, checking it, and the few
// entries of its function table that the project calls. No header of ONNX Runtime is needed to build, and a machine
// without the library runs everything but verification. Models are run by verify/onnxruntime_reference.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace pajamas {

/// The interface version this program asks for. The table is only ever appended to, so every library from 1.20 on
/// gives it, and an entry below keeps its place for good.
inline constexpr std::uint32_t kOnnxRuntimeApiVersion = 20;
/// Environment variable with the path of the library; when set, no other place is tried.
inline constexpr const char* kOnnxRuntimeLibraryVariable = "PAJAMAS_ONNXRUNTIME_LIBRARY";

/// Opaque objects of the library.
struct OrtEnv;
struct OrtStatus;
struct OrtSession;
struct OrtSessionOptions;
struct OrtMemoryInfo;
struct OrtValue;
struct OrtTypeInfo;
struct OrtTensorTypeAndShapeInfo;
struct OrtAllocator;

/// The entries that are called, resolved from the table by their index. All are thread-safe as ONNX Runtime documents:
/// one session may run from several threads at once.
struct OnnxRuntimeFunctions {
  using LogFunction = void (*)(void* parameter, int severity, const char* category, const char* log_id,
                               const char* code_location, const char* message);
  int (*get_error_code)(const OrtStatus*);
  const char* (*get_error_message)(const OrtStatus*);
  OrtStatus* (*create_env_with_custom_logger)(LogFunction, void* parameter, int severity, const char* log_id, OrtEnv**);
  OrtStatus* (*create_session)(const OrtEnv*, const char* path, const OrtSessionOptions*, OrtSession**);
  OrtStatus* (*create_session_from_array)(const OrtEnv*, const void* bytes, std::size_t size, const OrtSessionOptions*,
                                          OrtSession**);
  OrtStatus* (*run)(OrtSession*, const void* run_options, const char* const* input_names, const OrtValue* const* inputs,
                    std::size_t num_inputs, const char* const* output_names, std::size_t num_outputs,
                    OrtValue** outputs);
  OrtStatus* (*create_session_options)(OrtSessionOptions**);
  OrtStatus* (*set_session_log_severity_level)(OrtSessionOptions*, int);
  OrtStatus* (*set_session_graph_optimization_level)(OrtSessionOptions*, int);
  OrtStatus* (*set_intra_op_num_threads)(OrtSessionOptions*, int);
  OrtStatus* (*set_inter_op_num_threads)(OrtSessionOptions*, int);
  OrtStatus* (*session_get_input_count)(const OrtSession*, std::size_t*);
  OrtStatus* (*session_get_output_count)(const OrtSession*, std::size_t*);
  OrtStatus* (*session_get_input_type_info)(const OrtSession*, std::size_t, OrtTypeInfo**);
  OrtStatus* (*session_get_output_type_info)(const OrtSession*, std::size_t, OrtTypeInfo**);
  OrtStatus* (*session_get_input_name)(const OrtSession*, std::size_t, OrtAllocator*, char**);
  OrtStatus* (*session_get_output_name)(const OrtSession*, std::size_t, OrtAllocator*, char**);
  OrtStatus* (*create_tensor_as_ort_value)(OrtAllocator*, const std::int64_t* shape, std::size_t rank, int dtype,
                                           OrtValue**);
  OrtStatus* (*create_tensor_with_data_as_ort_value)(const OrtMemoryInfo*, void* data, std::size_t size_bytes,
                                                     const std::int64_t* shape, std::size_t rank, int dtype,
                                                     OrtValue**);
  OrtStatus* (*get_tensor_mutable_data)(OrtValue*, void**);
  OrtStatus* (*fill_string_tensor)(OrtValue*, const char* const* strings, std::size_t num_strings);
  OrtStatus* (*get_string_tensor_data_length)(const OrtValue*, std::size_t*);
  OrtStatus* (*get_string_tensor_content)(const OrtValue*, void* bytes, std::size_t size_bytes, std::size_t* offsets,
                                          std::size_t num_offsets);
  OrtStatus* (*cast_type_info_to_tensor_info)(const OrtTypeInfo*, const OrtTensorTypeAndShapeInfo**);
  OrtStatus* (*get_tensor_element_type)(const OrtTensorTypeAndShapeInfo*, int*);
  OrtStatus* (*get_dimensions_count)(const OrtTensorTypeAndShapeInfo*, std::size_t*);
  OrtStatus* (*get_dimensions)(const OrtTensorTypeAndShapeInfo*, std::int64_t*, std::size_t);
  OrtStatus* (*get_symbolic_dimensions)(const OrtTensorTypeAndShapeInfo*, const char**, std::size_t);
  OrtStatus* (*get_tensor_type_and_shape)(const OrtValue*, OrtTensorTypeAndShapeInfo**);
  OrtStatus* (*get_value_type)(const OrtValue*, int*);
  OrtStatus* (*create_cpu_memory_info)(int allocator_type, int memory_type, OrtMemoryInfo**);
  OrtStatus* (*allocator_free)(OrtAllocator*, void*);
  OrtStatus* (*get_allocator_with_default_options)(OrtAllocator**);
  void (*release_status)(OrtStatus*);
  void (*release_session)(OrtSession*);
  void (*release_value)(OrtValue*);
  void (*release_type_info)(OrtTypeInfo*);
  void (*release_tensor_type_and_shape_info)(OrtTensorTypeAndShapeInfo*);
  void (*release_session_options)(OrtSessionOptions*);
  OrtStatus* (*add_session_config_entry)(OrtSessionOptions*, const char* key, const char* value);
};

/// The opened library with its process-wide environment. Never unloaded. Thread-safe.
class OnnxRuntimeLibrary {
 public:
  /// The library of this process, opened on first use: from PAJAMAS_ONNXRUNTIME_LIBRARY, else from beside the program
  /// (../lib), else from the downloads of ./dev setup, else by the system's loader. Throws Error{kDeviceMissing} naming
  /// the places tried and the remedy; a later call tries again.
  static std::shared_ptr<const OnnxRuntimeLibrary> get();
  /// Opens one file (or, for a bare name, what the system's loader finds). Throws Error{kDeviceMissing} when it is
  /// missing, damaged, another library, or older than kOnnxRuntimeApiVersion.
  static std::shared_ptr<const OnnxRuntimeLibrary> open(const std::filesystem::path& path);
  /// The files that get() tries, in order.
  static std::vector<std::filesystem::path> candidates();

  const OnnxRuntimeFunctions& functions() const noexcept { return functions_; }
  const OrtEnv* environment() const noexcept { return environment_; }
  const OrtMemoryInfo* host_memory() const noexcept { return host_memory_; }
  OrtAllocator* allocator() const noexcept { return allocator_; }
  const std::string& version() const noexcept { return version_; }  ///< "1.31.1"
  const std::filesystem::path& path() const noexcept { return path_; }

 private:
  OnnxRuntimeLibrary() = default;
  OnnxRuntimeFunctions functions_{};
  OrtEnv* environment_ = nullptr;
  OrtMemoryInfo* host_memory_ = nullptr;
  OrtAllocator* allocator_ = nullptr;
  std::string version_;
  std::filesystem::path path_;
};

}  // namespace pajamas
