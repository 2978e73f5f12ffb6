// See command_run_transcription.h.
#include "command_run_transcription.h"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <iostream>
#include <optional>
#include <set>
#include <utility>

#include "base/files.h"
#include "base/json_writer.h"
#include "media/audio_reader.h"
#include "pajamas/error.h"
#include "pajamas/transcription.h"
#include "supervise.h"
#include "tasks/transcription/transcript_formats.h"
#include "text/tokenizer/utf8.h"

namespace pajamas::cli {
namespace {

namespace fs = std::filesystem;

void write_transcript(const std::string& text) {
  static const bool is_terminal = ::isatty(STDOUT_FILENO) != 0;
  write_out(is_terminal ? printable(text) : text, "the transcript");
}

/// Where the transcript of `file` goes; empty: standard output.
fs::path output_path(const TranscriptionRunOptions& options, const fs::path& file) {
  if (options.output.empty() || options.files.size() == 1) return options.output;
  const fs::path name = file == "-" ? fs::path("stdin") : file.filename();
  return options.output / fs::path(name).replace_extension(options.format);
}

std::optional<RawAudio> raw_audio_of(const TranscriptionRunOptions& options) {
  if (options.raw_audio.empty()) return std::nullopt;
  return parse_raw_audio(options.raw_audio);
}

void check_output(const TranscriptionRunOptions& options) {
  if (options.files.empty()) {
    throw Error(ErrorKind::kUsage, "no audio was given", {}, "name one or more files, or - for standard input");
  }
  if (options.files.size() == 1) return;
  if (options.output.empty()) {
    if (options.format == "txt" || options.format == "json") return;
    throw Error(ErrorKind::kUsage, "several transcripts as " + options.format + " do not fit into one standard output",
                "--format", "give -o FOLDER, or run the files one by one");
  }
  std::set<fs::path> targets;
  for (const fs::path& file : options.files) {
    if (!targets.insert(output_path(options, file)).second) {
      throw Error(ErrorKind::kUsage, "two of the files would be written to this one",
                  output_path(options, file).string(), "run them one by one, each with its own -o");
    }
  }
  std::error_code error;
  fs::create_directories(options.output, error);
  if (error) {
    throw Error(ErrorKind::kBadInput, "cannot be made a folder for the transcripts: " + error.message(),
                options.output.string(), "with several files -o names a folder");
  }
}

/// The provisional text under the final ones, on a terminal redrawn in place.
class PartialLine {
 public:
  explicit PartialLine(bool is_terminal) : is_terminal_(is_terminal) {}
  void show(const std::string& text) {
    std::string line = printable(text);
    for (char& c : line) {
      if (c == '\n' || c == '\t') c = ' ';
    }
    if (is_terminal_) {
      if (line.size() > kMaxLineBytes) {
        std::size_t begin = line.size() - kMaxLineBytes;
        while (begin < line.size() && is_continuation_byte(line[begin])) ++begin;  // not within a character
        line = "..." + line.substr(begin);
      }
      std::fprintf(stderr, "\r\033[K%s", line.c_str());
      is_shown_ = true;
    } else {
      std::fprintf(stderr, "... %s\n", line.c_str());
    }
    std::fflush(stderr);
  }
  void clear() {
    if (is_shown_) std::fputs("\r\033[K", stderr);
    is_shown_ = false;
  }

 private:
  static constexpr std::size_t kMaxLineBytes = 107;  ///< Of the text, so that most lines stay one on a terminal.
  bool is_terminal_;
  bool is_shown_ = false;
};

class FileRun {
 public:
  FileRun(const TranscriptionRunOptions& options, const Context& context, Transcriber& transcriber)
      : options_(options),
        context_(context),
        transcriber_(transcriber),
        format_(parse_transcript_format(options.format)),
        raw_audio_(raw_audio_of(options)),
        partial_(::isatty(STDERR_FILENO) != 0) {}

