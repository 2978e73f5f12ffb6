// See ggml_checkpoint.h.
#include "io/ggml_checkpoint.h"

#include <array>
#include <fstream>
#include <utility>

#include "base/files.h"
#include "io/byte_cursor.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

constexpr std::uint32_t kMagic = 0x67676d6c;  // "ggml" as a number
/// Above every published model, and small enough that products of two cannot overflow.
constexpr std::int32_t kMaxSize = 1 << 24;
constexpr std::int32_t kMaxRank = 4;
constexpr std::int32_t kMaxNameBytes = 1024;
constexpr std::uint32_t kMaxTokenBytes = 65535;

struct SizeField {
  const char* name;
  std::int32_t GgmlSizes::*value;
};
/// In the order of the file.
constexpr std::array<SizeField, 10> kSizeFields{{{"vocabulary size", &GgmlSizes::vocab_size},
                                                 {"number of positions", &GgmlSizes::num_positions},
                                                 {"encoder's width", &GgmlSizes::encoder_dim},
                                                 {"number of encoder heads", &GgmlSizes::num_encoder_heads},
                                                 {"number of encoder layers", &GgmlSizes::num_encoder_layers},
                                                 {"text context", &GgmlSizes::context_length},
                                                 {"decoder's width", &GgmlSizes::decoder_dim},
                                                 {"number of decoder heads", &GgmlSizes::num_decoder_heads},
                                                 {"number of decoder layers", &GgmlSizes::num_decoder_layers},
                                                 {"number of mel bands", &GgmlSizes::num_mels}}};

void skip_filters(ByteCursor& cursor) {
  const auto num_mels = cursor.number<std::int32_t>("the mel filters");
  const auto num_bins = cursor.number<std::int32_t>("the mel filters");
  if (num_mels < 0 || num_mels > kMaxSize || num_bins < 0 || num_bins > kMaxSize) {
    cursor.fail("has mel filters of " + std::to_string(num_mels) + " x " + std::to_string(num_bins));
  }
  cursor.take(static_cast<std::uint64_t>(num_mels) * static_cast<std::uint64_t>(num_bins) * sizeof(float),
              "the mel filters");
}

std::vector<std::string_view> read_vocabulary(ByteCursor& cursor) {
  const auto num_tokens = cursor.number<std::int32_t>("the vocabulary");
  if (num_tokens < 0 || static_cast<std::uint64_t>(num_tokens) > cursor.left() / sizeof(std::uint32_t)) {
    cursor.fail("says that its vocabulary has " + std::to_string(num_tokens) + " tokens, more than it can hold");
  }
  std::vector<std::string_view> tokens;
  tokens.reserve(static_cast<std::size_t>(num_tokens));
  for (std::int32_t i = 0; i < num_tokens; ++i) {
    const auto length = cursor.number<std::uint32_t>("the vocabulary");
    if (length > kMaxTokenBytes) cursor.fail("has a token of " + std::to_string(length) + " bytes");
    tokens.push_back(cursor.text(length, "the vocabulary"));
  }
  return tokens;
}

}  // namespace

