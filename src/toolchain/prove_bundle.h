// Proof of a bundle: gathers the inputs and the engines, and has verify/ compare. Used by a build before it packs, and
// by `pajamas verify` on a bundle that lies on disk.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/cancel.h"
#include "bundle/bundle.h"
#include "engine/target.h"
#include "toolchain/language_part.h"
#include "verify/proof.h"

namespace pajamas {

struct ProveOptions {
  std::vector<std::filesystem::path> images;  ///< Real inputs beside the seeded ones; only for image models.
  bool is_per_layer = false;
  int num_threads = 0;
  std::uint64_t seed = 1;
  Progress progress;
};

/// One engine part and what it is compared with.
struct PartToProve {
  std::string name;
  const Model* source = nullptr;
  std::filesystem::path source_file;  ///< Of an ONNX source; empty for a checkpoint.
  const Model* stored = nullptr;      ///< Language models: weights as the bundle has them, before the passes.
  const Model* lowered = nullptr;
  std::shared_ptr<const Engine> engine;        ///< At the bundle's precision; null when the target cannot run here.
  std::shared_ptr<const Engine> exact_engine;  ///< At float32; null likewise.
  std::string engine_absence;                  ///< Why `engine` is null, where more is known than "no device".
};

Proof prove_part(const PartToProve& part, const BuildPlan& plan, const TaskFacts& task, const ProveOptions& options);

/// The engine of freshly compiled files, or null when this machine lacks a device that can run them: that is what
/// building ahead of time is for.
std::shared_ptr<const Engine> load_compiled(const std::filesystem::path& directory, const std::string& part,
                                            const CompiledPart& compiled, const BuildPlan& plan, bool is_exact_fp32);

/// Proofs of all parts of a bundle on disk against its source, read anew from `source` or from where the manifest says.
/// Checks every digest first. Throws Error{kBadInput} when the source is missing or is not the one the bundle was built
/// from.
struct PartProof {
  std::string part;
  Proof proof;
  /// For the user beside the proof: the bundle was built by another library version, or for another GPU, than the one
  /// here, with what to do. Empty: nothing.
  std::string note;
};
std::vector<PartProof> prove_bundle(const Bundle& bundle, const std::optional<std::filesystem::path>& source,
                                    const ProveOptions& options);

/// What `verify --text` measures.
struct BundleTextRequest {
  std::filesystem::path text;  ///< UTF-8.
  TextWindows windows;
  bool has_reference = true;   ///< Compare with the model that the bundle was built from, where it is there and fits.
  bool is_exact_fp32 = false;  ///< The engine at float32.
  std::string kv_precision = "auto";
};
/// Perplexity of a language bundle on a text. Throws Error{kUnsupported} for a bundle of another task, Error{kBadInput}
/// for a text that cannot be read or has fewer than two tokens, and as load_engine.
MeasuredText measure_bundle_on_text(const Bundle& bundle, const std::optional<std::filesystem::path>& source,
                                    const BundleTextRequest& request, const ProveOptions& options);

}  // namespace pajamas
