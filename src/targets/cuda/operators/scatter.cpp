// ScatterElements and ScatterND without a race: the updates of each target are linked into a list, then each element of
// the result walks its list. Of several updates without a reduction the last one wins, as in a loop over them; sums and
// products are taken in float64 (float32 for 16-bit types), so the order of a list does not show but in the last place.
// Updates whose index lies outside are left out: an error cannot be raised from the middle of a graph on the GPU.
#include "targets/cuda/operators/operator_text.h"

namespace pajamas::cuda::operators {
namespace {

/// `target`: statements that set `long long target` to the list of update `self`, or to -1. A list is for `slice`
/// neighbouring elements; update u of element i of the slice is a2[u · slice + i].
void write_scatter(SourceWriter& writer, const std::string& target, std::int64_t num_updates, std::int64_t slice) {
  const DType dtype = writer.input(0).dtype;
  const std::int64_t num_elements = writer.input(0).extents.num_elements();
  const std::int64_t num_targets = num_elements / slice;
  const std::string reduction = writer.node().string_attribute("reduction", "none");
  writer.require(writer.input(2).dtype == dtype, "updates of another type than the data");
  writer.require(num_updates < (std::int64_t{1} << 31), "more than 2^31 updates");
  const auto number = SourceWriter::number;
  writer.add_workspace("op_head", "int", num_targets, 4);
  writer.add_workspace("op_next", "int", std::max<std::int64_t>(1, num_updates), 4);
  writer.add_kernel("  op_head[self] = -1;\n", num_targets);
  if (num_updates > 0) {
    writer.add_kernel(target + "  if (target >= 0) op_next[self] = atomicExch(op_head + target, (int)self);\n",
                      num_updates);
  }
  std::string body = "  const long long target = self / " + number(slice) + ", inner = self % " + number(slice) +
                     ";\n  int update = op_head[target];\n";
  if (reduction == "none") {
    body +=
        "  int last = -1;\n  for (; update >= 0; update = op_next[update]) last = update > last ? update : last;\n"
        "  y0[place0(self)] = last < 0 ? a0[self] : a2[(long long)last * " +
        number(slice) + " + inner];\n";
  } else {
    const std::string wide =
        dtype == DType::kFloat32 ? "double" : loops::register_type_name(loops::register_type(dtype));
    const char* combine = reduction == "add"   ? "lp_sum"
                          : reduction == "mul" ? "lp_product"
                          : reduction == "max" ? "lp_most"
                          : reduction == "min" ? "lp_least"
                                               : nullptr;
    writer.require(combine != nullptr, "an unknown reduction");
    writer.require(dtype != DType::kBool, "a reduction of booleans");
    body += "  " + wide + " sum = " + loops::load_text(dtype, "a0[self]") +
            ";\n  for (; update >= 0; update = op_next[update]) sum = " + combine + "::of(sum, (" + wide + ")" +
            loops::load_text(dtype, "a2[(long long)update * " + number(slice) + " + inner]") +
            ");\n  y0[place0(self)] = " + loops::store_text(dtype, "sum") + ";\n";
  }
  writer.add_kernel(body, num_elements);
}

/// Sets `at` from the loaded index `text`, negative ones counted from the end; `target` becomes -1 outside.
std::string wrapped(const std::string& text, std::int64_t extent) {
  const std::string end = SourceWriter::number(extent);
  return "  at = (long long)" + text + ";\n  at = at < 0 ? at + " + end + " : at;\n  if (at < 0 || at >= " + end +
         ") is_inside = false;\n";
}

}  // namespace

void write_scatter_elements(SourceWriter& writer) {
  const Shape& data = writer.input(0).extents;
  const Shape& indices = writer.input(1).extents;
  writer.require(data.rank() == indices.rank() && data.rank() > 0, "indices of another rank than the data");
  const std::size_t axis = axis_of(writer, writer.node().int_attribute("axis", 0), data.rank());
  std::string target = "  bool is_inside = true;\n  long long at, rest = self, target = 0;\n";
  std::int64_t stride = 1;
  for (std::size_t i = data.rank(); i-- > 0;) {
    const std::string extent = SourceWriter::number(indices[i]);
    target += i == axis ? wrapped("a1[self]", data[i]) : "  at = rest % " + extent + ";\n";
    target += "  target += at * " + SourceWriter::number(stride) + ";\n  rest /= " + extent + ";\n";
    stride *= data[i];
  }
  write_scatter(writer, target + "  if (!is_inside) target = -1;\n", indices.num_elements(), 1);
}

void write_scatter_nd(SourceWriter& writer) {
  const Shape& data = writer.input(0).extents;
  const Shape& indices = writer.input(1).extents;
  writer.require(indices.rank() > 0, "indices without an axis");
  const auto depth = static_cast<std::size_t>(indices[indices.rank() - 1]);
  writer.require(depth <= data.rank(), "indices deeper than the data");
  std::int64_t slice = 1;
  for (std::size_t i = depth; i < data.rank(); ++i) slice *= data[i];
  std::string target = "  bool is_inside = true;\n  long long at, target = 0;\n";
  for (std::size_t i = 0; i < depth; ++i) {
    target +=
        wrapped("a1[self * " + SourceWriter::number(static_cast<std::int64_t>(depth)) + " + " + std::to_string(i) + "]",
                data[i]);
    target += "  target = target * " + SourceWriter::number(data[i]) + " + at;\n";
  }
  const std::int64_t num_updates =
      depth == 0 ? Shape(std::vector<std::int64_t>(indices.begin(), indices.end() - 1)).num_elements()
                 : indices.num_elements() / static_cast<std::int64_t>(depth);
  write_scatter(writer, target + "  if (!is_inside) target = -1;\n", num_updates, slice);
}

}  // namespace pajamas::cuda::operators
