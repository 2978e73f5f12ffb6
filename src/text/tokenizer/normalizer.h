// Normalisers: what happens to a text before it is cut into words, as tokenizer.json describes it. One list of steps,
// each text to text.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "base/json_reader.h"

namespace pajamas {

/// Immutable; any thread.
class Normalizer {
 public:
  class Step {
   public:
    virtual ~Step() = default;
    /// Throws Error{kBadInput} where the text would become longer than `max_bytes`.
    virtual void apply(std::string& text, std::size_t max_bytes) const = 0;
  };

  Normalizer() = default;
  /// Reads the `normalizer` of a tokenizer.json. Throws Error{kUnsupported} naming a type that is not known.
  explicit Normalizer(const JsonReader& json);

  bool empty() const { return steps_.empty(); }
  /// True when the last step leaves bytes in the printable alphabet of GPT-2.
  bool maps_bytes() const { return maps_bytes_; }
  /// `text` must be valid UTF-8 and stays so. Throws Error{kBadInput} where it grows beyond all that published
  /// normalizers do.
  void apply(std::string& text) const;

 private:
  void add(const JsonReader& json, int depth);
  std::vector<std::unique_ptr<Step>> steps_;
  bool maps_bytes_ = false;
};

}  // namespace pajamas
