// The outermost layers of protobuf's wire format, walked without copying: where the fields of a message lie in a
// buffer. It lets the ONNX reader take weights out of a mapped file in place and hand protobuf only the small rest.
// Not a protobuf implementation: what the fields mean is left to the generated classes.
#pragma once

#include <google/protobuf/io/zero_copy_stream.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace pajamas::wire {

/// Wire types that ONNX uses; the deprecated groups (3 and 4) are refused.
enum class WireType { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

struct Field {
  int number = 0;
  WireType type = WireType::kVarint;
  std::span<const std::byte> encoded;  ///< The whole field with its tag.
  std::span<const std::byte> payload;  ///< kBytes: the content. Otherwise empty.
};

/// Walks the fields of one message. The buffer must outlive the reader and the fields it gives.
class FieldReader {
 public:
  explicit FieldReader(std::span<const std::byte> message) : rest_(message) {}
  /// False at the end. Throws Error{kBadInput} where the bytes are no message.
  bool next(Field& field);

 private:
  std::uint64_t read_varint();
  void advance(std::uint64_t count);
  std::span<const std::byte> rest_;
};

/// Pieces of memory as one protobuf input stream. The pieces must outlive it.
class PieceStream : public google::protobuf::io::ZeroCopyInputStream {
 public:
  explicit PieceStream(std::span<const std::span<const std::byte>> pieces) : pieces_(pieces) {}
  bool Next(const void** data, int* size) override;
  void BackUp(int count) override;
  bool Skip(int count) override;
  int64_t ByteCount() const override { return position_; }

 private:
  std::span<const std::span<const std::byte>> pieces_;
  std::size_t piece_index_ = 0;
  std::size_t offset_ = 0;
  std::int64_t position_ = 0;
};

/// Appends a piece, joined to the last one when it follows it in memory.
void append_piece(std::vector<std::span<const std::byte>>& pieces, std::span<const std::byte> piece);

}  // namespace pajamas::wire
