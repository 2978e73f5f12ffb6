// tokenizer.model, the protocol buffer that SentencePiece writes: read by hand over the wire format, for it is a few
// fields of one known message. Field numbers are those of sentencepiece_model.proto.
#include <cmath>
#include <cstring>

#include "pajamas/error.h"
#include "text/tokenizer/base64.h"
#include "text/tokenizer/readers.h"

namespace pajamas {
namespace {

enum class PieceType : std::uint64_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6
};

/// The fields of one message, in the order they are stored.
class WireReader {
 public:
  WireReader(std::string_view bytes, const std::string& where) : bytes_(bytes), where_(where) {}

  struct Field {
    std::uint64_t number = 0;
    std::uint64_t integer = 0;  ///< Varints and fixed numbers.
    std::string_view bytes;     ///< Strings and messages.
    bool is_bytes = false;
  };
  bool next(Field& field) {
    if (position_ == bytes_.size()) return false;
    const std::uint64_t key = varint();
    field = {};
    field.number = key >> 3;
    switch (key & 7) {
      case 0: field.integer = varint(); break;
      case 1: field.integer = fixed(8); break;
      case 2: {
        const std::uint64_t length = varint();
        if (length > bytes_.size() - position_) fail();
        field.bytes = bytes_.substr(position_, static_cast<std::size_t>(length));
        field.is_bytes = true;
        position_ += static_cast<std::size_t>(length);
        break;
      }
      case 5: field.integer = fixed(4); break;
      default: fail();
    }
    return true;
  }
  [[noreturn]] void fail() const {
    throw Error(ErrorKind::kBadInput, "is no SentencePiece model, or one that is cut off", where_,
                "give tokenizer.model, tokenizer.json, a GGUF file or a checkpoint folder; one that is cut off must be "
                "fetched again");
  }

 private:
  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      if (position_ == bytes_.size()) fail();
      const auto byte = static_cast<std::uint8_t>(bytes_[position_++]);
      value |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
      if ((byte & 0x80) == 0) return value;
    }
    fail();
  }
  std::uint64_t fixed(std::size_t size) {
    if (size > bytes_.size() - position_) fail();
    std::uint64_t value = 0;
    std::memcpy(&value, bytes_.data() + position_, size);
    position_ += size;
    return value;
  }
  std::string_view bytes_;
  const std::string& where_;
  std::size_t position_ = 0;
};

struct Piece {
  std::string text;
  float score = 0;
  PieceType type = PieceType::kNormal;
};

struct Settings {
  std::uint64_t model_type = 1;  ///< 1 unigram, 2 BPE, 3 words, 4 characters.
  bool uses_byte_fallback = false;
  bool treats_space_as_suffix = false;
  std::int32_t unk_id = 0, bos_id = 1, eos_id = 2, pad_id = -1;
  std::string charsmap;
  bool adds_dummy_prefix = true, removes_extra_spaces = true, escapes_spaces = true;
};

Piece read_piece(std::string_view bytes, const std::string& where) {
  WireReader reader(bytes, where);
  WireReader::Field field;
  Piece piece;
  while (reader.next(field)) {
    if (field.number == 1) piece.text = field.bytes;
    if (field.number == 2) {
      const auto bits = static_cast<std::uint32_t>(field.integer);
      std::memcpy(&piece.score, &bits, sizeof(bits));
    }
    if (field.number == 3) {
      if (field.integer < 1 || field.integer > 6) reader.fail();
      piece.type = static_cast<PieceType>(field.integer);
    }
  }
  return piece;
}

void read_trainer(std::string_view bytes, const std::string& where, Settings& settings) {
  WireReader reader(bytes, where);
  WireReader::Field field;
  while (reader.next(field)) {
    const auto id = static_cast<std::int32_t>(static_cast<std::int64_t>(field.integer));
    switch (field.number) {
      case 3: settings.model_type = field.integer; break;
      case 24: settings.treats_space_as_suffix = field.integer != 0; break;
      case 35: settings.uses_byte_fallback = field.integer != 0; break;
      case 40: settings.unk_id = id; break;
      case 41: settings.bos_id = id; break;
      case 42: settings.eos_id = id; break;
      case 43: settings.pad_id = id; break;
      default: break;
    }
  }
}

