// The pajamas program: parses the command line, runs one command, and turns every error into one message and an exit
// code (docs/cli.md). The commands are command_*.cpp.
#include <signal.h>

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <exception>
#include <filesystem>
#include <iostream>
#include <new>
#include <string_view>
#include <vector>

#include "base/log.h"
#include "cli.h"
#include "pajamas/error.h"
#include "toolchain/version.h"
#ifdef PAJAMAS_TARGET_TENSORRT
#include "targets/tensorrt/builder_process.h"
#endif

namespace pajamas::cli {
namespace {

CancelToken& cancel_token() {
  static CancelToken token;
  return token;
}

/// First Ctrl-C asks the work to stop cleanly; a second one ends the process at once, by the default action.
extern "C" void on_interrupt(int signal_number) {
  cancel_token().cancel();
  std::signal(signal_number, SIG_DFL);
}

void catch_interrupts() {
  cancel_token();  // constructed before a handler can run
  struct sigaction action {};
  action.sa_handler = on_interrupt;
  sigemptyset(&action.sa_mask);
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);  // A file size limit is an error of write, with its reason, not the end.
}

/// Prints the error as text on stderr, or with --json as a document on stdout too, so that scripts need not parse text.
int report(const Error& error, bool is_json) {
  std::cerr << "pajamas: " << printable((error.where().empty() ? "" : error.where() + ": ") + error.message()) << '\n';
  if (!error.remedy().empty()) std::cerr << "  what to do: " << printable(error.remedy()) << '\n';
  if (is_json) {
    print_json({{"error",
                 {{"kind", to_string(error.kind())},
                  {"message", error.message()},
                  {"where", error.where()},
                  {"remedy", error.remedy()}}}});
  }
  return exit_code(error.kind());
}

/// Number of single edits (a letter put in, left out, replaced, or swapped with its neighbour) from one word to
/// another.
std::size_t num_edits(std::string_view from, std::string_view to) {
  std::vector<std::vector<std::size_t>> table(from.size() + 1, std::vector<std::size_t>(to.size() + 1));
  for (std::size_t i = 0; i <= from.size(); ++i) {
    for (std::size_t j = 0; j <= to.size(); ++j) {
      if (i == 0 || j == 0) {
        table[i][j] = i + j;
        continue;
      }
      table[i][j] = std::min(
          {table[i - 1][j] + 1, table[i][j - 1] + 1, table[i - 1][j - 1] + (from[i - 1] == to[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1]) {
        table[i][j] = std::min(table[i][j], table[i - 2][j - 2] + 1);
      }
    }
  }
  return table[from.size()][to.size()];
}

/// Refuses a first word that is no command, naming the nearest that is one.
void check_command(const CLI::App& app, int argc, char** argv) {
  if (argc < 2 || argv[1][0] == '-') return;
  const std::string given = std::string(argv[1]).substr(0, 64);
  std::string nearest;
  std::size_t least = SIZE_MAX;
  std::string known;
  for (const CLI::App* command : app.get_subcommands({})) {
    const std::size_t distance = num_edits(given, command->get_name());
    if (distance < least) nearest = command->get_name();
    least = std::min(least, distance);
    known += (known.empty() ? "" : ", ") + command->get_name();
  }
  if (least == 0) return;
  // Half the letters wrong is another word, not a slip.
  const bool is_slip = 2 * least <= nearest.size();
  throw Error(ErrorKind::kUsage, "unknown command '" + given + "'" + (is_slip ? "; is '" + nearest + "' meant?" : ""),
              {}, "the commands are " + known);
}

int run(int argc, char** argv) {
  CLI::App app{
      "llama-pajamas: takes models from the formats they are published in, builds optimised engines, proves that each\n"
      "still computes what the model computes, measures it and runs it.",
      "pajamas"};
  app.set_version_flag("--version", program_version());
  app.require_subcommand(1);
  app.fallthrough(false);
  Context context;
  context.cancel = &cancel_token();
  const Command commands[] = {
      add_build_command(app, context),    add_run_command(app, context),     add_verify_command(app, context),
      add_bench_command(app, context),    add_inspect_command(app, context), add_doctor_command(app, context),
      add_tokenize_command(app, context),
#ifdef PAJAMAS_TARGET_TENSORRT
      add_trtexec_command(app, context),
#endif
  };
  try {
    check_command(app, argc, argv);
    app.parse(argc, argv);
    for (const Command& command : commands) {
      if (!command.app->parsed()) continue;
      const int code = command.run();
      if (!std::cout.flush()) {
        throw Error(ErrorKind::kBadInput, "the results could not be written to standard output", {},
                    "check where it leads: a full disk, a closed pipe");
      }
      return code;
    }
    return exit_code(ErrorKind::kUsage);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success))
      return app.exit(error);  // --help, --version
    std::cerr << "pajamas: " << error.what() << "\n  what to do: see `pajamas "
              << (app.get_subcommands().empty() ? "" : app.get_subcommands().front()->get_name() + " ") << "--help`\n";
    return exit_code(ErrorKind::kUsage);
  } catch (const Error& error) {
    return report(error, context.is_json);
  } catch (const std::filesystem::filesystem_error& error) {
    return report(Error(ErrorKind::kBadInput, error.code().message(), error.path1().string(),
                        "check the path and its permissions"),
                  context.is_json);
  } catch (const std::bad_alloc&) {
    return report(Error(ErrorKind::kBadInput, "out of memory", {}, "use a smaller model or batch, or more memory"),
                  context.is_json);
  } catch (const std::exception& error) {
    return report(Error(ErrorKind::kInternal, error.what(), {}, "this is a fault of pajamas: please report it"),
                  context.is_json);
  }
}

}  // namespace
}  // namespace pajamas::cli

int main(int argc, char** argv) {
  // A TensorRT build runs in a child process, which is this program again: see targets/tensorrt/builder_process.h.
#ifdef PAJAMAS_TARGET_TENSORRT
  if (const auto code = pajamas::run_builder_child(argc, argv)) return *code;
#endif
  pajamas::cli::catch_interrupts();
  return pajamas::cli::run(argc, argv);
}
