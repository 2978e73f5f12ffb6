// Archive, pickle and tensors together. See torch_checkpoint.h.
#include "io/torch_checkpoint.h"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <set>
#include <utility>

#include "base/files.h"
#include "io/pickle.h"
#include "io/zip_archive.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

using Kind = PickleValue::Kind;
using Entries = std::map<std::string, std::span<const std::byte>>;

constexpr int kMaxDepth = 16;
/// Longer steps would only serve to make sums overflow.
constexpr std::int64_t kMaxStride = std::int64_t{1} << 40;

DType dtype_of_storage(const std::string& type) {
  if (type == "FloatStorage") return DType::kFloat32;
  if (type == "HalfStorage") return DType::kFloat16;
  if (type == "BFloat16Storage") return DType::kBfloat16;
  if (type == "DoubleStorage") return DType::kFloat64;
  if (type == "LongStorage") return DType::kInt64;
  if (type == "IntStorage") return DType::kInt32;
  if (type == "ShortStorage") return DType::kInt16;
  if (type == "CharStorage") return DType::kInt8;
  return DType::kUint8;  // ByteStorage: the pickle's reader knows no other
}

/// The archive's one folder, by the entry that every checkpoint has.
std::string find_prefix(const Entries& entries, const std::string& where) {
  constexpr std::string_view kPickleName = "data.pkl";
  for (const auto& entry : entries) {
    const std::string& name = entry.first;
    if (name == kPickleName) return {};
    if (name.ends_with("/" + std::string(kPickleName)) && std::count(name.begin(), name.end(), '/') == 1) {
      return name.substr(0, name.size() - kPickleName.size());
    }
  }
  throw Error(ErrorKind::kUnsupported, "is a zip archive without data.pkl", where,
              "give a checkpoint that torch.save wrote");
}

class CheckpointReader {
 public:
  CheckpointReader(Entries entries, std::string prefix, const Pickle& pickle, std::shared_ptr<const void> owner,
                   const std::string& where)
      : entries_(std::move(entries)),
        prefix_(std::move(prefix)),
        pickle_(pickle),
        owner_(std::move(owner)),
        where_(where) {}

  void read(std::map<std::string, CheckpointTensor>& tensors, std::map<std::string, std::int64_t>& integers) {
    tensors_ = &tensors;
    integers_ = &integers;
    if (pickle_.values[pickle_.root].kind != Kind::kDictionary) {
      throw Error(ErrorKind::kUnsupported, "is a checkpoint of something that is no dictionary", where_,
                  "save a state_dict");
    }
    walk(pickle_.root, "", 0);
  }

 private:
  [[noreturn]] void fail(const std::string& message) const {
    throw Error(ErrorKind::kBadInput, message, where_, "fetch the file again");
  }

  void walk(std::size_t index, const std::string& path, int depth) {
    // Also ends at a dictionary that holds itself.
    if (depth > kMaxDepth || !seen_.insert(index).second) fail("has dictionaries within themselves at '" + path + "'");
    const PickleValue& dictionary = pickle_.values[index];
    for (std::size_t i = 0; i + 1 < dictionary.members.size(); i += 2) {
      const PickleValue& key = pickle_.values[dictionary.members[i]];
      const std::size_t member = dictionary.members[i + 1];
      const PickleValue& value = pickle_.values[member];
      // Optimisers number their states; what has no name is nobody's weight.
      if (key.kind != Kind::kText) continue;
      const std::string name = path.empty() ? key.text : path + "." + key.text;
      if (value.kind == Kind::kDictionary) {
        walk(member, name, depth + 1);
      } else if (value.kind == Kind::kTensor) {
        if (!tensors_->emplace(name, tensor_of(name, value)).second) fail("has the tensor '" + name + "' twice");
      } else if (value.kind == Kind::kInteger) {
        integers_->emplace(name, value.integer);
      }
    }
  }

  CheckpointTensor tensor_of(const std::string& name, const PickleValue& value) {
    const PickleValue& storage = pickle_.values[value.storage];
    const auto entry = entries_.find(prefix_ + "data/" + storage.key);
    if (entry == entries_.end())
      fail("tensor '" + name + "' lies in the storage '" + storage.key + "', which is missing");
    CheckpointTensor tensor;
    tensor.dtype = dtype_of_storage(storage.text);
    tensor.shape = Shape(value.sizes);
    const auto element_bytes = static_cast<std::size_t>(bits_of(tensor.dtype)) / 8;
    const auto num_stored = static_cast<std::int64_t>(entry->second.size() / element_bytes);
    const auto reaches_past = [&] {
      fail("tensor '" + name + "' " + tensor.shape.to_string() + " reaches past its storage of " +
           std::to_string(num_stored) + " elements");
    };
    if (is_empty(value)) return tensor;
    // The furthest element; no step to it leaves the storage, so that no product or sum overflows.
    std::int64_t last = value.integer, num_elements = 1;
    const bool is_in_range =
        last >= 0 && std::ranges::all_of(value.sizes, [](std::int64_t size) { return size >= 1; }) &&
        std::ranges::all_of(value.strides, [](std::int64_t stride) { return stride >= 0 && stride <= kMaxStride; });
    if (!is_in_range) {
      fail("tensor '" + name + "' " + tensor.shape.to_string() + " has extents, strides or a begin out of range");
    }
    if (last >= num_stored) reaches_past();
    for (std::size_t axis = 0; axis < value.sizes.size(); ++axis) {
      const std::int64_t size = value.sizes[axis], stride = value.strides[axis];
      if (stride > 0 && size - 1 > (num_stored - 1 - last) / stride) reaches_past();
      last += (size - 1) * stride;
      if (num_elements > num_stored / size) fail("tensor '" + name + "' has more elements than its storage");
      num_elements *= size;
    }
    if (is_dense(value)) {
      tensor.bytes = entry->second.subspan(static_cast<std::size_t>(value.integer) * element_bytes,
                                           static_cast<std::size_t>(num_elements) * element_bytes);
      tensor.owner = owner_;
      return tensor;
    }
    // Many tensors may lie in one storage: a small file must not become many copies of it.
    for (const auto& stored : entries_) budget_bytes_ += is_budget_known_ ? 0 : stored.second.size();
    is_budget_known_ = true;
    const std::size_t num_bytes = static_cast<std::size_t>(num_elements) * element_bytes;
    if (num_bytes > budget_bytes_) fail("has more bytes in tensors out of order than it has in all");
    budget_bytes_ -= num_bytes;
    auto ordered = std::make_shared<Tensor>(tensor.dtype, tensor.shape);
    copy_strided(value, entry->second, element_bytes, ordered->mutable_bytes());
    tensor.bytes = std::as_const(*ordered).bytes();
    tensor.owner = std::move(ordered);
    return tensor;
  }

