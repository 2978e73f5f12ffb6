// The GGUF container: header, metadata, tensor table, splits. See gguf.h.
#include "io/gguf.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <regex>
#include <utility>

#include "pajamas/error.h"

namespace pajamas {
namespace {

constexpr std::string_view kMagic = "GGUF";
constexpr const char* kFetchAgain = "fetch the file again";
/// ggml's own limit is 4; the format says that it may grow.
constexpr std::uint32_t kMaxRank = 8;
/// The format's limit on keys. Tensor names are held to it too (ggml: 64).
constexpr std::uint64_t kMaxNameBytes = 65535;
constexpr std::uint64_t kDefaultAlignment = 32;
/// Larger ones would only serve to make sums overflow.
constexpr std::uint64_t kMaxAlignment = std::uint64_t{1} << 24;
/// Least bytes of one entry (empty name), by which a forged count is known before anything is allocated for it.
constexpr std::uint64_t kMinMetadataBytes = 8 + 4 + 1;
constexpr std::uint64_t kMinTensorBytes = 8 + 4 + 4 + 8;

enum ValueType : std::uint32_t {
  kUint8 = 0,
  kInt8 = 1,
  kUint16 = 2,
  kInt16 = 3,
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kUint64 = 10,
  kInt64 = 11,
  kFloat64 = 12,
};

struct ValueTypeTraits {
  const char* name;
  std::size_t bytes;  ///< 0 for strings and arrays.
};
constexpr std::array<ValueTypeTraits, 13> kValueTypes{{{"uint8", 1},
                                                       {"int8", 1},
                                                       {"uint16", 2},
                                                       {"int16", 2},
                                                       {"uint32", 4},
                                                       {"int32", 4},
                                                       {"float32", 4},
                                                       {"bool", 1},
                                                       {"string", 0},
                                                       {"array", 0},
                                                       {"uint64", 8},
                                                       {"int64", 8},
                                                       {"float64", 8}}};

/// A metadata value as it lies in the file. `payload`: a string's characters, an array's elements, a number's bytes.
struct Value {
  std::uint32_t type = 0;
  std::uint32_t element_type = 0;
  std::uint64_t count = 0;
  std::span<const std::byte> payload;

  std::string type_name() const {
    if (type != kArray) return kValueTypes[type].name;
    return std::string("array of ") + kValueTypes[element_type].name;
  }
};

/// Little-endian number at any address.
template <typename T>
T load(const std::byte* bytes) {
  std::array<std::byte, sizeof(T)> copy;
  std::memcpy(copy.data(), bytes, sizeof(T));
  if constexpr (std::endian::native == std::endian::big) std::reverse(copy.begin(), copy.end());
  return std::bit_cast<T>(copy);
}

bool is_integer(std::uint32_t type) { return type <= kInt32 || type == kUint64 || type == kInt64; }

/// Only for integer types and bool. Nothing past int64.
std::optional<std::int64_t> integer_at(std::uint32_t type, const std::byte* bytes) {
  switch (type) {
    case kUint8:
    case kBool: return load<std::uint8_t>(bytes);
    case kInt8: return load<std::int8_t>(bytes);
    case kUint16: return load<std::uint16_t>(bytes);
    case kInt16: return load<std::int16_t>(bytes);
    case kUint32: return load<std::uint32_t>(bytes);
    case kInt32: return load<std::int32_t>(bytes);
    case kInt64: return load<std::int64_t>(bytes);
    default: {
      const auto value = load<std::uint64_t>(bytes);
      if (value > static_cast<std::uint64_t>(INT64_MAX)) return std::nullopt;
      return static_cast<std::int64_t>(value);
    }
  }
}

/// Only for number types.
double number_at(std::uint32_t type, const std::byte* bytes) {
  if (type == kFloat32) return load<float>(bytes);
  if (type == kFloat64) return load<double>(bytes);
  if (type == kUint64) return static_cast<double>(load<std::uint64_t>(bytes));
  return static_cast<double>(*integer_at(type, bytes));
}

bool is_number(std::uint32_t type) { return is_integer(type) || type == kFloat32 || type == kFloat64; }

/// Reads forward through the header; every step is checked against the end.
class Cursor {
 public:
  Cursor(std::span<const std::byte> bytes, const std::string& where) : bytes_(bytes), where_(where) {}

