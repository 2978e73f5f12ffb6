// JSON form. See transcription_facts.h; the schema is docs/schemas/manifest.schema.json.
#include "bundle/transcription_facts.h"

#include <utility>

#include "pajamas/error.h"

namespace pajamas {
namespace {

/// Above every real model, and small enough that sizes computed from them cannot overflow.
constexpr std::int64_t kMaxExtent = 1 << 20;
constexpr std::int64_t kMaxVocabulary = 10'000'000;

/// The special tokens by their names in the manifest.
struct TokenName {
  const char* name;
  std::int64_t WhisperTokens::*id;
};
constexpr std::array<TokenName, 9> kTokenNames{{{"end_of_text", &WhisperTokens::end_of_text},
                                                {"start_of_transcript", &WhisperTokens::start_of_transcript},
                                                {"transcribe", &WhisperTokens::transcribe},
                                                {"translate", &WhisperTokens::translate},
                                                {"start_of_lm", &WhisperTokens::start_of_lm},
                                                {"start_of_previous", &WhisperTokens::start_of_previous},
                                                {"no_speech", &WhisperTokens::no_speech},
                                                {"no_timestamps", &WhisperTokens::no_timestamps},
                                                {"first_timestamp", &WhisperTokens::first_timestamp}}};

nlohmann::json whisper_to_json(const WhisperFacts& facts) {
  nlohmann::json tokens = nlohmann::json::object();
  for (const TokenName& token : kTokenNames) tokens[token.name] = facts.tokens.*token.id;
  nlohmann::json languages = nlohmann::json::array();
  for (const WhisperLanguage& language : facts.languages) {
    languages.push_back({{"code", language.code}, {"token_id", language.token_id}});
  }
  nlohmann::json json = {{"encoder_part", facts.encoder_part},
                         {"decoder_part", facts.decoder_part},
                         {"num_mels", facts.num_mels},
                         {"num_positions", facts.num_positions},
                         {"context_length", facts.context_length},
                         {"vocab_size", facts.vocab_size},
                         {"tokens", std::move(tokens)},
                         {"languages", std::move(languages)},
                         {"suppressed_token_ids", facts.suppressed_token_ids},
                         {"begin_suppressed_token_ids", facts.begin_suppressed_token_ids},
                         {"alignment_heads", facts.alignment_heads}};
  if (!facts.aligner_part.empty()) json["aligner_part"] = facts.aligner_part;
  return json;
}

std::vector<std::int64_t> read_ids(const JsonReader& json, const char* key, std::int64_t vocab_size) {
  std::vector<std::int64_t> ids;
  for (const JsonReader& id : json.member(key).elements()) ids.push_back(id.as_integer(0, vocab_size - 1));
  return ids;
}

WhisperFacts read_whisper(const JsonReader& json) {
  WhisperFacts facts;
  facts.encoder_part = json.string("encoder_part");
  facts.decoder_part = json.string("decoder_part");
  facts.aligner_part = json.string_or("aligner_part", "");
  facts.num_mels = json.integer("num_mels", 1, kMaxExtent);
  facts.num_positions = json.integer("num_positions", 1, kMaxExtent);
  facts.context_length = json.integer("context_length", 1, kMaxExtent);
  facts.vocab_size = json.integer("vocab_size", 1, kMaxVocabulary);
  const JsonReader tokens = json.member("tokens");
  for (const TokenName& token : kTokenNames) {
    facts.tokens.*token.id = tokens.integer(token.name, 0, facts.vocab_size - 1);
  }
  for (const JsonReader& entry : json.member("languages").elements()) {
    facts.languages.push_back({entry.string("code"), entry.integer("token_id", 0, facts.vocab_size - 1)});
  }
  facts.suppressed_token_ids = read_ids(json, "suppressed_token_ids", facts.vocab_size);
  facts.begin_suppressed_token_ids = read_ids(json, "begin_suppressed_token_ids", facts.vocab_size);
  for (const JsonReader& entry : json.member("alignment_heads").elements()) {
    const auto pair = entry.elements();
    if (pair.size() != 2) entry.fail("must be [layer, head]");
    facts.alignment_heads.push_back({pair[0].as_integer(0, kMaxExtent), pair[1].as_integer(0, kMaxExtent)});
  }
  return facts;
}

nlohmann::json ctc_to_json(const CtcFacts& facts) {
  nlohmann::json json = {{"part", facts.part},
                         {"tokens", facts.tokens},
                         {"blank_id", facts.blank_id},
                         {"samples_per_frame", facts.samples_per_frame},
                         {"frame_samples", facts.frame_samples},
                         {"window_frames", facts.window_frames},
                         {"is_normalized", facts.is_normalized}};
  if (facts.word_delimiter_id) json["word_delimiter_id"] = *facts.word_delimiter_id;
  return json;
}

CtcFacts read_ctc(const JsonReader& json) {
  CtcFacts facts;
  facts.part = json.string("part");
  facts.tokens = json.strings("tokens");
  if (facts.tokens.size() < 2 || facts.vocab_size() > kMaxVocabulary) {
    json.member("tokens").fail("has " + std::to_string(facts.tokens.size()) + " entries");
  }
  facts.blank_id = json.integer("blank_id", 0, facts.vocab_size() - 1);
  if (json.has("word_delimiter_id")) {
    facts.word_delimiter_id = json.integer("word_delimiter_id", 0, facts.vocab_size() - 1);
    if (*facts.word_delimiter_id == facts.blank_id) json.member("word_delimiter_id").fail("is the blank");
  }
  facts.samples_per_frame = json.integer("samples_per_frame", 1, kMaxExtent);
  facts.frame_samples = json.integer("frame_samples", 1, kMaxExtent);
  facts.window_frames = json.integer("window_frames", 1, kMaxExtent);
  facts.is_normalized = json.boolean("is_normalized");
  return facts;
}

}  // namespace

nlohmann::json to_json(const TranscriptionFacts& facts) {
  nlohmann::json json = {{"sample_rate_hz", facts.sample_rate_hz}, {"tokenizer_file", facts.tokenizer_file}};
  if (facts.whisper) {
    json["decoder"] = "whisper";
    json["whisper"] = whisper_to_json(*facts.whisper);
  }
  if (facts.ctc) {
    json["decoder"] = "ctc";
    json["ctc"] = ctc_to_json(*facts.ctc);
  }
  return json;
}

TranscriptionFacts parse_transcription_facts(const JsonReader& json) {
  TranscriptionFacts facts;
  facts.sample_rate_hz = json.integer("sample_rate_hz", 1000, 768000);
  facts.tokenizer_file = json.string("tokenizer_file");
  const std::string decoder = json.string("decoder");
  if (decoder == "ctc") {
    facts.ctc = read_ctc(json.member("ctc"));
  } else if (decoder == "whisper") {
    facts.whisper = read_whisper(json.member("whisper"));
  } else {
    json.member("decoder").fail("is '" + decoder + "', must be whisper or ctc");
  }
  return facts;
}

}  // namespace pajamas
