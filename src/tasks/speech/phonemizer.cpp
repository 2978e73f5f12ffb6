// espeak-ng reads a line and writes its phonemes, a clause a line. Its output goes to a pseudo-terminal, because into a
// pipe it writes whole blocks; where there is none (a chroot without devpts, some sandboxes), each clause has a process
// of its own, which takes a few milliseconds more. As one line may give any number of lines, two numbers are asked
// behind each clause: their phonemes, learned at the start, mark the end. See phonemizer.h.
#include "tasks/speech/phonemizer.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <optional>
#include <utility>
#include <vector>

#include "base/companion_program.h"
#include "base/descriptor.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

using Clock = std::chrono::steady_clock;

/// Numbers that are long in every language. Two, one behind the other, because a clause may be either; none is both.
/// Letters may be spelled like words; digits never are.
constexpr std::array<std::string_view, 2> kEndMarks{"7361529", "9152637"};
/// A clause takes a millisecond; the rest is for machines that are busy with something else.
constexpr std::chrono::seconds kAnswerLimit{30};
/// Far above the phonemes of a clause; a program that writes more is not espeak-ng.
constexpr std::size_t kMaxAnswerBytes = 1U << 20;
/// Of what the program says on standard error: enough for its reason.
constexpr std::size_t kMaxMessageBytes = 300;

constexpr const char* kCure =
    "is it espeak-ng with its data (apt install espeak-ng), and does it know the voice (espeak-ng --voices)?";

[[noreturn]] void fail_to_start(const std::string& program, int error) {
  throw Error(ErrorKind::kDeviceMissing,
              "the program that turns letters into phonemes cannot be started: " + system_reason(error), program,
              "install espeak-ng (apt install espeak-ng)");
}

/// What the program writes: the end that is read here, and the one that it writes to.
struct OutputEnds {
  Descriptor mine, its;
};

/// The two ends of a pseudo-terminal that passes bytes on as they are; nothing where the system gives none.
std::optional<OutputEnds> open_terminal() {
  Descriptor master(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!master.is_open() || ::grantpt(master.get()) != 0 || ::unlockpt(master.get()) != 0) return std::nullopt;
  char name[128];
  if (::ptsname_r(master.get(), name, sizeof(name)) != 0) return std::nullopt;
  Descriptor slave(::open(name, O_RDWR | O_NOCTTY | O_CLOEXEC));
  termios settings{};
  if (!slave.is_open() || ::tcgetattr(slave.get(), &settings) != 0) return std::nullopt;
  ::cfmakeraw(&settings);
  if (::tcsetattr(slave.get(), TCSANOW, &settings) != 0) return std::nullopt;
  return OutputEnds{std::move(master), std::move(slave)};
}

OutputEnds open_pipe(const std::string& program) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) fail_to_start(program, errno);
  return {Descriptor(ends[0]), above_standard_streams(Descriptor(ends[1]))};
}