  std::span<const std::byte> take(std::uint64_t size, const std::string& what) {
    if (size > remaining()) {
      fail("is truncated: " + what + " needs " + std::to_string(size) + " bytes at byte " + std::to_string(position_) +
           ", the file ends " + std::to_string(remaining()) + " bytes later");
    }
    const auto part = bytes_.subspan(position_, static_cast<std::size_t>(size));
    position_ += static_cast<std::size_t>(size);
    return part;
  }
  template <typename T>
  T number(const std::string& what) {
    return load<T>(take(sizeof(T), what).data());
  }
  std::string_view text(const std::string& what, std::uint64_t max_bytes = UINT64_MAX) {
    const auto size = number<std::uint64_t>("the length of " + what);
    if (size > max_bytes) {
      fail(what + " is " + std::to_string(size) + " bytes long, at most " + std::to_string(max_bytes) + " are read");
    }
    const auto part = take(size, what);
    return {reinterpret_cast<const char*>(part.data()), part.size()};
  }
  /// A number of entries that take at least `min_bytes` each.
  std::uint64_t count(std::uint64_t min_bytes, const std::string& what) {
    const auto value = number<std::uint64_t>("the number of " + what);
    check_count(value, min_bytes, what);
    return value;
  }
  void check_count(std::uint64_t value, std::uint64_t min_bytes, const std::string& what) {
    if (value > remaining() / min_bytes) {
      fail("announces " + std::to_string(value) + " " + what + ", for which the remaining " +
           std::to_string(remaining()) + " bytes are too few");
    }
  }
  std::size_t position() const { return position_; }
  std::size_t remaining() const { return bytes_.size() - position_; }
  std::span<const std::byte> since(std::size_t begin) const { return bytes_.subspan(begin, position_ - begin); }
  [[noreturn]] void fail(const std::string& message) const {
    throw Error(ErrorKind::kBadInput, message + ": the file is damaged", where_, kFetchAgain);
  }

