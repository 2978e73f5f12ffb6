// pajamas run on a voice: text to a file of sound, or to standard output as it is made. command_run.cpp chooses by the
// bundle's task.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "cli.h"

namespace pajamas::cli {

/// What the command line says of speech.
struct SpeechRunOptions {
  std::filesystem::path bundle;
  std::vector<std::string> texts;  ///< Each a paragraph.
  std::filesystem::path file;      ///< Of text, "-" for standard input; empty: `texts`.
  std::filesystem::path output;    ///< .wav, .flac, or "-".
  double speed = 1;
  std::string speaker;
  std::optional<double> noise_scale, noise_width;
  double pause_s = 0;
  std::optional<std::uint64_t> seed;
  int num_threads = 0;
  long time_limit_s = kTimeLimitSeconds;
};

/// Adds the options that only speech has; returns their names.
std::vector<std::string> add_speech_options(CLI::App& app, SpeechRunOptions& options);

int run_speech_command(const SpeechRunOptions& options, Context& context);

}  // namespace pajamas::cli
