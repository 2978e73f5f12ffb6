// espeak-ng reads a line and writes its phonemes, a clause a line. Its output goes to a pseudo-terminal, because into a
// pipe it writes whole blocks. As one line may give any number of lines, a sentinel is asked behind each clause: its
// phonemes, learned at the start, mark the end. See phonemizer.h.
#include "tasks/speech/phonemizer.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <optional>
#include <utility>

#include "base/descriptor.h"
#include "pajamas/error.h"

extern char** environ;

namespace pajamas {
namespace {

using Clock = std::chrono::steady_clock;

/// A number that is long in every language and that nobody writes as a clause of its own. Letters may be spelled like
/// words; digits never are.
constexpr std::string_view kSentinel = "7361529";
constexpr std::chrono::seconds kAnswerLimit{10};
/// Far above the phonemes of a clause; a program that writes more is not espeak-ng.
constexpr std::size_t kMaxAnswerBytes = 1U << 20;

[[noreturn]] void fail_to_start(const std::string& program, int error) {
  throw Error(ErrorKind::kDeviceMissing,
              "the program that turns letters into phonemes cannot be started: " + std::string(std::strerror(error)),
              program, "install espeak-ng (apt install espeak-ng)");
}

class FileActions {
 public:
  FileActions() { ::posix_spawn_file_actions_init(&actions_); }
  ~FileActions() { ::posix_spawn_file_actions_destroy(&actions_); }
  FileActions(const FileActions&) = delete;
  FileActions& operator=(const FileActions&) = delete;
  posix_spawn_file_actions_t* get() { return &actions_; }

 private:
  posix_spawn_file_actions_t actions_{};
};

class Attributes {
 public:
  Attributes() {
    ::posix_spawnattr_init(&attributes_);
    // Ctrl-C is this process's to handle, and nothing that it ignores or blocks is the child's affair.
    sigset_t defaults, none;
    ::sigemptyset(&none);
    ::sigemptyset(&defaults);
    for (const int signal : {SIGINT, SIGTERM, SIGQUIT, SIGHUP, SIGPIPE}) ::sigaddset(&defaults, signal);
    ::posix_spawnattr_setsigdefault(&attributes_, &defaults);
    ::posix_spawnattr_setsigmask(&attributes_, &none);
    ::posix_spawnattr_setpgroup(&attributes_, 0);
    ::posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
  }
  ~Attributes() { ::posix_spawnattr_destroy(&attributes_); }
  Attributes(const Attributes&) = delete;
  Attributes& operator=(const Attributes&) = delete;
  posix_spawnattr_t* get() { return &attributes_; }

 private:
  posix_spawnattr_t attributes_{};
};

/// The two ends of a pseudo-terminal that passes bytes on as they are.
std::pair<Descriptor, Descriptor> open_terminal(const std::string& program) {
  Descriptor master(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!master.is_open() || ::grantpt(master.get()) != 0 || ::unlockpt(master.get()) != 0) fail_to_start(program, errno);
  char name[128];
  if (const int error = ::ptsname_r(master.get(), name, sizeof(name)); error != 0) fail_to_start(program, error);
  Descriptor slave(::open(name, O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!slave.is_open()) fail_to_start(program, errno);
  termios settings{};
  if (::tcgetattr(slave.get(), &settings) != 0) fail_to_start(program, errno);
  ::cfmakeraw(&settings);
  if (::tcsetattr(slave.get(), TCSANOW, &settings) != 0) fail_to_start(program, errno);
  return {std::move(master), std::move(slave)};
}

/// Without "(en)" and the like, which mark words of another language.
std::string without_marks(const std::string& line) {
  std::string result;
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '(') {
      const std::size_t end = line.find(')', i);
      if (end != std::string::npos && end > i + 1) {
        i = end;
        continue;
      }
    }
    if (line[i] != '\r') result += line[i];
  }
  return result;
}

}  // namespace

