// See ctc_alignment.h.
#include "tasks/transcription/ctc_alignment.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "pajamas/error.h"

namespace pajamas {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

/// A step of the path.
struct Place {
  enum class Kind { kToken, kBlank, kGap } kind = Kind::kToken;
  std::int32_t token = 0;
  bool is_skippable = false;
};

std::vector<Place> places_of(const CtcFacts& facts, std::span<const std::int32_t> tokens) {
  std::vector<Place> places;
  places.push_back({Place::Kind::kGap, 0, true});
  bool is_behind_token = false;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] == facts.word_delimiter_id) {
      places.push_back({Place::Kind::kGap, 0, false});
      is_behind_token = false;
      continue;
    }
    // The same token twice needs a blank between.
    if (is_behind_token) places.push_back({Place::Kind::kBlank, 0, tokens[i] != tokens[i - 1]});
    places.push_back({Place::Kind::kToken, tokens[i], false});
    is_behind_token = true;
  }
  places.push_back({Place::Kind::kGap, 0, true});
  return places;
}

}  // namespace

std::vector<CtcTokenSpan> align_tokens(const CtcFacts& facts, std::span<const float> logprobs,
                                       std::span<const std::int32_t> tokens) {
  if (tokens.empty()) return {};
  const auto vocab = static_cast<std::size_t>(facts.vocab_size());
  const std::size_t num_frames = logprobs.size() / vocab;
  const std::vector<Place> places = places_of(facts, tokens);
  const std::size_t num_places = places.size();
  // How many places back the best path to a place came from, frame by frame.
  std::vector<std::uint8_t> steps(num_frames * num_places, 0);
  std::vector<float> best(num_places, kNever), next(num_places, kNever);
  const auto emission = [&](std::size_t frame, const Place& place) {
    const float* const row = logprobs.data() + frame * vocab;
    if (place.kind == Place::Kind::kToken) return row[place.token];
    const float blank = row[facts.blank_id];
    if (place.kind == Place::Kind::kBlank || !facts.word_delimiter_id) return blank;
    return std::max(blank, row[*facts.word_delimiter_id]);
  };
  for (std::size_t frame = 0; frame < num_frames; ++frame) {
    for (std::size_t p = 0; p < num_places; ++p) {
      float from = frame == 0 ? (p == 0 || (p == 1 && places[0].is_skippable) ? 0 : kNever) : best[p];
      std::uint8_t step = 0;
      if (frame > 0 && p >= 1 && best[p - 1] > from) {
        from = best[p - 1];
        step = 1;
      }
      if (frame > 0 && p >= 2 && places[p - 1].is_skippable && best[p - 2] > from) {
        from = best[p - 2];
        step = 2;
      }
      next[p] = from == kNever ? kNever : from + emission(frame, places[p]);
      steps[frame * num_places + p] = step;
    }
    std::swap(best, next);
  }
  std::size_t place = num_places - 1;
  if (num_frames > 0 && best[place - 1] >= best[place]) --place;
  if (num_frames == 0 || best[place] == kNever) {
    throw Error(ErrorKind::kInternal, "a text of " + std::to_string(tokens.size()) + " tokens does not fit into " +
                                          std::to_string(num_frames) + " frames");
  }
  std::vector<CtcTokenSpan> spans;
  for (std::size_t frame = num_frames; frame-- > 0;) {
    if (places[place].kind == Place::Kind::kToken) {
      const std::uint8_t step = steps[frame * num_places + place];
      if (spans.empty() || spans.back().begin_frame != frame + 1 || spans.back().token != places[place].token) {
        spans.push_back({places[place].token, frame, frame + 1, 0});
      }
      CtcTokenSpan& span = spans.back();
      span.begin_frame = frame;
      span.logprob += static_cast<double>(emission(frame, places[place]));
      if (step != 0 || frame == 0) span.logprob /= static_cast<double>(span.end_frame - span.begin_frame);
    }
    if (frame > 0) place -= steps[frame * num_places + place];
  }
  std::reverse(spans.begin(), spans.end());
  return spans;
}

std::vector<TranscribedWord> words_of(const CtcFacts& facts, std::span<const std::int32_t> tokens,
                                      std::span<const CtcTokenSpan> spans, double frame_s) {
  std::vector<TranscribedWord> words;
  TranscribedWord word;
  double sum = 0;
  int count = 0;
  const auto finish = [&] {
    if (!word.text.empty()) {
      word.probability = static_cast<float>(std::exp(std::min(sum / count, 0.0)));
      if (facts.word_delimiter_id) word.text.insert(0, " ");
      words.push_back(std::move(word));
    }
    word = {};
    sum = count = 0;
  };
  std::size_t next = 0;
  for (const std::int32_t token : tokens) {
    if (token == facts.word_delimiter_id) {
      finish();
      continue;
    }
    const CtcTokenSpan& span = spans[next++];
    const std::string& text = facts.tokens[static_cast<std::size_t>(token)];
    if (text.empty()) continue;
    if (word.text.empty()) word.begin_s = static_cast<double>(span.begin_frame) * frame_s;
    word.text += text;
    word.end_s = static_cast<double>(span.end_frame) * frame_s;
    sum += span.logprob;
    ++count;
    if (!facts.word_delimiter_id) finish();
  }
  finish();
  return words;
}

}  // namespace pajamas
