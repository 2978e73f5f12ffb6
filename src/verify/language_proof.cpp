// Sequences through the engine and through the reference. See language_proof.h.
#include "verify/language_proof.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "base/digest.h"
#include "base/files.h"
#include "graph/passes/dense_cache.h"
#include "io/onnx_writer.h"
#include "pajamas/error.h"
#include "verify/comparison.h"
#include "verify/sequence_engine.h"
#include "verify/tolerances.h"
#include "verify/widen.h"

namespace pajamas {
namespace fs = std::filesystem;
namespace {

constexpr const char* kStep = "Verifying";
/// Prefill is cut here, so that chunks of one sequence and a chunk's remainder are part of every proof of a longer one.
constexpr std::int64_t kChunkTokens = 48;

using NamedInputs = std::vector<std::pair<std::string, Tensor>>;

/// Inputs of an expanded graph for all logits of one sequence.
NamedInputs inputs_of(const std::vector<std::int64_t>& tokens) {
  const Shape shape{static_cast<std::int64_t>(tokens.size())};
  std::vector<std::int64_t> positions(tokens.size());
  for (std::size_t i = 0; i < positions.size(); ++i) positions[i] = static_cast<std::int64_t>(i);
  const Tensor all = Tensor::of<std::int64_t>(shape, std::span<const std::int64_t>(positions));
  return {{"input_ids", Tensor::of<std::int64_t>(shape, std::span<const std::int64_t>(tokens))},
          {"position_ids", all},
          {"logit_rows", all}};
}

NamedInputs inputs_of(const LanguageProofRequest& request, std::size_t sequence) {
  NamedInputs inputs = inputs_of(request.sequences[sequence]);
  inputs.insert(inputs.end(), request.fixed_inputs.begin(), request.fixed_inputs.end());
  return inputs;
}

std::string implementation_of(const Engine& engine) {
  const nlohmann::json description = engine.describe();
  const std::string library = description.value("library", "");
  return description.value("target", "engine") + (library.empty() ? "" : " " + library);
}

/// What an engine is judged as: its own precision, or bfloat16 where the linear layers compute with 8-bit activations,
/// whose steps (2^-8 of the largest of a row) are the roundings of bfloat16.
Precision arithmetic_of(const Engine& engine) {
  const nlohmann::json description = engine.describe();
  if (description.contains("packed_linear")) return Precision::kBf16;
  return parse_precision(description.value("precision", "fp32"));
}

template <typename Run>
ProvenCandidate judged(ProvenCandidate candidate, const std::vector<Tensor>& expected, const Run& run) {
  candidate.operator_class = OperatorClass::kLogits;
  candidate.tolerance = tolerance(candidate.precision, candidate.operator_class);
  try {
    for (std::size_t i = 0; i < expected.size(); ++i) {
      OutputComparison output;
      output.case_name = "sequence " + std::to_string(i + 1);
      output.comparison = compare("logits", expected[i], run(i));
      output.past_tolerance = past_tolerance(output.comparison, candidate.tolerance);
      candidate.outputs.push_back(std::move(output));
    }
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::kCancelled || error.kind() == ErrorKind::kDeviceMissing) throw;
    candidate.error = error.what();
  }
  candidate.is_passed = candidate.error.empty() && !candidate.outputs.empty() &&
                        std::none_of(candidate.outputs.begin(), candidate.outputs.end(),
                                     [](const OutputComparison& output) { return output.past_tolerance.has_value(); });
  return candidate;
}

std::string through_cache(const LanguageProofRequest& request) {
  return ", prefill in chunks of " + std::to_string(kChunkTokens) + " tokens and the last " +
         std::to_string(request.num_decoded) + " decoded one by one through its cache";
}

/// An engine with a cache on all sequences.
ProvenCandidate cached_candidate(const LanguageProofRequest& request, const std::shared_ptr<const Engine>& engine,
                                 ProvenCandidate candidate, const char* detail, const std::vector<Tensor>& expected) {
  std::int64_t longest = 1;
  for (const auto& sequence : request.sequences)
    longest = std::max(longest, static_cast<std::int64_t>(sequence.size()));
  const auto adapted = single_sequence_engine(engine, longest, kChunkTokens, request.num_decoded, request.fixed_inputs);
  const auto session = adapted->new_session();
  return judged(std::move(candidate), expected, [&](std::size_t i) {
    request.progress.check(kStep);
    request.progress.step(kStep, -1, detail);
    const auto inputs = inputs_of(request.sequences[i]);
    for (std::size_t k = 0; k < inputs.size(); ++k) session->set_input(k, inputs[k].second.view());
    session->run();
    return Tensor::copy_of(session->output(0));
  });
}

ProvenCandidate engine_candidate(const LanguageProofRequest& request, const std::shared_ptr<const Engine>& engine,
                                 bool is_exact, const std::vector<Tensor>& expected) {
  ProvenCandidate candidate;
  candidate.name = is_exact ? "engine_exact_fp32" : "engine";
  candidate.what = std::string(is_exact ? "the engine, told to compute in float32" : "the engine as it will run") +
                   through_cache(request);
  candidate.implementation = implementation_of(*engine);
  candidate.precision = is_exact ? Precision::kFp32 : arithmetic_of(*engine);
  return cached_candidate(request, engine, std::move(candidate), is_exact ? "the engine in float32" : "the engine",
                          expected);
}

/// The graph with a dense cache that the target was given, step by step.
ProvenCandidate dense_candidate(const LanguageProofRequest& request, const std::vector<Tensor>& expected,
                                std::string& sha256) {
  ProvenCandidate candidate;
  candidate.name = "lowered_model";
  candidate.what = "the graph that the target was given, run by ONNX Runtime" + through_cache(request);
  candidate.precision = request.precision;
  if (candidate.precision == Precision::kFp16) {
    candidate.what +=
        "; it computes float16 operators in float32, so this shows the graph and its rounded weights "
        "and not the roundings of a device";
  }
  const bool is_widened = candidate.precision == Precision::kBf16;
  if (is_widened) {
    candidate.what +=
        "; its bfloat16 values are held in float32 and rounded after every operator, since ONNX Runtime "
        "computes no bfloat16 on CPUs";
  }
  LanguageReference lowered = load_language_reference(request.lowered, request.num_threads);
  sha256 = lowered.sha256;
  if (is_widened) lowered = load_language_reference(widen_low_precision(request.lowered), request.num_threads);
  candidate.implementation = "onnxruntime " + lowered.session->version();
  return cached_candidate(request, onnxruntime_engine(lowered.session, request.num_threads), std::move(candidate),
                          "the lowered model", expected);
}

std::string text_of(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.2g", value);
  return text;
}

std::string summary_of(const Proof& proof) {
  std::string failures;
  std::string agreed;
  for (const ProvenCandidate& candidate : proof.candidates) {
    double worst = 0;
    for (const OutputComparison& output : candidate.outputs) {
      worst = std::max(worst, output.comparison.relative_l2);
      if (!output.past_tolerance) continue;
      failures += (failures.empty() ? "" : " ") + candidate.name + " failed: " + output.case_name + ": " +
                  *output.past_tolerance + " (" + describe(output.comparison) + ").";
      break;
    }
    if (!candidate.error.empty()) failures += candidate.name + " failed: " + candidate.error + ".";
    agreed += (agreed.empty() ? "" : ", ") + candidate.name + " (" + to_string(candidate.precision) +
              ") within relative L2 " + text_of(worst);
  }
  std::string text = failures;
  if (text.empty()) {
    text =
        "Agrees with " + proof.reference + " on " + std::to_string(proof.cases.size()) + " sequences: " + agreed + ".";
  }
  for (const std::string& note : proof.not_shown) text += " " + note;
  return text;
}

}  // namespace

