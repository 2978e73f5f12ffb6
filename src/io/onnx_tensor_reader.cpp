// TensorProto to Tensor. See onnx_tensor_reader.h.
#include "io/onnx_tensor_reader.h"

#include <bit>
#include <charconv>
#include <cstring>
#include <utility>

#include "pajamas/error.h"

namespace pajamas {
namespace {

static_assert(std::endian::native == std::endian::little, "ONNX data is little-endian and is used in place");

/// Tensors up to this size are copied out of the model's buffer, so that a few small constants do not keep a whole
/// mapped file alive.
constexpr std::size_t kAlwaysCopyBytes = 4096;

const char* const kExportAgain = "the file is damaged or was written by a faulty tool: download or export it again";

[[noreturn]] void bad(const std::string& message) { throw Error(ErrorKind::kBadInput, message, {}, kExportAgain); }

std::size_t alignment_of(DType dtype) {
  switch (dtype) {
    case DType::kComplex64: return alignof(float);
    case DType::kComplex128: return alignof(double);
    default: return static_cast<std::size_t>(std::max(bits_of(dtype) / 8, 1));
  }
}

bool is_aligned(const std::byte* data, DType dtype) {
  return reinterpret_cast<std::uintptr_t>(data) % alignment_of(dtype) == 0;
}

Tensor from_raw(DType dtype, const Shape& shape, const RawData& raw) {
  if (raw.owner != nullptr && raw.bytes.size() > kAlwaysCopyBytes && is_aligned(raw.bytes.data(), dtype)) {
    return Tensor(dtype, shape, raw.owner, raw.bytes);
  }
  Tensor tensor(dtype, shape);
  if (!raw.bytes.empty()) std::memcpy(tensor.mutable_bytes().data(), raw.bytes.data(), raw.bytes.size());
  if (raw.mapped_file != nullptr) raw.mapped_file->release_memory(raw.bytes);
  return tensor;
}

/// Values of a typed field as elements of T, each checked to fit.
template <typename T, typename Field>
void narrow(const Field& field, std::span<std::byte> out) {
  for (int i = 0; i < field.size(); ++i) {
    const auto value = field.Get(i);
    // Bit patterns may be written signed or unsigned.
    constexpr std::int64_t lowest = -(std::int64_t{1} << (8 * sizeof(T) - 1));
    constexpr std::int64_t highest = (std::int64_t{1} << (8 * sizeof(T))) - 1;
    if (std::cmp_less(value, lowest) || std::cmp_greater(value, highest)) {
      bad("value " + std::to_string(value) + " does not fit into its type");
    }
    const T element = static_cast<T>(value);
    std::memcpy(out.data() + static_cast<std::size_t>(i) * sizeof(T), &element, sizeof(T));
  }
}

void pack_6_bits(const google::protobuf::RepeatedField<std::int32_t>& field, std::span<std::byte> out) {
  std::fill(out.begin(), out.end(), std::byte{0});
  for (int i = 0; i < field.size(); ++i) {
    const std::int32_t value = field.Get(i);
    if (value < 0 || value > 63) bad("value " + std::to_string(value) + " does not fit into its type");
    const std::size_t bit = static_cast<std::size_t>(i) * 6;
    const unsigned shifted = static_cast<unsigned>(value) << (bit % 8);
    out[bit / 8] |= static_cast<std::byte>(shifted & 0xffU);
    if (shifted > 0xffU) out[bit / 8 + 1] |= static_cast<std::byte>(shifted >> 8U);
  }
}

template <typename T>
void copy_field(const google::protobuf::RepeatedField<T>& field, std::span<std::byte> out) {
  if (!out.empty()) std::memcpy(out.data(), field.data(), out.size());
}

void require_count(int found, std::int64_t wanted, const Shape& shape) {
  if (found != wanted) {
    bad("holds " + std::to_string(found) + " values where its shape " + shape.to_string() + " needs " +
        std::to_string(wanted));
  }
}

Tensor from_typed_fields(const onnx::TensorProto& proto, DType dtype, const Shape& shape) {
  const std::int64_t count = shape.num_elements();
  // The number of values is checked before memory is taken: a small file must not ask for a large tensor.
  const auto wanted_32 = [&]() -> std::int64_t {
    const int bits = bits_of(dtype);
    return bits < 6 ? static_cast<std::int64_t>(bytes_of(dtype, shape)) : count;
  };
  switch (dtype) {
    case DType::kFloat32: {
      require_count(proto.float_data_size(), count, shape);
      Tensor tensor(dtype, shape);
      copy_field(proto.float_data(), tensor.mutable_bytes());
      return tensor;
    }
    case DType::kComplex64: {
      if (proto.float_data_size() % 2 != 0) bad("holds half a complex number");
      require_count(proto.float_data_size() / 2, count, shape);
      Tensor tensor(dtype, shape);
      copy_field(proto.float_data(), tensor.mutable_bytes());
      return tensor;
    }
    case DType::kFloat64: {
      require_count(proto.double_data_size(), count, shape);
      Tensor tensor(dtype, shape);
      copy_field(proto.double_data(), tensor.mutable_bytes());
      return tensor;
    }
    case DType::kComplex128: {
      if (proto.double_data_size() % 2 != 0) bad("holds half a complex number");
      require_count(proto.double_data_size() / 2, count, shape);
      Tensor tensor(dtype, shape);
      copy_field(proto.double_data(), tensor.mutable_bytes());
      return tensor;
    }
    case DType::kInt64: {
      require_count(proto.int64_data_size(), count, shape);
      Tensor tensor(dtype, shape);
      copy_field(proto.int64_data(), tensor.mutable_bytes());
      return tensor;
    }
    case DType::kUint64: {
      require_count(proto.uint64_data_size(), count, shape);
      Tensor tensor(dtype, shape);
      copy_field(proto.uint64_data(), tensor.mutable_bytes());
      return tensor;
    }
    case DType::kUint32: {
      require_count(proto.uint64_data_size(), count, shape);
      Tensor tensor(dtype, shape);
      narrow<std::uint32_t>(proto.uint64_data(), tensor.mutable_bytes());
      return tensor;
    }
    case DType::kInt32: {
      require_count(proto.int32_data_size(), count, shape);
      Tensor tensor(dtype, shape);
      copy_field(proto.int32_data(), tensor.mutable_bytes());
      return tensor;
    }
    case DType::kFloat6E2M3:
    case DType::kFloat6E3M2: {
      require_count(proto.int32_data_size(), count, shape);
      Tensor tensor(dtype, shape);
      pack_6_bits(proto.int32_data(), tensor.mutable_bytes());
      return tensor;
    }
    default: {
      require_count(proto.int32_data_size(), wanted_32(), shape);
      Tensor tensor(dtype, shape);
      if (bits_of(dtype) == 16) {
        narrow<std::uint16_t>(proto.int32_data(), tensor.mutable_bytes());
      } else {
        narrow<std::uint8_t>(proto.int32_data(), tensor.mutable_bytes());
      }
      return tensor;
    }
  }
}

Tensor string_tensor(onnx::TensorProto& proto, const Shape& shape) {
  if (proto.has_raw_data()) bad("is a string tensor with raw data");
  require_count(proto.string_data_size(), shape.num_elements(), shape);
  std::vector<std::string> values;
  values.reserve(static_cast<std::size_t>(proto.string_data_size()));
  for (std::string& value : *proto.mutable_string_data()) values.push_back(std::move(value));
  return Tensor(shape, std::move(values));
}

/// True when a typed field holds values, whatever the type.
bool has_typed_values(const onnx::TensorProto& proto) {
  return proto.float_data_size() > 0 || proto.int32_data_size() > 0 || proto.string_data_size() > 0 ||
         proto.int64_data_size() > 0 || proto.double_data_size() > 0 || proto.uint64_data_size() > 0;
}

std::uint64_t parse_number(const std::string& text, const char* key) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    bad("its external data has '" + text + "' as " + key + ", which is no number");
  }
  return value;
}