 private:
  std::span<const std::byte> bytes_;
  const std::string& where_;
  std::size_t position_ = 0;
};

/// A name as messages show it. Names of damaged files are up to 64 KiB of anything.
std::string shown(std::string_view name) {
  constexpr std::size_t kMaxShown = 100;
  return "'" + std::string(name.substr(0, kMaxShown)) + (name.size() > kMaxShown ? "...'" : "'");
}

/// Steps over strings without keeping anything of them. Not Cursor::text, whose messages cost more than the walk.
void skip_strings(Cursor& cursor, std::uint64_t count, const std::string& what) {
  static const std::string kLength = "the length of a string";
  for (std::uint64_t i = 0; i < count; ++i) cursor.take(cursor.number<std::uint64_t>(kLength), what);
}

Value parse_value(Cursor& cursor, const std::string& what) {
  Value value;
  value.type = cursor.number<std::uint32_t>("the type of " + what);
  if (value.type >= kValueTypes.size()) cursor.fail(what + " has the unknown type " + std::to_string(value.type));
  if (value.type == kString) {
    const std::string_view text = cursor.text(what);
    value.payload = std::as_bytes(std::span(text));
    return value;
  }
  if (value.type != kArray) {
    value.payload = cursor.take(kValueTypes[value.type].bytes, what);
    return value;
  }
  value.element_type = cursor.number<std::uint32_t>("the element type of " + what);
  if (value.element_type >= kValueTypes.size()) {
    cursor.fail(what + " has elements of the unknown type " + std::to_string(value.element_type));
  }
  if (value.element_type == kArray) cursor.fail(what + " is an array of arrays, which no model has");
  const std::size_t element_bytes = kValueTypes[value.element_type].bytes;
  value.count = cursor.count(element_bytes == 0 ? 8 : element_bytes, "elements of " + what);
  const std::size_t begin = cursor.position();
  if (value.element_type == kString) {
    skip_strings(cursor, value.count, what);
  } else {
    cursor.take(value.count * element_bytes, what);
  }
  value.payload = cursor.since(begin);
  return value;
}

void check_beginning(Cursor& cursor, std::string_view magic, const std::string& where) {
  if (magic != kMagic) {
    const bool is_older = magic == "lmgg" || magic == "tjgg" || magic == "fmgg" || magic == "algg";
    throw Error(is_older ? ErrorKind::kUnsupported : ErrorKind::kBadInput,
                is_older ? "is a GGML file from before GGUF, which is not read" : "is no GGUF file", where,
                is_older ? "convert it to GGUF with llama.cpp" : "give a GGUF file; one that should be is damaged");
  }
  const auto version = cursor.number<std::uint32_t>("the version");
  if (version == 2 || version == 3) return;
  const std::uint32_t swapped = version >> 24 | (version >> 8 & 0xFF00U) | (version << 8 & 0xFF0000U) | version << 24;
  if (swapped >= 1 && swapped <= 0xFF) {
    throw Error(ErrorKind::kUnsupported, "is a big-endian GGUF file; little-endian ones are read", where,
                "convert it again without --bigendian");
  }
  throw Error(
      ErrorKind::kUnsupported, "is of GGUF version " + std::to_string(version) + "; versions 2 and 3 are read", where,
      version == 1 ? "convert the model again with a newer llama.cpp" : "convert it to version 3, or fetch it again");
}

/// Name, shape and type of one tensor; the offset within the data comes back beside it.
std::pair<GgufTensor, std::uint64_t> parse_tensor(Cursor& cursor, const std::string& where) {
  GgufTensor tensor;
  tensor.name = cursor.text("a tensor's name", kMaxNameBytes);
  const std::string what = "tensor " + shown(tensor.name);
  const auto rank = cursor.number<std::uint32_t>("the rank of " + what);
  if (rank > kMaxRank) {
    cursor.fail(what + " has " + std::to_string(rank) + " dimensions, at most " + std::to_string(kMaxRank) +
                " are read");
  }
  std::vector<std::int64_t> extents(rank);
  for (std::uint32_t i = rank; i-- > 0;) {  // the file has the innermost first
    const auto extent = cursor.number<std::uint64_t>("the shape of " + what);
    if (extent > static_cast<std::uint64_t>(INT64_MAX)) cursor.fail(what + " has a dimension past 2^63");
    extents[i] = static_cast<std::int64_t>(extent);
  }
  tensor.shape = Shape(std::move(extents));
  const auto type_number = cursor.number<std::uint32_t>("the type of " + what);
  const GgmlTypeTraits* traits = find_ggml_type(type_number);
  if (traits == nullptr) {
    throw Error(ErrorKind::kUnsupported,
                what + " has the unknown type " + std::to_string(type_number) + "; known are " + readable_ggml_types(),
                where, "quantise the model to one of these types");
  }
  tensor.type = traits->type;
  const auto offset = cursor.number<std::uint64_t>("the offset of " + what);
  return {std::move(tensor), offset};
}

/// Bytes that a tensor takes. Throws Error{kBadInput} for shapes that no file can hold.
std::uint64_t bytes_of_tensor(const GgufTensor& tensor) {
  const std::int64_t num_elements = tensor.shape.num_elements();
  if (num_elements == 0) return 0;
  const std::int64_t row = tensor.shape.rank() == 0 ? 1 : tensor.shape[tensor.shape.rank() - 1];
  const std::uint64_t row_bytes = row_bytes_of(tensor.type, row);
  const auto num_rows = static_cast<std::uint64_t>(num_elements / row);
  if (row_bytes > UINT64_MAX / num_rows) throw Error(ErrorKind::kBadInput, "is larger than any file");
  return row_bytes * num_rows;
}

}  // namespace

struct Gguf::Content {
  std::map<std::string, Value, std::less<>> metadata;
  std::vector<GgufTensor> tensors;
  std::map<std::string, std::size_t, std::less<>> tensor_by_name;
  std::shared_ptr<const void> owner;  ///< Of the metadata.
  std::string where;

