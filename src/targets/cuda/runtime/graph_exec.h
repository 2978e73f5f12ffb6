// Owners of CUDA's streams, events and executable graphs, and the capture of one. Needs a device made current.
#pragma once

#include <cuda_runtime_api.h>

#include <functional>
#include <utility>

namespace pajamas::cuda {

/// A stream of its own, not synchronised with the default one.
class Stream {
 public:
  Stream();
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  cudaStream_t get() const noexcept { return stream_; }
  /// Throws Error{kInternal} when something enqueued before failed.
  void synchronize() const;

 private:
  cudaStream_t stream_ = nullptr;
};

class Event {
 public:
  /// `has_timing` false for mere ordering, which is cheaper.
  explicit Event(bool has_timing = true);
  ~Event();
  Event(Event&& other) noexcept : event_(std::exchange(other.event_, nullptr)) {}
  Event& operator=(Event&&) = delete;
  cudaEvent_t get() const noexcept { return event_; }
  void record(cudaStream_t stream) const;
  /// Microseconds from `begin` to this; both must have passed.
  double us_since(const Event& begin) const;

 private:
  cudaEvent_t event_ = nullptr;
};

/// An instantiated graph. launch() from one thread at a time.
class GraphExec {
 public:
  GraphExec() = default;
  ~GraphExec();
  GraphExec(GraphExec&& other) noexcept
      : exec_(std::exchange(other.exec_, nullptr)), num_nodes_(std::exchange(other.num_nodes_, 0)) {}
  GraphExec& operator=(GraphExec&& other) noexcept {
    std::swap(exec_, other.exec_);
    std::swap(num_nodes_, other.num_nodes_);
    return *this;
  }
  /// Captures what `enqueue` puts on the stream (and on streams that it forks from it and joins again). Throws what
  /// `enqueue` throws; the stream is out of capture then.
  static GraphExec capture(cudaStream_t stream, const std::function<void()>& enqueue);
  void launch(cudaStream_t stream) const;
  std::size_t num_nodes() const noexcept { return num_nodes_; }
  explicit operator bool() const noexcept { return exec_ != nullptr; }

 private:
  cudaGraphExec_t exec_ = nullptr;
  std::size_t num_nodes_ = 0;
};

}  // namespace pajamas::cuda
