// A conversation on the terminal, or through pipes: a message a line, answers as they come. Ctrl-C stops an answer; at
// the prompt, or a second time, it leaves. Standard input at its end ends the conversation.
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <csignal>
#include <iostream>
#include <mutex>
#include <optional>
#include <utility>

#include "command_run_generation.h"
#include "pajamas/error.h"

namespace pajamas::cli {
namespace {

constexpr std::size_t kMaxLineBytes = std::size_t{64} << 20;
constexpr int kPollMs = 50;

std::atomic<int> num_interrupts{0};
extern "C" void count_interrupt(int signal_number) {
  // A third one, when even leaving takes too long, ends the process.
  if (num_interrupts.fetch_add(1, std::memory_order_relaxed) >= 1) std::signal(signal_number, SIG_DFL);
}

/// Ctrl-C counts, for as long as the object lives.
class InterruptCounter {
 public:
  InterruptCounter() {
    num_interrupts = 0;
    set();
  }
  ~InterruptCounter() { ::sigaction(SIGINT, &before_, nullptr); }
  InterruptCounter(const InterruptCounter&) = delete;
  InterruptCounter& operator=(const InterruptCounter&) = delete;
  void reset() {
    if (num_interrupts.exchange(0) > 1) set();
  }

 private:
  void set() {
    struct sigaction action {};
    action.sa_handler = count_interrupt;
    ::sigemptyset(&action.sa_mask);
    struct sigaction previous {};
    ::sigaction(SIGINT, &action, &previous);
    if (!std::exchange(is_set_, true)) before_ = previous;
  }
  bool is_set_ = false;
  struct sigaction before_ {};
};

/// Lines of standard input, read so that Ctrl-C is noticed meanwhile.
class LineReader {
 public:
  explicit LineReader(const CancelToken& cancel) : cancel_(cancel) {}
  enum class End { kLine, kInputEnd, kInterrupted };
  End read(std::string& line) {
    for (;;) {
      if (const std::size_t end = buffer_.find('\n', searched_); end != std::string::npos) {
        line = buffer_.substr(0, end);
        buffer_.erase(0, end + 1);
        searched_ = 0;
        if (!line.empty() && line.back() == '\r') line.pop_back();
        return End::kLine;
      }
      searched_ = buffer_.size();
      if (is_at_end_) {
        if (buffer_.empty()) return End::kInputEnd;
        line = std::exchange(buffer_, {});
        searched_ = 0;
        return End::kLine;
      }
      if (num_interrupts > 0 || cancel_.is_cancelled()) return End::kInterrupted;
      if (buffer_.size() > kMaxLineBytes) {
        throw Error(ErrorKind::kBadInput, "a line of more than 64 MiB came from standard input", {},
                    "send one message a line");
      }
      fill();
    }
  }

 private:
  void fill() {
    pollfd wait{STDIN_FILENO, POLLIN, 0};
    if (::poll(&wait, 1, kPollMs) <= 0) return;  // nothing yet, or a signal
    char bytes[4096];
    const ssize_t count = ::read(STDIN_FILENO, bytes, sizeof bytes);
    if (count > 0) {
      buffer_.append(bytes, static_cast<std::size_t>(count));
    } else if (count == 0 || (errno != EINTR && errno != EAGAIN)) {
      is_at_end_ = true;
    }
  }
  const CancelToken& cancel_;
  std::string buffer_;
  std::size_t searched_ = 0;
  bool is_at_end_ = false;
};

class ChatSession {
 public:
  ChatSession(Generator& generator, const GenerationRequest& base, const std::string& system, Context& context)
      : generator_(generator), base_(base), system_(system), context_(context) {
    is_terminal_ = ::isatty(STDOUT_FILENO) != 0;
    reset();
  }

  void reset() {
    messages_.clear();
    if (!system_.empty()) messages_.push_back({"system", system_});
  }

