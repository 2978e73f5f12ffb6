// The program ffmpeg as a decoder: it writes WAV of unknown length into a pipe, whose header says rate and channels.
// Started without a shell; killed and waited for when the source goes, at whatever point that is. See audio_source.h.
#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <string_view>
#include <utility>

#include "base/companion_program.h"
#include "base/descriptor.h"
#include "media/audio_source.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

/// How often a token is looked at while waiting.
constexpr int kPollMs = 100;
/// The input as ffmpeg names it in messages, where it means nothing to a reader.
constexpr std::string_view kInputName = "file:/proc/self/fd/0";

/// What ffmpeg writes to standard error, of which two things are kept.
class MessageReader {
 public:
  void feed(std::string_view bytes) {
    for (const char c : bytes) {
      if (c == '\n' || c == '\r') {
        take_line();
        line_.clear();
      } else if (line_.size() < 1000) {
        line_ += c;
      }
    }
  }
  /// The last line of severity error, without decoration.
  const std::string& last_error() const { return last_error_; }
  std::optional<double> duration_s() const { return duration_s_; }

 private:
  void take_line() {
    for (const std::string_view mark : {"[error] ", "[fatal] "}) {
      const std::size_t at = line_.find(mark);
      if (at == std::string::npos) continue;
      std::string text = line_.substr(at + mark.size());
      if (text.starts_with(kInputName)) text.erase(0, std::min(text.size(), kInputName.size() + 2));
      for (char& c : text) {
        if (static_cast<unsigned char>(c) < ' ' || static_cast<unsigned char>(c) == 127) c = '?';
      }
      if (!text.empty()) last_error_ = text;
    }
    // "  Duration: 01:02:03.45, start: ..." or "Duration: N/A".
    constexpr std::string_view kDuration = "  Duration: ";
    const std::size_t at = line_.find(kDuration);
    if (at == std::string::npos || duration_s_) return;
    int hours = 0;
    int minutes = 0;
    double seconds = 0;
    if (std::sscanf(line_.c_str() + at + kDuration.size(), "%d:%d:%lf", &hours, &minutes, &seconds) == 3) {
      const double total = hours * 3600.0 + minutes * 60.0 + seconds;
      if (std::isfinite(total) && total > 0 && total < 1e9) duration_s_ = total;
    }
  }
  std::string line_;
  std::string last_error_;
  std::optional<double> duration_s_;
};

/// The running program and its two pipes.
class FfmpegProcess final : public ByteStream {
 public:
  /// Throws Error{kBadInput} when there is no such program.
  FfmpegProcess(int input, const std::string& program, const std::string& why_not_directly, const CancelToken* cancel)
      : cancel_(cancel) {
    Descriptor output_end;
    Descriptor error_end;
    make_pipe(output_, output_end);
    make_pipe(errors_, error_end);
    ::fcntl(output_.get(), F_SETFL, O_NONBLOCK);
    ::fcntl(errors_.get(), F_SETFL, O_NONBLOCK);

    // The input by descriptor: its name is then nothing to be mistaken for an option or an address. No other protocol
    // is allowed, so that a playlist reaches nothing on the network.
    const std::vector<std::string> words{program,
                                         "-nostdin",
                                         "-hide_banner",
                                         "-nostats",
                                         "-loglevel",
                                         "level+info",
                                         "-protocol_whitelist",
                                         "file",
                                         "-i",
                                         std::string(kInputName),
                                         "-map",
                                         "0:a:0",
                                         "-vn",
                                         "-sn",
                                         "-dn",
                                         "-c:a",
                                         "pcm_f32le",
                                         "-f",
                                         "wav",
                                         "pipe:1"};
    const int error = process_.start(words, {input, output_end.get(), error_end.get()});
    if (error == 0) return;
    if (error == ENOENT || error == EACCES || error == ENOTDIR) {
      throw Error(ErrorKind::kBadInput,
                  why_not_directly + ", and the program '" + program +
                      "', which reads most other formats, is not "
                      "installed",
                  {}, "install it (package ffmpeg), or convert the audio to WAV or FLAC");
    }
    throw Error(ErrorKind::kInternal, "cannot start the program '" + program + "': " + system_reason(error));
  }