  /// Of no elements, as buffers that were never filled are. Its other extents must be ones that a shape can have.
  static bool is_empty(const PickleValue& value) {
    std::int64_t product = 1;
    for (const std::int64_t size : value.sizes) {
      if (size < 0 || __builtin_mul_overflow(product, std::max<std::int64_t>(size, 1), &product)) return false;
    }
    return std::ranges::find(value.sizes, 0) != value.sizes.end();
  }

  static bool is_dense(const PickleValue& value) {
    std::int64_t wanted = 1;
    for (std::size_t axis = value.sizes.size(); axis-- > 0;) {
      if (value.sizes[axis] != 1 && value.strides[axis] != wanted) return false;
      wanted *= value.sizes[axis];
    }
    return true;
  }

  static void copy_strided(const PickleValue& value, std::span<const std::byte> from, std::size_t element_bytes,
                           std::span<std::byte> out) {
    std::vector<std::int64_t> place(value.sizes.size(), 0);
    std::int64_t offset = value.integer;
    for (std::size_t done = 0; done < out.size(); done += element_bytes) {
      std::memcpy(out.data() + done, from.data() + static_cast<std::size_t>(offset) * element_bytes, element_bytes);
      for (std::size_t axis = place.size(); axis-- > 0;) {
        offset += value.strides[axis];
        if (++place[axis] < value.sizes[axis]) break;
        offset -= value.sizes[axis] * value.strides[axis];
        place[axis] = 0;
      }
    }
  }

  Entries entries_;
  std::string prefix_;
  const Pickle& pickle_;
  std::shared_ptr<const void> owner_;
  const std::string& where_;
  std::set<std::size_t> seen_;
  std::uint64_t budget_bytes_ = 0;  ///< Of copies of tensors that do not lie dense.
  bool is_budget_known_ = false;
  std::map<std::string, CheckpointTensor>* tensors_ = nullptr;
  std::map<std::string, std::int64_t>* integers_ = nullptr;
};

}  // namespace

TorchCheckpoint TorchCheckpoint::parse(std::span<const std::byte> bytes, std::shared_ptr<const void> owner,
                                       const std::string& where) {
  constexpr std::byte kZip[] = {std::byte{'P'}, std::byte{'K'}};
  if (bytes.size() < sizeof(kZip) || std::memcmp(bytes.data(), kZip, sizeof(kZip)) != 0) {
    throw Error(ErrorKind::kUnsupported, "is no zip archive, which PyTorch's checkpoints are since 1.6", where,
                "load and save it again with a newer PyTorch, or give safetensors");
  }
  TorchCheckpoint checkpoint;
  checkpoint.where_ = where;
  Entries entries = read_stored_zip(bytes, where);
  const std::string prefix = find_prefix(entries, where);
  if (const auto order = entries.find(prefix + "byteorder"); order != entries.end()) {
    const std::string_view text(reinterpret_cast<const char*>(order->second.data()), order->second.size());
    if (text != "little") {
      throw Error(ErrorKind::kUnsupported, "was written by a big-endian machine", where, "save it on another one");
    }
  }
  const Pickle pickle = read_pickle(entries.at(prefix + "data.pkl"), where);
  CheckpointReader(std::move(entries), prefix, pickle, std::move(owner), where)
      .read(checkpoint.tensors_, checkpoint.integers_);
  return checkpoint;
}

TorchCheckpoint TorchCheckpoint::read(const std::filesystem::path& path) {
  const auto file = MappedFile::open(path);
  return parse(file->bytes(), file, path.string());
}

bool TorchCheckpoint::is_torch(const std::filesystem::path& path) {
  const std::string ending = path.extension().string();
  if (ending != ".pt" && ending != ".pth") return false;
  std::ifstream stream(path, std::ios::binary);
  if (!stream) throw Error(ErrorKind::kBadInput, "cannot be read", path.string());
  char begin[2] = {};
  stream.read(begin, sizeof(begin));
  return stream.gcount() == sizeof(begin) && begin[0] == 'P' && begin[1] == 'K';
}

std::vector<std::string> TorchCheckpoint::names() const {
  std::vector<std::string> names;
  names.reserve(tensors_.size());
  for (const auto& entry : tensors_) names.push_back(entry.first);
  return names;
}

const CheckpointTensor& TorchCheckpoint::tensor(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) {
    throw Error(ErrorKind::kBadInput, "there is no tensor '" + name + "'", where_,
                "the file may belong to another kind of model");
  }
  return found->second;
}

std::optional<std::int64_t> TorchCheckpoint::find_integer(const std::string& name) const {
  const auto found = integers_.find(name);
  if (found == integers_.end()) return std::nullopt;
  return found->second;
}

}  // namespace pajamas
