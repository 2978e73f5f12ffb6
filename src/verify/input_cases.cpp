// Shapes and values of made-up inputs.
#include "verify/input_cases.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <map>
#include <memory>
#include <numbers>
#include <optional>
#include <set>

#include "pajamas/error.h"
#include "tensor/half.h"

namespace pajamas {
namespace {

/// A generator that gives the same numbers everywhere: the standard's distributions differ between libraries.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  /// SplitMix64 (Steele, Lea, Flood 2014).
  std::uint64_t next() {
    state_ += 0x9e3779b97f4a7c15ULL;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
  }
  double uniform() { return static_cast<double>(next() >> 11) / 9007199254740992.0; }  // 2^53
  double normal() {                                                                    // Box-Muller
    return std::sqrt(-2 * std::log(1 - uniform())) * std::cos(2 * std::numbers::pi * uniform());
  }
  std::int64_t below(std::int64_t bound) {
    return static_cast<std::int64_t>(next() % static_cast<std::uint64_t>(std::max<std::int64_t>(1, bound)));
  }

 private:
  std::uint64_t state_;
};

enum class Kind { kPicture, kNoise };

/// What stands for the extents that a model leaves open.
struct Sizes {
  std::int64_t batch = 1;
  std::int64_t height = 0;
  std::int64_t width = 0;
  std::int64_t length = 7;
};

/// Heights and widths to try for a dynamic picture: small multiples of 32 first, as strided models want; then the usual
/// fixed sizes, for models that hold to one which they do not declare.
constexpr std::int64_t kPictureSizes[][2] = {{160, 128}, {224, 224}, {256, 256}, {320, 320},
                                             {384, 384}, {512, 512}, {640, 640}, {300, 300}};

bool contains(const std::string& name, const char* part) {
  std::string lower = name;
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char letter) { return static_cast<char>(std::tolower(letter)); });
  return lower.find(part) != std::string::npos;
}

const ValueType& tensor_type_of(const ValueInfo& input) {
  if (!input.type || input.type->kind != ValueType::Kind::kTensor || !input.type->shape ||
      input.type->dtype == DType::kString) {
    throw Error(ErrorKind::kUnsupported,
                "no inputs can be made up for '" + input.name + "' of type " +
                    (input.type ? input.type->to_string() : "unknown"),
                "input '" + input.name + "'", "give real inputs");
  }
  return *input.type;
}

bool is_channels(const Dimension& dimension) {
  return dimension.is_known() && (dimension.extent() == 1 || dimension.extent() == 3 || dimension.extent() == 4);
}

/// The axes of height and width of a picture, by the axis of few channels; NCHW where neither shows.
std::pair<std::size_t, std::size_t> picture_axes(const std::vector<Dimension>& shape) {
  const bool has_batch = shape.size() == 4;
  const std::size_t first = has_batch ? 1 : 0;
  if (is_channels(shape.back()) && !is_channels(shape[first])) return {first, first + 1};
  return {first + 1, first + 2};
}

/// The declared shapes of the inputs, with what the lowered model fixed.
using Declared = std::vector<std::pair<const ValueInfo*, std::vector<Dimension>>>;

Declared declared_inputs(const Graph& source, const Graph& lowered) {
  Declared declared;
  for (const ValueInfo* input : source.required_inputs()) {
    std::vector<Dimension> shape = *tensor_type_of(*input).shape;
    const ValueInfo* other = lowered.find_input(input->name);
    if (other != nullptr && other->type && other->type->shape && other->type->shape->size() == shape.size()) {
      for (std::size_t axis = 0; axis < shape.size(); ++axis) {
        if (!shape[axis].is_known() && (*other->type->shape)[axis].is_known())
          shape[axis] = (*other->type->shape)[axis];
      }
    }
    declared.emplace_back(input, std::move(shape));
  }
  return declared;
}

bool is_picture(const ValueInfo& input, const std::vector<Dimension>& shape) {
  const DType dtype = input.type->dtype;
  return shape.size() == 4 && (is_floating_point(dtype) || dtype == DType::kUint8);
}

