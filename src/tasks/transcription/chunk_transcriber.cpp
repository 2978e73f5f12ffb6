// See chunk_transcriber.h.
#include "tasks/transcription/chunk_transcriber.h"

#include <algorithm>
#include <cmath>
#include <tuple>
#include <utility>

#include "tasks/transcription/text_checks.h"
#include "tasks/transcription/words.h"
#include "text/logit_kernels.h"
#include "text/tokenizer/utf8.h"

namespace pajamas {
namespace {

/// Text and timestamps that a chunk may have, of a context of 448: half of it, as the model was trained.
constexpr std::int64_t kMaxTextShare = 2;
/// A text drawn at this temperature or above is too doubtful to be told to the next chunk.
constexpr float kMaxCarriedTemperature = 0.5F;
/// People speak up to some 25 characters a second; a loop writes what the audio has no time for.
constexpr double kMaxCharactersPerSecond = 30;

}  // namespace

ChunkTranscriber::ChunkTranscriber(const WhisperFacts& facts, const Tokenizer& tokenizer, StepModel& model,
                                   Aligner* aligner)
    : facts_(facts),
      tokenizer_(tokenizer),
      model_(model),
      aligner_(aligner),
      log_mel_(static_cast<int>(facts.num_mels)) {}

void ChunkTranscriber::encode(std::span<const ChunkAudio> chunks) {
  const std::int64_t num_frames = 2 * facts_.num_positions;
  const auto chunk_size = static_cast<std::size_t>(facts_.num_mels * num_frames);
  features_.resize(chunk_size * chunks.size());
  for (std::size_t i = 0; i < chunks.size(); ++i) {
    log_mel_.compute(chunks[i].samples, num_frames, std::span(features_).subspan(i * chunk_size, chunk_size));
  }
  model_.encode(features_, static_cast<std::int64_t>(chunks.size()));
}

std::pair<std::string, float> ChunkTranscriber::find_language(const ChunkAudio& chunk) {
  encode({&chunk, 1});
  const std::size_t first[] = {0};
  const std::vector<std::int32_t> prompts[] = {{static_cast<std::int32_t>(facts_.tokens.start_of_transcript)}};
  const std::int64_t positions[] = {0};
  const std::span<const float> logits = model_.begin(first, prompts, positions);
  const WhisperLanguage* best = &facts_.languages.front();
  const auto logit = [&](const WhisperLanguage& language) {
    return static_cast<double>(logits[static_cast<std::size_t>(language.token_id)]);
  };
  for (const WhisperLanguage& language : facts_.languages) {
    if (logit(language) > logit(*best)) best = &language;
  }
  double sum = 0;
  for (const WhisperLanguage& language : facts_.languages) sum += std::exp(logit(language) - logit(*best));
  return {best->code, static_cast<float>(1 / sum)};
}

std::vector<std::int32_t> ChunkTranscriber::encode_text(const std::string& text) const {
  const std::string_view said = trimmed(text);
  if (said.empty()) return {};
  return tokenizer_.encode(" " + std::string(said), {.add_special_tokens = false, .parse_special_tokens = false});
}

std::vector<std::int32_t> ChunkTranscriber::prompt_of(const std::string& language, const TranscriptionOptions& options,
                                                      std::span<const std::int32_t> carried,
                                                      std::int64_t& no_speech_position) const {
  std::vector<std::int32_t> prompt;
  std::vector<std::int32_t> before = encode_text(options.hot_words);
  const auto room = static_cast<std::size_t>(facts_.context_length / kMaxTextShare - 1);
  // Hot words stay; of the text before, its end.
  before.resize(std::min(before.size(), room));
  const std::size_t kept = std::min(carried.size(), room - before.size());
  before.insert(before.end(), carried.end() - static_cast<std::ptrdiff_t>(kept), carried.end());
  if (!before.empty()) {
    prompt.push_back(static_cast<std::int32_t>(facts_.tokens.start_of_previous));
    prompt.insert(prompt.end(), before.begin(), before.end());
  }
  no_speech_position = static_cast<std::int64_t>(prompt.size());
  prompt.push_back(static_cast<std::int32_t>(facts_.tokens.start_of_transcript));
  for (const WhisperLanguage& each : facts_.languages) {
    if (each.code == language) prompt.push_back(static_cast<std::int32_t>(each.token_id));
  }
  if (!facts_.languages.empty()) {
    prompt.push_back(
        static_cast<std::int32_t>(options.is_translated ? facts_.tokens.translate : facts_.tokens.transcribe));
  }
  return prompt;
}

std::string ChunkTranscriber::text_of(std::span<const std::int32_t> tokens) const {
  std::vector<std::int32_t> text;
  for (const std::int32_t token : tokens) {
    if (token < facts_.tokens.end_of_text) text.push_back(token);
  }
  return tokenizer_.decode(text);
}

ChunkTranscriber::Attempt ChunkTranscriber::judge(DecodedChunk decoded, const DecodingRules& rules,
                                                  const TranscriptionOptions& options, bool& is_good) const {
  Attempt attempt;
  attempt.text = std::string(trimmed(text_of(decoded.tokens)));
  attempt.compression_ratio = compression_ratio(attempt.text);
  const bool is_unlikely = decoded.mean_logprob() < options.min_mean_logprob;
  attempt.is_silence =
      attempt.text.empty() ||
      (static_cast<double>(decoded.no_speech_probability) > options.max_no_speech_probability && is_unlikely);
  is_good = attempt.is_silence;
  if (!is_good && !is_unlikely) {
    is_good = static_cast<double>(attempt.compression_ratio) <= options.max_compression_ratio;
    if (!is_good) {
      // The same sentence said many times compresses as well as a loop. It has a segment of its own each time, with
      // time enough to say it, and an end; a loop does not.
      is_good = decoded.has_ended;
      for (const TokenSegment& part : split_segments(decoded.tokens, rules, 1e9, true).segments) {
        const std::string text =
            text_of(std::span(decoded.tokens).subspan(part.token_begin, part.token_end - part.token_begin));
        const bool has_time =
            static_cast<double>(num_characters(text)) <= kMaxCharactersPerSecond * (part.end_s - part.begin_s);
        is_good = is_good && has_time && !is_loop(text);
      }
    }
  }
  attempt.decoded = std::move(decoded);
  return attempt;
}

std::vector<ChunkText> ChunkTranscriber::transcribe(std::span<const ChunkAudio> chunks, const std::string& language,
                                                    const TranscriptionOptions& options, std::uint64_t first_chunk,
                                                    std::span<const std::int32_t> carried,
                                                    const std::function<void()>& check) {
  encode(chunks);
  std::int64_t no_speech_position = 0;
  const std::vector<std::int32_t> prompt = prompt_of(language, options, carried, no_speech_position);
  std::vector<DecodingRules> rules;
  for (const ChunkAudio& chunk : chunks) {
    const double length_s = static_cast<double>(chunk.samples.size()) / kMelSampleRateHz;
    rules.emplace_back(facts_, DecodingRulesOptions{.chunk_length_s = length_s});
  }
  struct State {
    std::optional<Attempt> best;
    bool is_good = false;
  };
  std::vector<State> states(chunks.size());
  for (const double temperature : options.temperatures) {
    std::vector<ChunkTask> tasks;
    for (std::size_t i = 0; i < chunks.size(); ++i) {
      if (states[i].is_good) continue;
      tasks.push_back({i, prompt, no_speech_position, first_chunk + i, &rules[i]});
    }
    if (tasks.empty()) break;
    ChunkDecoderOptions decoder;
    decoder.beam_size = options.beam_size;
    decoder.temperature = temperature;
    decoder.num_samples = options.num_samples;
    decoder.max_tokens = std::min(facts_.context_length / kMaxTextShare,
                                  facts_.context_length - static_cast<std::int64_t>(prompt.size()));
    decoder.seed = options.seed;
    auto decoded = decode_chunks(model_, tasks, static_cast<std::int32_t>(facts_.tokens.no_speech), decoder, check);
    for (std::size_t t = 0; t < tasks.size(); ++t) {
      State& state = states[tasks[t].chunk];
      Attempt attempt = judge(std::move(decoded[t]), rules[tasks[t].chunk], options, state.is_good);
      // Where no attempt is good: those that do not repeat themselves before those that do, those with an end before
      // those that were cut (nothing is likelier than a loop), and of these the likeliest.
      const auto rank = [&](const Attempt& each) {
        const bool repeats = static_cast<double>(each.compression_ratio) > options.max_compression_ratio;
        return std::tuple(!repeats, each.decoded.has_ended, each.decoded.mean_logprob());
      };
      if (state.is_good || !state.best || rank(attempt) > rank(*state.best)) state.best = std::move(attempt);
    }
  }
  std::vector<ChunkText> texts;
  for (std::size_t i = 0; i < chunks.size(); ++i) {
    texts.push_back(finish(i, chunks[i], *states[i].best, rules[i], language, options));
  }
  return texts;
}

ChunkText ChunkTranscriber::finish(std::size_t chunk, const ChunkAudio& audio, const Attempt& attempt,
                                   const DecodingRules& rules, const std::string& language,
                                   const TranscriptionOptions& options) {
  ChunkText result;
  const double length_s = static_cast<double>(audio.samples.size()) / kMelSampleRateHz;
  result.next_begin_s = length_s;
  result.is_carried = attempt.decoded.temperature < kMaxCarriedTemperature && !attempt.is_silence;
  if (attempt.is_silence) return result;
  const std::vector<std::int32_t>& tokens = attempt.decoded.tokens;
  const ChunkSegments split = split_segments(tokens, rules, length_s, audio.is_cut);
  result.next_begin_s = split.next_begin_s;
  std::vector<TokenSegment> parts;
  for (const TokenSegment& part : split.segments) {
    TranscribedSegment segment;
    const auto own = std::span(tokens).subspan(part.token_begin, part.token_end - part.token_begin);
    segment.text = std::string(trimmed(text_of(own)));
    if (segment.text.empty()) continue;
    segment.begin_s = part.begin_s;
    segment.end_s = part.end_s;
    segment.tokens.assign(own.begin(), own.end());
    segment.mean_logprob = static_cast<float>(attempt.decoded.mean_logprob());
    segment.no_speech_probability = attempt.decoded.no_speech_probability;
    segment.compression_ratio = attempt.compression_ratio;
    segment.temperature = attempt.decoded.temperature;
    result.segments.push_back(std::move(segment));
    parts.push_back(part);
  }
  if (options.has_words) add_words(chunk, length_s, attempt.decoded, parts, language, options, result.segments);
  return result;
}

void ChunkTranscriber::add_words(std::size_t chunk, double length_s, const DecodedChunk& decoded,
                                 std::span<const TokenSegment> parts, const std::string& language,
                                 const TranscriptionOptions& options, std::vector<TranscribedSegment>& segments) {
  std::int64_t ignored = 0;
  TranscriptionOptions plain = options;
  plain.hot_words.clear();
  std::vector<std::int32_t> tokens = prompt_of(language, plain, {}, ignored);
  tokens.push_back(static_cast<std::int32_t>(facts_.tokens.no_timestamps));
  const std::size_t prompt_length = tokens.size();
  std::vector<float> logprobs;
  std::vector<std::size_t> begins;  // of each segment among the text tokens, and the end
  for (const TokenSegment& part : parts) {
    begins.push_back(logprobs.size());
    for (std::size_t i = part.token_begin; i < part.token_end; ++i) {
      if (decoded.tokens[i] >= facts_.tokens.end_of_text) continue;
      tokens.push_back(decoded.tokens[i]);
      logprobs.push_back(decoded.logprobs[i]);
    }
  }
  begins.push_back(logprobs.size());
  if (logprobs.empty()) return;
  tokens.push_back(static_cast<std::int32_t>(facts_.tokens.end_of_text));
  const Aligner::Attention attention = aligner_->align(chunk, tokens);
  const std::vector<double> times = token_times(attention.values, attention.num_heads, tokens.size(),
                                                attention.num_positions, prompt_length, length_s);
  const std::span<const std::int32_t> text = std::span(tokens).subspan(prompt_length, logprobs.size());
  for (std::size_t s = 0; s < segments.size(); ++s) {
    const std::size_t begin = begins[s], count = begins[s + 1] - begin;
    for (const WordTokens& word : split_words(text.subspan(begin, count), tokenizer_, language)) {
      TranscribedWord result;
      result.text = word.text;
      result.begin_s = times[begin + word.token_begin];
      result.end_s = std::max(times[begin + word.token_end], result.begin_s);
      double sum = 0;
      for (std::size_t i = word.token_begin; i < word.token_end; ++i) sum += static_cast<double>(logprobs[begin + i]);
      result.probability = static_cast<float>(std::exp(sum / static_cast<double>(word.token_end - word.token_begin)));
      segments[s].words.push_back(std::move(result));
    }
    merge_punctuation(segments[s].words);
    // A segment is where its words are; the model's own times are coarser.
    if (!segments[s].words.empty()) {
      segments[s].begin_s = segments[s].words.front().begin_s;
      segments[s].end_s = std::max(segments[s].words.back().end_s, segments[s].begin_s);
    }
  }
}

}  // namespace pajamas
