// Gathering what a proof needs. See prove_bundle.h; the comparison itself is verify/proof.cpp.
#include "toolchain/prove_bundle.h"

#include <map>
#include <utility>

#include "base/log.h"
#include "engine/bundle_plan.h"
#include "engine/engine_loader.h"
#include "graph/block_weight_nodes.h"
#include "graph/passes/expand_paged_attention.h"
#include "io/onnx_reader.h"
#include "pajamas/error.h"
#include "targets/registry.h"
#include "toolchain/build.h"
#include "toolchain/bundle_source.h"
#include "toolchain/calibrate.h"
#include "toolchain/import.h"
#include "toolchain/real_inputs.h"

namespace pajamas {
namespace fs = std::filesystem;
namespace {

std::shared_ptr<const Engine> load_compiled_at(const fs::path& directory, const std::string& part,
                                               const CompiledPart& compiled, const BuildPlan& plan,
                                               bool is_exact_fp32) {
  LoadRequest load;
  load.directory = directory;
  load.part = part;
  load.files = compiled.files;
  load.open = [&](const CompiledFile& file) { return MappedFile::open(directory / file.name); };
  load.facts = compiled.facts;
  load.plan = plan;
  load.options = {plan.num_threads, is_exact_fp32};
  return find_target(plan.target).load(load);
}

/// Compiles a model with more outputs for the comparison of inner values. The files are gone once the engine is loaded:
/// targets read or map them at load.
std::shared_ptr<const Engine> compile_scratch(const Model& model, const std::string& part, const BuildPlan& plan,
                                              bool is_exact_fp32, const Progress& progress) {
  // Never committed: it goes when this returns, or with the process that watches this one.
  const StagedDirectory folder(fs::temp_directory_path() / "pajamas-proof");
  const CompiledPart compiled = find_target(plan.target).compile({model, plan, part, folder.path(), progress});
  return load_compiled_at(folder.path(), part, compiled, plan, is_exact_fp32);
}

/// The engine, or null and the reason: no device, another GPU or another library version. Damage and everything else
/// throws.
std::shared_ptr<const Engine> load_if_it_runs_here(const Bundle& bundle, const std::string& part,
                                                   const SessionOptions& options, std::optional<Error>& absence) {
  try {
    return load_engine(bundle, part, options);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kDeviceMissing && error.kind() != ErrorKind::kUnsupported) throw;
    log().info("the engine is not run here: {}", error.what());
    absence = error;
    return nullptr;
  }
}

/// The libraries that made the part and that runs it, where they are not one; empty when they are.
std::string version_note(const ManifestPart& part, const Engine& engine) {
  const std::string version = part.target_facts.value("version", "");
  const std::string made_by = part.target_facts.value("library", "") + (version.empty() ? "" : " " + version);
  const std::string here = engine.describe().value("library", "");
  if (made_by.empty() || here.empty() || made_by == here) return {};
  return "built by " + made_by + ", run here by " + here +
         ", which makes its own form of the engine at every load; build the bundle again to load it fast";
}

/// The lowered model: the bytes in the bundle where the target keeps them, else the source lowered again.
Model lowered_model(const Bundle& bundle, const ManifestPart& part, const Model& source, const BuildPlan& plan,
                    const Progress& progress) {
  for (const BundleFile& file : part.files) {
    if (file.name == part.name + ".onnx") {
      bundle.open_checked(file);
      return read_onnx(bundle.directory() / file.name);
    }
  }
  LoweredModel lowered = lower(source, find_target(plan.target), plan, progress);
  if (const auto calibration = part.target_facts.find("calibration"); calibration != part.target_facts.end()) {
    quantize(lowered, plan, parse_magnitudes(*calibration, (bundle.directory() / kManifestFileName).string()));
  }
  return std::move(lowered.model);
}

}  // namespace

std::shared_ptr<const Engine> load_compiled(const fs::path& directory, const std::string& part,
                                            const CompiledPart& compiled, const BuildPlan& plan, bool is_exact_fp32) {
  try {
    return load_compiled_at(directory, part, compiled, plan, is_exact_fp32);
  } catch (const Error& error) {
    // No device, or one of another generation: what was built ahead of time for other machines cannot run here.
    if (error.kind() != ErrorKind::kDeviceMissing && error.kind() != ErrorKind::kUnsupported) throw;
    log().info("the engine is not run here: {}", error.what());
    return nullptr;
  }
}

