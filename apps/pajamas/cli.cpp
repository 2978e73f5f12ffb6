// Shared parts of the commands: output and common options. The progress line is progress_line.cpp.
#include "cli.h"

#include <fmt/format.h>

#include <iostream>

#include "base/json_writer.h"
#include "base/log.h"
#include "bundle/detection_head_names.h"
#include "models/model_definition.h"
#include "pajamas/error.h"
#include "supervise.h"
#include "tasks/registry.h"

namespace pajamas::cli {

void add_common_options(CLI::App& app, Context& context) {
  app.add_flag("--json", context.is_json, "Print one JSON document on stdout");
  app.add_option_function<std::string>(
         "--log-level", [](const std::string& level) { set_log_level(level); },
         "trace, debug, info, warn (default), error or off; logs go to stderr")
      ->type_name("LEVEL");
}

void add_threads_option(CLI::App& app, int& num_threads) {
  app.add_option("--threads", num_threads, "CPU threads to use (default: all)")->check(CLI::Range(1, 4096));
}

void add_hint_options(CLI::App& app, ImportHints& hints) {
  std::string names;
  for (const TaskEntry& task : tasks()) names += std::string(task.name) + ", ";
  app.add_option("--task", hints.task, "Read the model as one of this task: " + names + "or none");
  app.add_option("--head", hints.head, "How a detector's boxes are read: " + detection_head_names());
}

void add_time_limit_option(CLI::App& app, long& seconds) {
  app.add_option("--time-limit", seconds, fmt::format("Seconds that one step may take (default {})", kTimeLimitSeconds))
      ->check(CLI::Range(1L, 1L << 30));
}

void require_task_option(const CLI::App& app, const std::string& task, const std::string& wanted_tasks,
                         const std::vector<std::string>& names) {
  if ((" or " + wanted_tasks + " or ").find(" or " + task + " or ") != std::string::npos) return;
  for (const std::string& name : names) {
    if (app.count(name) > 0) {
      throw Error(ErrorKind::kUsage, name + " is for " + wanted_tasks + ", the bundle's task is " + task, {},
                  "leave it out");
    }
  }
}

void Context::step(const std::string& name) const {
  cancel->check(name);
  if (board != nullptr) board->set_step(name, -1);
}

std::string printable(std::string text) {
  for (char& c : text) {
    if ((c >= 0 && c < ' ' && c != '\n' && c != '\t') || c == '\x7f') c = '?';
  }
  return text;
}

void write_out(const std::string& text, const char* what) {
  std::cout << text << std::flush;
  if (std::cout) return;
  throw Error(ErrorKind::kBadInput, std::string(what) + " could not be written to standard output", {},
              "check where it leads: a full disk, a closed pipe");
}

void print_json(const nlohmann::json& json) { std::cout << json_text(json, 2) << '\n' << std::flush; }

double to_ms(std::chrono::nanoseconds time) { return std::chrono::duration<double, std::milli>(time).count(); }

std::string format_time(std::chrono::nanoseconds time) {
  const double ms = to_ms(time);
  return ms >= 10'000 ? fmt::format("{:.1f} s", ms / 1000) : fmt::format("{:.2f} ms", ms);
}

}  // namespace pajamas::cli