  const Value* find(std::string_view key) const {
    const auto found = metadata.find(key);
    return found == metadata.end() ? nullptr : &found->second;
  }
  [[noreturn]] void fail_type(std::string_view key, const Value& value, const char* wanted) const {
    throw Error(ErrorKind::kBadInput,
                "key '" + std::string(key) + "' is of type " + value.type_name() + ", must be " + wanted, where,
                "fetch the file again, or convert the model again with llama.cpp");
  }
  [[noreturn]] void fail_range(std::string_view key) const {
    throw Error(ErrorKind::kBadInput, "key '" + std::string(key) + "' holds a number past 2^63", where, kFetchAgain);
  }
};

Gguf Gguf::parse(std::span<const std::byte> bytes, std::shared_ptr<const void> owner, const std::string& where) {
  auto content = std::make_shared<Content>();
  content->where = where;
  content->owner = owner;
  Cursor cursor(bytes, where);
  if (bytes.size() < kMagic.size())
    throw Error(ErrorKind::kBadInput, "is too short for a GGUF file", where, kFetchAgain);
  const auto magic = cursor.take(kMagic.size(), "the magic number");
  check_beginning(cursor, {reinterpret_cast<const char*>(magic.data()), magic.size()}, where);
  const std::uint64_t num_tensors = cursor.count(kMinTensorBytes, "tensors");
  const std::uint64_t num_keys = cursor.count(kMinMetadataBytes, "metadata keys");
  for (std::uint64_t i = 0; i < num_keys; ++i) {
    const std::string key(cursor.text("a metadata key", kMaxNameBytes));
    const Value value = parse_value(cursor, "key " + shown(key));
    if (!content->metadata.emplace(key, value).second) cursor.fail("key " + shown(key) + " is there twice");
  }
  cursor.check_count(num_tensors, kMinTensorBytes, "tensors");

  std::uint64_t alignment = kDefaultAlignment;
  if (const Value* value = content->find("general.alignment")) {
    if (value->type != kUint32) content->fail_type("general.alignment", *value, "uint32");
    alignment = load<std::uint32_t>(value->payload.data());
    if (alignment == 0 || (alignment & (alignment - 1)) != 0 || alignment > kMaxAlignment) {
      cursor.fail("general.alignment is " + std::to_string(alignment) + ", must be a power of two");
    }
  }

  std::vector<std::uint64_t> offsets;
  for (std::uint64_t i = 0; i < num_tensors; ++i) {
    auto [tensor, offset] = parse_tensor(cursor, where);
    if (!content->tensor_by_name.emplace(tensor.name, content->tensors.size()).second) {
      cursor.fail("tensor " + shown(tensor.name) + " is there twice");
    }
    tensor.owner = owner;
    content->tensors.push_back(std::move(tensor));
    offsets.push_back(offset);
  }

  const std::uint64_t data_begin = (cursor.position() + alignment - 1) / alignment * alignment;
  const auto data =
      data_begin <= bytes.size() ? bytes.subspan(static_cast<std::size_t>(data_begin)) : std::span<const std::byte>();
  struct Extent {
    std::uint64_t begin, end;
    std::size_t tensor_index;
  };
  std::vector<Extent> extents;
  for (std::size_t i = 0; i < content->tensors.size(); ++i) {
    GgufTensor& tensor = content->tensors[i];
    const std::string what = "tensor " + shown(tensor.name);
    std::uint64_t size = 0;
    try {
      size = bytes_of_tensor(tensor);
    } catch (const Error& error) {
      throw Error(error.kind(), what + ": " + error.message(), where, kFetchAgain);
    }
    if (offsets[i] % alignment != 0) {
      cursor.fail(what + " begins at byte " + std::to_string(offsets[i]) + " of the data, which is no multiple of " +
                  std::to_string(alignment));
    }
    if (offsets[i] > data.size() || size > data.size() - offsets[i]) {
      cursor.fail(what + " takes " + std::to_string(size) + " bytes from byte " + std::to_string(offsets[i]) +
                  " of the data, which has " + std::to_string(data.size()));
    }
    tensor.bytes = data.subspan(static_cast<std::size_t>(offsets[i]), static_cast<std::size_t>(size));
    if (size > 0) extents.push_back({offsets[i], offsets[i] + size, i});
  }
  std::sort(extents.begin(), extents.end(),
            [](const Extent& a, const Extent& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
  for (std::size_t i = 1; i < extents.size(); ++i) {
    if (extents[i].begin < extents[i - 1].end) {
      cursor.fail("tensors " + shown(content->tensors[extents[i - 1].tensor_index].name) + " and " +
                  shown(content->tensors[extents[i].tensor_index].name) + " overlap");
    }
  }
  return Gguf(std::move(content));
}

Gguf Gguf::read(const std::filesystem::path& path) {
  const auto open = [](const std::filesystem::path& file) {
    const auto mapped = MappedFile::open(file);
    return parse(mapped->bytes(), mapped, file.string());
  };
  const Gguf given = open(path);
  const std::int64_t num_splits = given.find_int("split.count").value_or(1);
  if (num_splits <= 1) return given;

  // "name-00002-of-00003.gguf"
  static const std::regex kSplitName(R"((.*)-(\d{5})-of-(\d{5})\.gguf)");
  std::smatch match;
  const std::string file_name = path.filename().string();
  if (!std::regex_match(file_name, match, kSplitName) || std::stoll(match[3]) != num_splits) {
    throw Error(ErrorKind::kBadInput,
                "is one of " + std::to_string(num_splits) + " splits, but its name does not say which", path.string(),
                "give the splits the names they were published under: NAME-00001-of-0000N.gguf");
  }
  const std::string stem = match[1];
  auto content = std::make_shared<Content>();
  for (std::int64_t i = 0; i < num_splits; ++i) {
    std::array<char, 64> suffix;
    std::snprintf(suffix.data(), suffix.size(), "-%05lld-of-%05lld.gguf", static_cast<long long>(i + 1),
                  static_cast<long long>(num_splits));
    const auto file = path.parent_path() / (stem + suffix.data());
    const Gguf split = file == path ? given : open(file);
    const auto number = split.find_int("split.no");
    if (split.find_int("split.count") != num_splits || number != i) {
      throw Error(ErrorKind::kBadInput,
                  "says that it is split " + (number ? std::to_string(*number + 1) : "?") + " of " +
                      std::to_string(split.find_int("split.count").value_or(1)) + ", unlike its name",
                  file.string(), "the splits belong to different models: fetch them again");
    }
    if (i == 0) {
      content->metadata = split.content_->metadata;
      content->owner = split.content_->owner;
      content->where = split.content_->where;
    }
    for (const GgufTensor& tensor : split.content_->tensors) {
      if (!content->tensor_by_name.emplace(tensor.name, content->tensors.size()).second) {
        throw Error(ErrorKind::kBadInput, "tensor " + shown(tensor.name) + " is in two splits", file.string(),
                    "the splits belong to different models: fetch them again");
      }
      content->tensors.push_back(tensor);
    }
  }
  const auto num_tensors = given.find_int("split.tensors.count");
  if (num_tensors && *num_tensors != static_cast<std::int64_t>(content->tensors.size())) {
    throw Error(ErrorKind::kBadInput,
                "the splits hold " + std::to_string(content->tensors.size()) + " tensors, split.tensors.count says " +
                    std::to_string(*num_tensors),
                content->where, "the splits belong to different models: fetch them again");
  }
  return Gguf(std::move(content));
}

bool Gguf::is_gguf(const std::filesystem::path& path) {
  std::error_code code;
  std::ifstream file(path, std::ios::binary);
  if (!std::filesystem::is_regular_file(path, code) || !file) {
    throw Error(ErrorKind::kBadInput, "cannot be opened as a file", path.string(), "check the path");
  }
  std::array<char, 4> magic{};
  file.read(magic.data(), magic.size());
  return std::string_view(magic.data(), static_cast<std::size_t>(file.gcount())) == kMagic;
}

bool Gguf::has(std::string_view key) const { return content_->find(key) != nullptr; }

std::vector<std::string_view> Gguf::keys() const {
  std::vector<std::string_view> keys;
  keys.reserve(content_->metadata.size());
  for (const auto& entry : content_->metadata) keys.push_back(entry.first);
  return keys;
}

std::optional<std::string_view> Gguf::find_string(std::string_view key) const {
  const Value* value = content_->find(key);
  if (value == nullptr) return std::nullopt;
  if (value->type != kString) content_->fail_type(key, *value, "string");
  return std::string_view(reinterpret_cast<const char*>(value->payload.data()), value->payload.size());
}

std::optional<std::int64_t> Gguf::find_int(std::string_view key) const {
  const Value* value = content_->find(key);
  if (value == nullptr) return std::nullopt;
  if (!is_integer(value->type)) content_->fail_type(key, *value, "an integer");
  const auto number = integer_at(value->type, value->payload.data());
  if (!number) content_->fail_range(key);
  return number;
}

std::optional<double> Gguf::find_float(std::string_view key) const {
  const Value* value = content_->find(key);
  if (value == nullptr) return std::nullopt;
  if (!is_number(value->type)) content_->fail_type(key, *value, "a number");
  return number_at(value->type, value->payload.data());
}

std::optional<bool> Gguf::find_bool(std::string_view key) const {
  const Value* value = content_->find(key);
  if (value == nullptr) return std::nullopt;
  if (value->type != kBool) content_->fail_type(key, *value, "bool");
  return value->payload[0] != std::byte{0};
}

std::optional<std::vector<std::string_view>> Gguf::find_strings(std::string_view key) const {
  const Value* value = content_->find(key);
  if (value == nullptr) return std::nullopt;
  if (value->type != kArray || value->element_type != kString) {
    content_->fail_type(key, *value, "an array of strings");
  }
  std::vector<std::string_view> strings;
  strings.reserve(static_cast<std::size_t>(value->count));
  const std::byte* position = value->payload.data();
  for (std::uint64_t i = 0; i < value->count; ++i) {  // the lengths were checked when the file was read
    const auto size = static_cast<std::size_t>(load<std::uint64_t>(position));
    strings.emplace_back(reinterpret_cast<const char*>(position + 8), size);
    position += 8 + size;
  }
  return strings;
}

std::optional<std::vector<std::int64_t>> Gguf::find_ints(std::string_view key) const {
  const Value* value = content_->find(key);
  if (value == nullptr) return std::nullopt;
  if (value->type != kArray || (!is_integer(value->element_type) && value->element_type != kBool)) {
    content_->fail_type(key, *value, "an array of integers");
  }
  std::vector<std::int64_t> numbers(static_cast<std::size_t>(value->count));
  const std::size_t element_bytes = kValueTypes[value->element_type].bytes;
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    const auto number = integer_at(value->element_type, value->payload.data() + i * element_bytes);
    if (!number) content_->fail_range(key);
    numbers[i] = *number;
  }
  return numbers;
}

std::optional<std::vector<float>> Gguf::find_floats(std::string_view key) const {
  const Value* value = content_->find(key);
  if (value == nullptr) return std::nullopt;
  if (value->type != kArray || !is_number(value->element_type)) {
    content_->fail_type(key, *value, "an array of numbers");
  }
  std::vector<float> numbers(static_cast<std::size_t>(value->count));
  const std::size_t element_bytes = kValueTypes[value->element_type].bytes;
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    numbers[i] = static_cast<float>(number_at(value->element_type, value->payload.data() + i * element_bytes));
  }
  return numbers;
}

bool Gguf::is_array(std::string_view key) const {
  const Value* value = content_->find(key);
  return value != nullptr && value->type == kArray;
}

namespace {
template <typename T>
T required(std::optional<T> value, std::string_view key, const std::string& where) {
  if (!value)
    throw Error(ErrorKind::kBadInput, "has no key '" + std::string(key) + "'", where,
                "fetch the file again, or convert the model again with llama.cpp");
  return *std::move(value);
}
}  // namespace

std::string_view Gguf::string(std::string_view key) const { return required(find_string(key), key, where()); }
std::int64_t Gguf::integer(std::string_view key) const { return required(find_int(key), key, where()); }
double Gguf::number(std::string_view key) const { return required(find_float(key), key, where()); }
std::vector<std::string_view> Gguf::strings(std::string_view key) const {
  return required(find_strings(key), key, where());
}

bool Gguf::has_tensor(std::string_view name) const { return content_->tensor_by_name.contains(name); }

const GgufTensor& Gguf::tensor(std::string_view name) const {
  const auto found = content_->tensor_by_name.find(name);
  if (found == content_->tensor_by_name.end()) {
    throw Error(ErrorKind::kBadInput, "there is no tensor '" + std::string(name) + "'", where(), kFetchAgain);
  }
  return content_->tensors[found->second];
}

std::span<const GgufTensor> Gguf::tensors() const { return content_->tensors; }
const std::string& Gguf::where() const { return content_->where; }

}  // namespace pajamas