void clear_data(onnx::TensorProto& proto) {
  proto.clear_dims();
  proto.clear_data_type();
  proto.clear_float_data();
  proto.clear_int32_data();
  proto.clear_string_data();
  proto.clear_int64_data();
  proto.clear_double_data();
  proto.clear_uint64_data();
  proto.clear_raw_data();
  proto.clear_external_data();
  proto.clear_data_location();
}

}  // namespace

Tensor TensorReader::read(onnx::TensorProto& proto, const std::optional<RawData>& raw, const std::string& where) {
  try {
    const Shape shape(std::vector<std::int64_t>(proto.dims().begin(), proto.dims().end()));
    const auto dtype = static_cast<DType>(proto.data_type());
    if (dtype == DType::kUndefined) bad("has no element type");
    if (dtype != DType::kString && bits_of(dtype) == 0) {
      throw Error(ErrorKind::kUnsupported,
                  "has the element type " + std::to_string(proto.data_type()) + ", which this version does not know",
                  {}, "export the model with a standard ONNX element type");
    }
    if (proto.has_segment()) {
      throw Error(ErrorKind::kUnsupported, "is stored in segments, which no tool writes any more", {},
                  "load and save the model with the onnx package");
    }
    const std::size_t size_bytes = dtype == DType::kString ? 0 : bytes_of(dtype, shape);
    Tensor tensor;
    if (proto.data_location() == onnx::TensorProto::EXTERNAL) {
      if (raw || proto.has_raw_data() || has_typed_values(proto)) bad("has its data both inside the file and outside");
      tensor = read_external(proto, dtype, shape);
    } else if (dtype == DType::kString) {
      if (raw) bad("is a string tensor with raw data");
      tensor = string_tensor(proto, shape);
    } else if (raw || proto.has_raw_data()) {
      if (has_typed_values(proto)) bad("has its data twice, raw and typed");
      RawData data;
      if (raw) {
        data = *raw;
      } else {
        auto text = std::shared_ptr<const std::string>(proto.release_raw_data());
        data.bytes = std::as_bytes(std::span(text->data(), text->size()));
        data.owner = std::move(text);
      }
      if (data.bytes.size() != size_bytes) {
        bad("holds " + std::to_string(data.bytes.size()) + " bytes where " + to_string(dtype) + shape.to_string() +
            " needs " + std::to_string(size_bytes));
      }
      tensor = from_raw(dtype, shape, data);
    } else {
      tensor = from_typed_fields(proto, dtype, shape);
    }
    clear_data(proto);
    return tensor;
  } catch (const Error& error) {
    const Error named = error.with_context(where);
    if (!named.remedy().empty()) throw named;
    throw Error(named.kind(), named.message(), named.where(), kExportAgain);
  }
}

