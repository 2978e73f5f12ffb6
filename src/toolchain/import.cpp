// Dispatch by format and family. The readers are io/, the families models/.
#include "toolchain/import.h"

#include <algorithm>
#include <array>
#include <regex>
#include <utility>

#include "base/digest.h"
#include "base/files.h"
#include "base/parallel.h"
#include "bundle/bundle.h"
#include "graph/checker.h"
#include "io/gguf.h"
#include "io/onnx_reader.h"
#include "pajamas/error.h"
#include "tasks/transcription/voice_detector.h"

namespace pajamas {
namespace fs = std::filesystem;
namespace {

constexpr std::uint64_t kMaxLabelBytes = 64ULL << 20;
constexpr const char* kVoiceDetectorFile = "silero_vad.onnx";

/// A model that the passes may rely on. What is wrong with it is said of its file.
Model read_checked_onnx(const fs::path& file) {
  Model model = read_onnx(file);
  try {
    check_model(model);
  } catch (const Error& error) {
    throw error.with_context(file.string());
  }
  return model;
}

ImportedModel import_onnx(const fs::path& source, const ImportHints& hints) {
  ImportedModel imported;
  imported.name = folder_name(source.stem().string());
  imported.format = "onnx";
  Model model = read_checked_onnx(source);
  try {
    Recognition recognition = recognise_model(model, hints);
    imported.family = std::move(recognition.family);
    imported.task = std::move(recognition.task);
  } catch (const Error& error) {
    throw error.with_context(source.string());
  }
  imported.parts.push_back({"model", std::move(model)});
  return imported;
}

/// The name within the limits of a bundle's, and graphs that the passes may rely on.
ImportedModel finished(ImportedModel imported) {
  imported.name = folder_name(imported.name);
  for (const ImportedPart& part : imported.parts) check_model(part.model);
  return imported;
}

/// A speech model's part that finds speech: from the file that the hints name, else from the checkpoint's folder.
void add_voice_detector(ImportedModel& imported, const fs::path& source, const ImportHints& hints) {
  std::error_code ignored;
  if (imported.task.name != "transcription") {
    if (hints.voice_detector.empty()) return;
    throw Error(ErrorKind::kUsage, "a voice detector is for speech models, the model's task is " + imported.task.name,
                hints.voice_detector.string(), "leave --vad out");
  }
  fs::path file = hints.voice_detector;
  if (file.empty()) {
    file = (fs::is_directory(source, ignored) ? source : source.parent_path()) / kVoiceDetectorFile;
    if (!fs::exists(file, ignored)) return;
  }
  ImportedPart part;
  part.name = kVoicePart;
  part.is_float32 = true;
  part.model = read_checked_onnx(file);
  imported.parts.push_back(std::move(part));
}

ImportedModel import_folder(const fs::path& source, const ImportHints& hints) {
  std::error_code ignored;
  if (!fs::exists(source / "config.json", ignored)) {
    throw Error(ErrorKind::kBadInput, "is a folder without config.json", source.string(),
                "give an .onnx file, a .gguf file, a Hugging Face checkpoint folder (config.json and "
                "model.safetensors) or a CTranslate2 folder of Whisper (model.bin)");
  }
  ImportedModel imported = load_checkpoint_folder(source, hints);
  if (imported.name.empty()) imported.name = fs::absolute(source).lexically_normal().filename().string();
  return finished(std::move(imported));
}

/// By its content: a file that is named like a GGUF and is none gets the error of the reader it is named for.
bool is_gguf_file(const fs::path& source) { return source.extension() == ".gguf" || Gguf::is_gguf(source); }

/// Of the files, in the order of their names; they are read at once by as many threads as the machine has.
std::string digest_of(const std::vector<fs::path>& files) {
  std::vector<std::string> lines(files.size());
  parallel_for(static_cast<std::int64_t>(files.size()), 0, [&](std::int64_t i) {
    const fs::path& file = files[static_cast<std::size_t>(i)];
    lines[static_cast<std::size_t>(i)] = file.filename().string() + " " + sha256_hex_of_file(file) + "\n";
  });
  std::sort(lines.begin(), lines.end());
  std::string all;
  for (const std::string& line : lines) all += line;
  return sha256_hex(std::as_bytes(std::span(all.data(), all.size())));
}

/// All files of a GGUF that is one of several ("name-00001-of-00003.gguf"); nothing for any other file.
std::vector<fs::path> gguf_splits(const fs::path& source) {
  static const std::regex pattern(R"((.*)-\d{5}-of-(\d{5})\.gguf)");
  std::smatch match;
  const std::string name = source.filename().string();
  if (!std::regex_match(name, match, pattern)) return {};
  std::vector<fs::path> files;
  for (int i = 1; i <= std::stoi(match[2]); ++i) {
    std::string number = std::to_string(i);
    number.insert(0, 5 - number.size(), '0');
    files.push_back(source.parent_path() / (match[1].str() + "-" + number + "-of-" + match[2].str() + ".gguf"));
  }
  return files;
}

ImportedModel import_any(const fs::path& source, const ImportHints& hints, const Progress& progress) {
  progress.step("Reading " + source.filename().string());
  std::error_code error;
  if (!fs::exists(source, error)) {
    throw Error(ErrorKind::kBadInput, "there is no such file or folder", source.string(), "check the path");
  }
  if (const ModelDefinition* definition = find_definition_of_path(source)) {
    return finished(definition->load_path(source, hints));
  }
  if (!fs::is_directory(source, error)) {
    return is_gguf_file(source) ? finished(load_gguf(source, hints)) : import_onnx(source, hints);
  }
  if (fs::exists(source / kManifestFileName, error)) {
    throw Error(ErrorKind::kBadInput, "is a bundle, not a model to build from", source.string(),
                "give the file or checkpoint folder that the bundle was built from");
  }
  return import_folder(source, hints);
}

}  // namespace

ImportedModel import_model(const fs::path& source, const ImportHints& hints, const Progress& progress) {
  ImportedModel imported = import_any(source, hints, progress);
  add_voice_detector(imported, source, hints);
  return imported;
}

std::string source_digest(const fs::path& source) {
  std::error_code error;
  std::vector<fs::path> files;
  if (!fs::is_directory(source, error)) {
    const std::vector<fs::path> splits = gguf_splits(source);
    return splits.empty() ? sha256_hex_of_file(source) : digest_of(splits);
  }
  for (fs::directory_iterator place(source, error), end; !error && place != end; place.increment(error)) {
    const fs::directory_entry& entry = *place;
    const std::string ending = entry.path().extension().string();
    std::error_code ignored;
    constexpr std::array kEndings{".json", ".safetensors", ".txt", ".model", ".jinja"};
    const bool is_part = std::find(kEndings.begin(), kEndings.end(), ending) != kEndings.end() ||
                         entry.path().filename() == "model.bin";  // CTranslate2's weights
    if (is_part && entry.is_regular_file(ignored)) files.push_back(entry.path());
  }
  if (error) throw Error(ErrorKind::kBadInput, "cannot be read: " + error.message(), source.string());
  return digest_of(files);
}

std::vector<std::string> read_labels(const fs::path& path) {
  std::vector<std::string> labels;
  std::string line;
  for (const char c : read_file(path, kMaxLabelBytes) + "\n") {
    if (c == '\n') {
      labels.push_back(std::exchange(line, {}));
    } else if (c != '\r') {
      line += c;
    }
  }
  while (!labels.empty() && labels.back().empty()) labels.pop_back();
  if (labels.empty()) throw Error(ErrorKind::kBadInput, "holds no labels", path.string(), "write one label a line");
  return labels;
}

}  // namespace pajamas