GgmlCheckpoint GgmlCheckpoint::parse(std::span<const std::byte> bytes, std::shared_ptr<const void> owner,
                                     const std::string& where) {
  GgmlCheckpoint checkpoint;
  checkpoint.where_ = where;
  checkpoint.owner_ = owner;
  ByteCursor cursor(bytes, where);
  if (cursor.number<std::uint32_t>("the magic number") != kMagic) {
    throw Error(ErrorKind::kUnsupported, "does not begin with the magic number of ggml", where,
                "give a ggml-*.bin file of whisper.cpp");
  }
  for (const SizeField& field : kSizeFields) {
    const auto value = cursor.number<std::int32_t>(field.name);
    if (value < 1 || value > kMaxSize) {
      cursor.fail("has " + std::to_string(value) + " as its " + field.name);
    }
    checkpoint.sizes_.*field.value = value;
  }
  checkpoint.sizes_.file_type = cursor.number<std::int32_t>("the file type");
  skip_filters(cursor);
  checkpoint.vocabulary_ = read_vocabulary(cursor);
  while (cursor.left() > 0) {
    const auto rank = cursor.number<std::int32_t>("a tensor's rank");
    const auto name_bytes = cursor.number<std::int32_t>("a tensor's name");
    const auto type = cursor.number<std::uint32_t>("a tensor's type");
    if (rank < 1 || rank > kMaxRank) cursor.fail("has a tensor of " + std::to_string(rank) + " dimensions");
    if (name_bytes < 1 || name_bytes > kMaxNameBytes) {
      cursor.fail("has a tensor with a name of " + std::to_string(name_bytes) + " bytes");
    }
    std::vector<std::int64_t> extents(static_cast<std::size_t>(rank));
    for (auto extent = extents.rbegin(); extent != extents.rend(); ++extent) {
      *extent = cursor.number<std::int32_t>("a tensor's extents");
    }
    const std::string name(cursor.text(static_cast<std::uint64_t>(name_bytes), "a tensor's name"));
    const auto fail = [&](const std::string& message) { cursor.fail("tensor '" + name + "' " + message); };
    // An extent stays below 2^24, and the rows before it below the bytes of a file: their product does not overflow.
    std::uint64_t num_rows = 1;
    for (std::size_t axis = 0; axis < extents.size(); ++axis) {
      if (extents[axis] < 1 || extents[axis] > kMaxSize) fail("has an extent of " + std::to_string(extents[axis]));
      if (axis + 1 < extents.size()) num_rows *= static_cast<std::uint64_t>(extents[axis]);
      if (num_rows > cursor.left()) fail("has more rows than the file has bytes");
    }
    const GgmlTypeTraits* traits = find_ggml_type(type);
    if (traits == nullptr || !traits->is_readable) {
      throw Error(ErrorKind::kUnsupported,
                  "tensor '" + name + "' is of type " +
                      (traits == nullptr ? std::to_string(type) : std::string(traits->name)) + ", which is not read",
                  where, readable_ggml_types() + " are read");
    }
    CheckpointTensor tensor;
    tensor.shape = Shape(extents);
    if (const auto dtype = plain_dtype_of(traits->type)) {
      tensor.dtype = *dtype;
    } else {
      tensor.block_type = traits->type;
    }
    if (extents.back() % traits->block_elements != 0) {
      fail("has rows of " + std::to_string(extents.back()) + " elements, which are no whole number of blocks of " +
           std::to_string(traits->block_elements));
    }
    const std::uint64_t row_bytes = row_bytes_of(traits->type, extents.back());
    if (num_rows > UINT64_MAX / row_bytes) fail("is larger than any file");
    tensor.bytes = cursor.take(num_rows * row_bytes, "tensor '" + name + "'");
    tensor.owner = owner;
    if (!checkpoint.tensors_.emplace(name, std::move(tensor)).second) fail("is there twice");
  }
  return checkpoint;
}

GgmlCheckpoint GgmlCheckpoint::read(const std::filesystem::path& path) {
  const auto file = MappedFile::open(path);
  return parse(file->bytes(), file, path.string());
}

bool GgmlCheckpoint::is_ggml(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  if (!stream) throw Error(ErrorKind::kBadInput, "cannot be read", path.string());
  char begin[4] = {};
  stream.read(begin, sizeof(begin));
  return stream.gcount() == sizeof(begin) && std::string_view(begin, sizeof(begin)) == "lmgg";
}

std::vector<std::string> GgmlCheckpoint::names() const {
  std::vector<std::string> names;
  names.reserve(tensors_.size());
  for (const auto& entry : tensors_) names.push_back(entry.first);
  return names;
}

const CheckpointTensor& GgmlCheckpoint::tensor(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) {
    throw Error(ErrorKind::kBadInput, "there is no tensor '" + name + "'", where_,
                "the file may belong to another kind of model");
  }
  return found->second;
}

}  // namespace pajamas
