// A transcript as text: plain, SubRip, WebVTT, tab-separated values, JSON.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "pajamas/transcription.h"

namespace pajamas {

enum class TranscriptFormat { kTxt, kSrt, kVtt, kJson, kTsv };

/// "txt", "srt", "vtt", "json", "tsv"; throws Error{kUsage} for another name.
TranscriptFormat parse_transcript_format(std::string_view name);

/// What stands before the first segment ("WEBVTT\n\n"); may be empty. JSON is written as a whole: to_json().
std::string format_header(TranscriptFormat format);
/// One segment, with the end of its line or block. `number` counts from 1. With words SRT and VTT have an entry a word.
std::string format_segment(TranscriptFormat format, const TranscribedSegment& segment, std::size_t& number,
                           bool has_words);

/// The schema is docs/schemas/transcript.schema.json.
nlohmann::json to_json(const TranscribedSegment& segment, bool has_words);
nlohmann::json to_json(const Transcript& transcript, bool has_words);

/// "00:01:02,345" with that sign before the milliseconds; hours always. Negative times are 0.
std::string format_time(double seconds, char separator);

}  // namespace pajamas