Shape shape_of(const ValueInfo& input, const std::vector<Dimension>& declared, const Sizes& sizes,
               std::map<std::string, std::int64_t>& bound) {
  Shape shape;
  const bool has_picture = is_picture(input, declared);
  for (std::size_t axis = 0; axis < declared.size(); ++axis) {
    const auto& dimension = declared[axis];
    if (dimension.is_known()) {
      shape.push_back(dimension.extent());
      continue;
    }
    const auto* name = std::get_if<std::string>(&dimension.value);
    if (name != nullptr && bound.contains(*name)) {
      shape.push_back(bound[*name]);
      continue;
    }
    std::int64_t extent = sizes.length;
    if (axis == 0 && (declared.size() > 1 || (name != nullptr && contains(*name, "batch")))) {
      extent = sizes.batch;
    } else if (has_picture) {
      const auto [height_axis, width_axis] = picture_axes(declared);
      extent = axis == height_axis ? sizes.height : axis == width_axis ? sizes.width : 3;
    }
    if (name != nullptr && !name->empty()) bound[*name] = extent;
    shape.push_back(extent);
  }
  return shape;
}

/// The constant behind a value, also one that is widened or dequantised.
const Initializer* stored_table(const Graph& graph, std::string value) {
  constexpr int kMaxSteps = 8;
  for (int step = 0; step < kMaxSteps; ++step) {
    if (const Initializer* table = graph.find_initializer(value)) return table;
    const auto producer = std::find_if(graph.nodes.begin(), graph.nodes.end(), [&](const Node& node) {
      return (node.is("Cast") || node.is("DequantizeLinear")) && !node.outputs.empty() && node.outputs[0] == value;
    });
    if (producer == graph.nodes.end() || producer->inputs.empty()) return nullptr;
    value = producer->inputs[0];
  }
  return nullptr;
}

/// Rows of the constant table that the integer input indexes, directly or through operators that keep its values.
std::int64_t num_rows_indexed(const Graph& graph, const std::string& input) {
  std::set<std::string> names{input};
  std::int64_t num_rows = 0;
  for (const auto& node : graph.nodes) {
    const bool is_passing = node.is("Cast") || node.is("Identity") || node.is("Reshape") || node.is("Unsqueeze") ||
                            node.is("Squeeze") || node.is("Flatten") || node.is("Expand");
    if (is_passing && !node.inputs.empty() && names.contains(node.inputs[0])) {
      names.insert(node.outputs.begin(), node.outputs.end());
    }
    if (!node.is("Gather") || node.inputs.size() < 2 || !names.contains(node.inputs[1])) continue;
    const auto axis = node.int_attribute("axis", 0);
    const Initializer* table = stored_table(graph, node.inputs[0]);
    if (table == nullptr || axis < 0 || axis >= static_cast<std::int64_t>(table->tensor.shape().rank())) continue;
    const auto rows = table->tensor.shape()[static_cast<std::size_t>(axis)];
    num_rows = num_rows == 0 ? rows : std::min(num_rows, rows);
  }
  return num_rows;
}

/// A picture of a few slow waves, different for each plane, with a little noise: flat noise would leave a detector with
/// nothing to tell apart.
void fill_picture(std::span<float> values, const Shape& shape, const std::vector<Dimension>& declared, Random& random) {
  const auto [height_axis, width_axis] = picture_axes(declared);
  const auto height = static_cast<std::size_t>(shape[height_axis]);
  const auto width = static_cast<std::size_t>(shape[width_axis]);
  const std::size_t num_channels = static_cast<std::size_t>(height_axis == 1 ? shape[3] : shape[1]);
  const bool is_channel_last = height_axis == 1;
  const auto num_planes = static_cast<std::size_t>(shape[0]) * num_channels;
  constexpr double kTwoPi = 2 * std::numbers::pi;
  for (std::size_t plane = 0; plane < num_planes; ++plane) {
    const double fx = 1 + 6 * random.uniform();
    const double fy = 1 + 6 * random.uniform();
    const double px = kTwoPi * random.uniform();
    const double py = kTwoPi * random.uniform();
    std::vector<double> waves_x(width);
    for (std::size_t x = 0; x < width; ++x) {
      waves_x[x] = std::cos(kTwoPi * fx * static_cast<double>(x) / static_cast<double>(width) + px);
    }
    for (std::size_t y = 0; y < height; ++y) {
      const double wave_y = std::cos(kTwoPi * fy * static_cast<double>(y) / static_cast<double>(height) + py);
      for (std::size_t x = 0; x < width; ++x) {
        const double value = 0.5 + 0.2 * waves_x[x] + 0.2 * wave_y + 0.1 * (2 * random.uniform() - 1);
        const std::size_t batch = plane / num_channels;
        const std::size_t channel = plane % num_channels;
        const std::size_t index = is_channel_last ? ((batch * height + y) * width + x) * num_channels + channel
                                                  : (plane * height + y) * width + x;
        values[index] = static_cast<float>(value);
      }
    }
  }
}

