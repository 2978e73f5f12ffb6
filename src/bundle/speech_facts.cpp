// JSON form. See speech_facts.h; the schema is docs/schemas/manifest.schema.json.
#include "bundle/speech_facts.h"

#include "pajamas/error.h"

namespace pajamas {
namespace {

/// Far above every real voice, and small enough to index with.
constexpr std::int64_t kMaxPhonemes = 1 << 20;
constexpr std::int64_t kMaxSpeakers = 1 << 20;
constexpr std::int64_t kMaxSamplesPerFrame = 1 << 16;
constexpr std::int64_t kMaxContextFrames = 1 << 16;

double read_scale(const JsonReader& json, const char* key, double min) {
  const double value = json.number(key);
  if (!(value >= min && value <= 100)) json.member(key).fail("must be within " + std::to_string(min) + "..100");
  return value;
}

}  // namespace

nlohmann::json to_json(const SpeechFacts& facts) {
  nlohmann::json speakers = nlohmann::json::array();
  for (const Speaker& speaker : facts.speakers) speakers.push_back({{"name", speaker.name}, {"id", speaker.id}});
  return {{"text_part", facts.text_part},           {"flow_part", facts.flow_part},
          {"decoder_part", facts.decoder_part},     {"noise_shape_output", facts.noise_shape_output},
          {"frames_value", facts.frames_value},     {"samples_per_frame", facts.samples_per_frame},
          {"context_frames", facts.context_frames}, {"sample_rate_hz", facts.sample_rate_hz},
          {"espeak_voice", facts.espeak_voice},     {"num_phonemes", facts.num_phonemes},
          {"phoneme_ids", facts.phoneme_ids},       {"noise_scale", facts.noise_scale},
          {"length_scale", facts.length_scale},     {"noise_width", facts.noise_width},
          {"num_speakers", facts.num_speakers},     {"speakers", std::move(speakers)}};
}

SpeechFacts parse_speech_facts(const JsonReader& json) {
  SpeechFacts facts;
  facts.text_part = json.string("text_part");
  facts.flow_part = json.string("flow_part");
  facts.decoder_part = json.string("decoder_part");
  facts.noise_shape_output = json.string("noise_shape_output");
  facts.frames_value = json.string("frames_value");
  facts.samples_per_frame = json.integer("samples_per_frame", 1, kMaxSamplesPerFrame);
  facts.context_frames = json.integer("context_frames", 0, kMaxContextFrames);
  facts.sample_rate_hz = json.integer("sample_rate_hz", 1000, 768000);
  facts.espeak_voice = json.string("espeak_voice");
  facts.num_phonemes = json.integer("num_phonemes", 1, kMaxPhonemes);
  for (const auto& member : json.member("phoneme_ids").members()) {
    std::vector<std::int64_t>& ids = facts.phoneme_ids[member.first];
    for (const JsonReader& id : member.second.elements()) ids.push_back(id.as_integer(0, facts.num_phonemes - 1));
  }
  facts.noise_scale = read_scale(json, "noise_scale", 0);
  facts.length_scale = read_scale(json, "length_scale", 0.01);
  facts.noise_width = read_scale(json, "noise_width", 0);
  facts.num_speakers = json.integer("num_speakers", 1, kMaxSpeakers);
  for (const JsonReader& speaker : json.member("speakers").elements()) {
    facts.speakers.push_back({speaker.string("name"), speaker.integer("id", 0, facts.num_speakers - 1)});
  }
  return facts;
}

}  // namespace pajamas
