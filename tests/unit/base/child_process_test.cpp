// Tests of base/child_process.h: every way a child can end, and that none is left behind. The children are shells and
// small tools of the system.
#include "base/child_process.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "pajamas/error.h"

namespace pajamas {
namespace {

using std::chrono::milliseconds;

ChildCommand shell(const std::string& script) {
  ChildCommand command;
  command.program = "/bin/sh";
  command.arguments = {"-c", script};
  return command;
}

/// A zombie that nobody reaps (as in a container without init) counts as gone: it runs nothing and holds nothing.
bool is_alive(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  if (!std::getline(file, text)) return false;
  const std::size_t name_end = text.rfind(") ");
  return name_end != std::string::npos && text[name_end + 2] != 'Z';
}

TEST(ChildProcess, LinesErrorsAndExitCodeArrive) {
  std::vector<std::string> lines;
  ChildCommand command = shell("echo one >&3; printf 'two\\nthree' >&3; echo wrong >&2; echo out; exit 7");
  command.on_line = [&](std::string_view line) { lines.emplace_back(line); };
  const ChildResult result = run_child(command);
  EXPECT_EQ(result.end, ChildEnd::kExited);
  EXPECT_EQ(result.exit_code, 7);
  EXPECT_FALSE(result.is_success());
  EXPECT_EQ(lines, (std::vector<std::string>{"one", "two", "three"}));
  EXPECT_EQ(result.error_tail, "wrong\n");
  EXPECT_EQ(result.describe(), "ended with exit code 7");
  EXPECT_GT(result.peak_memory_bytes, 0U);
}

TEST(ChildProcess, MuchOutputDoesNotBlockAndTheTailIsKept) {
  std::size_t num_lines = 0;
  ChildCommand command = shell("i=0; while [ $i -lt 20000 ]; do echo line-$i >&3; echo error-$i >&2; i=$((i+1)); done");
  command.on_line = [&](std::string_view) { ++num_lines; };
  const ChildResult result = run_child(command);
  EXPECT_TRUE(result.is_success());
  EXPECT_EQ(num_lines, 20000U);
  EXPECT_LE(result.error_tail.size(), 16U << 10);
  EXPECT_TRUE(result.error_tail.ends_with("error-19999\n"));
}

TEST(ChildProcess, SignalsAreNamed) {
  const ChildResult crash = run_child(shell("kill -SEGV $$"));
  EXPECT_EQ(crash.end, ChildEnd::kSignalled);
  EXPECT_EQ(crash.signal, SIGSEGV);
  EXPECT_EQ(crash.describe(), "was killed by SIGSEGV");
  EXPECT_EQ(run_child(shell("kill -KILL $$")).describe(), "was killed by SIGKILL");
  EXPECT_EQ(signal_name(SIGABRT), "SIGABRT");
}

TEST(ChildProcess, TimeLimitKillsTheWholeGroup) {
  pid_t grandchild = 0;
  ChildCommand command = shell("sleep 100 & echo $! >&3; wait");
  command.limits.time = milliseconds(300);
  command.on_line = [&](std::string_view line) { grandchild = std::stoi(std::string(line)); };
  const ChildResult result = run_child(command);
  EXPECT_EQ(result.end, ChildEnd::kOutOfTime);
  EXPECT_LT(result.elapsed, milliseconds(5000));
  EXPECT_NE(result.describe().find("out of time"), std::string::npos);
  ASSERT_GT(grandchild, 0);
  for (int i = 0; i < 100 && is_alive(grandchild); ++i) std::this_thread::sleep_for(milliseconds(20));
  EXPECT_FALSE(is_alive(grandchild));
}

TEST(ChildProcess, TimeLimitHoldsForAChildThatWritesWithoutEnd) {
  ChildCommand command = shell("exec yes >&2");
  command.limits.time = milliseconds(200);
  const ChildResult result = run_child(command);
  EXPECT_EQ(result.end, ChildEnd::kOutOfTime);
  EXPECT_LT(result.elapsed, milliseconds(5000));
}

TEST(ChildProcess, NothingOutlivesAChildThatEndsByItself) {
  pid_t grandchild = 0;
  ChildCommand command = shell("sleep 100 >/dev/null 2>&1 3>&- & echo $! >&3; exit 0");
  command.on_line = [&](std::string_view line) { grandchild = std::stoi(std::string(line)); };
  EXPECT_TRUE(run_child(command).is_success());
  ASSERT_GT(grandchild, 0);
  for (int i = 0; i < 100 && is_alive(grandchild); ++i) std::this_thread::sleep_for(milliseconds(20));
  EXPECT_FALSE(is_alive(grandchild));
}

TEST(ChildProcess, MemoryLimitIsNamed) {
  ChildCommand command = shell("x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done");
  command.limits.memory_bytes = 64U << 20;
  command.limits.time = milliseconds(20000);
  const ChildResult result = run_child(command);
  EXPECT_EQ(result.end, ChildEnd::kOutOfMemory);
  EXPECT_NE(result.describe().find("out of memory"), std::string::npos);
}

TEST(ChildProcess, CancellationAsksFirst) {
  CancelToken token;
  ChildCommand command = shell("trap 'echo stopping >&3; exit 0' TERM; echo ready >&3; while :; do sleep 0.05; done");
  command.cancel = &token;
  std::vector<std::string> lines;
  command.on_line = [&](std::string_view line) {
    lines.emplace_back(line);
    token.cancel();
  };
  const ChildResult result = run_child(command);
  EXPECT_EQ(result.end, ChildEnd::kCancelled);
  EXPECT_EQ(lines, (std::vector<std::string>{"ready", "stopping"}));
}

TEST(ChildProcess, CancellationKillsWhatDoesNotListen) {
  CancelToken token;
  ChildCommand command = shell("trap '' TERM; echo ready >&3; while :; do sleep 0.05; done");
  command.cancel = &token;
  command.grace = milliseconds(100);
  command.on_line = [&](std::string_view) { token.cancel(); };
  const ChildResult result = run_child(command);
  EXPECT_EQ(result.end, ChildEnd::kCancelled);
  EXPECT_EQ(result.signal, SIGKILL);
  EXPECT_LT(result.elapsed, milliseconds(5000));
}

TEST(ChildProcess, ExceptionInACallbackLeavesNoChild) {
  pid_t pid = 0;
  ChildCommand command = shell("echo $$ >&3; sleep 100");
  command.on_line = [&](std::string_view line) {
    pid = std::stoi(std::string(line));
    throw std::runtime_error("from the callback");
  };
  EXPECT_THROW(run_child(command), std::runtime_error);
  ASSERT_GT(pid, 0);
  EXPECT_FALSE(is_alive(pid));
}

TEST(ChildProcess, LimitsReachTheChild) {
  std::string stack;
  ChildCommand command = shell("ulimit -S -s >&3");
  command.limits.stack_bytes = 64U << 20;
  command.on_line = [&](std::string_view line) { stack = line; };
  run_child(command);
  EXPECT_EQ(stack, "65536");
  command = shell(
      "head -c 100000 /dev/zero > /tmp/pajamas-child-file-$$; code=$?; rm /tmp/pajamas-child-file-$$; exit $code");
  command.limits.file_bytes = 4096;
  EXPECT_NE(run_child(command).exit_code, 0);
}

TEST(ChildProcess, TicksAndEnvironment) {
  int num_ticks = 0;
  std::string value;
  ChildCommand command = shell("echo $PAJAMAS_CHILD_TEST >&3; sleep 0.7");
  command.environment = {{"PAJAMAS_CHILD_TEST", "yes"}};
  command.on_line = [&](std::string_view line) { value = line; };
  command.on_tick = [&](milliseconds) { ++num_ticks; };
  EXPECT_TRUE(run_child(command).is_success());
  EXPECT_EQ(value, "yes");
  EXPECT_GE(num_ticks, 1);
}

TEST(ChildProcess, MissingProgramIsNamed) {
  ChildCommand command;
  command.program = "/nonexistent/program";
  try {
    run_child(command);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("/nonexistent/program"), std::string::npos);
  }
}

TEST(ChildProcess, SeveralAtOnce) {
  std::vector<std::thread> threads;
  std::array<int, 8> codes{};
  for (std::size_t i = 0; i < codes.size(); ++i) {
    threads.emplace_back(
        [&codes, i] { codes[i] = run_child(shell("sleep 0.1; exit " + std::to_string(i))).exit_code; });
  }
  for (std::thread& thread : threads) thread.join();
  for (std::size_t i = 0; i < codes.size(); ++i) EXPECT_EQ(codes[i], static_cast<int>(i));
}

}  // namespace
}  // namespace pajamas