template <typename T, typename Function>
Tensor filled(const Shape& shape, Function&& next) {
  Tensor tensor(DTypeOf<T>::value, shape);
  for (auto& value : tensor.mutable_as<T>()) value = static_cast<T>(next());
  return tensor;
}

Tensor values_of(const Graph& graph, const ValueInfo& input, const std::vector<Dimension>& declared, const Shape& shape,
                 Kind kind, Random& random) {
  const DType dtype = input.type->dtype;
  const bool is_mask = contains(input.name, "mask");
  if (is_floating_point(dtype)) {
    Tensor tensor(DType::kFloat32, shape);
    auto values = tensor.mutable_as<float>();
    if (is_mask) {
      std::fill(values.begin(), values.end(), 1.0F);
    } else if (kind == Kind::kPicture && is_picture(input, declared)) {
      fill_picture(values, shape, declared, random);
    } else {
      for (auto& value : values) {
        const bool is_uniform = kind == Kind::kPicture || is_picture(input, declared);
        value = static_cast<float>(is_uniform ? random.uniform() : random.normal());
      }
    }
    return dtype == DType::kFloat32 ? tensor : converted(tensor, dtype);
  }
  const std::int64_t num_rows = num_rows_indexed(graph, input.name);
  const auto integer = [&, bound = num_rows > 0 ? num_rows : 100] { return is_mask ? 1 : random.below(bound); };
  switch (dtype) {
    case DType::kBool: {
      Tensor tensor(dtype, shape);
      for (auto& value : tensor.mutable_bytes()) value = is_mask ? std::byte{1} : std::byte(random.below(2));
      return tensor;
    }
    case DType::kUint8:
      if (is_picture(input, declared)) {
        Tensor picture(DType::kFloat32, shape);
        fill_picture(picture.mutable_as<float>(), shape, declared, random);
        std::size_t i = 0;
        const auto values = picture.as<float>();
        return filled<std::uint8_t>(shape, [&] { return std::clamp(255 * values[i++], 0.0F, 255.0F); });
      }
      return filled<std::uint8_t>(shape, integer);
    case DType::kInt8: return filled<std::int8_t>(shape, integer);
    case DType::kInt16: return filled<std::int16_t>(shape, integer);
    case DType::kUint16: return filled<std::uint16_t>(shape, integer);
    case DType::kInt32: return filled<std::int32_t>(shape, integer);
    case DType::kUint32: return filled<std::uint32_t>(shape, integer);
    case DType::kInt64: return filled<std::int64_t>(shape, integer);
    case DType::kUint64: return filled<std::uint64_t>(shape, integer);
    default:
      throw Error(ErrorKind::kUnsupported, std::string("no inputs of type ") + to_string(dtype) + " can be made up",
                  "input '" + input.name + "'", "give real inputs");
  }
}

}  // namespace

