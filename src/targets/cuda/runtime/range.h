// A named range in the timeline of NVIDIA's profilers (NVTX), where its headers were there at build. Costs nothing when
// no profiler listens.
#pragma once

#if __has_include(<nvtx3/nvToolsExt.h>)
#include <nvtx3/nvToolsExt.h>
#define PAJAMAS_HAS_NVTX 1
#endif

namespace pajamas::cuda {

class Range {
 public:
#ifdef PAJAMAS_HAS_NVTX
  explicit Range(const char* name) { nvtxRangePushA(name); }
  ~Range() { nvtxRangePop(); }
#else
  explicit Range(const char*) {}
#endif
  Range(const Range&) = delete;
  Range& operator=(const Range&) = delete;
};

}  // namespace pajamas::cuda
