// A strict reader of Python pickles for PyTorch checkpoints: it knows the operations that build containers, numbers and
// texts, and the few names that tensors are made of. Nothing is ever called; a pickle that names anything else is
// refused by that name. Source of the format: Python's pickletools.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace pajamas {

/// A value of a pickle. Containers hold the indices of their members among Pickle::values, so that references to one
/// value, and cycles, cost nothing.
struct PickleValue {
  enum class Kind {
    kNone,
    kBool,
    kInteger,
    kNumber,
    kText,
    kTuple,
    kList,
    kDictionary,  ///< Keys and values in turn.
    kStorage,     ///< A storage: `text` its type ("FloatStorage"), `key` its entry in the archive.
    kTensor,      ///< `storage`, `integer` the offset in it, `sizes`, `strides`, all in elements.
    kGlobal,      ///< A name that may be called: `text`.
  };
  Kind kind = Kind::kNone;
  std::int64_t integer = 0;
  double number = 0;
  std::string text;
  std::vector<std::size_t> members;
  std::string key;
  std::size_t storage = 0;
  std::vector<std::int64_t> sizes, strides;
};

struct Pickle {
  std::vector<PickleValue> values;
  std::size_t root = 0;
};

/// Protocols 2 to 5. Throws Error{kUnsupported} naming the class, function or operation that is not known,
/// Error{kBadInput} for a damaged one. Memory is bounded by the size of the pickle.
Pickle read_pickle(std::span<const std::byte> bytes, const std::string& where);

}  // namespace pajamas
