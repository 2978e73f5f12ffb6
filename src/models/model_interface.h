// What a recogniser looks at: the picture input and the outputs of a model, reduced to names, types and extents, and
// a few questions about how an output is computed. Says nothing about tasks.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "graph/graph.h"

namespace pajamas {

/// An input that holds pictures: float or uint8, [batch, 3, height, width], [batch, height, width, 3] or, without the
/// batch, [3, height, width].
struct ImageTensor {
  std::string name;
  bool is_nhwc = false;
  bool has_batch = true;
  std::optional<std::int64_t> height_px;  ///< Empty: varies.
  std::optional<std::int64_t> width_px;
};

/// One output. `extents` is empty for an unknown rank; an unknown extent is empty in its place.
struct OutputTensor {
  std::string name;
  DType dtype = DType::kUndefined;
  std::optional<std::vector<std::optional<std::int64_t>>> extents;

  bool is_float() const;
  /// Rank, or -1 when it is not declared.
  int rank() const { return extents ? static_cast<int>(extents->size()) : -1; }
  /// Extent of an axis counted from the end for negative numbers; empty when unknown or out of range.
  std::optional<std::int64_t> extent(int axis) const;
};

struct ModelInterface {
  /// The one required input that can hold pictures; empty when there is none or more than one.
  std::optional<ImageTensor> image;
  std::vector<std::string> other_inputs;  ///< Required inputs that are not `image`.
  std::vector<OutputTensor> outputs;

  const OutputTensor* find_output(std::string_view name) const;
  /// "output0 float32[1, 84, 8400]", one after the other, for messages.
  std::string describe_outputs() const;
};

ModelInterface interface_of(const Model& model);

/// Whether a node of this operator stands anywhere in the main graph.
bool has_operator(const Graph& graph, std::string_view op_type);

/// How the values of an output come about, followed back through operators that only move or copy data.
enum class OutputOrigin {
  kUnknown,      ///< The graph has no node for it.
  kConvolution,  ///< Conv results as they are, at most squashed by Sigmoid: nothing was decoded.
  kComputed,     ///< Other arithmetic, or several of these.
  kSoftmax,      ///< All of it are results of Softmax.
  kSigmoid,      ///< All of it are results of Sigmoid, on other arithmetic.
};
OutputOrigin origin_of(const Graph& graph, const std::string& output);

}  // namespace pajamas
