// See paged_kv_cache.h.
#include "targets/openvino/paged_kv_cache.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <system_error>

#include "base/free_memory.h"
#include "pajamas/error.h"
#include "targets/openvino/openvino_library.h"
#include "targets/openvino/paged_attention.h"

namespace pajamas::openvino {

namespace {

std::size_t round_up(std::size_t value, std::size_t unit) { return (value + unit - 1) / unit * unit; }

const char* precision_name(const ov::element::Type& type) {
  if (type == ov::element::f32) return "f32";
  if (type == ov::element::f16) return "f16";
  if (type == ov::element::bf16) return "bf16";
  if (type == ov::element::u8 || type == ov::element::i8) return "u8";
  return "other";
}

}  // namespace

CachePlan plan_caches(const ov::CompiledModel& compiled) {
  CachePlan plan;
  const auto& ports = compiled.inputs();
  const auto find = [&](const std::string& name) {
    for (std::size_t i = 0; i < ports.size(); ++i) {
      if (ports[i].get_names().count(name) != 0) return i;
    }
    return ports.size();
  };
  // Keys and values are [blocks, num_kv_heads, tokens of a block, head_dim and what goes with it].
  constexpr std::size_t kTokenAxis = 2;
  for (std::int64_t layer = 0;; ++layer) {
    for (const std::string& name : {key_cache_name(layer), value_cache_name(layer)}) {
      const std::size_t port = find(name);
      if (port == ports.size()) {
        plan.layout.num_layers = layer;
        if (!plan.planes.empty()) {
          plan.layout.facts = {{"key_precision", precision_name(plan.planes[0].type)},
                               {"value_precision", precision_name(plan.planes[1].type)}};
        }
        return plan;
      }
      const ov::PartialShape& shape = ports[port].get_partial_shape();
      bool is_known = shape.rank() == ov::Rank(4) && ports[port].get_element_type().is_static();
      for (std::size_t axis = 1; is_known && axis < shape.size(); ++axis) is_known = shape[axis].is_static();
      if (!is_known) {
        throw Error(ErrorKind::kInternal,
                    "OpenVINO gives the cache the shape " + shape.to_string() + ", which is not one of blocks",
                    "input '" + name + "'", "use the OpenVINO that ./dev setup installs");
      }
      CachePlane plane{port, ports[port].get_element_type(), {}, 0};
      for (std::size_t axis = 1; axis < shape.size(); ++axis) {
        plane.block_shape.push_back(static_cast<std::size_t>(shape[axis].get_length()));
      }
      plane.block_bytes = (ov::shape_size(plane.block_shape) * plane.type.bitwidth() + 7) / 8;
      plan.layout.block_bytes += plane.block_bytes;
      plan.planes.push_back(plane);
      const bool is_value = plan.planes.size() % 2 == 0;
      if (!is_value) continue;
      const auto num_tokens = static_cast<std::int64_t>(plane.block_shape[kTokenAxis - 1]);
      if (plan.layout.block_size_tokens != 0 && plan.layout.block_size_tokens != num_tokens) {
        throw Error(ErrorKind::kInternal, "OpenVINO's caches have blocks of different sizes", "input '" + name + "'",
                    "use the OpenVINO that ./dev setup installs");
      }
      plan.layout.block_size_tokens = num_tokens;
    }
  }
}

PagedKvCache::PagedKvCache(std::shared_ptr<const CachePlan> plan, std::int64_t num_blocks)
    : plan_(std::move(plan)), num_blocks_(num_blocks) {
  if (num_blocks < 1) {
    throw Error(ErrorKind::kInternal, "a cache needs 1 block or more, not " + std::to_string(num_blocks));
  }
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const auto count = static_cast<std::uint64_t>(num_blocks);
  const std::uint64_t available = free_memory_bytes();
  if (count > available / plan_->layout.block_bytes) {
    throw Error(ErrorKind::kDeviceMissing,
                "a cache of " + std::to_string(num_blocks) + " blocks of " + std::to_string(plan_->layout.block_bytes) +
                    " bytes does not fit into the " + std::to_string(available) + " bytes of memory that are free",
                {}, "use fewer blocks, or a smaller precision of the cache");
  }
  for (const CachePlane& plane : plan_->planes) {
    offsets_.push_back(size_bytes_);
    size_bytes_ += round_up(plane.block_bytes * static_cast<std::size_t>(count), page);
  }
  // Without reservation: the pool is as large as the longest contexts need, most of it is never written.
  void* memory =
      ::mmap(nullptr, size_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    throw Error(ErrorKind::kDeviceMissing,
                "cannot get " + std::to_string(size_bytes_) +
                    " bytes of memory for the cache: " + std::generic_category().message(errno),
                {}, "use fewer blocks");
  }
  data_ = static_cast<std::byte*>(memory);
  // Huge pages would take memory for blocks that are not written yet.
  ::madvise(data_, size_bytes_, MADV_NOHUGEPAGE);
}

PagedKvCache::~PagedKvCache() { ::munmap(data_, size_bytes_); }

void PagedKvCache::copy_block(std::int64_t from, std::int64_t to) {
  for (const std::int64_t block : {from, to}) {
    if (block < 0 || block >= num_blocks_) {
      throw Error(ErrorKind::kInternal, "there is no cache block " + std::to_string(block) + ": the cache has " +
                                            std::to_string(num_blocks_));
    }
  }
  if (from == to) return;
  for (std::size_t i = 0; i < offsets_.size(); ++i) {
    const std::size_t bytes = plan_->planes[i].block_bytes;
    std::byte* plane = data_ + offsets_[i];
    std::memcpy(plane + static_cast<std::size_t>(to) * bytes, plane + static_cast<std::size_t>(from) * bytes, bytes);
  }
}

ov::Tensor PagedKvCache::tensor(std::size_t index) const {
  const CachePlane& plane = plan_->planes[index];
  ov::Shape shape{static_cast<std::size_t>(num_blocks_)};
  shape.insert(shape.end(), plane.block_shape.begin(), plane.block_shape.end());
  return {plane.type, shape, data_ + offsets_[index]};
}

}  // namespace pajamas::openvino
