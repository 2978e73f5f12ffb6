// The paged key/value cache of the CPU: one anonymous mapping, which the system fills with memory page by page as
// blocks are first written. What a block holds is OpenVINO's own affair; shapes and types come from the compiled model.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <openvino/runtime/compiled_model.hpp>
#include <openvino/runtime/tensor.hpp>
#include <vector>

#include "engine/kv_cache.h"

namespace pajamas::openvino {

/// The keys or the values of one layer.
struct CachePlane {
  std::size_t port = 0;  ///< Index of the compiled model's input.
  ov::element::Type type;
  ov::Shape block_shape;  ///< Without the axis of blocks.
  std::size_t block_bytes = 0;
};

/// How the caches of one engine are laid out.
struct CachePlan {
  std::vector<CachePlane> planes;  ///< Keys and values of layer 0, of layer 1, ...
  KvCacheLayout layout;
};

/// Reads types and shapes of the caches from a compiled model. Empty (no planes) when it has none. Throws
/// Error{kInternal} when they are not blocks of one number of tokens.
CachePlan plan_caches(const ov::CompiledModel& compiled);

class PagedKvCache final : public KvCache {
 public:
  /// Throws Error{kDeviceMissing} when the machine has less memory than all blocks can take.
  PagedKvCache(std::shared_ptr<const CachePlan> plan, std::int64_t num_blocks);
  ~PagedKvCache() override;
  PagedKvCache(const PagedKvCache&) = delete;
  PagedKvCache& operator=(const PagedKvCache&) = delete;

  const KvCacheLayout& layout() const override { return plan_->layout; }
  std::int64_t num_blocks() const override { return num_blocks_; }
  void copy_block(std::int64_t from, std::int64_t to) override;

  const CachePlan& plan() const { return *plan_; }
  /// Plane `index` of plan().planes as OpenVINO takes it. Valid as long as this cache.
  ov::Tensor tensor(std::size_t index) const;

 private:
  std::shared_ptr<const CachePlan> plan_;
  std::int64_t num_blocks_;
  std::vector<std::size_t> offsets_;  ///< Of the planes, each at the begin of a page.
  std::byte* data_ = nullptr;
  std::size_t size_bytes_ = 0;
};

}  // namespace pajamas::openvino
