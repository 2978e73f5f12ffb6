// Running models by ONNX Runtime: the independent reference of verification, and the CPU peer of the benchmarks. Not a
// target: nothing is built or shipped with it. How the library is found is in verify/onnxruntime_library.h.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "engine/target.h"
#include "pajamas/tensor.h"
#include "verify/onnxruntime_library.h"

namespace pajamas {

struct OnnxRuntimeOptions {
  /// How much ONNX Runtime rewrites the model before it runs it.
  enum class Optimisation {
    kNone,   ///< Nothing beyond what its kernels need.
    kBasic,  ///< Constant folding and removal of what does nothing: the model's own operators still run one by one.
    kAll,    ///< Fusions and layout changes too: what its users get by default, and so the peer of a benchmark.
  };
  int num_threads = 0;  ///< CPU threads; 0: all cores.
  Optimisation optimisation = Optimisation::kBasic;
  /// Values of the main graph given as further outputs, after the model's own and in this order. Those the model
  /// already declares as outputs must not be named again.
  std::vector<std::string> extra_outputs{};
};

/// A model loaded by ONNX Runtime. Immutable after construction; `run` may be called from several threads at once.
class OnnxRuntimeSession {
 public:
  /// Reads a serialised ModelProto. Weights in external files are looked for in `external_data_folder`; when that is
  /// empty, a model with external data is refused. `bytes` are not needed after construction.
  /// Throws Error: kDeviceMissing without the library, kBadInput or kUnsupported with ONNX Runtime's reason and the
  /// node it names, kInternal for a fault of ONNX Runtime itself.
  OnnxRuntimeSession(std::span<const std::byte> bytes, const std::filesystem::path& external_data_folder,
                     const OnnxRuntimeOptions& options = {});
  /// Reads a file, with external data beside it. Throws as above; errors name the file.
  explicit OnnxRuntimeSession(const std::filesystem::path& file, const OnnxRuntimeOptions& options = {});

  const std::vector<TensorInfo>& inputs() const noexcept { return inputs_; }
  /// The model's outputs, then the extra ones. An output that is no tensor (a sequence) has dtype kUndefined.
  const std::vector<TensorInfo>& outputs() const noexcept { return outputs_; }

  /// Computes all outputs, in the order of outputs(). Every required input must be given once, by name; initializers
  /// that are inputs too may be left out. Outputs that are no tensors come back as an empty Tensor of dtype kUndefined.
  /// Throws Error{kBadInput} for missing, unknown or unfitting inputs and for failing nodes, which it names.
  std::vector<Tensor> run(const std::vector<std::pair<std::string, Tensor>>& inputs) const;
  /// The same with inputs by their index in inputs(); empty views are not given. Used by the benchmarks.
  std::vector<Tensor> run(std::span<const TensorView> inputs) const;

  const std::string& version() const noexcept { return library_->version(); }

 private:
  void load(std::span<const std::byte> bytes, const std::filesystem::path& external_data_folder,
            const OnnxRuntimeOptions& options);
  [[noreturn]] void fail(OrtStatus* status, const char* what) const;
  void check(OrtStatus* status, const char* what) const;
  TensorInfo describe(OrtTypeInfo* type, std::string name) const;
  std::shared_ptr<OrtValue> value_of(const TensorView& view, const std::vector<std::string>* strings) const;
  std::vector<Tensor> run_values(const std::vector<const char*>& names,
                                 const std::vector<const OrtValue*>& values) const;
  Tensor tensor_of(std::shared_ptr<OrtValue> value) const;

  std::shared_ptr<const OnnxRuntimeLibrary> library_;
  std::shared_ptr<OrtSession> session_;
  std::string where_;  ///< The file, for messages; empty for bytes.
  std::vector<TensorInfo> inputs_;
  std::vector<TensorInfo> outputs_;
};

/// The same session behind the interface that targets' engines have, so that a benchmark measures both by the same
/// code. `describe()` gives {"device": "CPU", "implementation": "onnxruntime", "version": ..., "num_threads": ...}.
std::shared_ptr<const Engine> onnxruntime_engine(std::shared_ptr<const OnnxRuntimeSession> session, int num_threads);

}  // namespace pajamas
