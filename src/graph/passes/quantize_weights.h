// The pass that stores the weights of a language model's linear layers and tables in fewer bits, one matrix at a time.
// Not part of run_passes: a build calls it before, on the graph as the model definition made it. Arithmetic:
// tensor/quantize.h; the nodes it writes: graph/block_weight_nodes.h.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/cancel.h"
#include "graph/block_weight_nodes.h"
#include "graph/passes/pass.h"
#include "tensor/quantize.h"
#include "tensor/tensor_file.h"

namespace pajamas {

/// What a weight is multiplied by before it is quantised, and what its errors weigh: scale_by_activations.h makes it.
struct WeightScaling {
  std::vector<float> columns;     ///< Factor of each input channel; empty: 1.
  std::vector<float> rows;        ///< Factor of each output channel; empty: 1.
  std::vector<float> importance;  ///< Mean square of each input channel as it comes in; empty: all alike.
};

struct WeightQuantization {
  /// Weights of linear layers: second input of Gemm with transB = 1. Nothing: as they are.
  std::optional<QuantizedForm> linear;
  /// By the name of the initializer: forms of single linear layers in place of `linear`. choose_forms.h makes it.
  std::map<std::string, QuantizedForm> forms;
  /// Tables: first input of Gather, and the weight of the Gemm that makes the graph's first output (the output layer).
  /// A matrix used in both ways is a table and stays one tensor. Nothing: as they are.
  std::optional<QuantizedForm> table;
  /// Ends of the names of initializers that stay as they are. A router's scores choose between experts, so its small
  /// error is not a small error.
  std::vector<std::string> keep = {"mlp.gate.weight"};
  /// Where the results go, and every other initializer of at least min_file_bytes; the graph's tensors share its
  /// mapping. Null: results in memory, other initializers untouched.
  TensorFile* file = nullptr;
  std::uint64_t min_file_bytes = 4096;
  int num_threads = 0;  ///< 0: all the machine has.
  /// By the name of the initializer. One that multiplies belongs to a weight that this pass changes, or the model would
  /// compute something else: Error{kInternal} otherwise.
  std::map<std::string, WeightScaling> scalings;
};

/// What became of one matrix.
struct QuantizedWeight {
  std::string name;  ///< Of the initializer.
  Shape shape;
  std::string before, after;  ///< "bfloat16", "uint4 in groups of 128", ...
  std::uint64_t bytes_before = 0, bytes_after = 0;
  bool is_changed = false;  ///< False: kept as it is, without loss.
  bool is_table = false;
  QuantizationError error;  ///< Zero where it is kept.
};

struct WeightQuantizationReport {
  PassReport pass;
  std::vector<QuantizedWeight> weights;  ///< In the order of the graph.

  std::uint64_t bytes_before() const;
  std::uint64_t bytes_after() const;
  /// Of the linear layers, scales included, tables not; 0 where there are none.
  double bits_per_weight() const;
  /// Of all changed weights together: sqrt(Σ squared error / Σ squared weight).
  double relative_error() const;
};

/// The linear layers that quantize_weights changes with these options: indices of their Gemm nodes, each with its
/// weight. Tables are not among them.
struct QuantizableLinear {
  int node_index = -1;
  StoredWeight stored;
};
std::vector<QuantizableLinear> quantizable_linears(const Graph& graph, const ValueUses& uses,
                                                   const WeightQuantization& options);
/// The reader with a weight's factors on top, which must outlive it.
RowReader scaled_reader(RowReader read, const WeightScaling& scaling, std::int64_t in_dim);
/// Rows of a stored weight as float32, each given back to a mapped source once read. `stored` must outlive the reader.
RowReader reader_of(const StoredWeight& stored);

/// Quantises in place. Weights that are quantised already (a GGUF's blocks) are kept where their integers have no more
/// bits than the form asked for, and else made anew from their float32 values. Groups that do not divide a matrix are
/// halved until they do, which the report says. Memory: one matrix in its new form beside the file; mapped sources give
/// their pages back as they are read. Throws Error{kUnsupported} for opsets below kBlockWeightOpset, Error{kBadInput}
/// naming a weight that holds infinities or NaN and when the file cannot be written, Error{kCancelled}.
WeightQuantizationReport quantize_weights(Model& model, const WeightQuantization& options,
                                          const Progress& progress = {});

/// "uint4 in groups of 128, zero points"; "bfloat16".
std::string describe(const BlockWeight& weight);

}  // namespace pajamas
