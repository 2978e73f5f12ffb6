// Operators that move elements and never change them, and those that read shapes: Reshape, Transpose, Slice, Concat,
// Pad, Tile, Expand, Shape, Constant and their kin.
#include <algorithm>
#include <cstring>
#include <limits>
#include <numeric>

#include "graph/interpreter/support.h"

namespace pajamas::interpreter {
namespace {

std::vector<Tensor> identity(const Call& call) { return {call.input(0)}; }

std::vector<Tensor> constant(const Call& call) {
  for (const Attribute& attribute : call.node.attributes) {
    const auto& value = attribute.value;
    if (const auto* tensor = std::get_if<Tensor>(&value)) return {*tensor};
    if (const auto* number = std::get_if<float>(&value)) return {Tensor::scalar(*number)};
    if (const auto* number = std::get_if<std::int64_t>(&value)) return {Tensor::scalar(*number)};
    if (const auto* text = std::get_if<std::string>(&value)) return {Tensor(Shape{}, std::vector<std::string>{*text})};
    if (const auto* numbers = std::get_if<std::vector<float>>(&value)) {
      return {Tensor::of<float>({static_cast<std::int64_t>(numbers->size())}, *numbers)};
    }
    if (const auto* numbers = std::get_if<std::vector<std::int64_t>>(&value)) {
      return {Tensor::of<std::int64_t>({static_cast<std::int64_t>(numbers->size())}, *numbers)};
    }
    if (const auto* texts = std::get_if<std::vector<std::string>>(&value)) {
      return {Tensor(Shape{static_cast<std::int64_t>(texts->size())}, *texts)};
    }
  }
  call.unsupported("a Constant of this kind");
}

std::vector<Tensor> constant_of_shape(const Call& call) {
  const Shape shape(read_integers(call, call.input(0)));
  for (const std::int64_t extent : shape) call.require(extent >= 0, "a negative extent");
  Tensor value = Tensor::scalar(0.0F);
  if (const Attribute* attribute = call.node.find_attribute("value")) {
    const auto* given = std::get_if<Tensor>(&attribute->value);
    call.require(given != nullptr && given->num_elements() == 1, "attribute 'value' must hold one value");
    value = given->reshaped(Shape{});
  }
  return {strided_copy(call, value, shape, std::vector<std::int64_t>(shape.rank(), 0), 0)};
}

std::vector<Tensor> shape_of(const Call& call) {
  const Shape& shape = call.input(0).shape();
  const auto rank = static_cast<std::int64_t>(shape.rank());
  const auto bound = [&](const char* name, std::int64_t fallback) {
    std::int64_t value = call.node.int_attribute(name, fallback);
    if (value < 0) value += rank;
    return std::clamp<std::int64_t>(value, 0, rank);
  };
  const std::int64_t start = bound("start", 0);
  const std::int64_t end = std::max(start, bound("end", rank));
  const auto& extents = shape.extents();
  return {Tensor::of<std::int64_t>({end - start}, std::span(extents).subspan(start, end - start))};
}

std::vector<Tensor> size_of(const Call& call) { return {Tensor::scalar(call.input(0).num_elements())}; }

std::vector<Tensor> reshape(const Call& call) {
  const Tensor& in = call.input(0);
  std::vector<std::int64_t> wanted =
      call.inputs.size() > 1 ? read_integers(call, call.input(1)) : call.node.ints_attribute("shape");
  const bool allows_zero = call.node.int_attribute("allowzero", 0) != 0;
  std::int64_t known = 1;
  std::ptrdiff_t open = -1;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    if (wanted[i] == 0 && !allows_zero) {
      call.require(i < in.shape().rank(), "a 0 in the target shape copies an axis that the input does not have");
      wanted[i] = in.shape()[i];
    }
    if (wanted[i] == -1) {
      call.require(open < 0, "the target shape has more than one -1");
      open = static_cast<std::ptrdiff_t>(i);
    } else {
      call.require(wanted[i] >= 0, "a negative extent in the target shape");
      if (__builtin_mul_overflow(known, wanted[i], &known)) call.fail("the target shape is too large");
    }
  }
  const std::int64_t total = in.num_elements();
  if (open >= 0) {
    call.require(known != 0 ? total % known == 0 : total == 0, "the elements do not fill the target shape");
    wanted[static_cast<std::size_t>(open)] = known != 0 ? total / known : 0;
    known *= wanted[static_cast<std::size_t>(open)];
  }
  if (known != total) {
    call.fail("a tensor of shape " + in.shape().to_string() + " cannot become " + Shape(wanted).to_string());
  }
  return {in.reshaped(Shape(std::move(wanted)))};
}

std::vector<Tensor> flatten(const Call& call) {
  const Tensor& in = call.input(0);
  const auto rank = static_cast<std::int64_t>(in.shape().rank());
  std::int64_t axis = call.node.int_attribute("axis", 1);
  if (axis < 0) axis += rank;
  call.require(axis >= 0 && axis <= rank, "the axis is outside the tensor");
  std::int64_t rows = 1;
  for (std::int64_t i = 0; i < axis; ++i) rows *= in.shape()[i];
  std::int64_t columns = 1;
  for (std::int64_t i = axis; i < rank; ++i) columns *= in.shape()[i];
  return {in.reshaped({rows, columns})};
}

std::vector<Tensor> squeeze(const Call& call) {
  const Tensor& in = call.input(0);
  std::vector<bool> is_dropped(in.shape().rank(), false);
  const auto axes = call.axes(1);
  if (axes.empty() && call.optional_input(1) == nullptr) {
    for (std::size_t i = 0; i < in.shape().rank(); ++i) is_dropped[i] = in.shape()[i] == 1;
  }
  for (const std::int64_t value : axes) {
    const std::size_t axis = call.axis(value, in.shape().rank());
    call.require(in.shape()[axis] == 1, "an axis to squeeze is not 1");
    is_dropped[axis] = true;
  }
  Shape shape;
  for (std::size_t i = 0; i < in.shape().rank(); ++i) {
    if (!is_dropped[i]) shape.push_back(in.shape()[i]);
  }
  return {in.reshaped(std::move(shape))};
}

std::vector<Tensor> unsqueeze(const Call& call) {
  const Tensor& in = call.input(0);
  const auto axes = call.axes(1);
  const std::size_t rank = in.shape().rank() + axes.size();
  std::vector<bool> is_new(rank, false);
  for (const std::int64_t value : axes) {
    const std::size_t axis = call.axis(value, rank);
    call.require(!is_new[axis], "an axis is named twice");
    is_new[axis] = true;
  }
  Shape shape;
  std::size_t from = 0;
  for (std::size_t i = 0; i < rank; ++i) shape.push_back(is_new[i] ? 1 : in.shape()[from++]);
  return {in.reshaped(std::move(shape))};
}

std::vector<Tensor> transpose(const Call& call) {
  const Tensor& in = call.input(0);
  const std::size_t rank = in.shape().rank();
  auto order = call.node.ints_attribute("perm");
  if (order.empty()) {
    order.resize(rank);
    std::iota(order.rbegin(), order.rend(), 0);
  }
  call.require(order.size() == rank, "attribute 'perm' must name every axis");
  const auto strides = strides_of(in.shape());
  std::vector<bool> is_used(rank, false);
  Shape shape;
  std::vector<std::int64_t> picked;
  for (const std::int64_t value : order) {
    const std::size_t axis = call.axis(value, rank);
    call.require(!is_used[axis], "attribute 'perm' names an axis twice");
    is_used[axis] = true;
    shape.push_back(in.shape()[axis]);
    picked.push_back(strides[axis]);
  }
  return {strided_copy(call, in, shape, picked, 0)};
}

std::vector<Tensor> expand(const Call& call) {
  const Tensor& in = call.input(0);
  const Shape wanted(read_integers(call, call.input(1)));
  for (const std::int64_t extent : wanted) call.require(extent >= 0, "a negative extent");
  const Shape shape = broadcast(call, in.shape(), wanted);
  if (shape == in.shape()) return {in};
  return {strided_copy(call, in, shape, broadcast_strides(in.shape(), shape), 0)};
}

std::vector<Tensor> tile(const Call& call) {
  const Tensor& in = call.input(0);
  const auto repeats = read_integers(call, call.input(1));
  const std::size_t rank = in.shape().rank();
  call.require(repeats.size() == rank, "one repeat an axis is wanted");
  // Each axis becomes two, [repeat, extent], the first with stride 0.
  Shape split;
  Shape shape;
  std::vector<std::int64_t> strides;
  const auto own = strides_of(in.shape());
  for (std::size_t i = 0; i < rank; ++i) {
    call.require(repeats[i] >= 0, "a negative repeat");
    split.push_back(repeats[i]);
    split.push_back(in.shape()[i]);
    strides.push_back(0);
    strides.push_back(own[i]);
    std::int64_t extent = 0;
    if (__builtin_mul_overflow(repeats[i], in.shape()[i], &extent)) call.fail("the result is too large");
    shape.push_back(extent);
  }
  return {strided_copy(call, in, split, strides, 0).reshaped(shape)};
}

std::vector<Tensor> slice(const Call& call) {
  const Tensor& in = call.input(0);
  const std::size_t rank = in.shape().rank();
  const bool is_attribute = call.opset < 10;
  const auto starts = is_attribute ? call.node.ints_attribute("starts") : read_integers(call, call.input(1));
  const auto ends = is_attribute ? call.node.ints_attribute("ends") : read_integers(call, call.input(2));
  std::vector<std::int64_t> axes;
  std::vector<std::int64_t> steps(starts.size(), 1);
  if (is_attribute) {
    axes = call.node.ints_attribute("axes");
  } else {
    if (const Tensor* tensor = call.optional_input(3)) axes = read_integers(call, *tensor);
    if (const Tensor* tensor = call.optional_input(4)) steps = read_integers(call, *tensor);
  }
  if (axes.empty()) {
    axes.resize(starts.size());
    std::iota(axes.begin(), axes.end(), 0);
  }
  call.require(starts.size() == ends.size() && axes.size() == starts.size() && steps.size() == starts.size(),
               "starts, ends, axes and steps must be of one length");
  Shape shape = in.shape();
  auto strides = strides_of(in.shape());
  std::vector<bool> is_cut(rank, false);
  std::int64_t offset = 0;
  for (std::size_t i = 0; i < starts.size(); ++i) {
    const std::size_t axis = call.axis(axes[i], rank);
    call.require(!is_cut[axis], "an axis is named twice");
    is_cut[axis] = true;
    const std::int64_t extent = in.shape()[axis];
    const std::int64_t step = steps[i];
    call.require(step != 0, "a step of 0");
    const auto clamped = [&](std::int64_t value, std::int64_t low, std::int64_t high) {
      if (value < 0) value = value < -extent ? -1 - extent : value + extent;
      return std::clamp(value, low, high);
    };
    // As Python slices: forward in [0, extent], backward in [-1, extent - 1].
    const std::int64_t start = step > 0 ? clamped(starts[i], 0, extent) : clamped(starts[i], -1, extent - 1);
    const std::int64_t end = step > 0 ? clamped(ends[i], 0, extent) : clamped(ends[i], -1, extent - 1);
    std::int64_t count = 0;
    if (step > 0 && end > start) count = (end - start - 1) / step + 1;
    // The lowest step has no opposite; any step that long picks one element.
    if (step < 0 && start > end) count = step < -extent ? 1 : (start - end - 1) / -step + 1;
    if (count > 0) offset += start * strides[axis];
    shape[axis] = count;
    strides[axis] = count > 1 ? strides[axis] * step : strides[axis];
  }
  if (shape == in.shape() && offset == 0 && strides == strides_of(in.shape())) return {in};
  return {strided_copy(call, in, shape, strides, offset)};
}

std::vector<Tensor> concat(const Call& call) {
  const Tensor& first = call.input(0);
  const std::size_t axis = call.axis(call.node.int_attribute("axis", call.opset < 4 ? 1 : 0), first.shape().rank());
  Shape shape = first.shape();
  shape[axis] = 0;
  for (std::size_t i = 0; i < call.inputs.size(); ++i) {
    const Tensor& part = call.input(i);
    call.require(part.dtype() == first.dtype(), "the parts are of different types");
    Shape expected = first.shape();
    if (part.shape().rank() == expected.rank()) expected[axis] = part.shape()[axis];
    if (part.shape() != expected) {
      call.fail("parts of shapes " + first.shape().to_string() + " and " + part.shape().to_string() + " do not fit");
    }
    shape[axis] += part.shape()[axis];
  }
  std::int64_t outer = 1;
  for (std::size_t i = 0; i < axis; ++i) outer *= shape[i];
  std::int64_t inner = 1;
  for (std::size_t i = axis + 1; i < shape.rank(); ++i) inner *= shape[i];
  if (first.dtype() == DType::kString) {
    std::vector<std::string> out;
    for (std::int64_t row = 0; row < outer; ++row) {
      for (const Tensor* part : call.inputs) {
        const std::int64_t length = part->shape()[axis] * inner;
        const auto begin = part->strings().begin() + row * length;
        out.insert(out.end(), begin, begin + length);
      }
    }
    return {Tensor(shape, std::move(out))};
  }
  Tensor out = call.make(first.dtype(), shape);
  const int bits = bits_of(first.dtype());
  if (bits % 8 != 0) call.unsupported("a concatenation of packed elements");
  const std::size_t width = static_cast<std::size_t>(bits) / 8;
  std::byte* to = out.mutable_bytes().data();
  for (std::int64_t row = 0; row < outer; ++row) {
    for (const Tensor* part : call.inputs) {
      const std::size_t length = static_cast<std::size_t>(part->shape()[axis] * inner) * width;
      if (length > 0) std::memcpy(to, part->bytes().data() + static_cast<std::size_t>(row) * length, length);
      to += length;
    }
  }
  return {out};
}

std::vector<Tensor> split(const Call& call) {
  const Tensor& in = call.input(0);
  const std::size_t axis = call.axis(call.node.int_attribute("axis", 0), in.shape().rank());
  const std::int64_t extent = in.shape()[axis];
  std::vector<std::int64_t> lengths;
  if (call.opset < 13) {
    lengths = call.node.ints_attribute("split");
  } else if (const Tensor* tensor = call.optional_input(1)) {
    lengths = read_integers(call, *tensor);
  }
  const auto num_parts = static_cast<std::int64_t>(call.node.outputs.size());
  if (lengths.empty()) {
    const std::int64_t num_outputs = call.node.int_attribute("num_outputs", num_parts);
    call.require(num_outputs == num_parts && num_parts > 0, "num_outputs is not the number of outputs");
    const std::int64_t length = (extent + num_parts - 1) / num_parts;
    call.require(call.opset >= 18 || extent % num_parts == 0, "the axis does not split evenly");
    for (std::int64_t i = 0; i < num_parts; ++i) {
      lengths.push_back(std::clamp<std::int64_t>(extent - i * length, 0, length));
    }
  }
  call.require(lengths.size() == call.node.outputs.size(), "one length an output is wanted");
  const auto strides = strides_of(in.shape());
  std::vector<Tensor> parts;
  std::int64_t start = 0;
  for (const std::int64_t length : lengths) {
    call.require(length >= 0 && length <= extent - start, "the lengths exceed the axis");
    Shape shape = in.shape();
    shape[axis] = length;
    parts.push_back(strided_copy(call, in, shape, strides, start * strides[axis]));
    start += length;
  }
  call.require(start == extent, "the lengths do not cover the axis");
  return parts;
}

/// Index into an axis of `extent` elements for position `at` (which may lie outside), by the padding mode; -1: the
/// constant.
std::int64_t pad_source(const std::string& mode, std::int64_t at, std::int64_t extent) {
  if (at >= 0 && at < extent) return at;
  if (mode == "edge") return std::clamp<std::int64_t>(at, 0, extent - 1);
  if (mode == "wrap") return ((at % extent) + extent) % extent;
  if (mode == "reflect") {
    if (extent == 1) return 0;
    const std::int64_t period = 2 * (extent - 1);
    const std::int64_t folded = ((at % period) + period) % period;
    return folded < extent ? folded : period - folded;
  }
  return -1;
}

std::vector<Tensor> pad(const Call& call) {
  const Tensor& in = call.input(0);
  const std::size_t rank = in.shape().rank();
  const bool is_attribute = call.opset < 11;
  const auto given = is_attribute ? call.node.ints_attribute("pads") : read_integers(call, call.input(1));
  std::vector<std::int64_t> axes;
  if (const Tensor* tensor = is_attribute ? nullptr : call.optional_input(3)) {
    axes = read_integers(call, *tensor);
  } else {
    axes.resize(rank);
    std::iota(axes.begin(), axes.end(), 0);
  }
  call.require(given.size() == 2 * axes.size(), "two pads an axis are wanted");
  const std::string mode = call.node.string_attribute("mode", "constant");
  call.require(mode == "constant" || mode == "reflect" || mode == "edge" || mode == "wrap", "an unknown padding mode");
  std::vector<std::int64_t> before(rank, 0);
  std::vector<bool> is_padded(rank, false);
  Shape shape = in.shape();
  for (std::size_t i = 0; i < axes.size(); ++i) {
    const std::size_t axis = call.axis(axes[i], rank);
    call.require(!is_padded[axis], "an axis is named twice");
    is_padded[axis] = true;
    before[axis] = given[i];
    std::int64_t extent = 0;
    if (__builtin_add_overflow(shape[axis], given[i], &extent) ||
        __builtin_add_overflow(extent, given[i + axes.size()], &extent) || extent < 0) {
      call.fail("the pads leave no valid extent");
    }
    shape[axis] = extent;
  }
  for (std::size_t i = 0; i < rank; ++i) {
    call.require(mode == "constant" || in.shape()[i] > 0 || shape[i] == 0, "an empty axis has nothing to repeat");
  }
  if (in.dtype() == DType::kString) call.unsupported("padding of strings");
  Tensor out = call.make(in.dtype(), shape);
  if (out.num_elements() == 0) return {out};
  // Per axis, where each output index comes from.
  std::vector<std::vector<std::int64_t>> sources(rank);
  const auto strides = strides_of(in.shape());
  for (std::size_t i = 0; i < rank; ++i) {
    for (std::int64_t at = 0; at < shape[i]; ++at) {
      sources[i].push_back(pad_source(mode, at - before[i], in.shape()[i]));
    }
  }
  visit_size(call, in.dtype(), [&](auto tag) {
    using Element = decltype(tag);
    Element fill{};
    if (const Tensor* value = is_attribute ? nullptr : call.optional_input(2)) {
      call.require(value->dtype() == in.dtype() && value->num_elements() == 1, "the constant must be one value");
      std::memcpy(&fill, value->bytes().data(), sizeof fill);
    } else if (is_attribute) {
      Tensor number = Tensor::scalar(call.node.float_attribute("value", 0.0F));
      if (in.dtype() == DType::kFloat16) number = narrowed(number, DType::kFloat16);
      if (in.dtype() == DType::kFloat64) number = Tensor::scalar(static_cast<double>(number.as<float>()[0]));
      if (number.dtype() == in.dtype()) std::memcpy(&fill, number.bytes().data(), sizeof fill);
    }
    const auto* from = reinterpret_cast<const Element*>(in.bytes().data());
    auto* to = reinterpret_cast<Element*>(out.mutable_bytes().data());
    const std::int64_t total = shape.num_elements();
    std::vector<std::int64_t> position(rank, 0);
    for (std::int64_t i = 0; i < total; ++i) {
      std::int64_t offset = 0;
      bool is_inside = true;
      for (std::size_t axis = 0; axis < rank && is_inside; ++axis) {
        const std::int64_t source = sources[axis][position[axis]];
        is_inside = source >= 0;
        offset += source * strides[axis];
      }
      to[i] = is_inside ? from[offset] : fill;
      for (std::size_t axis = rank; axis-- > 0;) {
        if (++position[axis] < shape[axis]) break;
        position[axis] = 0;
      }
    }
  });
  return {out};
}

/// Above every model, and small enough that its square times any extent is counted.
constexpr std::int64_t kMaxBlock = 1 << 15;

std::vector<Tensor> depth_to_space(const Call& call) {
  const Tensor& in = call.input(0);
  const std::int64_t block = call.node.int_attribute("blocksize", 0);
  const std::string mode = call.node.string_attribute("mode", "DCR");
  call.require(in.shape().rank() == 4 && block > 0 && block <= kMaxBlock && in.shape()[1] % (block * block) == 0,
               "a [batch, channels, height, width] input and a block size that divides the channels are wanted");
  call.require(mode == "DCR" || mode == "CRD", "attribute 'mode' must be DCR or CRD");
  const auto s = strides_of(in.shape());
  const std::int64_t depth = in.shape()[1] / (block * block);
  const bool is_dcr = mode == "DCR";
  const std::int64_t block_row = s[1] * (is_dcr ? depth * block : block);
  const std::int64_t block_column = s[1] * (is_dcr ? depth : 1);
  const std::int64_t channel = s[1] * (is_dcr ? 1 : block * block);
  const Shape view{in.shape()[0], depth, in.shape()[2], block, in.shape()[3], block};
  return {strided_copy(call, in, view, {s[0], channel, s[2], block_row, s[3], block_column}, 0)
              .reshaped({in.shape()[0], depth, in.shape()[2] * block, in.shape()[3] * block})};
}

std::vector<Tensor> space_to_depth(const Call& call) {
  const Tensor& in = call.input(0);
  const std::int64_t block = call.node.int_attribute("blocksize", 0);
  call.require(in.shape().rank() == 4 && block > 0 && block <= kMaxBlock && in.shape()[2] % block == 0 &&
                   in.shape()[3] % block == 0,
               "a [batch, channels, height, width] input divisible by the block size is wanted");
  const auto s = strides_of(in.shape());
  const std::int64_t rows = in.shape()[2] / block;
  const std::int64_t columns = in.shape()[3] / block;
  const bool is_dcr = call.node.string_attribute("mode", "DCR") == "DCR";
  const Shape result{in.shape()[0], in.shape()[1] * block * block, rows, columns};
  if (is_dcr) {
    const Shape view{in.shape()[0], block, block, in.shape()[1], rows, columns};
    return {strided_copy(call, in, view, {s[0], s[2], s[3], s[1], s[2] * block, s[3] * block}, 0).reshaped(result)};
  }
  const Shape view{in.shape()[0], in.shape()[1], block, block, rows, columns};
  return {strided_copy(call, in, view, {s[0], s[1], s[2], s[3], s[2] * block, s[3] * block}, 0).reshaped(result)};
}

std::vector<Tensor> dropout(const Call& call) {
  if (const Tensor* training = call.optional_input(2)) {
    if (read_number(call, *training) != 0) call.unsupported("Dropout in training");
  }
  std::vector<Tensor> outputs{call.input(0)};
  if (call.node.outputs.size() > 1) {
    const Tensor yes = Tensor::of<bool>({}, {true});
    const Shape& shape = call.input(0).shape();
    outputs.push_back(strided_copy(call, yes, shape, std::vector<std::int64_t>(shape.rank(), 0), 0));
  }
  return outputs;
}

}  // namespace

void add_movement(KernelTable& table) {
  table["Identity"] = {identity, false};
  table["Constant"] = {constant, false};
  table["ConstantOfShape"] = {constant_of_shape, false};
  table["Shape"] = {shape_of, false};
  table["Size"] = {size_of, false};
  table["Reshape"] = {reshape, false};
  table["Flatten"] = {flatten, false};
  table["Squeeze"] = {squeeze, false};
  table["Unsqueeze"] = {unsqueeze, false};
  table["Transpose"] = {transpose, false};
  table["Expand"] = {expand, false};
  table["Tile"] = {tile, false};
  table["Slice"] = {slice, false};
  table["Concat"] = {concat, false};
  table["Split"] = {split, false};
  table["Pad"] = {pad, false};
  table["DepthToSpace"] = {depth_to_space, false};
  table["SpaceToDepth"] = {space_to_depth, false};
  table["Dropout"] = {dropout, false};
}

}  // namespace pajamas::interpreter
