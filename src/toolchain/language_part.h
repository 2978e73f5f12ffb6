// The steps of a build that language models have of their own: storing the weights as the plan says, and the proof of
// an engine with a cache. The pipeline around them is build.cpp; `verify` uses the proof as well.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/cancel.h"
#include "base/files.h"
#include "bundle/task_facts.h"
#include "engine/build_plan.h"
#include "engine/target.h"
#include "graph/graph.h"
#include "graph/passes/quantize_weights.h"
#include "graph/passes/scale_by_activations.h"
#include "models/model_definition.h"
#include "text/tokenizer.h"
#include "verify/proof.h"
#include "verify/text_quality.h"

namespace pajamas {

struct StoredWeights {
  std::shared_ptr<const MappedFile> file;  ///< `<part>.onnx.data` in the bundle's folder.
  WeightQuantizationReport report;
  std::vector<ScaledGroup> groups;  ///< kInt4Awq: layers that share factors, and what these were worth.
};

/// Writes the weights of `model` into `folder`, one by one, in the form of plan.weights, and makes the graph refer to
/// them there. `calibration` is needed for kInt4Awq only: the tokens of a text. Throws as quantize_weights, and
/// Error{kUsage} for AWQ without calibration text.
StoredWeights store_weights(Model& model, const BuildPlan& plan, const std::filesystem::path& folder,
                            const std::string& part, const std::vector<std::int64_t>& calibration,
                            const Progress& progress);
/// What became of the weights, for the manifest: counts and bytes by form, and the relative error.
nlohmann::json to_json(const StoredWeights& stored);

/// The bundle's tokenizer; nothing where the model has none.
std::optional<Tokenizer> tokenizer_of(const ImportedModel& imported);

struct LanguageProofInputs {
  const Model* original = nullptr;             ///< Weights as the checkpoint has them.
  const Model* stored = nullptr;               ///< Weights as the bundle has them, before the passes.
  const Model* lowered = nullptr;              ///< What the target was given.
  std::shared_ptr<const Engine> engine;        ///< Null where it cannot run here.
  std::shared_ptr<const Engine> exact_engine;  ///< Null likewise.
  std::string engine_absence;
  std::optional<Tokenizer> tokenizer;  ///< Without one the sequences are random tokens.
  std::int64_t vocab_size = 0;
  std::int64_t context_length = 0;
  /// Inputs that are no part of a step, the same for all sequences.
  std::vector<std::pair<std::string, Tensor>> fixed_inputs;
};

/// Sizes of a graph with paged attention: the task's, or what the graph and a moderate context give for one without a
/// task.
struct LanguageExtents {
  std::int64_t vocab_size = 0;
  std::int64_t context_length = 0;
};
LanguageExtents language_extents(const Model& model, const TaskFacts& task);

/// Values for the inputs of a decoder that other parts of the model give (an encoder's outputs of the same names),
/// computed by ONNX Runtime from seeded noise; empty when it has none. Throws Error{kUnsupported} for an input that no
/// part gives.
std::vector<std::pair<std::string, Tensor>> fixed_inputs_of(const Model& decoder,
                                                            const std::vector<ImportedPart>& parts,
                                                            const BuildPlan& plan, const Progress& progress);

/// Proof on a short text of the project's own. Throws as prove_language.
Proof prove_language_part(const LanguageProofInputs& inputs, const BuildPlan& plan, const Progress& progress);

/// Memory that a build of a language model keeps to where plan.limits.memory_bytes names none.
inline constexpr std::uint64_t kLanguageBuildBytes = 4'000'000'000;

/// How many of the first layers a proof with kProofVocabulary tokens can take in so much memory (the plan's limit, or
/// kLanguageBuildBytes, and half of what is free), at least 1; all of them where they fit.
struct ProvableLayers {
  std::int64_t num_provable = 0;
  std::int64_t num_layers = 0;
  bool is_all() const { return num_provable == num_layers; }
};
ProvableLayers provable_layers(const Graph& graph, const BuildPlan& plan);

/// Tokens of the vocabulary that such a proof takes.
inline constexpr std::int64_t kProofVocabulary = 8192;

/// The same model with its first `num_layers` layers, then the last norm and the output layer, tables cut to their
/// first kProofVocabulary rows of `vocab_size`. Throws Error{kInternal} when the graph is not one of models/language/.
Model first_layers(const Model& model, std::int64_t num_layers, std::int64_t vocab_size);

/// Perplexity of the engine on `text` and, where `original` is given and fits into memory, agreement with it.
struct MeasuredText {
  TextQuality quality;
  std::string note;  ///< Why there is no reference; empty: there is, or none was asked for.
};
MeasuredText measure_on_text(const std::shared_ptr<const Engine>& engine, const Model* original,
                             const std::vector<std::int64_t>& tokens, const TextWindows& windows, int num_threads,
                             const Progress& progress);

/// A text file of the user. Throws Error{kBadInput} naming the byte where it is not UTF-8, and as read_file.
std::string read_text(const std::filesystem::path& path, std::uint64_t max_bytes);

/// Tokens of a text for a model that has never seen it: with the beginning token, special tokens not read.
std::vector<std::int64_t> tokens_of(const Tokenizer& tokenizer, const std::string& text);

}  // namespace pajamas
