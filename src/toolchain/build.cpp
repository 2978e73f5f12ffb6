// The build pipeline. See build.h.
#include "toolchain/build.h"

#include <algorithm>
#include <ctime>
#include <map>
#include <utility>

#include "base/log.h"
#include "bundle/bundle.h"
#include "engine/bundle_plan.h"
#include "graph/block_weight_nodes.h"
#include "graph/inline_functions.h"
#include "graph/passes/expand_paged_attention.h"
#include "graph/passes/raise_opset.h"
#include "pajamas/error.h"
#include "targets/registry.h"
#include "tasks/registry.h"
#include "toolchain/calibrate.h"
#include "toolchain/import.h"
#include "toolchain/language_part.h"
#include "toolchain/prove_bundle.h"
#include "toolchain/target_form.h"
#include "toolchain/version.h"

namespace pajamas {
namespace fs = std::filesystem;
namespace {

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

/// Collects how long each step took.
class StepClock {
 public:
  template <typename Work>
  auto timed(const std::string& name, const Work& work) {
    const auto start = std::chrono::steady_clock::now();
    struct Stop {
      StepClock& clock;
      const std::string& name;
      std::chrono::steady_clock::time_point start;
      ~Stop() { clock.add(name, std::chrono::steady_clock::now() - start); }
    } stop{*this, name, start};
    return work();
  }
  std::vector<BuildStep> take() { return std::move(steps_); }

