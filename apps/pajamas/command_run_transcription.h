// pajamas run on a speech model: files of audio to text with times. command_run.cpp chooses by the bundle's task.
#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "cli.h"

namespace pajamas::cli {

/// What the command line says of a transcription.
struct TranscriptionRunOptions {
  std::filesystem::path bundle;
  std::vector<std::filesystem::path> files;
  std::string format = "txt";
  std::filesystem::path output;
  std::string raw_audio;  ///< Of files without a header: "s16le:16000"; empty: they have one.
  bool has_words = false;
  std::string language;
  bool is_translated = false;
  int beam_size = 1;
  std::string vad;  ///< "on", "off"; empty: on where the bundle has a detector.
  bool is_streamed = false;
  bool is_text_carried = false;
  std::string initial_prompt, hot_words;
  std::filesystem::path language_model;
  std::optional<double> language_model_weight, word_bonus;
  int batch_size = 1;
  bool is_exact_fp32 = false;
  int num_threads = 0;
  long time_limit_s = kTimeLimitSeconds;
};

/// Adds the options that only transcription has; returns their names.
std::vector<std::string> add_transcription_options(CLI::App& app, TranscriptionRunOptions& options);

int run_transcription_command(const TranscriptionRunOptions& options, Context& context);

}  // namespace pajamas::cli
