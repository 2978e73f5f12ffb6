// See ctranslate2.h.
#include "io/ctranslate2.h"

#include <fstream>
#include <utility>

#include "base/files.h"
#include "io/byte_cursor.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

constexpr std::uint32_t kOldestVersion = 4;
constexpr std::uint32_t kNewestVersion = 6;
/// CTranslate2 itself has none above 4.
constexpr std::uint8_t kMaxRank = 8;
/// Least bytes of a variable (name of no character, rank, type, size) and of an alias (two such names): by these a
/// forged count is known before anything is allocated for it.
constexpr std::uint64_t kMinVariableBytes = 2 + 1 + 1 + 1 + 4;
constexpr std::uint64_t kMinAliasBytes = 2 * (2 + 1);

/// The types by their numbers in the file.
DType dtype_of(std::uint8_t number) {
  switch (number) {
    case 0: return DType::kFloat32;
    case 1: return DType::kInt8;
    case 2: return DType::kInt16;
    case 3: return DType::kInt32;
    case 4: return DType::kFloat16;
    case 5: return DType::kBfloat16;
    default: return DType::kUndefined;
  }
}

/// A length that counts a closing zero, the characters, the zero.
std::string read_name(ByteCursor& cursor, const char* what) {
  const auto length = cursor.number<std::uint16_t>(what);
  const std::string_view text = cursor.text(length, what);
  if (text.empty() || text.back() != '\0') cursor.fail("has " + std::string(what) + " that is no text");
  const std::string_view name = text.substr(0, text.size() - 1);
  if (name.find('\0') != std::string_view::npos) cursor.fail("has " + std::string(what) + " that is no text");
  return std::string(name);
}

}  // namespace

Ctranslate2Model Ctranslate2Model::parse(std::span<const std::byte> bytes, std::shared_ptr<const void> owner,
                                         const std::string& where) {
  Ctranslate2Model model;
  model.where_ = where;
  ByteCursor cursor(bytes, where);
  const auto version = cursor.number<std::uint32_t>("the version");
  if (version < kOldestVersion || version > kNewestVersion) {
    throw Error(ErrorKind::kUnsupported,
                "is a CTranslate2 model of binary version " + std::to_string(version) + "; " +
                    std::to_string(kOldestVersion) + " to " + std::to_string(kNewestVersion) + " are read",
                where, "convert the model again with ct2-transformers-converter");
  }
  model.spec_name_ = read_name(cursor, "the name of the specification");
  model.spec_revision_ = cursor.number<std::uint32_t>("the revision");
  const auto num_variables = cursor.number<std::uint32_t>("the number of variables");
  if (num_variables > cursor.left() / kMinVariableBytes) {
    cursor.fail("says that it has " + std::to_string(num_variables) + " variables, more than it can hold");
  }
  for (std::uint32_t i = 0; i < num_variables; ++i) {
    const std::string name = read_name(cursor, "the name of a variable");
    const auto fail = [&](const std::string& message) { cursor.fail("variable '" + name + "' " + message); };
    const auto rank = cursor.number<std::uint8_t>("a variable's rank");
    if (rank > kMaxRank) fail("has " + std::to_string(rank) + " dimensions");
    CheckpointTensor tensor;
    for (std::uint8_t axis = 0; axis < rank; ++axis) {
      tensor.shape.push_back(cursor.number<std::uint32_t>("a variable's extents"));
    }
    const auto type = cursor.number<std::uint8_t>("a variable's type");
    tensor.dtype = dtype_of(type);
    if (tensor.dtype == DType::kUndefined) {
      throw Error(ErrorKind::kUnsupported,
                  "variable '" + name + "' is of type " + std::to_string(type) + ", which is not known", where,
                  "float32, float16, bfloat16, int8, int16 and int32 are read");
    }
    const auto num_bytes = cursor.number<std::uint32_t>("a variable's size");
    tensor.bytes = cursor.take(num_bytes, "variable '" + name + "'");
    std::size_t wanted = 0;
    try {
      wanted = bytes_of(tensor.dtype, tensor.shape);
    } catch (const Error&) {
      fail("has a shape past counting: " + tensor.shape.to_string());
    }
    if (wanted != num_bytes) {
      fail(std::string(to_string(tensor.dtype)) + tensor.shape.to_string() + " has " + std::to_string(num_bytes) +
           " bytes, not " + std::to_string(wanted));
    }
    tensor.owner = owner;
    if (!model.tensors_.emplace(name, std::move(tensor)).second) fail("is there twice");
  }
  const auto num_aliases = cursor.number<std::uint32_t>("the number of aliases");
  if (num_aliases > cursor.left() / kMinAliasBytes) {
    cursor.fail("says that it has " + std::to_string(num_aliases) + " aliases, more than it can hold");
  }
  for (std::uint32_t i = 0; i < num_aliases; ++i) {
    const std::string alias = read_name(cursor, "an alias");
    const std::string name = read_name(cursor, "the variable of an alias");
    const auto found = model.tensors_.find(name);
    if (found == model.tensors_.end()) {
      cursor.fail("has the alias '" + alias + "' of '" + name + "', which is not there");
    }
    if (!model.tensors_.emplace(alias, CheckpointTensor(found->second)).second) {
      cursor.fail("has the alias '" + alias + "', which is a variable already");
    }
  }
  if (cursor.left() != 0) cursor.fail("has " + std::to_string(cursor.left()) + " bytes behind its end");
  return model;
}

Ctranslate2Model Ctranslate2Model::read(const std::filesystem::path& path) {
  const auto file = MappedFile::open(path);
  return parse(file->bytes(), file, path.string());
}

bool Ctranslate2Model::is_ctranslate2(const std::filesystem::path& path) {
  // Version, length of the name, its first character, and "Spec" at its end: "WhisperSpec", "TransformerSpec".
  char begin[64] = {};
  std::ifstream stream(path, std::ios::binary);
  if (!stream) throw Error(ErrorKind::kBadInput, "cannot be read", path.string());
  stream.read(begin, sizeof(begin));
  const std::string_view read(begin, static_cast<std::size_t>(stream.gcount()));
  if (read.size() < 8 || read[1] != 0 || read[2] != 0 || read[3] != 0) return false;
  const std::size_t length = static_cast<unsigned char>(read[4]);
  if (read[5] != 0 || length < 6 || 6 + length > read.size()) return false;
  return read.substr(6, length - 1).ends_with("Spec") && read[6 + length - 1] == '\0';
}

std::vector<std::string> Ctranslate2Model::names() const {
  std::vector<std::string> names;
  names.reserve(tensors_.size());
  for (const auto& entry : tensors_) names.push_back(entry.first);
  return names;
}

const CheckpointTensor& Ctranslate2Model::tensor(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) {
    throw Error(ErrorKind::kBadInput, "there is no variable '" + name + "'", where_,
                "the file may belong to another kind of model");
  }
  return found->second;
}

std::int64_t Ctranslate2Model::integer(const std::string& name) const {
  const CheckpointTensor& found = tensor(name);
  const auto as = [&](auto zero) { return ByteCursor(found.bytes, where_).number<decltype(zero)>(name); };
  if (found.shape.num_elements() == 1) {
    switch (found.dtype) {
      case DType::kInt8: return as(std::int8_t{0});
      case DType::kInt16: return as(std::int16_t{0});
      case DType::kInt32: return as(std::int32_t{0});
      default: break;
    }
  }
  throw Error(ErrorKind::kBadInput,
              "variable '" + name + "' is " + to_string(found.dtype) + found.shape.to_string() + ", not one integer",
              where_);
}

}  // namespace pajamas