  /// The transcript; whatever was not written yet stays in it. An error leaves what was transcribed before it.
  nlohmann::json run(const fs::path& file) {
    const fs::path target = output_path(options_, file);
    is_to_stdout_ = target.empty() && !context_.is_json;
    text_ = format_header(format_);
    number_ = 1;
    segments_.clear();
    if (is_to_stdout_ && options_.files.size() > 1 && format_ == TranscriptFormat::kTxt) text_ = file.string() + ":\n";
    const auto begin = std::chrono::steady_clock::now();
    Transcript transcript;
    std::optional<Error> error;
    try {
      transcript = transcribe(file);
    } catch (const Error& failure) {
      // What was transcribed is right: it is given before the error is told.
      error = failure;
      transcript.segments = std::move(segments_);
    }
    partial_.clear();
    finish(transcript, target);
    if (error) throw *error;
    if (!transcript.warning.empty()) std::cerr << "pajamas: " << file.string() << ": " << transcript.warning << '\n';
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    if (!context_.is_json) {
      std::cerr << fmt::format("[{:.1f} s of audio, language {}, {} segments, {:.1f} s, {:.1f} x real time]\n",
                               transcript.duration_s, transcript.language.empty() ? "unknown" : transcript.language,
                               transcript.segments.size(), seconds,
                               seconds > 0 ? transcript.duration_s / seconds : 0.0);
    }
    nlohmann::json json = to_json(transcript, options_.has_words);
    json["audio"] = file.string();
    json["seconds"] = seconds;
    return json;
  }

 private:
  Transcript transcribe(const fs::path& file) {
    AudioReader reader(file, {.raw = raw_audio_, .cancel = context_.cancel});
    const double total_s = reader.num_samples() ? static_cast<double>(*reader.num_samples()) / 16000.0 : 0.0;
    // A line that is redrawn would mix with text that appears on the same terminal.
    const Progress progress = is_to_stdout_ ? Progress{} : context_.progress();
    TranscriptionOptions options;
    options.language = options_.language;
    options.is_translated = options_.is_translated;
    options.beam_size = options_.beam_size;
    options.has_words = options_.has_words;
    options.is_text_carried = options_.is_text_carried;
    options.initial_prompt = options_.initial_prompt;
    options.hot_words = options_.hot_words;
    options.language_model = options_.language_model;
    options.language_model_weight = options_.language_model_weight;
    options.word_bonus = options_.word_bonus;
    options.batch_size = options_.is_streamed ? 1 : options_.batch_size;
    if (!options_.vad.empty()) options.is_speech_detected = options_.vad == "on";
    if (options_.is_streamed) options.on_partial = [this](const std::string& text) { partial_.show(text); };
    options.is_cancelled = [&] {
      const double done_s = static_cast<double>(reader.position()) / 16000.0;
      context_.step(fmt::format("transcribing, {:.0f} s of audio read", done_s));
      progress.step("transcribing " + file.filename().string(), total_s > 0 ? std::min(done_s / total_s, 1.0) : -1.0);
      return context_.cancel != nullptr && context_.cancel->is_cancelled();
    };
    Transcript transcript =
        transcriber_.transcribe_samples([&](std::span<float> samples) { return reader.read(samples); }, options,
                                        [&](const TranscribedSegment& segment, double) {
                                          give(segment);
                                          return true;
                                        });
    transcript.warning = reader.warning();
    return transcript;
  }

  /// Text on standard output appears as it becomes final.
  void give(const TranscribedSegment& segment) {
    segments_.push_back(segment);
    text_ += format_segment(format_, segment, number_, options_.has_words);
    if (!is_to_stdout_ || format_ == TranscriptFormat::kJson) return;
    partial_.clear();
    write_transcript(std::exchange(text_, {}));
  }

