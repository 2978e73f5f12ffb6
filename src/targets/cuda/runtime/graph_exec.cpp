// See graph_exec.h.
#include "targets/cuda/runtime/graph_exec.h"

#include "targets/cuda/runtime/device_context.h"

namespace pajamas::cuda {

Stream::Stream() { check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "making a stream"); }
Stream::~Stream() {
  if (stream_ != nullptr) cudaStreamDestroy(stream_);
}
void Stream::synchronize() const { check(cudaStreamSynchronize(stream_), "waiting for the GPU"); }

Event::Event(bool has_timing) {
  check(cudaEventCreateWithFlags(&event_, has_timing ? cudaEventDefault : cudaEventDisableTiming), "making an event");
}
Event::~Event() {
  if (event_ != nullptr) cudaEventDestroy(event_);
}
void Event::record(cudaStream_t stream) const { check(cudaEventRecord(event_, stream), "recording an event"); }

double Event::us_since(const Event& begin) const {
  float ms = 0;
  check(cudaEventElapsedTime(&ms, begin.event_, event_), "reading the time between events");
  return static_cast<double>(ms) * 1000.0;
}

GraphExec::~GraphExec() {
  if (exec_ != nullptr) cudaGraphExecDestroy(exec_);
}

GraphExec GraphExec::capture(cudaStream_t stream, const std::function<void()>& enqueue) {
  // Thread-local: other threads may allocate and load modules meanwhile.
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "beginning the capture of a graph");
  cudaGraph_t graph = nullptr;
  try {
    enqueue();
  } catch (...) {
    cudaStreamEndCapture(stream, &graph);
    if (graph != nullptr) cudaGraphDestroy(graph);
    cudaGetLastError();
    throw;
  }
  check(cudaStreamEndCapture(stream, &graph), "capturing a graph");
  GraphExec result;
  const cudaError_t counted = cudaGraphGetNodes(graph, nullptr, &result.num_nodes_);
  const cudaError_t status = cudaGraphInstantiate(&result.exec_, graph, 0);
  cudaGraphDestroy(graph);
  check(status, "instantiating a graph");
  check(counted, "counting a graph's nodes");
  check(cudaGraphUpload(result.exec_, stream), "uploading a graph");
  return result;
}

void GraphExec::launch(cudaStream_t stream) const { check(cudaGraphLaunch(exec_, stream), "launching a graph"); }

}  // namespace pajamas::cuda
