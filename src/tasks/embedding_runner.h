// The embedding task over any engines: what Embedder is made of, without the bundle.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "bundle/task_facts.h"
#include "engine/target.h"
#include "pajamas/embedding.h"
#include "tasks/image_session.h"

namespace pajamas {

/// Text to token ids as the model takes them, padded or not.
using TextEncoder = std::function<std::vector<std::int64_t>(const std::string& text)>;

/// One thread at a time.
class EmbeddingRunner {
 public:
  /// Each engine may be null where the facts have no such part; `encode` belongs to the text engine. Throws
  /// Error{kBadInput} when an engine does not fit the facts.
  EmbeddingRunner(const EmbeddingFacts& facts, std::shared_ptr<const Engine> image_engine,
                  std::shared_ptr<const Engine> text_engine, TextEncoder encode, const EmbedderOptions& options);

  bool has_image() const noexcept { return image_session_.has_value(); }
  bool has_text() const noexcept { return text_session_ != nullptr; }
  /// Both throw Error{kUnsupported} where the part is missing, Error{kBadInput} when the model computes NaN.
  EmbeddingResult embed_image(const Image& image);
  EmbeddingResult embed_text(const std::string& text);
  std::vector<Classification> classify_zero_shot(const Image& image, std::span<const std::string> labels,
                                                 const std::string& prompt);

 private:
  std::vector<float> vector_of(const TensorView& output, const std::string& name) const;

  EmbeddingFacts facts_;
  EmbedderOptions options_;
  std::optional<ImageSession> image_session_;
  std::size_t image_output_ = 0;
  std::shared_ptr<const Engine> text_engine_;
  std::unique_ptr<Session> text_session_;
  std::size_t text_input_ = 0;
  std::optional<std::size_t> text_mask_;
  std::size_t text_output_ = 0;
  TextEncoder encode_;
};

/// `values` scaled to length 1, computed in double; zero stays zero.
void normalize_length(std::span<float> values);

}  // namespace pajamas
