// See audio_quality.h.
#include "toolchain/audio_quality.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "engine/bundle_plan.h"
#include "graph/passes/dense_cache.h"
#include "graph/passes/expand_paged_attention.h"
#include "io/onnx_reader.h"
#include "pajamas/error.h"
#include "tasks/registry.h"
#include "tasks/transcription/transcription_model.h"
#include "toolchain/bundle_source.h"
#include "toolchain/target_form.h"
#include "verify/language_proof.h"
#include "verify/widen.h"

namespace pajamas {
namespace fs = std::filesystem;
namespace {

constexpr const char* kStep = "Transcribing";
constexpr std::uint64_t kMaxTextBytes = 64ULL << 20;

std::shared_ptr<const Engine> by_onnxruntime(const Model& model, int num_threads) {
  return onnxruntime_engine(load_language_reference(model, num_threads).session, num_threads);
}

/// The graphs that the bundle's engines were built from.
EngineSource lowered_graphs(const Bundle& bundle, int num_threads) {
  return [bundle, num_threads](const std::string& part) {
    const ManifestPart& described = bundle.manifest().part(part);
    const auto file = std::find_if(described.files.begin(), described.files.end(),
                                   [&](const BundleFile& one) { return one.name == part + ".onnx"; });
    if (file == described.files.end()) {
      throw Error(ErrorKind::kUnsupported, "the bundle does not hold the graph of part '" + part + "'",
                  bundle.directory().string(), "verify it on a machine that its engines run on");
    }
    for (const BundleFile& one : described.files) {
      if (one.name.starts_with(file->name)) bundle.open_checked(one);  // The weights beside it too.
    }
    const Model model = read_onnx(bundle.directory() / file->name);
    return by_onnxruntime(contains_dtype(model.graph, DType::kBfloat16) ? widen_low_precision(model) : model,
                          num_threads);
  };
}

/// The model that the bundle was built from, in float32.
EngineSource source_graphs(std::shared_ptr<const ImportedModel> imported, int num_threads) {
  return [imported, num_threads](const std::string& name) {
    for (const ImportedPart& part : imported->parts) {
      if (part.name != name) continue;
      Model model = part.model;
      if (has_paged_attention(model)) use_dense_cache(model, dense_cache_tokens(*imported));
      return by_onnxruntime(model, num_threads);
    }
    throw Error(ErrorKind::kBadInput, "the model has no part '" + name + "', which the bundle has", {},
                "build the bundle again");
  };
}

/// What runs the bundle here: its engines, else its graphs.
std::unique_ptr<TranscriptionModel> open_bundle(const Bundle& bundle, int num_threads, AudioQuality& quality) {
  quality.ran = "the engines of the bundle";
  try {
    return std::make_unique<TranscriptionModel>(bundle, bundle_engines(bundle, session_options(num_threads)));
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kDeviceMissing && error.kind() != ErrorKind::kUnsupported) throw;
    quality.ran = "the graphs that the engines were built from, by ONNX Runtime";
    quality.note = "The engines themselves have not run: " + error.message() + ".";
  }
  return std::make_unique<TranscriptionModel>(bundle, lowered_graphs(bundle, num_threads));
}

std::string read_expected(const fs::path& path) {
  std::string text = read_text(path, kMaxTextBytes);
  if (spoken_words(text).empty()) {
    throw Error(ErrorKind::kBadInput, "holds no word", path.string(), "give what is said in the recording as text");
  }
  return text;
}

}  // namespace

nlohmann::json to_json(const AudioQuality& quality) {
  const auto counts = [](const WordErrors& errors) {
    return nlohmann::json{{"wer_percent", errors.rate_percent()},
                          {"words", errors.num_words},
                          {"substituted", errors.num_substituted},
                          {"missing", errors.num_missing},
                          {"added", errors.num_added}};
  };
  nlohmann::json json = counts(quality.errors);
  json["max_wer_percent"] = quality.max_wer_percent;
  json["compared_with"] = quality.compared_with;
  json["ran"] = quality.ran;
  if (!quality.reference.empty()) json["reference"] = quality.reference;
  if (!quality.note.empty()) json["note"] = quality.note;
  json["files"] = nlohmann::json::array();
  for (const AudioQuality::File& file : quality.files) {
    nlohmann::json entry = counts(file.errors);
    entry["audio"] = file.audio.string();
    entry["expected"] = file.expected;
    entry["heard"] = file.heard;
    if (!file.warning.empty()) entry["warning"] = file.warning;
    json["files"].push_back(std::move(entry));
  }
  return json;
}

AudioQuality measure_bundle_on_audio(const Bundle& bundle, const std::optional<fs::path>& source,
                                     const BundleAudioRequest& request, const ProveOptions& options) {
  const Manifest& manifest = bundle.manifest();
  if (!manifest.task.transcription) {
    throw Error(ErrorKind::kUnsupported, "does not transcribe: its task is " + manifest.task.name,
                bundle.directory().string(), "leave --audio out");
  }
  if (!request.texts.empty() && request.texts.size() != request.audio.size()) {
    throw Error(
        ErrorKind::kUsage,
        std::to_string(request.texts.size()) + " texts for " + std::to_string(request.audio.size()) + " recordings",
        "--text", "give one text for each recording, in their order, or none");
  }
  const Progress& progress = options.progress;
  TranscriptionOptions decoding;
  decoding.is_cancelled = [&] { return progress.cancel != nullptr && progress.cancel->is_cancelled(); };
  const auto transcribe = [&](TranscriptionModel& model, std::size_t index, const char* who, std::string& warning) {
    progress.check(kStep);
    progress.step(kStep, static_cast<double>(index) / static_cast<double>(request.audio.size()),
                  std::string(who) + ", " + request.audio[index].filename().string());
    const Transcript transcript = model.transcribe(request.audio[index], decoding, {});
    warning = transcript.warning;
    return transcript.text();
  };

  AudioQuality quality;
  for (std::size_t i = 0; i < request.audio.size(); ++i) {
    quality.files.push_back(
        {request.audio[i], request.texts.empty() ? "" : read_expected(request.texts[i]), {}, {}, {}});
  }
  {
    const auto model = open_bundle(bundle, options.num_threads, quality);
    for (std::size_t i = 0; i < quality.files.size(); ++i) {
      quality.files[i].heard = transcribe(*model, i, "the bundle", quality.files[i].warning);
    }
  }
  quality.compared_with = request.texts.empty() ? "reference" : "text";
  quality.max_wer_percent = request.max_wer_percent.value_or(request.texts.empty() ? kMaxReferenceWer : kMaxTextWer);
  if (request.texts.empty()) {
    progress.step("Loading the model that the bundle was built from");
    const auto imported = std::make_shared<const ImportedModel>(
        import_bundle_source(bundle, find_bundle_source(bundle, source), plan_of(bundle), progress));
    TranscriptionModel model(bundle, source_graphs(imported, options.num_threads));
    quality.reference = "the model that the bundle was built from, in float32 by ONNX Runtime";
    for (std::size_t i = 0; i < quality.files.size(); ++i) {
      std::string ignored;
      quality.files[i].expected = transcribe(model, i, "the model", ignored);
    }
  }
  for (AudioQuality::File& file : quality.files) {
    file.errors = count_word_errors(file.expected, file.heard);
    quality.errors += file.errors;
  }
  return quality;
}

}  // namespace pajamas
