// Weights in the form the kernels want them. At build they are packed from the model's initializers; at load they are
// found, already packed, in the engine file. Lowering asks by key and never looks at a large weight's numbers itself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "pajamas/tensor.h"

namespace pajamas::cuda {

/// How the bytes of a constant are arranged.
enum class Packing {
  kAsIs,          ///< Row-major as in the model.
  kTransposed,    ///< The last two axes exchanged.
  kChannelsLast,  ///< [K, C, kernel...] stored as K, kernel..., C.
  kColumnSums,    ///< Of an int8 matrix: the sums along the axis that is not `scale_axis`, int32.
};

/// What can be done to a weight on its way into the pool, in this order.
struct PackRequest {
  std::string name;  ///< Initializer; with `parts` only what messages call it.
  /// A part of a constant that is joined from several.
  struct Part {
    std::string name;         ///< Initializer; empty: zeros.
    std::int64_t extent = 0;  ///< Along `join_axis`.
    bool operator==(const Part&) const = default;
  };
  /// When there are any, the constant is these one behind the other along `join_axis`; their types and other extents
  /// agree, and one of them at least is an initializer.
  std::vector<Part> parts;
  std::size_t join_axis = 0;
  /// Integers or small floats that stand for (q - zero_point) · scale, which the constant is, in float32: initializers
  /// with one element, or one for each element along `scale_axis`. Empty: none; `zero_point` may be empty by itself.
  std::string scale;
  std::string zero_point;
  std::size_t scale_axis = 0;
  /// Other extents of as many elements (a convolution's kernels as rows of a matrix); empty: its own.
  std::vector<std::int64_t> reshaped_extents;
  Packing packing = Packing::kAsIs;
  /// Extents to pad to with zeros (more input channels than the model has); empty: none.
  std::vector<std::int64_t> padded_extents;
  /// Element type wanted; kUndefined: as it is.
  DType dtype = DType::kUndefined;
};

/// The key under which a packed constant is kept: equal requests, equal keys.
std::string key_of(const PackRequest& request);

/// Type and extents of the constants of a graph, with the numbers of the small ones. Small: at most kSmallBytes.
class ConstantTable {
 public:
  static constexpr std::size_t kSmallBytes = 1024;
  struct Entry {
    DType dtype = DType::kUndefined;
    Shape shape;
    std::optional<Tensor> values;  ///< Always of small ones; of large ones only at build.
  };
  void add(std::string name, Entry entry) { entries_[std::move(name)] = std::move(entry); }
  const Entry* find(const std::string& name) const {
    const auto found = entries_.find(name);
    return found == entries_.end() ? nullptr : &found->second;
  }
  const std::map<std::string, Entry>& entries() const noexcept { return entries_; }

 private:
  std::map<std::string, Entry> entries_;
};

/// Packs one constant of the table, which must hold its numbers. Throws Error{kInternal} when it does not or when the
/// request does not fit it, Error{kUnsupported} for a type conversion that loses more than rounding.
Tensor pack(const ConstantTable& table, const PackRequest& request);

/// What a lowering asked for: key → request, in the order of first use.
struct ConstantUse {
  std::string key;
  PackRequest request;
  DType dtype = DType::kUndefined;
  std::size_t size_bytes = 0;
};

}  // namespace pajamas::cuda
