// What the commands of the program share: the options every command has, progress, and how results are printed.
// One file a command; main.cpp puts them together.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "base/cancel.h"

namespace pajamas::cli {

/// Options of every command, and the process-wide cancel token that Ctrl-C sets.
struct Context {
  bool is_json = false;  ///< --json: one JSON document on stdout instead of text.
  CancelToken* cancel = nullptr;

  /// Progress that draws on a terminal and is silent otherwise.
  Progress progress() const;
};

/// A command adds its options to `app` and leaves its work in `run`; the return value is the exit code.
struct Command {
  CLI::App* app = nullptr;
  std::function<int()> run;
};

Command add_build_command(CLI::App& app, Context& context);
Command add_run_command(CLI::App& app, Context& context);
Command add_verify_command(CLI::App& app, Context& context);
Command add_bench_command(CLI::App& app, Context& context);
Command add_inspect_command(CLI::App& app, Context& context);
Command add_doctor_command(CLI::App& app, Context& context);
#ifdef PAJAMAS_TARGET_TENSORRT
Command add_trtexec_command(CLI::App& app, Context& context);
#endif

/// Adds --json and --log-level, which every command has.
void add_common_options(CLI::App& app, Context& context);
/// Adds --threads N (1..4096; default all).
void add_threads_option(CLI::App& app, int& num_threads);

/// Prints a JSON document to stdout.
void print_json(const nlohmann::json& json);
/// Milliseconds with two digits, "12.34 ms"; seconds above ten of them.
std::string format_time(std::chrono::nanoseconds time);
double to_ms(std::chrono::nanoseconds time);

}  // namespace pajamas::cli