  /// Answers one message. False when the user wants to leave.
  bool answer(const std::string& text) {
    GenerationRequest request = base_;
    request.messages = messages_;
    request.messages.push_back({"user", text});
    std::mutex mutex;
    std::condition_variable is_done;
    std::optional<GenerationResult> done;
    RequestId id = 0;
    try {
      id = generator_.submit(
          request,
          [&](const GenerationChunk& chunk) {
            std::cout << (is_terminal_ ? printable(chunk.text) : chunk.text) << std::flush;
            if (!std::cout) throw Error(ErrorKind::kBadInput, "the answer could not be written to standard output");
          },
          [&](const GenerationResult& result) {
            // Under the lock, since the one who waits takes it all down as soon as it sees the result.
            const std::lock_guard lock(mutex);
            done = result;
            is_done.notify_all();
          });
    } catch (const Error& error) {
      report(error);
      return true;
    }
    bool is_cancelled = false;
    {
      std::unique_lock lock(mutex);
      while (!is_done.wait_for(lock, std::chrono::milliseconds(kPollMs), [&] { return done.has_value(); })) {
        if (num_interrupts == 0 && !context_.cancel->is_cancelled()) continue;
        if (!std::exchange(is_cancelled, true)) generator_.cancel(id);
      }
    }
    std::cout << '\n' << std::flush;
    const FinishReason finish = done->answers[0].finish;
    if (finish == FinishReason::kError) {
      report(Error(done->error_kind, done->error));
      return num_interrupts < 2;
    }
    if (!done->error.empty()) throw Error(done->error_kind, done->error);
    std::cerr << speed_line(*done)
              << (finish == FinishReason::kLength      ? " (the answer was cut: --max-tokens or the context)"
                  : finish == FinishReason::kCancelled ? " (stopped)"
                                                       : "")
              << '\n';
    messages_.push_back({"user", text});
    messages_.push_back({"assistant", done->answers[0].text});
    return num_interrupts < 2;
  }

 private:
  void report(const Error& error) const {
    std::cerr << "pajamas: " << printable(error.message()) << '\n';
    // The conversation goes on without the message.
    const std::string remedy = error.kind() == ErrorKind::kBadInput && messages_.size() > 1
                                   ? "shorten the message, or type /reset to begin anew"
                                   : error.remedy();
    if (!remedy.empty()) std::cerr << "  what to do: " << printable(remedy) << '\n';
  }

  Generator& generator_;
  const GenerationRequest& base_;
  const std::string& system_;
  Context& context_;
  bool is_terminal_ = false;
  std::vector<ChatMessage> messages_;
};

}  // namespace

int run_chat(Generator& generator, const GenerationRequest& base, const std::string& system, Context& context) {
  if (!generator.has_chat_template()) {
    throw Error(ErrorKind::kUnsupported, "this model has no chat template, so it holds no conversation", "--chat",
                "use --prompt, or a model that was trained to follow instructions");
  }
  const bool is_interactive = ::isatty(STDIN_FILENO) != 0;
  if (is_interactive) std::cerr << "A message a line; /reset begins anew, /exit or Ctrl-D leaves.\n";
  InterruptCounter interrupts;
  LineReader reader(*context.cancel);
  ChatSession session(generator, base, system, context);
  std::string line;
  for (;;) {
    if (is_interactive) std::cerr << "> " << std::flush;
    const LineReader::End end = reader.read(line);
    if (end == LineReader::End::kInterrupted) {
      std::cerr << '\n';
      return exit_code(ErrorKind::kCancelled);
    }
    if (end == LineReader::End::kInputEnd || line == "/exit" || line == "/quit") break;
    if (line == "/reset") {
      session.reset();
      if (is_interactive) std::cerr << "[begun anew]\n";
      continue;
    }
    if (line.find_first_not_of(" \t") == std::string::npos) continue;
    if (line[0] == '/' && line.compare(0, 2, "//") != 0) {
      std::cerr << "pajamas: no command '" << printable(line) << "'; there are /reset and /exit; a message that "
                << "begins with / is written with //\n";
      continue;
    }
    if (line[0] == '/') line.erase(0, 1);
    interrupts.reset();
    if (!session.answer(line)) return exit_code(ErrorKind::kCancelled);
    interrupts.reset();
  }
  if (is_interactive) std::cerr << '\n';
  return 0;
}

}  // namespace pajamas::cli
