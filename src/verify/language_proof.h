// The proof of a language model: the engine with its cache, in prefill and decode, against another implementation that
// computes each sequence at once without a cache. The record is that of verify/proof.h. What quantisation cost is not
// shown here but measured on text (verify/text_quality.h).
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/cancel.h"
#include "engine/target.h"
#include "graph/graph.h"
#include "verify/onnxruntime_reference.h"
#include "verify/proof.h"

namespace pajamas {

/// An expanded graph (graph/passes/expand_paged_attention.h) loaded by ONNX Runtime, through a file in a folder of its
/// own: graphs of language models pass the 2 GiB of one message.
struct LanguageReference {
  std::shared_ptr<const OnnxRuntimeSession> session;
  std::string sha256;  ///< Of the ONNX file, without the weights beside it.
};
/// `extra_outputs`: inner values given behind the logits. Throws as OnnxRuntimeSession and write_onnx.
LanguageReference load_language_reference(const Model& expanded, int num_threads,
                                          const std::vector<std::string>& extra_outputs = {});

struct LanguageProofRequest {
  const Model& source;   ///< Expanded graph before the passes (behind quantisation, where there is one).
  const Model& lowered;  ///< Of what the target was given the expanded graph, or itself where it has a dense cache.
  Precision precision = Precision::kFp32;        ///< That a lowered model with a dense cache computes in.
  std::shared_ptr<const Engine> engine{};        ///< At the bundle's precision; null where it cannot run here.
  std::shared_ptr<const Engine> exact_engine{};  ///< The same at float32; may be null.
  std::string engine_absence{};                  ///< Why `engine` is null.
  /// Token sequences, each of one token or more. Of each the last few are decoded one by one.
  std::vector<std::vector<std::int64_t>> sequences{};
  std::int64_t num_decoded = 4;
  /// Inputs beside those of a step, by name: the same for all sequences.
  std::vector<std::pair<std::string, Tensor>> fixed_inputs{};
  int num_threads = 0;
  Progress progress{};
};

/// Throws as prove().
Proof prove_language(const LanguageProofRequest& request);

}  // namespace pajamas
