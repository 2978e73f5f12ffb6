// See transcript_formats.h.
#include "tasks/transcription/transcript_formats.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "pajamas/error.h"
#include "tasks/transcription/text_checks.h"

namespace pajamas {
namespace {

/// Text that ends where a line or a field does.
std::string in_one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  std::replace(text.begin(), text.end(), '\t', ' ');
  return text;
}

/// An arrow within the text would begin a new entry for some readers.
std::string without_arrow(std::string text) {
  for (std::size_t at = 0; (at = text.find("-->", at)) != std::string::npos; at += 2) text.replace(at, 3, "->");
  return text;
}

std::string entry(TranscriptFormat format, std::size_t number, double begin_s, double end_s, const std::string& text) {
  const bool is_srt = format == TranscriptFormat::kSrt;
  const char separator = is_srt ? ',' : '.';
  return (is_srt ? std::to_string(number) + "\n" : std::string()) + format_time(begin_s, separator) + " --> " +
         format_time(end_s, separator) + "\n" + without_arrow(in_one_line(text)) + "\n\n";
}

/// Milliseconds in seconds: more digits would pretend to be known.
double rounded(double seconds) { return std::round(seconds * 1000) / 1000; }

}  // namespace

TranscriptFormat parse_transcript_format(std::string_view name) {
  if (name == "txt") return TranscriptFormat::kTxt;
  if (name == "srt") return TranscriptFormat::kSrt;
  if (name == "vtt") return TranscriptFormat::kVtt;
  if (name == "json") return TranscriptFormat::kJson;
  if (name == "tsv") return TranscriptFormat::kTsv;
  throw Error(ErrorKind::kUsage, "there is no format '" + std::string(name) + "' of transcripts", "--format",
              "choose txt, srt, vtt, json or tsv");
}

std::string format_time(double seconds, char separator) {
  const auto total = static_cast<std::int64_t>(std::llround(std::max(seconds, 0.0) * 1000));
  return fmt::format("{:02}:{:02}:{:02}{}{:03}", total / 3600000, total / 60000 % 60, total / 1000 % 60, separator,
                     total % 1000);
}

std::string format_header(TranscriptFormat format) {
  if (format == TranscriptFormat::kVtt) return "WEBVTT\n\n";
  if (format == TranscriptFormat::kTsv) return "start\tend\ttext\n";
  return {};
}

std::string format_segment(TranscriptFormat format, const TranscribedSegment& segment, std::size_t& number,
                           bool has_words) {
  switch (format) {
    case TranscriptFormat::kTxt: return in_one_line(segment.text) + "\n";
    case TranscriptFormat::kTsv:
      return fmt::format("{}\t{}\t{}\n", std::llround(segment.begin_s * 1000), std::llround(segment.end_s * 1000),
                         in_one_line(segment.text));
    case TranscriptFormat::kJson: return {};
    case TranscriptFormat::kSrt:
    case TranscriptFormat::kVtt: break;
  }
  if (!has_words) return entry(format, number++, segment.begin_s, segment.end_s, segment.text);
  std::string text;
  for (const TranscribedWord& word : segment.words) {
    text += entry(format, number++, word.begin_s, word.end_s, std::string(trimmed(word.text)));
  }
  return text;
}

nlohmann::json to_json(const TranscribedSegment& segment, bool has_words) {
  nlohmann::json json = {{"begin_s", rounded(segment.begin_s)},
                         {"end_s", rounded(segment.end_s)},
                         {"text", segment.text},
                         {"tokens", segment.tokens},
                         {"mean_logprob", segment.mean_logprob},
                         {"no_speech_probability", segment.no_speech_probability},
                         {"compression_ratio", segment.compression_ratio},
                         {"temperature", segment.temperature}};
  if (has_words) {
    nlohmann::json words = nlohmann::json::array();
    for (const TranscribedWord& word : segment.words) {
      words.push_back({{"begin_s", rounded(word.begin_s)},
                       {"end_s", rounded(word.end_s)},
                       {"text", word.text},
                       {"probability", word.probability}});
    }
    json["words"] = std::move(words);
  }
  return json;
}

nlohmann::json to_json(const Transcript& transcript, bool has_words) {
  nlohmann::json segments = nlohmann::json::array();
  for (const TranscribedSegment& segment : transcript.segments) segments.push_back(to_json(segment, has_words));
  nlohmann::json json = {{"language", transcript.language},
                         {"language_probability", transcript.language_probability},
                         {"duration_s", rounded(transcript.duration_s)},
                         {"text", transcript.text()},
                         {"segments", std::move(segments)}};
  if (!transcript.warning.empty()) json["warning"] = transcript.warning;
  return json;
}

}  // namespace pajamas
