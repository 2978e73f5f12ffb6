// Piper's voices: VOICE.onnx with VOICE.onnx.json beside it, which names the phonemes' ids, espeak-ng's voice and the
// scales. The graph itself is vits_graph.cpp's.
#include "models/vits/vits.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/files.h"
#include "base/json_reader.h"
#include "base/log.h"
#include "graph/checker.h"
#include "io/onnx_reader.h"
#include "models/checkpoint.h"
#include "models/vits/vits_graph.h"
#include "pajamas/error.h"

namespace pajamas {
namespace fs = std::filesystem;
namespace {

constexpr std::uint64_t kMaxDescriptionBytes = 16ULL << 20;

fs::path description_of(const fs::path& path) { return path.string() + ".json"; }

void refuse_hints(const ImportHints& hints) {
  const auto refuse = [](const char* option, const std::string& why) {
    throw Error(ErrorKind::kUsage, why, option, std::string("leave ") + option + " away");
  };
  if (!hints.head.empty()) refuse("--head", "the model is no detector");
  if (!hints.labels.empty()) refuse("--labels", "the model has no classes");
  if (hints.context_length > 0) refuse("--context", "a voice has no context");
  if (!hints.tokenizer.empty()) refuse("--tokenizer", "a voice takes phonemes, no tokens");
  if (!hints.task.empty() && hints.task != "speech" && hints.task != "none") {
    throw Error(ErrorKind::kUsage, "a voice cannot be built for the task '" + hints.task + "'", "--task",
                "use speech or none, or leave --task away");
  }
}

SpeechFacts read_facts(const JsonReader& json, std::int64_t table_rows) {
  SpeechFacts facts;
  facts.sample_rate_hz = json.member("audio").integer("sample_rate", 1000, 768000);
  const std::string kind = json.string_or("phoneme_type", "espeak");
  if (kind != "espeak") {
    throw Error(ErrorKind::kUnsupported, "the voice speaks phonemes of the kind '" + kind + "'", json.where(),
                "voices with phonemes of espeak-ng are read");
  }
  facts.espeak_voice = json.member("espeak").string("voice");
  facts.num_phonemes = table_rows;
  if (facts.num_phonemes == 0) facts.num_phonemes = json.integer("num_symbols", 1, 1 << 20);
  for (const auto& member : json.member("phoneme_id_map").members()) {
    std::vector<std::int64_t>& ids = facts.phoneme_ids[member.first];
    for (const JsonReader& id : member.second.elements()) ids.push_back(id.as_integer(0, facts.num_phonemes - 1));
  }
  for (const char* needed : {"_", "^", "$"}) {
    if (facts.phoneme_ids.find(needed) == facts.phoneme_ids.end()) {
      json.member("phoneme_id_map").fail(std::string("has no '") + needed + "'");
    }
  }
  if (json.has("inference")) {
    const JsonReader inference = json.member("inference");
    facts.noise_scale = inference.number_or("noise_scale", facts.noise_scale);
    facts.length_scale = inference.number_or("length_scale", facts.length_scale);
    facts.noise_width = inference.number_or("noise_w", facts.noise_width);
  }
  facts.num_speakers = std::max<std::int64_t>(json.integer_or("num_speakers", 1, 0, 1 << 20), 1);
  if (json.has("speaker_id_map")) {
    for (const auto& member : json.member("speaker_id_map").members()) {
      facts.speakers.push_back({member.first, member.second.as_integer(0, facts.num_speakers - 1)});
    }
  }
  std::sort(facts.speakers.begin(), facts.speakers.end(),
            [](const Speaker& a, const Speaker& b) { return a.id < b.id; });
  return facts;
}

class Vits : public ModelDefinition {
 public:
  std::string_view family() const override { return "vits"; }
  /// A voice without its description cannot be spoken with.
  std::optional<TaskFacts> recognise(const Model&, const ImportHints&) const override { return std::nullopt; }

  bool accepts_path(const fs::path& path) const override {
    std::error_code ignored;
    const fs::path description = description_of(path);
    return path.extension() == ".onnx" && fs::is_regular_file(path, ignored) &&
           fs::is_regular_file(description, ignored) && fs::file_size(description, ignored) <= kMaxDescriptionBytes &&
           read_file(description, kMaxDescriptionBytes).find("\"phoneme_id_map\"") != std::string::npos;
  }

  ImportedModel load_path(const fs::path& path, const ImportHints& hints) const override {
    refuse_hints(hints);
    const Model model = read_onnx(path);
    VoiceGraphs graphs;
    try {
      check_model(model);
      graphs = split_voice(model);
    } catch (const Error& error) {
      throw error.with_context(path.string());
    }
    const fs::path description = description_of(path);
    const nlohmann::json json = parse_json(read_file(description, kMaxDescriptionBytes), description.string());
    SpeechFacts facts = read_facts(JsonReader(json, description.string()), graphs.num_phonemes);
    facts.noise_shape_output = graphs.noise_shape_output;
    facts.frames_value = graphs.frames;
    facts.samples_per_frame = graphs.samples_per_frame;
    facts.context_frames = graphs.context_frames;
    const bool has_speaker_input = graphs.text.graph.find_input("sid") != nullptr;
    if (has_speaker_input != (facts.num_speakers > 1)) {
      throw Error(ErrorKind::kBadInput,
                  "names " + std::to_string(facts.num_speakers) + " speakers, but the voice has " +
                      (has_speaker_input ? "an" : "no") + " input 'sid'",
                  description.string(), "voice and description may belong to different voices: fetch them again");
    }
    ImportedModel imported = imported_checkpoint(path, family());
    imported.name = path.stem().string();
    imported.format = "piper";
    // The durations are rounded up to whole frames, and the flow turns roundings of bfloat16 into audible ones (29 dB
    // below the sound; those of the decoder lie 41 dB below): float32 in both.
    const auto add = [&imported](const std::string& name, Model& graph, bool is_float32) {
      ImportedPart part;
      part.name = name;
      part.model = std::move(graph);
      part.is_float32 = is_float32;
      imported.parts.push_back(std::move(part));
    };
    add(facts.text_part, graphs.text, true);
    if (graphs.has_align) add(kVoiceAlignPart, graphs.align, true);
    add(facts.flow_part, graphs.flow, true);
    add(facts.decoder_part, graphs.decoder, false);
    if (hints.task != "none") imported.task = task_of(std::move(facts));
    return imported;
  }
};

}  // namespace

const ModelDefinition& vits_definition() {
  static const Vits definition;
  return definition;
}

}  // namespace pajamas
