// What the commands of the program share: the options every command has, progress, and how results are printed.
// One file a command; main.cpp puts them together.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/cancel.h"

namespace pajamas {
struct ImportHints;
}  // namespace pajamas

namespace pajamas::cli {

class SupervisionBoard;

/// Options of every command, and the process-wide cancel token that Ctrl-C sets.
struct Context {
  bool is_json = false;  ///< --json: one JSON document on stdout instead of text.
  CancelToken* cancel = nullptr;
  SupervisionBoard* board = nullptr;  ///< Of the process that watches this one (supervise.h); null: none does.

  /// Progress that draws on a terminal and is silent otherwise, and that the watching process follows. Starts a thread
  /// on a terminal.
  Progress progress() const;
  /// Begins a step of a command that draws no progress. Throws Error{kCancelled} after Ctrl-C.
  void step(const std::string& name) const;
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
Command add_tokenize_command(CLI::App& app, Context& context);
#ifdef PAJAMAS_TARGET_TENSORRT
Command add_trtexec_command(CLI::App& app, Context& context);
#endif

/// Adds --json and --log-level, which every command has.
void add_common_options(CLI::App& app, Context& context);
/// Default of --time-limit.
inline constexpr long kTimeLimitSeconds = 1800;

/// Adds --threads N (1..4096; default all).
void add_threads_option(CLI::App& app, int& num_threads);

/// Adds --task and --head, which say what a model is to be read as.
void add_hint_options(CLI::App& app, ImportHints& hints);

/// Adds --time-limit, the seconds one step may take before supervise() ends it.
void add_time_limit_option(CLI::App& app, long& seconds);

/// Refuses options that the bundle's task has no use for: throws Error{kUsage} for the first of `names` that was given
/// when `task` is none of `wanted_tasks`, which are separated by " or ".
void require_task_option(const CLI::App& app, const std::string& task, const std::string& wanted_tasks,
                         const std::vector<std::string>& names);

/// Text of models, bundles and audio of unknown origin made fit for a terminal: no control character of theirs, line
/// feed and tab aside, reaches it.
std::string printable(std::string text);
/// Writes to stdout and flushes. Throws Error{kBadInput} where that fails; `what` names the text ("the answer").
void write_out(const std::string& text, const char* what);

/// Prints a JSON document to stdout.
void print_json(const nlohmann::json& json);
/// Milliseconds with two digits, "12.34 ms"; seconds above ten of them.
std::string format_time(std::chrono::nanoseconds time);
double to_ms(std::chrono::nanoseconds time);

}  // namespace pajamas::cli