  void finish(const Transcript& transcript, const fs::path& target) {
    if (format_ == TranscriptFormat::kJson) text_ = json_text(to_json(transcript, options_.has_words), 2) + "\n";
    if (is_to_stdout_) {
      if (format_ != TranscriptFormat::kJson || options_.files.size() == 1) write_transcript(text_);
    } else if (!target.empty()) {
      write_file(target, text_);
    }
    text_.clear();
  }

  const TranscriptionRunOptions& options_;
  const Context& context_;
  Transcriber& transcriber_;
  TranscriptFormat format_;
  std::optional<RawAudio> raw_audio_;
  PartialLine partial_;
  bool is_to_stdout_ = true;
  std::string text_;
  std::size_t number_ = 1;
  std::vector<TranscribedSegment> segments_;
};

}  // namespace

std::vector<std::string> add_transcription_options(CLI::App& app, TranscriptionRunOptions& options) {
  std::vector<std::string> names;
  const auto named = [&](const char* name) {
    names.emplace_back(name);
    return name;
  };
  app.add_option(named("--format"), options.format, "Transcription: txt, srt, vtt, json or tsv (default txt)")
      ->check(CLI::IsMember({"txt", "srt", "vtt", "json", "tsv"}));
  app.add_option(named("--raw-audio"), options.raw_audio,
                 "Transcription: the audio has no header and is ENCODING:RATE[:CHANNELS], as in s16le:16000");
  app.add_flag(named("--words"), options.has_words, "Transcription: times of words");
  app.add_option(named("--language"), options.language, "Transcription: code like en (default: found by the model)");
  app.add_flag(named("--translate"), options.is_translated, "Transcription: text in English");
  app.add_option(named("--beam"), options.beam_size, "Transcription: beams of the search (default 1: greedy)")
      ->check(CLI::Range(1, 1024));
  app.add_option(named("--vad"), options.vad, "Transcription: on or off: look for speech first (default: where it can)")
      ->check(CLI::IsMember({"on", "off"}));
  app.add_flag(named("--stream"), options.is_streamed, "Transcription: show text that is not final yet, on stderr");
  app.add_flag(named("--carry"), options.is_text_carried, "Transcription: tell each chunk the text before it");
  app.add_option(named("--initial-prompt"), options.initial_prompt, "Transcription: text before the first chunk");
  app.add_option(named("--hot-words"), options.hot_words, "Transcription: words to expect");
  app.add_option(named("--lm"), options.language_model,
                 "Transcription by CTC with --beam: n-gram language model as ARPA text");
  app.add_option(named("--lm-weight"), options.language_model_weight,
                 "Transcription with --lm: weight of the language model, 0..100 (default 0.5)")
      ->check(CLI::Range(0.0, 100.0));
  app.add_option(named("--word-bonus"), options.word_bonus,
                 "Transcription with --lm: what each word adds, -100..100 (default 1.5)")
      ->check(CLI::Range(-100.0, 100.0));
  app.add_option(named("--batch"), options.batch_size, "Transcription: chunks decoded together (default 1)")
      ->check(CLI::Range(1, 64));
  return names;
}

int run_transcription_command(const TranscriptionRunOptions& options, Context& context) {
  check_output(options);
  raw_audio_of(options);
  if (const auto code =
          supervise(context, {"the transcription", options.bundle.string(), std::chrono::seconds(options.time_limit_s),
                              "run `pajamas verify` on the bundle, or build it again"})) {
    return *code;
  }
  context.step("loading the engines");
  Transcriber transcriber(options.bundle, {options.num_threads, options.is_exact_fp32});
  FileRun run(options, context, transcriber);
  nlohmann::json results = nlohmann::json::array();
  for (const fs::path& file : options.files) results.push_back(run.run(file));
  if (context.is_json) {
    print_json({{"bundle", options.bundle.string()}, {"task", "transcription"}, {"results", std::move(results)}});
  } else if (options.format == "json" && options.files.size() > 1 && options.output.empty()) {
    print_json(results);
  }
  return 0;
}

}  // namespace pajamas::cli
