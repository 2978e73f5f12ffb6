// Header checks and shards. See safetensors.h.
#include "io/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "base/json_reader.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

constexpr std::size_t kLengthBytes = 8;
constexpr const char* kFetchAgain = "fetch the file again";
/// Highest rank taken; ONNX runtimes stop at 8 to 32.
constexpr std::size_t kMaxRank = 32;

constexpr std::array<std::pair<std::string_view, DType>, 20> kTypes{{
    {"F32", DType::kFloat32},
    {"F16", DType::kFloat16},
    {"BF16", DType::kBfloat16},
    {"F64", DType::kFloat64},
    {"I64", DType::kInt64},
    {"I32", DType::kInt32},
    {"I16", DType::kInt16},
    {"I8", DType::kInt8},
    {"U64", DType::kUint64},
    {"U32", DType::kUint32},
    {"U16", DType::kUint16},
    {"U8", DType::kUint8},
    {"BOOL", DType::kBool},
    {"F8_E4M3", DType::kFloat8E4M3Fn},
    {"F8_E4M3FNUZ", DType::kFloat8E4M3Fnuz},
    {"F8_E5M2", DType::kFloat8E5M2},
    {"F8_E5M2FNUZ", DType::kFloat8E5M2Fnuz},
    {"F8_E8M0", DType::kFloat8E8M0},
    {"F4", DType::kFloat4E2M1},
    {"C64", DType::kComplex64},
}};

DType parse_type(const JsonReader& json) {
  const std::string name = json.as_string();
  for (const auto& [text, dtype] : kTypes) {
    if (text == name) return dtype;
  }
  throw Error(ErrorKind::kUnsupported, "unknown tensor type '" + name + "'", "",
              "convert the checkpoint to F32, F16 or BF16");
}

/// The header as JSON. A name that appears twice would silently shadow the first: refused while parsing.
nlohmann::json parse_header(std::string_view text, const std::string& where) {
  if (text.empty() || text.front() != '{') {
    throw Error(ErrorKind::kBadInput, "the header is no JSON object: the file is damaged or no safetensors file", where,
                kFetchAgain);
  }
  std::vector<std::set<std::string>> keys;
  const auto check = [&](int depth, nlohmann::json::parse_event_t event, nlohmann::json& parsed) {
    using Event = nlohmann::json::parse_event_t;
    // {name: {shape: []}} is as deep as a header goes.
    if (depth > 4) throw Error(ErrorKind::kBadInput, "the header is nested too deep", where, kFetchAgain);
    if (event == Event::object_start) {
      keys.emplace_back();
    } else if (event == Event::object_end) {
      keys.pop_back();
    } else if (event == Event::key && !keys.back().insert(parsed.get<std::string>()).second) {
      throw Error(ErrorKind::kBadInput, "the header names '" + parsed.get<std::string>() + "' twice", where,
                  kFetchAgain);
    }
    return true;
  };
  try {
    return nlohmann::json::parse(text, check);
  } catch (const nlohmann::json::exception&) {
    throw Error(ErrorKind::kBadInput, "the header is no valid JSON: the file is damaged", where, kFetchAgain);
  }
}

std::uint64_t read_little_endian(std::span<const std::byte> bytes) {
  std::uint64_t value = 0;
  for (std::size_t i = kLengthBytes; i-- > 0;) value = value << 8 | std::to_integer<std::uint64_t>(bytes[i]);
  return value;
}

Shape parse_shape(const JsonReader& json) {
  std::vector<std::int64_t> extents;
  for (const JsonReader& extent : json.elements()) extents.push_back(extent.as_integer(0));
  if (extents.size() > kMaxRank) json.fail("has more than " + std::to_string(kMaxRank) + " axes");
  return Shape(std::move(extents));
}

/// Bytes a pointer of this type must be a multiple of.
std::size_t alignment_of(DType dtype) {
  const int bits = bits_of(dtype);
  return bits <= 8 ? 1 : static_cast<std::size_t>(std::min(bits, 64)) / 8;
}

}  // namespace