Proof prove_part(const PartToProve& part, const BuildPlan& plan, const TaskFacts& task, const ProveOptions& options) {
  ProofRequest request{.source = *part.source, .source_file = part.source_file, .lowered = *part.lowered};
  request.engine = part.engine.get();
  request.exact_engine = part.exact_engine.get();
  request.engine_absence = part.engine_absence;
  request.precision = plan.precision;
  request.real_inputs = read_real_inputs(options.images, task, part.name, part.source->graph);
  request.refine_inputs = input_refinement(task, part.name);
  if (request.refine_inputs && task.transcription) request.operator_class = OperatorClass::kStates;
  for (const ShapeProfile& profile : plan.profiles) {
    // The plan has those of all parts.
    if (part.source->graph.find_input(profile.input) != nullptr) request.profiles.push_back(profile);
  }
  request.is_per_layer = options.is_per_layer;
  if (part.engine) {
    request.compile_with_outputs = [&](const Model& model, bool is_exact_fp32) {
      return compile_scratch(model, part.name, plan, is_exact_fp32, options.progress);
    };
  }
  request.num_threads = options.num_threads;
  request.seed = options.seed;
  request.progress = options.progress;
  return prove(request);
}

namespace {

std::optional<Tokenizer> bundle_tokenizer(const Bundle& bundle) {
  for (const BundleFile& file : bundle.manifest().files) {
    if (file.role != "tokenizer") continue;
    return Tokenizer::parse(bundle.open_checked(file)->bytes(), (bundle.directory() / file.name).string());
  }
  return std::nullopt;
}

Proof prove_language_bundle_part(const Bundle& bundle, const PartToProve& part, BuildPlan plan,
                                 const ImportedModel& imported, const ProveOptions& options) {
  plan.num_threads = options.num_threads;
  LanguageProofInputs inputs;
  inputs.original = part.source;
  inputs.stored = part.stored;
  inputs.lowered = part.lowered;
  inputs.engine = part.engine;
  inputs.exact_engine = part.exact_engine;
  inputs.engine_absence = part.engine_absence;
  inputs.tokenizer = bundle_tokenizer(bundle);
  const LanguageExtents extents = language_extents(*part.source, bundle.manifest().task);
  inputs.vocab_size = extents.vocab_size;
  inputs.context_length = extents.context_length;
  inputs.fixed_inputs = fixed_inputs_of(*part.source, imported.parts, plan, options.progress);
  return prove_language_part(inputs, plan, options.progress);
}

}  // namespace

MeasuredText measure_bundle_on_text(const Bundle& bundle, const std::optional<fs::path>& source,
                                    const BundleTextRequest& request, const ProveOptions& options) {
  const Manifest& manifest = bundle.manifest();
  if (!manifest.task.generation) {
    throw Error(ErrorKind::kUnsupported,
                "is no language model, so it predicts no text: its task is " + manifest.task.name,
                bundle.directory().string(),
                manifest.task.transcription ? "give the recording of the text with --audio" : "leave --text out");
  }
  const GenerationFacts& facts = *manifest.task.generation;
  const std::optional<Tokenizer> tokenizer = bundle_tokenizer(bundle);
  if (!tokenizer) {
    throw Error(ErrorKind::kBadInput, "the bundle has no tokenizer", bundle.directory().string(), "build it again");
  }
  constexpr std::uint64_t kMaxTextBytes = 256ULL << 20;
  std::vector<std::int64_t> tokens = tokens_of(*tokenizer, read_text(request.text, kMaxTextBytes));
  if (request.windows.max_tokens > 0 && tokens.size() > static_cast<std::size_t>(request.windows.max_tokens)) {
    tokens.resize(static_cast<std::size_t>(request.windows.max_tokens));
  }
  if (request.windows.context_tokens > facts.context_length) {
    throw Error(ErrorKind::kUsage,
                "windows of " + std::to_string(request.windows.context_tokens) +
                    " tokens exceed the bundle's context of " + std::to_string(facts.context_length),
                "--context", "choose a shorter one");
  }
  SessionOptions session;
  session.num_threads = options.num_threads;
  session.is_exact_fp32 = request.is_exact_fp32;
  session.kv_precision = parse_kv_precision(request.kv_precision);
  const auto engine = load_engine(bundle, facts.part, session);
  std::optional<ImportedModel> imported;
  std::string note;
  if (request.has_reference) {
    try {
      imported = import_bundle_source(bundle, find_bundle_source(bundle, source), plan_of(bundle), options.progress);
    } catch (const Error& error) {
      if (source || error.kind() == ErrorKind::kCancelled) throw;
      note = std::string("not compared with the model it was built from: ") + error.what();
    }
  }
  const Model* original = nullptr;
  if (imported) {
    for (const ImportedPart& part : imported->parts) {
      if (part.name == facts.part) original = &part.model;
    }
  }
  MeasuredText measured =
      measure_on_text(engine, original, tokens, request.windows, options.num_threads, options.progress);
  if (measured.note.empty()) measured.note = note;
  return measured;
}

