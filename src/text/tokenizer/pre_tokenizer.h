// Pre-tokenizers: how a normalised text is cut into the words that a model sees one by one, as tokenizer.json describes
// it. Words are handed on as they are found; most are views of the text itself.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/json_reader.h"

namespace pajamas {

/// Immutable; any thread.
class PreTokenizer {
 public:
  /// Takes words; a plain function and its object instead of std::function, for it is called for every word.
  struct Sink {
    void (*take)(void* object, std::string_view word);
    void* object;
    void operator()(std::string_view word) const { take(object, word); }
  };

  /// What a step does: it cuts a piece, or changes it, and hands the parts to `next`.
  class Step {
   public:
    virtual ~Step() = default;
    /// `is_first`: the piece is where the whole text begins.
    struct Next {
      const PreTokenizer* owner;
      std::size_t index;  ///< Of the step that comes next.
      const Sink* sink;
      void operator()(std::string_view piece, bool is_first) const;
    };
    virtual void run(std::string_view piece, bool is_first, const Next& next) const = 0;
  };

  PreTokenizer() = default;
  /// Reads the `pre_tokenizer` of a tokenizer.json. Throws Error{kUnsupported} naming a type that is not known.
  explicit PreTokenizer(const JsonReader& json);

  /// True when words stand for bytes: the vocabulary is written in GPT-2's printable alphabet.
  bool is_byte_level() const { return is_byte_level_; }
  /// With is_byte_level(): words come in that alphabet already. Otherwise they come as they are in the text.
  bool maps_bytes() const { return maps_bytes_; }
  /// True when a text after a special token counts as one that begins.
  bool restarts_after_special() const { return restarts_after_special_; }
  /// Hands the words of a valid UTF-8 text to `sink`, in order.
  void run(std::string_view text, bool is_first, const Sink& sink) const;

 private:
  void add(const JsonReader& json, int depth);
  std::vector<std::unique_ptr<Step>> steps_;
  bool is_byte_level_ = false;
  bool maps_bytes_ = false;
  bool restarts_after_special_ = false;
  bool is_last_mapping_ = false;  ///< While reading: the last step maps bytes.
};

}  // namespace pajamas
