// See compiler.h.
#include "targets/tensorrt/compiler.h"

#include <unistd.h>

#include <algorithm>
#include <optional>

#include "base/files.h"
#include "base/log.h"
#include "io/onnx_writer.h"
#include "pajamas/error.h"
#include "targets/shape_profiles.h"
#include "targets/tensorrt/engine_file.h"
#include "targets/tensorrt/messages.h"
#include "targets/tensorrt/sm.h"

namespace pajamas::tensorrt {
namespace {

namespace fs = std::filesystem;

/// Removes files unless told that they are good.
class Cleanup {
 public:
  explicit Cleanup(std::vector<fs::path> paths) : paths_(std::move(paths)) {}
  ~Cleanup() {
    std::error_code ignored;
    for (const fs::path& path : paths_) fs::remove(path, ignored);
  }
  Cleanup(const Cleanup&) = delete;
  Cleanup& operator=(const Cleanup&) = delete;
  void keep() { paths_.clear(); }

 private:
  std::vector<fs::path> paths_;
};

/// The library must take and give what the model says, else a caller would read garbage.
void check_interface(const std::vector<BuiltTensor>& built, const std::vector<ValueInfo>& declared, const char* what,
                     const std::string& name) {
  for (const BuiltTensor& tensor : built) {
    const auto found =
        std::find_if(declared.begin(), declared.end(), [&](const ValueInfo& info) { return info.name == tensor.name; });
    const std::string where = std::string(what) + " '" + tensor.name + "'";
    if (found == declared.end()) {
      throw Error(ErrorKind::kInternal, "TensorRT made an " + where + " that the model does not have", name);
    }
    if (found->type && found->type->dtype != DType::kUndefined && found->type->dtype != tensor.dtype) {
      throw Error(ErrorKind::kUnsupported,
                  "TensorRT would make " + where + " " + to_string(tensor.dtype) + " where the model says " +
                      to_string(found->type->dtype),
                  name, "export the model with " + std::string(to_string(tensor.dtype)) + " there");
    }
  }
}

/// Whether the weights are in a file beside `onnx_path`: the model alone is smaller than they are then.
bool has_weights_elsewhere(const Model& model, const fs::path& onnx_path) {
  std::uint64_t weight_bytes = 0;
  for (const Initializer& initializer : model.graph.initializers) {
    if (initializer.tensor.dtype() != DType::kString) weight_bytes += initializer.tensor.size_bytes();
  }
  return fs::file_size(onnx_path) < weight_bytes;
}

/// Whether the whole file is on the disk and built for what was asked.
std::vector<int> check_engine(const fs::path& path, const BuilderOutcome& outcome, const EngineBuild& build,
                              const std::string& name) {
  if (build.sms.empty()) return {};
  const auto file = MappedFile::open(path);
  const EngineHead head = parse_engine_head(file->bytes(), path);
  check_engine_version(head, outcome.version, path);
  if (head.sms != build.sms) {
    throw Error(ErrorKind::kInternal,
                "TensorRT built for " + sm_names(head.sms) + " where " + sm_names(build.sms) + " was asked for", name);
  }
  return head.sms;
}

}  // namespace

fs::path external_data_path(const fs::path& onnx_path) {
  return onnx_path.parent_path() / (onnx_path.filename().string() + ".data");
}

BuiltEngine compile_engine(const Model& model, const EngineBuild& build, const fs::path& onnx_path,
                           const fs::path& engine_path, const std::string& name, const Progress& progress) {
  BuiltEngine result;
  result.profiles = resolve_profiles(model, build.profiles);
  const LibraryPaths library = find_library();
  progress.step("Writing the model for TensorRT");
  const fs::path partial = engine_path.parent_path() / ("." + engine_path.filename().string() + ".partial-" +
                                                        std::to_string(static_cast<long>(::getpid())));
  Cleanup cleanup({onnx_path, external_data_path(onnx_path), partial});
  write_onnx(model, onnx_path);
  result.has_external_data = has_weights_elsewhere(model, onnx_path);

  BuilderRequest request;
  request.library = library;
  request.onnx = onnx_path;
  request.engine = partial;
  request.sms = build.sms;
  request.profiles = result.profiles;
  request.optimization_level = build.optimization_level;
  request.workspace_bytes = build.workspace_bytes;
  request.num_threads = build.num_threads;
  request.is_verbose = build.is_verbose;
  result.outcome = run_builder(request, build.limits, progress);
  const BuilderOutcome& outcome = result.outcome;
  if (!outcome.is_built()) {
    const Error error = build_error(outcome, model, name, build.limits);
    if (error.where() != partial.string()) throw error;
    throw Error(error.kind(), error.message(), engine_path.string(), error.remedy());  // Not the hidden name.
  }
  if (const auto hidden = find_hidden_failure(outcome, name)) throw *hidden;
  check_interface(outcome.inputs, model.graph.inputs, "input", name);
  check_interface(outcome.outputs, model.graph.outputs, "output", name);
  result.sms = check_engine(partial, outcome, build, name);
  result.engine_bytes = fs::file_size(partial);
  result.warnings = notable_warnings(outcome);
  for (const std::string& warning : result.warnings) log().info("{}: TensorRT warns: {}", name, warning);
  std::error_code error;
  fs::rename(partial, engine_path, error);
  if (error) {
    throw Error(ErrorKind::kBadInput, "cannot put the engine in place: " + error.message(), engine_path.string(),
                "check the permissions of the folder");
  }
  cleanup.keep();
  return result;
}

BuiltEngine compile_bare_engine(const Model& model, const EngineBuild& build, const fs::path& engine_path,
                                const std::string& name, const Progress& progress) {
  // A staged folder that is never committed: whatever happens, it goes, also when an earlier process died in it.
  const fs::path place = fs::absolute(engine_path).parent_path() / (engine_path.filename().string() + ".work");
  std::optional<StagedDirectory> work;
  BuiltEngine built;
  try {
    work.emplace(place);
    built = compile_engine(model, build, work->path() / "model.onnx", work->path() / "model.engine", name, progress);
  } catch (const Error& error) {
    const bool is_about_files =
        error.where() == place.string() || (work && error.where().find(work->path().string()) != std::string::npos);
    if (!is_about_files) throw;
    throw Error(error.kind(), error.message(), engine_path.string(), error.remedy());  // Not the hidden folder.
  }
  std::error_code error;
  fs::rename(work->path() / "model.engine", engine_path, error);
  if (error) {
    throw Error(ErrorKind::kBadInput, "cannot put the engine in place: " + error.message(), engine_path.string(),
                "check the path and the permissions of its folder");
  }
  return built;
}

}  // namespace pajamas::tensorrt
