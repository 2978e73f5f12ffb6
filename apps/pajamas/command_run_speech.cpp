// See command_run_speech.h.
#include "command_run_speech.h"

#include <fmt/format.h>

#include <chrono>
#include <iostream>
#include <iterator>

#include "base/files.h"
#include "media/audio_writer.h"
#include "pajamas/error.h"
#include "pajamas/speech.h"
#include "supervise.h"

namespace pajamas::cli {
namespace {

/// A long book has 4 MB; what is larger is no text.
constexpr std::uint64_t kMaxTextBytes = 64ULL << 20;

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

std::string read_standard_input() {
  std::string text;
  char block[65536];
  while (std::cin.read(block, sizeof(block)) || std::cin.gcount() > 0) {
    text.append(block, static_cast<std::size_t>(std::cin.gcount()));
    if (text.size() > kMaxTextBytes) {
      throw Error(ErrorKind::kBadInput, "standard input has more than 64 MiB, which is no text to speak");
    }
  }
  return text;
}

void check(const SpeechRunOptions& options, const Context& context) {
  if (options.texts.empty() == options.file.empty()) {
    throw Error(ErrorKind::kUsage,
                options.file.empty() ? "no text was given" : "--text and --file contradict each other", {},
                "give --text TEXT, or --file FILE (- for standard input)");
  }
  if (options.output.empty()) {
    throw Error(ErrorKind::kUsage, "no place for the sound was given", "--output",
                "give -o OUT.wav, -o OUT.flac, or -o - for WAV on standard output");
  }
  if (options.output == "-" && context.is_json) {
    throw Error(ErrorKind::kUsage, "sound and JSON cannot both go to standard output", "--json",
                "give -o FILE, or leave --json out");
  }
}

std::string text_of(const SpeechRunOptions& options) {
  if (options.file == "-") return read_standard_input();
  if (!options.file.empty()) return read_file(options.file, kMaxTextBytes);
  std::string text;
  for (const std::string& one : options.texts) text += (text.empty() ? "" : "\n\n") + one;
  return text;
}

}  // namespace

std::vector<std::string> add_speech_options(CLI::App& app, SpeechRunOptions& options) {
  std::vector<std::string> names;
  const auto add = [&](const char* name, auto& value, const char* description) {
    names.emplace_back(name);
    return app.add_option(name, value, std::string("Speech: ") + description);
  };
  add("--file", options.file, "file of the text to speak; - for standard input");
  add("--speed", options.speed, "pace, 0.25..4 (default 1)")->check(CLI::Range(0.25, 4.0));
  add("--speaker", options.speaker, "name or number, of a voice with several (default: the first)");
  add("--noise", options.noise_scale, "variation of the sound, 0..2 (default: the voice's)")
      ->check(CLI::Range(0.0, 2.0));
  add("--noise-width", options.noise_width, "variation of the durations, 0..2 (default: the voice's)")
      ->check(CLI::Range(0.0, 2.0));
  add("--pause", options.pause_s, "seconds of silence between sentences (default 0)")->check(CLI::Range(0.0, 10.0));
  return names;
}

int run_speech_command(const SpeechRunOptions& options, Context& context) {
  check(options, context);
  const AudioFileFormat format = audio_format_of(options.output);
  if (const auto code =
          supervise(context, {"the speech", options.bundle.string(), std::chrono::seconds(options.time_limit_s),
                              "run `pajamas verify` on the bundle, or build it again"})) {
    return *code;
  }
  const std::string text = text_of(options);
  context.step("loading the engines");
  SpeechSynthesizer synthesizer(options.bundle, {options.num_threads, "espeak-ng"});
  SpeechOptions speech;
  speech.speed = options.speed;
  if (!options.speaker.empty()) speech.speaker = synthesizer.speaker_id(options.speaker);
  speech.noise_scale = options.noise_scale;
  speech.noise_width = options.noise_width;
  speech.pause_s = options.pause_s;
  speech.seed = options.seed.value_or(0);
  speech.is_cancelled = [&context] { return context.cancel != nullptr && context.cancel->is_cancelled(); };

  const int rate = synthesizer.sample_rate_hz();
  AudioWriter writer(options.output, format, rate);
  const Progress progress = context.progress();
  const auto begin = std::chrono::steady_clock::now();
  double first_s = 0;
  nlohmann::json sentences = nlohmann::json::array();
  synthesizer.speak(text, speech, [&](const SpokenSentence& sentence) {
    if (sentences.empty()) first_s = seconds_since(begin);
    writer.write(sentence.samples);
    sentences.push_back({{"text", sentence.text}, {"begin_s", sentence.begin_s}, {"end_s", sentence.end_s}});
    progress.step(fmt::format("speaking, {} sentences", sentences.size()));
    return true;
  });
  const double duration_s = static_cast<double>(writer.num_samples()) / rate;
  writer.finish();
  const double seconds = seconds_since(begin);
  if (context.is_json) {
    nlohmann::json result = {
        {"audio", options.output.string()}, {"sample_rate_hz", rate}, {"duration_s", duration_s},
        {"first_audio_ms", 1000 * first_s}, {"seconds", seconds},     {"sentences", std::move(sentences)}};
    print_json({{"bundle", options.bundle.string()},
                {"task", "speech"},
                {"results", nlohmann::json::array({std::move(result)})}});
  } else {
    std::cerr << fmt::format("[{} sentences, {:.1f} s of sound, first after {:.0f} ms, {:.1f} s, {:.1f} x real time]\n",
                             sentences.size(), duration_s, 1000 * first_s, seconds,
                             seconds > 0 ? duration_s / seconds : 0.0);
  }
  return 0;
}

}  // namespace pajamas::cli