/// The phonemes of a clause from the lines that answer it.
std::string joined(const std::vector<std::string>& lines) {
  std::string phonemes;
  for (const std::string& line : lines) {
    const std::size_t begin = line.find_first_not_of(' ');
    if (begin == std::string::npos) continue;
    if (!phonemes.empty()) phonemes += ' ';
    phonemes += line.substr(begin, line.find_last_not_of(' ') + 1 - begin);
  }
  return phonemes;
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
  State(const std::string& voice_name, const std::string& program_name, PhonemizerProcess wanted)
      : voice(voice_name), program(program_name), is_kept(wanted == PhonemizerProcess::kKept) {}
  ~State() { stop(); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  void start() {
    std::optional<OutputEnds> ends_of_output;
    if (is_kept) ends_of_output = open_terminal();
    is_kept = ends_of_output.has_value();
    if (!is_kept) ends_of_output = open_pipe(program);
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) fail_to_start(program, errno);
    input = Descriptor(ends[0]);
    const Descriptor child_input = above_standard_streams(Descriptor(ends[1]));
    if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) fail_to_start(program, errno);
    messages = Descriptor(ends[0]);
    const Descriptor child_messages = above_standard_streams(Descriptor(ends[1]));
    const int error = process.start({program, "-q", "--ipa", "-b", "1", "-v", voice},
                                    {child_input.get(), ends_of_output->its.get(), child_messages.get()});
    if (error != 0) fail_to_start(program, error);
    output = std::move(ends_of_output->mine);
  }

  void stop() {
    input.reset();
    output.reset();
    process.stop();
  }

  /// ": " and what the program said on standard error, if anything.
  std::string said() const {
    char buffer[kMaxMessageBytes];
    const ssize_t count = ::read(messages.get(), buffer, sizeof(buffer));
    if (count <= 0) return {};
    std::string text(buffer, static_cast<std::size_t>(count));
    for (char& c : text) {
      if (c >= 0 && c < ' ') c = ' ';
    }
    while (!text.empty() && text.back() == ' ') text.pop_back();
    return ": " + text;
  }

  [[noreturn]] void fail(const std::string& what) {
    stop();
    is_broken = true;
    throw Error(ErrorKind::kInternal, program + " " + what + said(), {},
                "try the text again; is " + program + " espeak-ng?");
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
      if (ready < 0 && errno != EINTR) fail("cannot be read: " + system_reason(errno));
      if (ready <= 0) continue;
      char buffer[4096];
      const ssize_t count = ::read(output.get(), buffer, sizeof(buffer));
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) {  // A terminal whose other end is closed gives EIO.
        if (is_kept || pending.empty()) return std::nullopt;
        pending += '\n';
        continue;
      }
      pending.append(buffer, static_cast<std::size_t>(count));
    }
  }

  /// The lines that answer a clause, from a process of its own.
  std::vector<std::string> ask_once(const std::string& line) {
    start();
    write(line);
    ::shutdown(input.get(), SHUT_WR);
    const auto deadline = Clock::now() + kAnswerLimit;
    std::vector<std::string> lines;
    std::size_t num_bytes = 0;
    while (auto answer = read_line(deadline)) {
      num_bytes += answer->size() + 1;
      if (num_bytes > kMaxAnswerBytes) fail("writes without end");
      lines.push_back(std::move(*answer));
    }
    const std::optional<int> status = process.wait_until(deadline);
    if (!status) fail("did not end within " + std::to_string(kAnswerLimit.count()) + " s");
    if (!WIFEXITED(*status) || WEXITSTATUS(*status) != 0) fail("ended while it was being used");
    stop();
    return lines;
  }

  [[noreturn]] void refuse_voice() {
    stop();
    throw Error(ErrorKind::kDeviceMissing, "gives no phonemes for the voice '" + voice + "'" + said(), program, kCure);
  }

  /// What the end marks sound like: each is asked for twice, and is the first line that comes twice.
  void learn_end_marks() {
    for (const std::string_view mark : kEndMarks) {
      for (int i = 0; i < 2; ++i) write(std::string(mark) + "\n");
    }
    const auto deadline = Clock::now() + kAnswerLimit;
    std::size_t num_learned = 0;
    std::string last;
    for (int i = 0; i < 1000 && num_learned < end_marks.size(); ++i) {
      auto line = read_line(deadline);
      if (!line) break;
      const bool is_twice = !line->empty() && *line == last;
      last = is_twice ? std::string() : std::move(*line);
      if (is_twice) end_marks[num_learned++] = std::move(*line);
    }
    if (num_learned == end_marks.size() && end_marks[0] != end_marks[1]) return;
    refuse_voice();
  }

  std::string voice, program;
  bool is_kept;  ///< One process for all clauses.
  CompanionProgram process;
  Descriptor input, output, messages;
  std::string pending;
  std::array<std::string, 2> end_marks;
  bool is_broken = false;
};

Phonemizer::Phonemizer(const std::string& voice, const std::string& program, PhonemizerProcess process)
    : state_(std::make_unique<State>(voice, program, process)) {
  // A voice goes on the command line behind -v; one that looks like an option is none.
  if (voice.empty() || voice[0] == '-') {
    throw Error(ErrorKind::kBadInput, "'" + voice + "' is no voice of espeak-ng", {}, "build the bundle again");
  }
  try {
    if (state_->is_kept) state_->start();
    if (state_->is_kept) {
      state_->learn_end_marks();
    } else {
      state_->stop();
      if (joined(state_->ask_once(std::string(kEndMarks[0]) + '\n')).empty()) state_->refuse_voice();
    }
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kInternal) throw;
    throw Error(ErrorKind::kDeviceMissing, error.message(), program, kCure);
  }
}

Phonemizer::~Phonemizer() = default;

std::string Phonemizer::phonemes_of(std::string_view clause) {
  if (state_->is_broken) state_->fail("ended before");
  std::string line(clause);
  for (char& c : line) {
    if ((c >= 0 && c < ' ') || c == '\x7f') c = ' ';
  }
  line += '\n';
  if (!state_->is_kept) return joined(state_->ask_once(line));
  for (const std::string_view mark : kEndMarks) line += std::string(mark) + '\n';
  state_->write(line);
  const auto deadline = Clock::now() + kAnswerLimit;
  std::vector<std::string> lines;
  std::size_t num_bytes = 0;
  while (true) {
    auto answer = state_->read_line(deadline);
    if (!answer) state_->fail("ended while it was being used");
    if (*answer == state_->end_marks[1] && !lines.empty() && lines.back() == state_->end_marks[0]) break;
    num_bytes += answer->size() + 1;
    if (num_bytes > kMaxAnswerBytes) state_->fail("writes without end");
    lines.push_back(std::move(*answer));
  }
  lines.pop_back();
  return joined(lines);
}

}  // namespace pajamas
