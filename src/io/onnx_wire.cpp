// Walking protobuf's wire format. See onnx_wire.h.
#include "io/onnx_wire.h"

#include <algorithm>
#include <limits>

#include "pajamas/error.h"

namespace pajamas::wire {
namespace {

[[noreturn]] void fail(const char* why) {
  throw Error(ErrorKind::kBadInput, std::string("not an ONNX model: ") + why, {},
              "check that the file is a complete .onnx file: download or export it again");
}

/// Largest single buffer given to protobuf, whose sizes are int.
constexpr std::size_t kMaxChunk = 1U << 30;

}  // namespace

std::uint64_t FieldReader::read_varint() {
  std::uint64_t value = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    if (rest_.empty()) fail("it ends in the middle of a field");
    const auto byte = std::to_integer<std::uint64_t>(rest_[0]);
    rest_ = rest_.subspan(1);
    value |= (byte & 0x7fU) << shift;
    if (byte < 0x80U) return value;
  }
  fail("it holds a malformed number");
}

void FieldReader::advance(std::uint64_t count) {
  if (count > rest_.size()) fail("it ends in the middle of a field");
  rest_ = rest_.subspan(static_cast<std::size_t>(count));
}

bool FieldReader::next(Field& field) {
  if (rest_.empty()) return false;
  const std::byte* begin = rest_.data();
  const std::uint64_t tag = read_varint();
  const std::uint64_t number = tag >> 3U;
  if (number == 0 || number > 536'870'911) fail("it holds a field number that no message has");  // 2^29 - 1
  field.number = static_cast<int>(number);
  field.payload = {};
  switch (tag & 7U) {
    case 0: read_varint(); break;
    case 1: advance(8); break;
    case 2: {
      const std::uint64_t size = read_varint();
      const std::byte* payload = rest_.data();
      advance(size);
      field.payload = {payload, static_cast<std::size_t>(size)};
      break;
    }
    case 5: advance(4); break;
    default: fail("it holds a field of a kind that ONNX does not use");
  }
  field.type = static_cast<WireType>(tag & 7U);
  field.encoded = {begin, static_cast<std::size_t>(rest_.data() - begin)};
  return true;
}

bool PieceStream::Next(const void** data, int* size) {
  while (piece_index_ < pieces_.size() && offset_ == pieces_[piece_index_].size()) {
    ++piece_index_;
    offset_ = 0;
  }
  if (piece_index_ == pieces_.size()) return false;
  const auto rest = pieces_[piece_index_].subspan(offset_);
  const std::size_t count = std::min(rest.size(), kMaxChunk);
  *data = rest.data();
  *size = static_cast<int>(count);
  offset_ += count;
  position_ += static_cast<std::int64_t>(count);
  return true;
}

void PieceStream::BackUp(int count) {
  // Only ever within the buffer that the last Next gave.
  offset_ -= static_cast<std::size_t>(count);
  position_ -= count;
}

bool PieceStream::Skip(int count) {
  const void* data = nullptr;
  int size = 0;
  while (count > 0) {
    if (!Next(&data, &size)) return false;
    if (size > count) {
      BackUp(size - count);
      return true;
    }
    count -= size;
  }
  return true;
}

void append_piece(std::vector<std::span<const std::byte>>& pieces, std::span<const std::byte> piece) {
  if (piece.empty()) return;
  if (!pieces.empty() && pieces.back().data() + pieces.back().size() == piece.data()) {
    pieces.back() = {pieces.back().data(), pieces.back().size() + piece.size()};
  } else {
    pieces.push_back(piece);
  }
}

}  // namespace pajamas::wire
