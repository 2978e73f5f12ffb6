// See device_constants.h.
#include "targets/cuda/runtime/device_constants.h"

#include <array>

#include "targets/cuda/program.h"

namespace pajamas::cuda {
namespace {

std::size_t aligned(std::size_t offset) {
  return (offset + kBufferAlignment - 1) / kBufferAlignment * kBufferAlignment;
}

}  // namespace

void PackedConstants::add(const std::vector<ConstantUse>& uses, const ConstantTable& table) {
  for (const ConstantUse& use : uses) {
    if (index_.count(use.key) != 0) continue;
    Tensor packed = pack(table, use.request);
    const std::size_t offset = aligned(size_bytes_);
    index_.emplace(use.key, places_.size());
    places_.push_back({use.key, offset, packed.size_bytes()});
    size_bytes_ = offset + packed.size_bytes();
    tensors_.push_back(std::move(packed));
  }
}

std::vector<std::span<const std::byte>> PackedConstants::pieces() const {
  static constexpr std::array<std::byte, kBufferAlignment> kPadding{};
  std::vector<std::span<const std::byte>> pieces;
  std::size_t end = 0;
  for (std::size_t i = 0; i < places_.size(); ++i) {
    if (places_[i].offset > end) pieces.push_back(std::span(kPadding).first(places_[i].offset - end));
    pieces.push_back(tensors_[i].bytes());
    end = places_[i].offset + places_[i].size_bytes;
  }
  return pieces;
}

DeviceConstants::DeviceConstants(std::span<const std::byte> weights, const std::vector<ConstantPlace>& places)
    : memory_(weights.size()) {
  if (!weights.empty()) {
    check(cudaMemcpy(memory_.data(), weights.data(), weights.size(), cudaMemcpyHostToDevice), "copying the weights");
  }
  for (const ConstantPlace& place : places) addresses_[place.key] = memory_.data() + place.offset;
}

DeviceConstants::DeviceConstants(const PackedConstants& packed, std::shared_ptr<const DeviceConstants> shared)
    : shared_(std::move(shared)), memory_(packed.size_bytes()) {
  std::size_t offset = 0;
  for (const std::span<const std::byte> piece : packed.pieces()) {
    if (!piece.empty()) {
      check(cudaMemcpy(memory_.data() + offset, piece.data(), piece.size(), cudaMemcpyHostToDevice),
            "copying the weights");
    }
    offset += piece.size();
  }
  for (const ConstantPlace& place : packed.places()) addresses_[place.key] = memory_.data() + place.offset;
}

std::byte* DeviceConstants::find(const std::string& key) const {
  const auto found = addresses_.find(key);
  if (found == addresses_.end() && shared_) return shared_->find(key);
  if (found == addresses_.end()) {
    throw Error(ErrorKind::kInternal, "the engine holds no constant '" + key + "'", {}, "build the bundle again");
  }
  return found->second;
}

}  // namespace pajamas::cuda
