// Steps as graphs of cuDNN: convolutions, matrix products and attention with what follows them, several spellings where
// the library picks other kernels for them. Not the compiling (cudnn_graph.h) nor the kernels (cudnn_backend.cpp).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "targets/cuda/backends/bound_value.h"
#include "targets/cuda/backends/cudnn_graph.h"
#include "targets/cuda/program.h"

namespace pajamas::cuda {

/// What a graph's tensors are at execution.
struct CudnnBindings {
  std::vector<std::pair<std::int64_t, BoundValue>> values;  ///< By unique id.
  std::vector<std::pair<std::int64_t, float>> numbers;      ///< Handed over by their address in host memory.
  /// The tensor of the sums, which go to scratch memory, dense float32, for a second launch; of kBare only.
  std::optional<std::int64_t> sums;
};

/// Spellings of the step, the most promising first; empty when cuDNN has nothing for its kind.
///   "fused"   the graph as it is
///   "runtime" with an IDENTITY in it, which the precompiled kernels do not match: forces a kernel made for the graph
///   "bare"    the convolution alone, for when no kernel takes it with what follows (float32 without TF32)
inline constexpr const char* kBare = "bare";
std::vector<std::string> cudnn_spellings(const Program& program, const Step& step);

/// Adds the step to an empty graph. Throws Error{kUnsupported} with the reason when it cannot be said to cuDNN.
CudnnBindings describe_to_cudnn(CudnnGraph& graph, const Program& program, const Step& step,
                                const std::string& spelling);

/// What its plans may do with numbers: float32 products use no TF32 unless the program allows it.
CudnnNumerics numerics_of(const Program& program, const Step& step);

}  // namespace pajamas::cuda
