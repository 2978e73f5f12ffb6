// Embedding: vectors for pictures and texts, and what follows from them: ranking and zero-shot classification.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "pajamas/classification.h"
#include "pajamas/image.h"

namespace pajamas {

struct EmbedderOptions {
  bool is_normalized = true;  ///< Scale every vector to length 1.
  int num_threads = 0;        ///< CPU threads; 0: all.
};

struct EmbeddingResult {
  std::vector<float> values;  ///< [embedding_dim]
  TaskTiming timing;
};

/// A loaded embedder of pictures and, for CLIP, texts; one thread at a time.
class Embedder {
 public:
  /// Throws as Detector's constructor.
  explicit Embedder(const std::filesystem::path& bundle, const EmbedderOptions& options = {});
  ~Embedder();
  Embedder(Embedder&&) noexcept;
  Embedder& operator=(Embedder&&) noexcept;

  bool has_image() const;
  bool has_text() const;
  /// Throws Error{kUnsupported} when the bundle has no image (or text) part.
  EmbeddingResult embed_image(const Image& image);
  EmbeddingResult embed_text(const std::string& text);
  /// Probability of each label for the picture: softmax of the scaled cosine similarity, by falling score. `prompt` is
  /// put around each label, with "{}" standing for the label.
  std::vector<Classification> classify_zero_shot(const Image& image, std::span<const std::string> labels,
                                                 const std::string& prompt = "a photo of a {}");

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Cosine similarity of two vectors of one length, -1..1; 0 when either is zero. Throws Error{kUsage} otherwise.
float cosine_similarity(std::span<const float> a, std::span<const float> b);

/// Indices of `candidates` by falling cosine similarity to `query`, with the similarity; ties by index.
struct RankedItem {
  std::size_t index = 0;
  float similarity = 0;
};
std::vector<RankedItem> rank_by_similarity(std::span<const float> query,
                                           std::span<const std::vector<float>> candidates);

}  // namespace pajamas