void read_normalizer(std::string_view bytes, const std::string& where, Settings& settings) {
  WireReader reader(bytes, where);
  WireReader::Field field;
  while (reader.next(field)) {
    switch (field.number) {
      case 2: settings.charsmap = field.bytes; break;
      case 3: settings.adds_dummy_prefix = field.integer != 0; break;
      case 4: settings.removes_extra_spaces = field.integer != 0; break;
      case 5: settings.escapes_spaces = field.integer != 0; break;
      default: break;
    }
  }
}

}  // namespace

TokenizerDefinition read_sentencepiece_model(std::string_view bytes, const std::string& where) {
  std::vector<Piece> pieces;
  Settings settings;
  WireReader reader(bytes, where);
  WireReader::Field field;
  while (reader.next(field)) {
    if (field.number >= 1 && field.number <= 3 && !field.is_bytes) reader.fail();
    if (field.number == 1) pieces.push_back(read_piece(field.bytes, where));
    if (field.number == 2) read_trainer(field.bytes, where, settings);
    if (field.number == 3) read_normalizer(field.bytes, where, settings);
    if (pieces.size() > static_cast<std::size_t>(kMaxTokens)) reader.fail();
  }
  if (pieces.empty()) reader.fail();
  const auto refuse = [&](const std::string& what) {
    throw Error(ErrorKind::kUnsupported, "is a SentencePiece model " + what, where,
                "supported are BPE and unigram models with escaped spaces before words");
  };
  if (settings.model_type == 3) refuse("of whole words");
  if (settings.model_type == 4) refuse("of characters");
  if (settings.model_type != 1 && settings.model_type != 2) reader.fail();
  if (settings.treats_space_as_suffix) refuse("that puts spaces after words");
  if (!settings.escapes_spaces) refuse("that keeps spaces as they are");

  TokenizerDefinition definition;
  definition.where = where;
  definition.model = settings.model_type == 1 ? TokenizerModel::kUnigram : TokenizerModel::kBpe;
  definition.uses_byte_fallback = settings.uses_byte_fallback;
  definition.fuses_unk = true;
  std::vector<double> scores;
  TextPool mergeable;  // What merges of a BPE may make: neither control tokens nor bytes.
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const Piece& piece = pieces[i];
    const auto id = static_cast<std::int32_t>(i);
    if (!std::isfinite(piece.score)) {
      throw Error(ErrorKind::kBadInput, "gives piece " + std::to_string(i) + " a score that is no number", where);
    }
    scores.push_back(piece.score);
    const bool is_searched = piece.type == PieceType::kControl || piece.type == PieceType::kUserDefined;
    if (is_searched || piece.type == PieceType::kUnknown) {
      AddedToken token;
      token.id = id;
      token.content = piece.text;
      token.is_special = piece.type != PieceType::kUserDefined;
      token.is_normalized = !token.is_special;  // Spaces around it are normalised as if it were a word.
      if (!piece.text.empty()) definition.added_tokens.push_back(std::move(token));
    }
    if (piece.type == PieceType::kUnknown) definition.model_unk_id = id;
    const bool is_of_model = piece.type == PieceType::kNormal || piece.type == PieceType::kByte;
    definition.tokens.add(is_of_model ? piece.text : "");
    mergeable.add(piece.type == PieceType::kNormal ? piece.text : "");
  }
  if (definition.model == TokenizerModel::kBpe) {
    check_definition(definition);  // Merging takes the texts apart by characters.
    definition.merges = merges_from_scores(mergeable, scores);
  } else {
    definition.scores = std::move(scores);
  }
  const auto optional_id = [&](std::int32_t id) {
    const bool is_there = id >= 0 && static_cast<std::size_t>(id) < pieces.size();
    return is_there ? std::optional(id) : std::nullopt;
  };
  definition.bos_id = optional_id(settings.bos_id);
  definition.eos_id = optional_id(settings.eos_id);
  definition.pad_id = optional_id(settings.pad_id);
  definition.unk_id = definition.model_unk_id;
  definition.normalizer = sentencepiece_normalizer(encode_base64(settings.charsmap), settings.removes_extra_spaces);
  definition.pre_tokenizer = {{"type", "SentencePiece"}, {"add_dummy_prefix", settings.adds_dummy_prefix}};
  definition.decoder = sentencepiece_decoder(settings.adds_dummy_prefix);
  return definition;
}

}  // namespace pajamas
