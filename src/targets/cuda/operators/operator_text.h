// What the files of single operators share: the text of a kernel's parameters, of places in strided outputs, and of the
// loads and stores of each type. See operators.h for the whole.
#pragma once

#include <string>

#include "pajamas/error.h"
#include "targets/cuda/loops/emit.h"
#include "targets/cuda/operators/operators.h"

namespace pajamas::cuda::operators {

inline constexpr std::int64_t kBlockSize = 256;

/// Writes the source of one step. Inputs are a0, a1, ... by their place in the node (dense), outputs y0, y1, ...; the
/// function place0(i) says where element i of y0, counted row by row, lies.
class SourceWriter {
 public:
  SourceWriter(const Program& program, const OperatorStep& step);

  const Node& node() const { return node_; }
  std::int64_t opset() const { return program_.opset; }
  bool has_input(std::size_t i) const { return i < step_.inputs.size() && step_.inputs[i] >= 0; }
  bool has_output(std::size_t i) const { return i < step_.outputs.size() && step_.outputs[i] >= 0; }
  const TensorDesc& input(std::size_t i) const { return program_.value(step_.inputs.at(i)).desc; }
  const TensorDesc& output(std::size_t i) const { return program_.value(step_.outputs.at(i)).desc; }
  /// The numbers of an input that is known when the kernel is made; nullptr where it is not.
  const Tensor* constant(std::size_t i) const;
  [[noreturn]] void unsupported(const std::string& why) const;
  void require(bool condition, const char* why) const {
    if (!condition) unsupported(why);
  }

  /// Text before the kernels: types, constants, functions.
  void add(const std::string& text) { text_ += text; }
  void define(const std::string& name, std::int64_t value) { add("#define " + name + " " + number(value) + "\n"); }
  /// A kernel for `num_threads` independent threads; `body` sees its own number as `self`.
  void add_kernel(const std::string& body, std::int64_t num_threads);
  /// A kernel of whole blocks that the body deals with itself.
  void add_block_kernel(const std::string& body, std::int64_t num_blocks, std::int64_t block_size, bool has_barriers);
  /// Reserves bytes of the workspace; `name` is defined as their address, of type `type`.
  void add_workspace(const std::string& name, const std::string& type, std::int64_t count, std::int64_t element_bytes);

  OperatorSource finish();

  static std::string number(std::int64_t value) { return std::to_string(value) + "LL"; }

 private:
  std::string parameters() const;

  const Program& program_;
  const OperatorStep& step_;
  const Node& node_;
  std::string text_;
  OperatorSource result_;
};

/// Extents before, at and after an axis.
struct Split {
  std::int64_t outer = 1, extent = 1, inner = 1;
};
Split split_at(const Shape& shape, std::size_t axis);
/// An attribute's axis, negative ones counted from the end. Throws as SourceWriter::unsupported.
std::size_t axis_of(const SourceWriter& writer, std::int64_t axis, std::size_t rank);

/// Text of `op_scan<threads>(own, total)`: every thread of a block calls it; gives the sum over the threads before it,
/// and over all of them in `total`.
const char* block_scan();

// One file each.
void write_top_k(SourceWriter& writer);
void write_scatter_elements(SourceWriter& writer);
void write_scatter_nd(SourceWriter& writer);
void write_roi_align(SourceWriter& writer);
void write_non_max_suppression(SourceWriter& writer);
void write_non_zero(SourceWriter& writer);

}  // namespace pajamas::cuda::operators