 private:
  void add(const std::string& name, std::chrono::nanoseconds time) {
    for (BuildStep& step : steps_) {
      if (step.name == name) {
        step.time += time;
        return;
      }
    }
    steps_.push_back({name, time});
  }
  std::vector<BuildStep> steps_;
};

std::vector<ManifestTensor> describe(const std::vector<TensorInfo>& tensors) {
  std::vector<ManifestTensor> result;
  for (const TensorInfo& tensor : tensors) {
    ManifestTensor described{tensor.name, to_string(tensor.dtype), {}};
    for (const Dimension& dimension : tensor.shape) described.shape.push_back(dimension.to_string());
    result.push_back(std::move(described));
  }
  return result;
}

/// The engine was built, but computes something else. Its own type, because another precision may mend it.
class ProofFailed : public Error {
 public:
  using Error::Error;
};

void require_proof(const Proof& proof, const BuildRequest& request, const std::string& part) {
  if (proof.is_passed) return;
  const std::string text = "the built engine does not compute what the model computes: " + proof.summary;
  if (request.is_unproven_accepted) {
    log().warn("{} (kept because --accept-unproven was given)", text);
    return;
  }
  throw ProofFailed(ErrorKind::kUnsupported, text, request.source.string() + (part == "model" ? "" : ", part " + part),
                    "try --precision fp32, keep the named operators in float32 with --keep-fp32, or accept it with "
                    "--accept-unproven");
}

}  // namespace

LoweredModel lower(const Model& model, const Target& target, const BuildPlan& plan, const Progress& progress) {
  LoweredModel lowered{model, {}};
  PassOptions options;
  options.folding.keeps_half_weights =
      (has_stored_weights(model) && !quantizes_products(plan)) || has_paged_attention(model);
  if (has_paged_attention(model)) {
    options.removes_duplicates = false;  // It would read gigabytes of weights that no definition writes twice.
  }
  switch (target.graph_precision(plan)) {
    case Precision::kFp16: options.float_type = DType::kFloat16; break;
    case Precision::kBf16: options.float_type = DType::kBfloat16; break;
    case Precision::kAuto:
    case Precision::kTf32:
    case Precision::kFp32: break;
  }
  options.keep_fp32_ops = plan.keep_fp32_ops;
  for (const ShapeProfile& profile : plan.profiles) {
    if (profile.min == profile.max) options.fixed_shapes.emplace_back(profile.input, profile.opt);
  }
  inline_functions(lowered.model);
  PassReport raised;
  if (plan.target == "cuda" && options.float_type != DType::kFloat32)
    raised = raise_for_half_quantization(lowered.model);
  lowered.log = run_passes(lowered.model, options, progress);
  if (raised.num_changes > 0) lowered.log.reports.insert(lowered.log.reports.begin(), raised);
  return lowered;
}

void quantize(LoweredModel& lowered, const BuildPlan& plan, const Magnitudes& magnitudes) {
  ProductQuantization options;
  options.keep = plan.keep_fp32_ops;
  lowered.log.reports.push_back(quantize_products(lowered.model, magnitudes, options));
  lowered.log.num_nodes_after = lowered.model.graph.nodes.size();
}

nlohmann::json to_json(const PassLog& log) {
  nlohmann::json passes = nlohmann::json::array();
  for (const PassReport& report : log.reports) {
    nlohmann::json counts = nlohmann::json::object();
    for (const auto& [kind, number] : report.counts) counts[kind] = number;
    passes.push_back(
        {{"pass", report.pass}, {"changes", report.num_changes}, {"counts", counts}, {"notes", report.notes}});
  }
  // The worst weights only: a converted model of thousands of tensors must not make a manifest of megabytes.
  constexpr std::size_t kMaxListed = 20;
  nlohmann::json conversions = nlohmann::json::array();
  for (std::size_t i = 0; i < log.conversions.size() && i < kMaxListed; ++i) {
    const WeightConversion& conversion = log.conversions[i];
    conversions.push_back({{"name", conversion.name},
                           {"elements", conversion.num_elements},
                           {"saturated", conversion.num_saturated},
                           {"flushed_to_zero", conversion.num_flushed_to_zero},
                           {"subnormal", conversion.num_subnormal},
                           {"max_magnitude", conversion.max_magnitude}});
  }
  return {{"nodes_before", log.num_nodes_before},
          {"nodes_after", log.num_nodes_after},
          {"passes", passes},
          {"weights_with_losses", log.conversions.size()},
          {"worst_weights", conversions}};
}

namespace {

/// Most tokens of the calibration text that are read: enough for stable activation statistics and perplexity.
constexpr std::size_t kMaxCalibrationTokens = 4096;
constexpr std::uint64_t kMaxCalibrationBytes = 64ULL << 20;

/// Options that a model has no use for are refused, not ignored.
void refuse_unused_options(const BuildRequest& request, const ImportedModel& imported) {
  const auto refuse = [](bool is_given, const char* option, const char* why, const char* remedy) {
    if (is_given) throw Error(ErrorKind::kUsage, why, option, remedy);
  };
  const auto has_cache = [](const ImportedPart& part) { return has_paged_attention(part.model); };
  const bool has_decoder = std::any_of(imported.parts.begin(), imported.parts.end(), has_cache);
  const bool is_language = std::all_of(imported.parts.begin(), imported.parts.end(), has_cache);
  const bool is_quantisable = std::any_of(imported.parts.begin(), imported.parts.end(), [&](const ImportedPart& part) {
    return has_cache(part) || has_stored_weights(part.model);
  });
  const BuildPlan& plan = request.plan;
  if (imported.parts.size() > 1) check_profile_names(find_target(plan.target), imported, plan);
  if (is_language) {
    refuse(!plan.profiles.empty(), "--shapes", "a language model takes any number of tokens, so it has no shapes",
           "leave it out; --context N bounds prompt and answer");
    refuse(!request.images.empty(), "--verify-images", "a language model takes no pictures", "leave it out");
    refuse(request.is_per_layer, "--per-layer", "the proof of a language model compares its logits only",
           "leave it out");
  }
  if (has_decoder && quantizes_products(plan)) {
    throw Error(ErrorKind::kUnsupported, "the cuda target has no 8-bit floats for models that keep a cache",
                "--precision fp8", "use --precision fp16");
  }
  const bool has_small_products = !is_language && quantizes_products(plan);
  refuse(!is_quantisable && !has_small_products && plan.weights != WeightFormat::kAsStored, "--precision",
         "weights of this form are for language models and their kin",
         "use auto, fp32, fp16 or bf16 (target cuda: fp8 too); other int8 models come quantised, with Q/DQ nodes");
  refuse(!has_decoder && plan.context_length > 0, "--context", "is for language models", "leave it out");
  refuse(!has_decoder && !has_small_products && !request.calibration.empty(), "--calibration",
         "is for language models, and for products in 8-bit floats (--target cuda --precision fp8)", "leave it out");
  refuse(!request.calibration.empty() && plan.weights == WeightFormat::kAsStored, "--calibration",
         "nothing is quantised, so there is nothing to calibrate or to measure",
         "choose --precision int8, int8-g128, int4, int4-awq or fp8, or leave it out");
}

/// A bundle takes the place of its folder as a whole, so a folder that holds anything else is left alone.
void check_output(const fs::path& output) {
  std::error_code ignored;
  if (!fs::is_directory(output, ignored) || fs::exists(output / kManifestFileName, ignored) ||
      fs::is_empty(output, ignored)) {
    return;
  }
  throw Error(ErrorKind::kBadInput, "is a folder that holds other files, which the bundle would replace",
              output.string(), "choose a new folder with -o, for example " + (output / "bundle").string());
}

/// Tokens of the calibration text, or of none.
std::vector<std::int64_t> calibration_tokens(const BuildRequest& request, const std::optional<Tokenizer>& tokenizer) {
  if (request.calibration.empty()) return {};
  if (!tokenizer) {
    throw Error(ErrorKind::kUnsupported, "the model has no tokenizer, so text cannot be read", "--calibration",
                "leave --calibration out");
  }
  std::vector<std::int64_t> tokens = tokens_of(*tokenizer, read_text(request.calibration, kMaxCalibrationBytes));
  if (tokens.size() < 64) {
    throw Error(ErrorKind::kBadInput, "has only " + std::to_string(tokens.size()) + " tokens",
                request.calibration.string(), "give a text of some pages");
  }
  if (tokens.size() > kMaxCalibrationTokens) tokens.resize(kMaxCalibrationTokens);
  return tokens;
}

/// Proof of a language model too large for one of the whole: its first layers, compiled by themselves.
Proof prove_first_layers(LanguageProofInputs inputs, const ProvableLayers& layers, const ImportedPart& part,
                         const ImportedModel& imported, BuildPlan plan, const Progress& progress) {
  const Target& target = find_target(plan.target);
  const Model stored = first_layers(*inputs.stored, layers.num_provable, inputs.vocab_size);
  std::erase_if(inputs.fixed_inputs,
                [&](const auto& input) { return stored.graph.find_input(input.first) == nullptr; });
  inputs.vocab_size = std::min(inputs.vocab_size, kProofVocabulary);
  const Model form = target_form(target, stored, imported);
  std::erase_if(plan.profiles,
                [&](const ShapeProfile& profile) { return form.graph.find_input(profile.input) == nullptr; });
  const LoweredModel lowered = lower(form, target, plan, progress);
  // Never committed: it goes when this returns, or with the process that watches this one.
  const StagedDirectory folder(fs::temp_directory_path() / "pajamas-proof");
  const CompiledPart compiled = target.compile({lowered.model, plan, part.name, folder.path(), progress});
  inputs.stored = &stored;
  inputs.lowered = &lowered.model;
  inputs.engine = load_compiled(folder.path(), part.name, compiled, plan, false);
  if (inputs.engine) inputs.exact_engine = load_compiled(folder.path(), part.name, compiled, plan, true);
  Proof proof = prove_language_part(inputs, plan, progress);
  const std::string note = "Proven with the first " + std::to_string(layers.num_provable) + " of " +
                           std::to_string(layers.num_layers) + " layers and rows of " +
                           std::to_string(inputs.vocab_size) +
                           " tokens in the tables, because the whole would need more memory than the build may "
                           "take (--memory-limit).";
  proof.not_shown.push_back(note);
  proof.summary += " " + note;
  return proof;
}

/// Proof of a language model, and what its quantisation cost on text.
Proof prove_language_model(const LanguageProofInputs& inputs, const BuildRequest& request, const BuildPlan& plan,
                           const std::vector<std::int64_t>& calibration, nlohmann::json& quality) {
  Proof proof = prove_language_part(inputs, plan, request.progress);
  if (plan.weights == WeightFormat::kAsStored || !inputs.engine || calibration.empty()) return proof;
  const MeasuredText measured =
      measure_on_text(inputs.engine, inputs.original, calibration, {}, plan.num_threads, request.progress);
  quality = to_json(measured.quality);
  if (!measured.note.empty()) quality["note"] = measured.note;
  return proof;
}

/// A part as its weights stand in the bundle, for parts that share them.
struct StoredPart {
  Model model;
  StoredWeights weights;
};
using StoredParts = std::map<std::string, StoredPart>;

/// Activations that the pass put into 8-bit floats.
std::size_t num_small_activations(const PassLog& log) {
  for (const PassReport& report : log.reports) {
    if (report.pass != kFloat8PassName) continue;
    for (const auto& [kind, number] : report.counts) {
      if (kind == "activations") return static_cast<std::size_t>(number);
    }
  }
  return 0;
}

/// Lowers, compiles and proves one part into `folder`, and describes it in `result`.
void build_part(const ImportedPart& part, const ImportedModel& imported, const BuildRequest& request,
                const BuildPlan& bundle_plan, const fs::path& folder, StepClock& clock, StoredParts& stored_parts,
                BuildResult& result) {
  const Progress& progress = request.progress;
  BuildPlan plan = part.is_float32 ? in_float32(bundle_plan) : bundle_plan;
  const Target& target = find_target(plan.target);
  progress.step("Simplifying the graph");
  const bool is_language = has_paged_attention(part.model);
  Model source = part.model;
  std::optional<Tokenizer> tokenizer;
  std::vector<std::int64_t> calibration;
  StoredWeights stored;
  if (is_language) {
    tokenizer = tokenizer_of(imported);
    calibration = calibration_tokens(request, tokenizer);
  }
  const bool has_small_products = !is_language && quantizes_products(plan);
  const bool is_stored = !has_small_products && (is_language || has_stored_weights(part.model));
  if (!part.derived_from.empty()) {
    const StoredPart& origin = stored_parts.at(part.derived_from);
    source = part.derive(origin.model);
    stored = origin.weights;
  } else if (is_stored) {
    stored =
        clock.timed("weights", [&] { return store_weights(source, plan, folder, part.name, calibration, progress); });
    stored_parts[part.name] = {source, stored};
  } else if (has_small_products) {
    stored_parts[part.name] = {source, {}};
  }
  const ProvableLayers layers = is_language ? provable_layers(source.graph, plan) : ProvableLayers{};
  const Model form = target_form(target, source, imported);
  plan.profiles = target_profiles(target, form, part, imported, bundle_plan);
  LoweredModel lowered = clock.timed("passes", [&] { return lower(form, target, plan, progress); });
  Calibration measured;
  LoweredModel unquantised;
  if (has_small_products) {
    unquantised = lowered;
    CalibrationRequest wanted;
    wanted.source = &form;
    wanted.lowered = &lowered.model;
    wanted.part = part.name;
    wanted.task = &imported.task;
    wanted.images = request.calibration.empty() ? request.images : pictures_at(request.calibration);
    wanted.profiles = plan.profiles;
    wanted.num_threads = plan.num_threads;
    wanted.progress = progress;
    measured = clock.timed("calibrate", [&] { return calibrate(wanted); });
    quantize(lowered, plan, measured.magnitudes);
    if (measured.is_made_up) {
      result.notes.push_back(part.name + ": calibrated on " + measured.inputs +
                             "; give pictures that the model will see with --calibration");
    }
  }
  for (const PassReport& report : lowered.log.reports) {
    for (const std::string& note : report.notes) result.notes.push_back(part.name + ": " + note);
  }
  if (const Support support = target.supports(lowered.model, plan); !support) {
    throw Error(ErrorKind::kUnsupported, "target " + plan.target + " cannot build it: " + support.reason, {},
                support.remedy);
  }
  const auto compile = [&] {
    return target.compile(
        {lowered.model, plan, part.name, folder, progress, request.timing_cache, stored.file, !layers.is_all()});
  };
  CompiledPart compiled = clock.timed("compile", compile);
  if (has_small_products) {
    // What the device is slower at in 8 bits stays in 16: once more without it.
    const nlohmann::json products = compiled.facts.value("products", nlohmann::json());
    const std::size_t num_wide = leave_wide(measured, compiled.facts);
    if (num_wide > 0) {
      lowered = unquantised;
      quantize(lowered, plan, measured.magnitudes);
      compiled = clock.timed("compile", compile);
      compiled.facts["products"] = products;
    }
    result.notes.push_back(part.name + ": products of " + std::to_string(num_small_activations(lowered.log)) +
                           " activations are in 8-bit floats" +
                           (num_wide == 0 ? ""
                                          : "; those of " + std::to_string(num_wide) +
                                                " stay in 16 bits, which is faster there on this GPU"));
    unquantised = {};
  }
  if (imported.task.name != "none") {
    find_task(imported.task.name).check(imported.task, part.name, compiled.inputs, compiled.outputs);
  }
  nlohmann::json quality;
  const Proof proof = clock.timed("verify", [&] {
    if (is_language) {
      LanguageProofInputs inputs;
      inputs.original = &part.model;
      inputs.stored = &source;
      inputs.lowered = &lowered.model;
      inputs.tokenizer = tokenizer;
      const LanguageExtents extents = language_extents(part.model, imported.task);
      inputs.vocab_size = extents.vocab_size;
      inputs.context_length = extents.context_length;
      inputs.fixed_inputs = fixed_inputs_of(part.model, imported.parts, plan, progress);
      if (!layers.is_all()) return prove_first_layers(inputs, layers, part, imported, plan, progress);
      inputs.engine = load_compiled(folder, part.name, compiled, plan, false);
      if (inputs.engine) inputs.exact_engine = load_compiled(folder, part.name, compiled, plan, true);
      return prove_language_model(inputs, request, plan, calibration, quality);
    }
    PartToProve to_prove;
    to_prove.name = part.name;
    to_prove.source = is_stored ? &source : &part.model;
    if (imported.format == "onnx") to_prove.source_file = request.source;
    to_prove.lowered = &lowered.model;
    to_prove.engine = load_compiled(folder, part.name, compiled, plan, false);
    if (to_prove.engine) to_prove.exact_engine = load_compiled(folder, part.name, compiled, plan, true);
    ProveOptions options;
    options.images = request.images;
    options.is_per_layer = request.is_per_layer;
    options.num_threads = plan.num_threads;
    options.progress = progress;
    return prove_part(to_prove, plan, imported.task, options);
  });
  require_proof(proof, request, part.name);

  ManifestPart described;
  described.name = part.name;
  for (const CompiledFile& file : compiled.files) described.files.push_back({file.name, file.role, {}, 0});
  described.inputs = describe(compiled.inputs);
  described.outputs = describe(compiled.outputs);
  described.target_facts = compiled.facts;
  described.target_facts["passes"] = to_json(lowered.log);
  if (is_stored) described.target_facts["weights"] = to_json(stored);
  if (has_small_products) described.target_facts["calibration"] = to_json(measured);
  described.proof = proof.to_json();
  described.is_float32 = part.is_float32;
  if (!quality.is_null()) described.proof["text_quality"] = quality;
  result.manifest.parts.push_back(std::move(described));
}

/// Targets that write weights into files of their own leave those that were made for them unused.
void remove_unlisted(const StoredParts& stored_parts, const Manifest& manifest, const fs::path& folder) {
  for (const auto& stored : stored_parts) {
    if (stored.second.weights.file == nullptr) continue;
    const std::string name = stored.second.weights.file->path().filename().string();
    const bool is_listed = std::any_of(manifest.parts.begin(), manifest.parts.end(), [&](const ManifestPart& part) {
      return std::any_of(part.files.begin(), part.files.end(),
                         [&](const BundleFile& file) { return file.name == name; });
    });
    if (!is_listed) fs::remove(folder / name);
  }
}

/// Where a large file may lie for the time of a build: beside the bundle, as far as that folder is there already.
fs::path scratch_directory(const BuildRequest& request) {
  fs::path folder = fs::absolute(request.output.value_or(fs::path("bundle"))).lexically_normal().parent_path();
  std::error_code ignored;
  while (!fs::is_directory(folder, ignored) && folder.has_relative_path()) folder = folder.parent_path();
  return folder;
}

/// Builds under a plan that leaves nothing open. Throws ProofFailed beside what build() throws.
BuildResult build_resolved(const BuildRequest& request, const BuildPlan& plan) {
  const Progress& progress = request.progress;
  StepClock clock;

  ImportHints hints = request.hints;
  hints.context_length = plan.context_length;
  hints.scratch_directory = scratch_directory(request);
  ImportedModel imported = clock.timed("import", [&] { return import_model(request.source, hints, progress); });

  BuildResult result;
  Manifest& manifest = result.manifest;
  manifest.model = folder_name(request.model_name.empty() ? imported.name : request.model_name);
  manifest.target = plan.target;
  manifest.precision = precision_name(plan);
  BuildPlan stored_plan = plan;
  for (const ImportedPart& part : imported.parts) {
    if (!plan.profiles.empty()) break;
    stored_plan.profiles.insert(stored_plan.profiles.end(), part.profiles.begin(), part.profiles.end());
  }
  manifest.plan = to_json(stored_plan);
  manifest.task = imported.task;
  manifest.source = {{"path", fs::absolute(request.source).lexically_normal().string()},
                     {"format", imported.format},
                     {"family", imported.family},
                     {"hints",
                      {{"task", request.hints.task},
                       {"head", request.hints.head},
                       {"tokenizer", request.hints.tokenizer.string()},
                       {"voice_detector", request.hints.voice_detector.string()}}},
                     {"sha256", source_digest(request.source)}};
  manifest.made_by = {{"pajamas", program_version()}};
  manifest.created_at = utc_now();

  refuse_unused_options(request, imported);
  const fs::path output = request.output ? *request.output : bundle_path(".", manifest);
  check_output(output);
  StagedDirectory staged(output);
  StoredParts stored_parts;
  try {
    for (ImportedPart& part : imported.parts) {
      const std::string where = request.source.string() + (part.name == "model" ? "" : ", part " + part.name);
      try {
        build_part(part, imported, request, plan, staged.path(), clock, stored_parts, result);
      } catch (const Error& error) {
        // What an option or a file of its own is blamed for is not the model's fault.
        const bool has_place = error.where().starts_with("--") ||
                               (!request.calibration.empty() && error.where() == request.calibration.string());
        if (has_place || error.where().find(request.source.string()) != std::string::npos) throw;
        throw error.with_context(where);
      }
    }
    remove_unlisted(stored_parts, manifest, staged.path());
    for (const ImportedFile& file : imported.files) {
      const auto mapped = file.path.empty() ? nullptr : MappedFile::open(file.path);
      write_file(staged.path() / file.name, mapped ? mapped->bytes() : std::as_bytes(std::span(file.contents)));
      manifest.files.push_back({file.name, file.role, {}, 0});
    }
    clock.timed("pack", [&] { write_bundle(staged, manifest); });
  } catch (const ProofFailed&) {
    throw;
  } catch (const Error& error) {
    throw staged.described(error);
  } catch (const fs::filesystem_error& error) {
    throw staged.described(Error(ErrorKind::kBadInput, error.code().message(), error.path1().string(),
                                 "check free space and permissions, or choose another folder with -o"));
  }
  result.bundle = staged.target();
  result.steps = clock.take();
  return result;
}

}  // namespace

BuildResult build(const BuildRequest& request) {
  const Target& target = find_target(request.plan.target);
  if (!request.timing_cache.empty() && request.plan.target != "cuda") {
    throw Error(ErrorKind::kUsage, "the target " + request.plan.target + " chooses nothing by time", "--timing-cache",
                "leave --timing-cache out, or build with --target cuda");
  }
  const BuildPlan plan = target.resolve(request.plan);
  try {
    return build_resolved(request, plan);
  } catch (const ProofFailed& failure) {
    // "auto" promises the fastest precision that stays accurate, and this one did not. fp8 was asked for by name.
    if (request.plan.precision != Precision::kAuto || quantizes_products(request.plan)) throw;
    request.progress.step("Building again in float32: the faster precision failed its proof");
    BuildRequest exact = request;
    exact.plan.precision = Precision::kFp32;
    BuildResult result = build_resolved(exact, target.resolve(exact.plan));
    const std::string note =
        "--precision auto chose fp32, because the faster one was not accurate enough: " + failure.message() +
        " (name the precision with --accept-unproven to keep it)";
    log().warn("{}", note);
    result.notes.insert(result.notes.begin(), note);
    return result;
  }
}

}  // namespace pajamas