LanguageReference load_language_reference(const Model& expanded, int num_threads,
                                          const std::vector<std::string>& extra_outputs) {
  // Never committed: it goes once ONNX Runtime has read it.
  const StagedDirectory folder(fs::temp_directory_path() / "pajamas-reference");
  const fs::path file = folder.path() / "model.onnx";
  OnnxWriteOptions write_options;
  write_options.external_data = OnnxWriteOptions::ExternalData::kAlways;
  write_onnx(expanded, file, write_options);
  OnnxRuntimeOptions options;
  options.num_threads = num_threads;
  // The model's own operators, one by one, as for every proof.
  options.optimisation = OnnxRuntimeOptions::Optimisation::kBasic;
  options.extra_outputs = extra_outputs;
  return {std::make_shared<const OnnxRuntimeSession>(file, options), sha256_hex_of_file(file)};
}

Proof prove_language(const LanguageProofRequest& request) {
  Proof proof;
  request.progress.check(kStep);
  request.progress.step(kStep, 0.0, "loading the reference");
  std::vector<Tensor> expected;
  proof.cases = nlohmann::json::array();
  {
    const LanguageReference reference = load_language_reference(request.source, request.num_threads);
    proof.reference = "onnxruntime " + reference.session->version();
    proof.reference_source = "the graph made from the checkpoint, its attention written out";
    proof.source_sha256 = reference.sha256;
    for (std::size_t i = 0; i < request.sequences.size(); ++i) {
      request.progress.check(kStep);
      request.progress.step(kStep, 0.2, "the reference");
      expected.push_back(reference.session->run(inputs_of(request, i)).at(0));
      const std::string type = "int64[" + std::to_string(request.sequences[i].size()) + "]";
      proof.cases.push_back({{"name", "sequence " + std::to_string(expected.size())},
                             {"kind", "real"},
                             {"inputs", {{"input_ids", type}, {"position_ids", type}, {"logit_rows", type}}}});
    }
  }
  request.progress.step(kStep, 0.4, "the lowered model");
  if (has_dense_cache(request.lowered)) {
    proof.candidates.push_back(dense_candidate(request, expected, proof.lowered_sha256));
  } else {
    const LanguageReference lowered = load_language_reference(request.lowered, request.num_threads);
    proof.lowered_sha256 = lowered.sha256;
    ProvenCandidate candidate;
    candidate.name = "lowered_model";
    candidate.what = "the graph that the target was given, its attention written out, run by ONNX Runtime";
    candidate.implementation = proof.reference;
    candidate.precision = Precision::kFp32;  // Weights are stored narrower, and computed with in float32.
    proof.candidates.push_back(judged(std::move(candidate), expected, [&](std::size_t i) {
      request.progress.check(kStep);
      return lowered.session->run(inputs_of(request, i)).at(0);
    }));
  }
  if (request.exact_engine) proof.candidates.push_back(engine_candidate(request, request.exact_engine, true, expected));
  if (request.engine) {
    proof.candidates.push_back(engine_candidate(request, request.engine, false, expected));
  } else {
    const std::string& why = request.engine_absence;
    proof.not_shown.push_back(
        "The engine itself has not run: " + (why.empty() ? "this machine has no device for it" : why) +
        ", so the proof covers the model it was built from.");
  }
  proof.is_passed = std::all_of(proof.candidates.begin(), proof.candidates.end(),
                                [](const ProvenCandidate& candidate) { return candidate.is_passed; });
  proof.summary = summary_of(proof);
  request.progress.step(kStep, 1.0, proof.is_passed ? "passed" : "failed");
  return proof;
}

}  // namespace pajamas
