// See bundle_source.h.
#include "toolchain/bundle_source.h"

#include "base/json_reader.h"
#include "pajamas/error.h"
#include "toolchain/import.h"

namespace pajamas {
namespace fs = std::filesystem;

fs::path find_bundle_source(const Bundle& bundle, const std::optional<fs::path>& given) {
  const std::string manifest_path = (bundle.directory() / kManifestFileName).string();
  const JsonReader source(bundle.manifest().source, manifest_path, "source");
  fs::path path = given ? *given : fs::path(source.string("path"));
  if (!fs::exists(path)) {
    throw Error(ErrorKind::kBadInput, given ? "there is no such file or folder" : "the model is no longer there",
                path.string(), "name the model with --source");
  }
  if (source_digest(path) != source.string("sha256")) {
    throw Error(ErrorKind::kBadInput, "is not the model that the bundle was built from: its SHA-256 differs",
                path.string(), "name the right model with --source, or build the bundle again from this one");
  }
  return path;
}

ImportedModel import_bundle_source(const Bundle& bundle, const fs::path& path, const BuildPlan& plan,
                                   const Progress& progress) {
  ImportHints hints;
  const JsonReader source(bundle.manifest().source, (bundle.directory() / kManifestFileName).string(), "source");
  if (source.has("hints")) {
    hints.task = source.member("hints").string_or("task", "");
    hints.head = source.member("hints").string_or("head", "");
    hints.tokenizer = source.member("hints").string_or("tokenizer", "");
    hints.voice_detector = source.member("hints").string_or("voice_detector", "");
  }
  hints.context_length = plan.context_length;
  hints.scratch_directory = fs::temp_directory_path();
  return import_model(path, hints, progress);
}

}  // namespace pajamas