Safetensors Safetensors::parse(std::span<const std::byte> bytes, const std::shared_ptr<const void>& owner,
                               const std::string& where) {
  if (bytes.size() < kLengthBytes) {
    throw Error(ErrorKind::kBadInput,
                "is too short for a safetensors file (" + std::to_string(bytes.size()) + " bytes)", where, kFetchAgain);
  }
  const std::uint64_t header_bytes = read_little_endian(bytes);
  if (header_bytes > kMaxSafetensorsHeaderBytes) {
    throw Error(ErrorKind::kBadInput,
                "announces a header of " + std::to_string(header_bytes) + " bytes, at most " +
                    std::to_string(kMaxSafetensorsHeaderBytes) + " are read: damaged, or no safetensors file",
                where, kFetchAgain);
  }
  if (header_bytes > bytes.size() - kLengthBytes) {
    throw Error(ErrorKind::kBadInput,
                "is truncated: the header alone needs " + std::to_string(header_bytes + kLengthBytes) +
                    " bytes, the file has " + std::to_string(bytes.size()),
                where, kFetchAgain);
  }
  const auto header_span = bytes.subspan(kLengthBytes, static_cast<std::size_t>(header_bytes));
  const std::string_view header(reinterpret_cast<const char*>(header_span.data()), header_span.size());
  const auto data = bytes.subspan(kLengthBytes + static_cast<std::size_t>(header_bytes));
  const nlohmann::json json = parse_header(header, where);

  Safetensors result;
  result.where_ = where;
  struct Extent {
    std::uint64_t begin, end;
    const std::string* name;
  };
  std::vector<Extent> extents;
  for (const auto& [name, description] : JsonReader(json, where).members()) {
    if (name == "__metadata__") {
      for (const auto& [key, value] : description.members()) result.metadata_[key] = value.as_string();
      continue;
    }
    try {
      Entry entry;
      entry.dtype = parse_type(description.member("dtype"));
      entry.shape = parse_shape(description.member("shape"));
      const auto offsets = description.member("data_offsets").elements();
      if (offsets.size() != 2) description.member("data_offsets").fail("must be [begin, end]");
      const auto begin = static_cast<std::uint64_t>(offsets[0].as_integer(0));
      const auto end = static_cast<std::uint64_t>(offsets[1].as_integer(0));
      const std::uint64_t size = bytes_of(entry.dtype, entry.shape);
      if (begin > end || end > data.size()) {
        throw Error(ErrorKind::kBadInput,
                    "lies at bytes " + std::to_string(begin) + " to " + std::to_string(end) +
                        " of the data, which has " + std::to_string(data.size()) + ": the file is truncated or damaged",
                    "", kFetchAgain);
      }
      if (end - begin != size) {
        throw Error(ErrorKind::kBadInput,
                    std::string(to_string(entry.dtype)) + entry.shape.to_string() + " takes " + std::to_string(size) +
                        " bytes, but the header gives it " + std::to_string(end - begin),
                    "", kFetchAgain);
      }
      entry.bytes = data.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(size));
      entry.owner = owner;
      entry.file = where;
      const auto [place, is_new] = result.entries_.emplace(name, std::move(entry));
      extents.push_back({begin, end, &place->first});
    } catch (const Error& error) {
      if (!error.where().empty()) throw;  // names file and place already
      throw Error(error.kind(), "tensor '" + name + "': " + error.message(), where,
                  error.remedy().empty() ? kFetchAgain : error.remedy());
    }
  }

  // The format wants the data covered without overlap and without holes, which also catches edited offsets.
  std::sort(extents.begin(), extents.end(),
            [](const Extent& a, const Extent& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
  std::uint64_t position = 0;
  for (const Extent& extent : extents) {
    if (extent.begin != position) {
      throw Error(ErrorKind::kBadInput,
                  "tensor '" + *extent.name + "' " +
                      (extent.begin < position ? "overlaps another" : "leaves a hole before it") + " at byte " +
                      std::to_string(extent.begin) + " of the data",
                  where, kFetchAgain);
    }
    position = extent.end;
  }
  if (position != data.size()) {
    throw Error(ErrorKind::kBadInput,
                "has " + std::to_string(data.size() - position) + " bytes behind the last tensor: the file is damaged",
                where, kFetchAgain);
  }
  return result;
}

Safetensors Safetensors::read(const std::filesystem::path& path) {
  const auto file = MappedFile::open(path);
  return parse(file->bytes(), file, path.string());
}

Safetensors Safetensors::read_directory(const std::filesystem::path& directory) {
  const auto single = directory / "model.safetensors";
  if (std::filesystem::exists(single)) return read(single);
  const auto index_path = directory / "model.safetensors.index.json";
  if (!std::filesystem::exists(index_path)) {
    throw Error(ErrorKind::kBadInput, "has neither model.safetensors nor model.safetensors.index.json",
                directory.string(),
                "checkpoints in another format (pytorch_model.bin) must be saved as safetensors first");
  }
  const std::string where = index_path.string();
  const nlohmann::json json = parse_json(read_file(index_path, kMaxSafetensorsHeaderBytes), where);
  const JsonReader weight_map = JsonReader(json, where).member("weight_map");

  Safetensors result;
  result.where_ = directory.string();
  std::map<std::string, Safetensors> shards;
  for (const auto& [name, value] : weight_map.members()) {
    const std::string file = value.as_string();
    // A plain name cannot leave the folder. Links are followed: the hub's cache keeps every file as one.
    if (file.empty() || file == "." || file == ".." || file.find_first_of("/\\") != std::string::npos ||
        file.find('\0') != std::string::npos) {
      value.fail("is '" + file + "', must be the plain name of a file in the same folder");
    }
    auto shard = shards.find(file);
    if (shard == shards.end()) {
      std::error_code ignored;
      if (!std::filesystem::exists(directory / file, ignored)) {
        throw Error(ErrorKind::kBadInput,
                    "the shard '" + file + "', which holds tensor '" + name + "', is not in the folder", where,
                    "fetch it, or the whole checkpoint, again");
      }
      shard = shards.emplace(file, read(directory / file)).first;
    }
    if (!shard->second.has(name)) {
      throw Error(ErrorKind::kBadInput, "tensor '" + name + "' is not in the shard '" + file + "' where it should be",
                  where, "the shards belong to different checkpoints, or one is damaged: fetch them again");
    }
  }
  for (auto& [file, shard] : shards) {
    for (auto& [name, entry] : shard.entries_) {
      const auto [place, is_new] = result.entries_.emplace(name, entry);
      if (!is_new) {
        throw Error(ErrorKind::kBadInput,
                    "tensor '" + name + "' is in two shards: " + place->second.file + " and " + entry.file, where,
                    "the shards belong to different checkpoints: fetch them again");
      }
    }
    for (auto& [key, text] : shard.metadata_) result.metadata_[key] = text;
  }
  return result;
}

const Safetensors::Entry& Safetensors::entry(const std::string& name) const {
  const auto found = entries_.find(name);
  if (found == entries_.end())
    throw Error(ErrorKind::kBadInput, "there is no tensor '" + name + "'", where_, kFetchAgain);
  return found->second;
}

std::vector<std::string> Safetensors::names() const {
  std::vector<std::string> names;
  names.reserve(entries_.size());
  for (const auto& [name, entry] : entries_) names.push_back(name);
  return names;
}

Tensor Safetensors::tensor(const std::string& name) const {
  const Entry& found = entry(name);
  const auto address = reinterpret_cast<std::uintptr_t>(found.bytes.data());
  if (address % alignment_of(found.dtype) == 0) return {found.dtype, found.shape, found.owner, found.bytes};
  return Tensor::copy_of({found.dtype, found.shape, found.bytes.data()});
}

}  // namespace pajamas