std::vector<std::vector<InputCaseMaker>> seeded_cases(const Graph& source, const Graph& lowered,
                                                      const std::vector<ShapeProfile>& profiles, std::uint64_t seed) {
  const auto shared = std::make_shared<const Declared>(declared_inputs(source, lowered));
  const Declared& declared = *shared;
  std::set<std::vector<std::vector<std::int64_t>>> seen;  // shapes and kinds that have a case already
  std::vector<std::vector<InputCaseMaker>> cases;

  const auto make = [&](const std::string& name, std::vector<Shape> shapes, Kind kind) -> InputCaseMaker {
    return [&source, shared, name, shapes = std::move(shapes), kind, case_seed = seed * 1000 + cases.size() + 1] {
      InputCase one{name + (kind == Kind::kPicture ? ", smooth" : ", noise"), false, {}};
      Random random(case_seed);
      for (std::size_t i = 0; i < shared->size(); ++i) {
        const auto& [input, shape] = (*shared)[i];
        one.inputs.push_back(values_of(source, *input, shape, shapes[i], kind, random));
      }
      return one;
    };
  };
  const auto is_new = [&](const std::vector<Shape>& shapes, Kind kind) {
    std::vector<std::vector<std::int64_t>> key{{static_cast<std::int64_t>(kind)}};
    for (const auto& shape : shapes) key.push_back(shape.extents());
    return seen.insert(std::move(key)).second;
  };

  if (!profiles.empty()) {
    const auto add = [&](const char* name, Shape ShapeProfile::*which, Kind kind) {
      std::map<std::string, std::int64_t> bound;
      std::vector<Shape> shapes;
      for (const auto& [input, shape] : declared) {
        const ShapeProfile* given = find_profile(profiles, input->name);
        shapes.push_back(given != nullptr ? given->*which : shape_of(*input, shape, {1, 224, 224, 7}, bound));
      }
      if (is_new(shapes, kind)) cases.push_back({make(name, shapes, kind)});
    };
    add("smallest shapes", &ShapeProfile::min, Kind::kPicture);
    add("smallest shapes", &ShapeProfile::min, Kind::kNoise);
    add("tuned shapes", &ShapeProfile::opt, Kind::kPicture);
    add("largest shapes", &ShapeProfile::max, Kind::kNoise);
    return cases;
  }

  bool is_dynamic = false;
  bool has_open_picture = false;
  for (const auto& [input, shape] : declared) {
    for (std::size_t axis = 0; axis < shape.size(); ++axis) {
      if (shape[axis].is_known()) continue;
      is_dynamic = true;
      has_open_picture = has_open_picture || (is_picture(*input, shape) && axis > 0);
    }
  }
  const auto add = [&](const std::string& name, std::int64_t batch, std::int64_t length, Kind kind) {
    std::vector<InputCaseMaker> alternatives;
    for (const auto& [height, width] : kPictureSizes) {
      std::map<std::string, std::int64_t> bound;
      std::vector<Shape> shapes;
      for (const auto& [input, shape] : declared) {
        shapes.push_back(shape_of(*input, shape, {batch, height, width, length}, bound));
      }
      if (!alternatives.empty() || is_new(shapes, kind)) alternatives.push_back(make(name, shapes, kind));
      if (!has_open_picture || alternatives.empty()) break;
    }
    if (!alternatives.empty()) cases.push_back(std::move(alternatives));
  };
  add(is_dynamic ? "batch 1" : "declared shapes", 1, 7, Kind::kPicture);
  add(is_dynamic ? "batch 1" : "declared shapes", 1, 7, Kind::kNoise);
  if (is_dynamic) add("batch 2", 2, 12, Kind::kPicture);
  return cases;
}

Tensor converted(const Tensor& tensor, DType dtype) {
  if (tensor.dtype() == dtype) return tensor;
  if (dtype == DType::kFloat32) return to_float32(tensor.view());
  if (tensor.dtype() == DType::kFloat32 && (dtype == DType::kFloat16 || dtype == DType::kBfloat16)) {
    std::vector<std::uint16_t> bits;
    for (const float value : tensor.as<float>()) {
      bits.push_back(dtype == DType::kFloat16 ? float16_from_float(value) : bfloat16_from_float(value));
    }
    return Tensor::copy_of({dtype, tensor.shape(), reinterpret_cast<const std::byte*>(bits.data())});
  }
  if (tensor.dtype() == DType::kFloat32 && dtype == DType::kFloat64) {
    const auto values = tensor.as<float>();
    const std::vector<double> doubles(values.begin(), values.end());
    return Tensor::of<double>(tensor.shape(), std::span<const double>(doubles));
  }
  throw Error(ErrorKind::kInternal,
              std::string("no conversion from ") + to_string(tensor.dtype()) + " to " + to_string(dtype));
}

}  // namespace pajamas