struct Phonemizer::State {
  State(const std::string& voice_name, const std::string& program_name) : voice(voice_name), program(program_name) {}
  ~State() { stop(); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  void start() {
    auto terminal = open_terminal(program);
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) fail_to_start(program, errno);
    input = Descriptor(ends[0]);
    const Descriptor child_input(ends[1]);
    FileActions actions;
    ::posix_spawn_file_actions_adddup2(actions.get(), child_input.get(), STDIN_FILENO);
    ::posix_spawn_file_actions_adddup2(actions.get(), terminal.second.get(), STDOUT_FILENO);
    ::posix_spawn_file_actions_addopen(actions.get(), STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    Attributes attributes;
    const char* arguments[] = {program.c_str(), "-q", "--ipa", "-b", "1", "-v", voice.c_str(), nullptr};
    const int error = ::posix_spawnp(&process, program.c_str(), actions.get(), attributes.get(),
                                     const_cast<char* const*>(arguments), environ);
    if (error != 0) {
      process = -1;
      fail_to_start(program, error);
    }
    output = std::move(terminal.first);
  }

  void stop() {
    input.reset();
    output.reset();
    if (process <= 0) return;
    ::kill(process, SIGKILL);
    while (::waitpid(process, nullptr, 0) < 0 && errno == EINTR) {
    }
    process = -1;
  }

  [[noreturn]] void fail(const std::string& what) {
    stop();
    is_broken = true;
    throw Error(ErrorKind::kInternal, program + " " + what, {}, "try the text again; is " + program + " espeak-ng?");
  }

  void write(std::string_view text) {
    while (!text.empty()) {
      const ssize_t count = ::send(input.get(), text.data(), text.size(), MSG_NOSIGNAL);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) fail("ended while it was being used");
      text.remove_prefix(static_cast<std::size_t>(count));
    }
  }

  /// The next line; nothing when the program ended.
  std::optional<std::string> read_line(Clock::time_point deadline) {
    while (true) {
      const std::size_t end = pending.find('\n');
      if (end != std::string::npos) {
        std::string line = without_marks(pending.substr(0, end));
        pending.erase(0, end + 1);
        return line;
      }
      if (pending.size() > kMaxAnswerBytes) fail("writes without end");
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
      if (left <= 0) fail("did not answer within " + std::to_string(kAnswerLimit.count()) + " s");
      pollfd wait{output.get(), POLLIN, 0};
      const int ready = ::poll(&wait, 1, static_cast<int>(left));
      if (ready < 0 && errno != EINTR) fail("cannot be read: " + std::string(std::strerror(errno)));
      if (ready <= 0) continue;
      char buffer[4096];
      const ssize_t count = ::read(output.get(), buffer, sizeof(buffer));
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) return std::nullopt;  // A terminal whose other end is closed gives EIO.
      pending.append(buffer, static_cast<std::size_t>(count));
    }
  }

  /// What the sentinel sounds like: asked for twice, it is the first line that comes twice.
  void learn_sentinel() {
    for (int i = 0; i < 2; ++i) write(std::string(kSentinel) + "\n");
    const auto deadline = Clock::now() + kAnswerLimit;
    std::string last;
    for (int i = 0; i < 1000; ++i) {
      auto line = read_line(deadline);
      if (!line) break;
      if (!line->empty() && *line == last) {
        sentinel = *line;
        return;
      }
      last = std::move(*line);
    }
    stop();
    throw Error(ErrorKind::kDeviceMissing, "gives no phonemes for the voice '" + voice + "'", program,
                "is it espeak-ng, and does it know the voice (espeak-ng --voices)? Install a newer one");
  }

  std::string voice, program;
  pid_t process = -1;
  Descriptor input, output;
  std::string pending, sentinel;
  bool is_broken = false;
};

Phonemizer::Phonemizer(const std::string& voice, const std::string& program)
    : state_(std::make_unique<State>(voice, program)) {
  // A voice goes on the command line behind -v; one that looks like an option is none.
  if (voice.empty() || voice[0] == '-') {
    throw Error(ErrorKind::kBadInput, "'" + voice + "' is no voice of espeak-ng", {}, "build the bundle again");
  }
  state_->start();
  try {
    state_->learn_sentinel();
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kInternal) throw;
    throw Error(ErrorKind::kDeviceMissing, error.message(), program, "install espeak-ng (apt install espeak-ng)");
  }
}

Phonemizer::~Phonemizer() = default;

std::string Phonemizer::phonemes_of(std::string_view clause) {
  if (state_->is_broken) state_->fail("ended before");
  std::string line(clause);
  for (char& c : line) {
    if ((c >= 0 && c < ' ') || c == '\x7f') c = ' ';
  }
  state_->write(line + "\n" + std::string(kSentinel) + "\n");
  const auto deadline = Clock::now() + kAnswerLimit;
  std::string phonemes;
  while (true) {
    const auto answer = state_->read_line(deadline);
    if (!answer) state_->fail("ended while it was being used");
    if (*answer == state_->sentinel) return phonemes;
    const std::size_t begin = answer->find_first_not_of(' ');
    if (begin == std::string::npos) continue;
    if (!phonemes.empty()) phonemes += ' ';
    phonemes += answer->substr(begin, answer->find_last_not_of(' ') + 1 - begin);
    if (phonemes.size() > kMaxAnswerBytes) state_->fail("writes without end");
  }
}

}  // namespace pajamas