  std::size_t read(std::span<std::byte> bytes) override {
    std::size_t done = 0;
    while (done < bytes.size() && output_.is_open()) {
      std::array<pollfd, 2> waits{pollfd{output_.get(), POLLIN, 0}, pollfd{errors_.get(), POLLIN, 0}};
      if (::poll(waits.data(), waits.size(), kPollMs) == 0 && cancel_ != nullptr) cancel_->check("Reading audio");
      drain_errors();
      const ssize_t got = ::read(output_.get(), bytes.data() + done, bytes.size() - done);
      if (got > 0) {
        done += static_cast<std::size_t>(got);
      } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
        output_.reset();
        finish();
      }
    }
    return done;
  }

  const MessageReader& messages() {
    drain_errors();
    return messages_;
  }
  bool has_failed() const { return has_failed_; }

 private:
  static void make_pipe(Descriptor& read_end, Descriptor& write_end) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0)
      throw Error(ErrorKind::kInternal, "cannot create a pipe: " + system_reason(errno));
    read_end = above_standard_streams(Descriptor(ends[0]));
    write_end = above_standard_streams(Descriptor(ends[1]));
  }
  void drain_errors() {
    std::array<char, 4096> buffer;
    while (errors_.is_open()) {
      const ssize_t got = ::read(errors_.get(), buffer.data(), buffer.size());
      if (got > 0) {
        messages_.feed({buffer.data(), static_cast<std::size_t>(got)});
      } else if (got == 0 || errno != EINTR) {
        if (got == 0 || errno != EAGAIN) errors_.reset();
        return;
      }
    }
  }
  /// Takes what the program still has to say and waits for its end, which is near: its output is closed.
  void finish() {
    while (errors_.is_open()) {
      pollfd wait_for{errors_.get(), POLLIN, 0};
      if (::poll(&wait_for, 1, kPollMs) == 0 && cancel_ != nullptr) cancel_->check("Reading audio");
      drain_errors();
    }
    const int status = process_.wait();
    has_failed_ = !WIFEXITED(status) || WEXITSTATUS(status) != 0;
  }

  const CancelToken* cancel_;
  Descriptor output_;
  Descriptor errors_;
  CompanionProgram process_;
  MessageReader messages_;
  bool has_failed_ = false;
};

/// Passes reads on to the process, which the source needs as well.
class SharedStream final : public ByteStream {
 public:
  explicit SharedStream(std::shared_ptr<FfmpegProcess> process) : process_(std::move(process)) {}
  std::size_t read(std::span<std::byte> bytes) override { return process_->read(bytes); }

 private:
  std::shared_ptr<FfmpegProcess> process_;
};

class FfmpegSource final : public AudioSource {
 public:
  FfmpegSource(std::shared_ptr<FfmpegProcess> process, const WavHeader& header)
      : process_(std::move(process)),
        samples_(
            open_raw_stream(std::make_unique<SharedStream>(process_), header.raw, std::nullopt, "decoded by ffmpeg")) {}
  AudioFormat format() const override { return samples_->format(); }
  std::optional<std::int64_t> num_frames() const override {
    const std::optional<double> duration_s = process_->messages().duration_s();
    if (!duration_s) return std::nullopt;
    return std::llround(*duration_s * samples_->format().sample_rate_hz);
  }
  std::int64_t read(std::span<float> samples) override { return samples_->read(samples); }
  std::string complaint() override {
    const std::string& error = process_->messages().last_error();
    if (!error.empty()) return "ffmpeg says: " + error;
    return process_->has_failed() ? "ffmpeg ended before the end of the audio" : samples_->complaint();
  }

 private:
  std::shared_ptr<FfmpegProcess> process_;
  std::unique_ptr<AudioSource> samples_;
};

}  // namespace

std::unique_ptr<AudioSource> open_with_ffmpeg(int descriptor, const std::string& program,
                                              const std::string& why_not_directly, const CancelToken* cancel) {
  auto process = std::make_shared<FfmpegProcess>(descriptor, program, why_not_directly, cancel);
  std::vector<std::byte> consumed;
  const std::optional<WavHeader> header = read_wav_header(*process, consumed);
  if (header && header->is_plain) return std::make_unique<FfmpegSource>(std::move(process), *header);
  const std::string& error = process->messages().last_error();
  throw Error(ErrorKind::kBadInput,
              "holds no audio that can be read: " + why_not_directly + ", and ffmpeg finds none" +
                  (error.empty() ? "" : " (" + error + ")"),
              {}, "check that it is an audio or video file, and whole");
}

}  // namespace pajamas