Tensor TensorReader::read_external(const onnx::TensorProto& proto, DType dtype, const Shape& shape) {
  if (dtype == DType::kString) bad("is a string tensor with external data");
  const std::uint64_t wanted = bytes_of(dtype, shape);
  std::string location;
  std::uint64_t offset = 0;
  std::optional<std::uint64_t> length;
  for (const auto& entry : proto.external_data()) {
    if (entry.key() == "location") location = entry.value();
    if (entry.key() == "offset") offset = parse_number(entry.value(), "offset");
    if (entry.key() == "length") length = parse_number(entry.value(), "length");
  }
  if (!folder_) {
    throw Error(ErrorKind::kBadInput, "has its data in the file '" + location + "' beside the model", {},
                "give the model as a file in its folder, not as bytes");
  }
  if (length && *length != wanted) {
    bad("has " + std::to_string(*length) + " bytes of external data where " + to_string(dtype) + shape.to_string() +
        " needs " + std::to_string(wanted));
  }
  auto found = files_.find(location);
  if (found == files_.end()) {
    found = files_.emplace(location, MappedFile::open(resolve_inside(*folder_, location))).first;
  }
  const std::shared_ptr<const MappedFile>& file = found->second;
  const std::span<const std::byte> all = file->bytes();
  if (offset > all.size() || wanted > all.size() - offset) {
    throw Error(ErrorKind::kBadInput,
                "needs bytes " + std::to_string(offset) + " to " + std::to_string(offset + wanted) + " of '" +
                    location + "', which has " + std::to_string(all.size()),
                {}, "the data file is incomplete or belongs to another model: download or export both again");
  }
  const auto part = all.subspan(static_cast<std::size_t>(offset), static_cast<std::size_t>(wanted));
  return from_raw(dtype, shape, RawData{part, file, file.get()});
}

}  // namespace pajamas