namespace {

/// Parts with their weights stored as a build stores them, each made when it is first asked for.
class StoredAgain {
 public:
  StoredAgain(const ImportedModel& imported, const Progress& progress)
      : imported_(imported), progress_(progress), folder_(fs::temp_directory_path() / "pajamas-stored") {}

  const Model& of(const ImportedPart& part, const BuildPlan& plan) {
    const auto known = models_.find(part.name);
    if (known != models_.end()) return known->second;
    if (!part.derived_from.empty())
      return models_.emplace(part.name, part.derive(of(origin_of(part), plan))).first->second;
    Model model = part.model;
    store_weights(model, plan, folder_.path(), part.name, {}, progress_);
    return models_.emplace(part.name, std::move(model)).first->second;
  }

 private:
  const ImportedPart& origin_of(const ImportedPart& part) const {
    for (const ImportedPart& candidate : imported_.parts) {
      if (candidate.name == part.derived_from) return candidate;
    }
    throw Error(ErrorKind::kInternal, "part '" + part.name + "' is derived from a part that is not there");
  }

  const ImportedModel& imported_;
  const Progress& progress_;
  StagedDirectory folder_;  ///< Never committed.
  std::map<std::string, Model> models_;
};

}  // namespace

std::vector<PartProof> prove_bundle(const Bundle& bundle, const std::optional<fs::path>& source,
                                    const ProveOptions& options) {
  const Manifest& manifest = bundle.manifest();
  bundle.verify_digests();
  const fs::path source_path = find_bundle_source(bundle, source);
  const BuildPlan plan = plan_of(bundle);
  const ImportedModel imported = import_bundle_source(bundle, source_path, plan, options.progress);
  StoredAgain stored(imported, options.progress);
  std::vector<PartProof> proofs;
  for (const ManifestPart& part : manifest.parts) {
    const ImportedPart* source_part = nullptr;
    for (const ImportedPart& candidate : imported.parts) {
      if (candidate.name == part.name) source_part = &candidate;
    }
    if (source_part == nullptr) {
      throw Error(ErrorKind::kBadInput, "the model has no part '" + part.name + "', which the bundle has",
                  source_path.string(), "build the bundle again");
    }
    const BuildPlan part_plan = plan_of(bundle, part);
    const Model lowered = lowered_model(bundle, part, source_part->model, part_plan, options.progress);
    PartToProve to_prove;
    to_prove.name = part.name;
    to_prove.source = &source_part->model;
    if (imported.format == "onnx") to_prove.source_file = source_path;
    to_prove.lowered = &lowered;
    std::optional<Error> absence;
    std::string note;
    to_prove.engine = load_if_it_runs_here(bundle, part.name, {options.num_threads, false}, absence);
    if (to_prove.engine) {
      note = version_note(part, *to_prove.engine);
      std::optional<Error> no_exact_form;  // A TensorRT engine computes in its own precision only.
      to_prove.exact_engine = load_if_it_runs_here(bundle, part.name, {options.num_threads, true}, no_exact_form);
    } else if (absence->kind() == ErrorKind::kUnsupported) {  // A missing device needs no further words.
      to_prove.engine_absence = "it " + absence->message();
      note = absence->where() + " " + absence->message() + "; what to do: " + absence->remedy();
    }
    const bool is_language = has_paged_attention(*to_prove.source);
    const bool is_quantised = part_plan.weights != WeightFormat::kAsStored &&
                              !(quantizes_products(part_plan) && !is_language) &&
                              (is_language || has_stored_weights(*to_prove.source));
    // What quantisation costs is measured on text and audio. An engine that runs is held to the weights in the bundle;
    // where only its graph can be run, that would be compared with itself, so the weights are stored once more.
    const bool is_stored_again = is_quantised && !to_prove.engine && part_plan.weights != WeightFormat::kInt4Awq;
    to_prove.stored = !is_quantised     ? to_prove.source
                      : is_stored_again ? &stored.of(*source_part, part_plan)
                                        : &lowered;
    if (!is_language && is_quantised) to_prove.source = to_prove.stored;
    proofs.push_back({part.name,
                      is_language ? prove_language_bundle_part(bundle, to_prove, part_plan, imported, options)
                                  : prove_part(to_prove, part_plan, manifest.task, options),
                      std::move(note)});
  }
  return proofs;
}

}  // namespace pajamas
