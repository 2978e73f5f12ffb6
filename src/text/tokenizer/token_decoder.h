// Decoders: the bytes a token stands for, as the `decoder` of a tokenizer.json describes it. Tokens are decoded one by
// one and joined; what that cannot express is refused.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/json_reader.h"

namespace pajamas {

/// Immutable; any thread.
class TokenDecoder {
 public:
  class Step {
   public:
    virtual ~Step() = default;
    /// Changes one token. `is_first`: it begins the text.
    virtual void apply(std::string& token, bool is_first) const = 0;
  };

  /// Without a decoder tokens are joined by spaces.
  TokenDecoder();
  /// Throws Error{kUnsupported} naming a type that is not known.
  explicit TokenDecoder(const JsonReader& json);

  /// What a token becomes in the middle of a text, or at its beginning: any bytes.
  std::string decode(std::string_view token, bool is_first) const;
  /// At most so many of strip_character() are taken off the beginning of the whole text.
  std::size_t num_to_strip() const { return num_to_strip_; }
  const std::string& strip_character() const { return strip_character_; }

 private:
  void add(const JsonReader& json, int depth);
  std::vector<std::unique_ptr<Step>> steps_;
  bool is_fused_ = false;  ///< While reading: what follows sees the whole text.
  std::size_t num_to_strip_ = 0;
  std::string strip_character_;
};

/// The bytes that a token in GPT-2's printable alphabet stands for; the token itself where it has other characters.
std::string bytes_of_printable(std::string_view token);
/// The same, or nothing where it has other characters.
bool append_bytes_of_printable(std::string_view token, std::string& bytes);

}  // namespace pajamas
