// The proof: the reference on every case, then each candidate on the same, then the layers where they are wanted.
#include "verify/proof.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <set>

#include "base/digest.h"
#include "base/log.h"
#include "io/onnx_writer.h"
#include "pajamas/error.h"
#include "verify/input_cases.h"
#include "verify/layers.h"
#include "verify/runner.h"
#include "verify/selection.h"
#include "verify/widen.h"

namespace pajamas {
namespace {

constexpr const char* kStep = "Verifying";

bool is_quantised(const Graph& graph) {
  return std::any_of(graph.nodes.begin(), graph.nodes.end(), [](const Node& node) {
    return node.is("QuantizeLinear") || node.is("DynamicQuantizeLinear") || node.op_type.rfind("QLinear", 0) == 0 ||
           node.is("ConvInteger") || node.is("MatMulInteger");
  });
}

/// The narrowest floating-point type that the graph stores values in.
Precision precision_of(const Graph& graph) {
  if (contains_dtype(graph, DType::kBfloat16)) return Precision::kBf16;
  if (contains_dtype(graph, DType::kFloat16)) return Precision::kFp16;
  return Precision::kFp32;
}

/// The one that rounds more coarsely.
Precision coarser(Precision a, Precision b) {
  const auto rank = [](Precision p) {
    return p == Precision::kBf16 ? 3 : p == Precision::kFp16 ? 2 : p == Precision::kTf32 ? 1 : 0;
  };
  return rank(a) >= rank(b) ? a : b;
}

/// What an engine says it computes in.
Precision precision_of(const Engine& engine) {
  const auto description = engine.describe();
  const auto found = description.find("precision");
  const std::string text = found != description.end() && found->is_string() ? found->get<std::string>() : "";
  if (text == "bf16" || text == "bfloat16") return Precision::kBf16;
  if (text == "fp16" || text == "f16" || text == "float16") return Precision::kFp16;
  if (text == "tf32") return Precision::kTf32;
  return Precision::kFp32;
}

struct Case {
  std::string name;
  bool is_real = false;
  NamedTensors inputs;
  std::map<std::string, Tensor> expected;
};

NamedTensors named(const Graph& source, std::vector<Tensor> tensors) {
  NamedTensors inputs;
  const auto infos = source.required_inputs();
  for (std::size_t i = 0; i < infos.size(); ++i) inputs.emplace_back(infos[i]->name, std::move(tensors[i]));
  return inputs;
}

/// The cases that the source runs on, with what it computes.
std::vector<Case> reference_cases(const ProofRequest& request, const Runner& reference) {
  std::vector<Case> cases;
  const auto num_inputs = request.source.graph.required_inputs().size();
  for (std::size_t i = 0; i < request.real_inputs.size(); ++i) {
    request.progress.check(kStep);
    request.progress.step(kStep, 0.05, "reference on real inputs");
    if (request.real_inputs[i].size() != num_inputs) {
      throw Error(ErrorKind::kUsage, "a set of real inputs has " + std::to_string(request.real_inputs[i].size()) +
                                         " tensors for the model's " + std::to_string(num_inputs) + " inputs");
    }
    Case one{"real input " + std::to_string(i + 1), true, named(request.source.graph, request.real_inputs[i]), {}};
    one.expected = reference.run(one.inputs);
    cases.push_back(std::move(one));
  }
  std::vector<std::vector<InputCaseMaker>> made;
  try {
    made = seeded_cases(request.source.graph, request.lowered.graph, request.profiles, request.seed);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kUnsupported || cases.empty()) throw;
  }
  std::string refusal;
  for (const auto& alternatives : made) {
    for (const auto& make : alternatives) {
      request.progress.check(kStep);
      request.progress.step(kStep, 0.1, "reference on generated inputs");
      InputCase input = make();
      if (request.refine_inputs) request.refine_inputs(input.inputs);
      Case one{std::move(input.name), false, named(request.source.graph, std::move(input.inputs)), {}};
      try {
        one.expected = reference.run(one.inputs);
      } catch (const Error& error) {
        if (error.kind() != ErrorKind::kBadInput && error.kind() != ErrorKind::kUnsupported) throw;
        refusal = error.what();
        continue;
      }
      cases.push_back(std::move(one));
      break;
    }
  }
  if (cases.empty()) {
    throw Error(ErrorKind::kBadInput,
                "the source model runs on none of the inputs that were made up for it" +
                    (refusal.empty() ? std::string() : "; the last time because: " + refusal),
                request.source_file.string(), "give a real input of the shape that the model takes");
  }
  return cases;
}

/// Compares outputs that are past tolerance, behind a selection, as sets of rows. Outputs of one row count belong
/// together.
void compare_selected_as_sets(std::vector<OutputComparison>& outputs, const std::set<std::string>& selected,
                              const Case& one, const std::map<std::string, Tensor>& actual, const Tolerance& bounds) {
  const bool has_failure = std::any_of(outputs.begin(), outputs.end(), [&](const OutputComparison& output) {
    return output.past_tolerance && selected.contains(output.comparison.name);
  });
  if (!has_failure) return;
  const std::int64_t batch =
      !one.inputs.empty() && one.inputs[0].second.shape().rank() > 1 ? one.inputs[0].second.shape()[0] : -1;
  std::vector<RowColumn> columns;
  bool has_batch = true;
  for (const auto& output : outputs) {
    const std::string& name = output.comparison.name;
    if (!selected.contains(name) || !actual.contains(name)) continue;
    const Tensor& e = one.expected.at(name);
    const Tensor& a = actual.at(name);
    if (e.shape().rank() == 0 || a.shape().rank() != e.shape().rank()) continue;
    has_batch = has_batch && e.shape().rank() > 1 && e.shape()[0] == batch && a.shape()[0] == batch;
    columns.push_back({name, e, a});
  }
  const int axis = has_batch ? 1 : 0;
  std::map<std::pair<std::int64_t, std::int64_t>, std::vector<RowColumn>> groups;
  for (auto& column : columns) {
    const auto at = static_cast<std::size_t>(axis);
    groups[{column.expected.shape()[at], column.actual.shape()[at]}].push_back(std::move(column));
  }
  for (const auto& [extents, group] : groups) {
    for (auto& as_set : compare_rows(group, axis, bounds.row_tolerance)) {
      const auto output = std::find_if(outputs.begin(), outputs.end(),
                                       [&](const OutputComparison& o) { return o.comparison.name == as_set.name; });
      if (output == outputs.end() || !as_set.mismatch.empty() || !output->past_tolerance) continue;
      output->past_tolerance = past_tolerance(as_set, bounds);
      output->comparison = std::move(as_set);
    }
  }
}

std::vector<OutputComparison> compare_case(const ProofRequest& request, const Case& one,
                                           const std::map<std::string, Tensor>& actual,
                                           const std::set<std::string>& selected, const ProvenCandidate& candidate,
                                           bool has_real_cases) {
  std::vector<OutputComparison> outputs;
  for (const auto& info : request.source.graph.outputs) {
    const auto expected = one.expected.find(info.name);
    if (expected == one.expected.end() || expected->second.dtype() == DType::kUndefined) continue;  // a sequence
    OutputComparison output;
    output.case_name = one.name;
    const auto found = actual.find(info.name);
    if (found == actual.end()) {
      output.comparison.name = info.name;
      output.comparison.mismatch = "the output is missing";
    } else {
      output.comparison = compare(info.name, expected->second, found->second);
    }
    output.past_tolerance = past_tolerance(output.comparison, candidate.tolerance);
    // Noise gives a detector scores that are all alike, and their order means nothing below float32.
    output.is_gating =
        one.is_real || !has_real_cases || candidate.precision == Precision::kFp32 || !selected.contains(info.name);
    outputs.push_back(std::move(output));
  }
  compare_selected_as_sets(outputs, selected, one, actual, candidate.tolerance);
  return outputs;
}

const OutputComparison* first_failure(const ProvenCandidate& candidate) {
  for (const auto& output : candidate.outputs) {
    if (output.past_tolerance && output.is_gating) return &output;
  }
  return nullptr;
}

const Case& case_named(const std::vector<Case>& cases, const std::string& name) {
  const auto found = std::find_if(cases.begin(), cases.end(), [&](const Case& one) { return one.name == name; });
  return found != cases.end() ? *found : cases.front();
}

/// What a proof shares between its candidates.
struct Context {
  const ProofRequest& request;
  OnnxSource source;
  bool is_interpreted = false;  ///< The reference is the project's interpreter.
  std::vector<Case> cases;
  std::set<std::string> selected;
  std::optional<GivenSelections> given{};  ///< Made once the reference is known.

  Runner reference(const std::vector<std::string>& extra_outputs) const {
    if (is_interpreted) return interpreter_runner(request.source, extra_outputs);
    return onnxruntime_runner(source, extra_outputs, request.num_threads);
  }
  /// The same implementation on another model.
  Runner reference_of(const Model& model, const std::vector<std::string>& extra_outputs) const {
    if (is_interpreted) return interpreter_runner(model, extra_outputs);
    return onnxruntime_runner({std::make_shared<const std::string>(serialize_onnx(model)), {}}, extra_outputs,
                              request.num_threads);
  }
};

/// Judges outputs whose rows differ from the reference's by what TopK picked: the reference is given the candidate's
/// own picks, which must be near-ties, and then every row must be there and alike. What this finds is final; where it
/// cannot be had, the judgement of the rows as a set stands.
void judge_with_given_picks(std::vector<OutputComparison>& outputs, Context& context,
                            const std::function<std::map<std::string, Tensor>(const NamedTensors&)>& candidate_picks,
                            const Case& one, const std::map<std::string, Tensor>& actual, const Tolerance& bounds) {
  const auto is_open = [&](const OutputComparison& output) {
    return output.is_gating && context.selected.contains(output.comparison.name) &&
           (output.past_tolerance || output.comparison.num_rows_unmatched > 0);
  };
  if (!context.given->is_applicable() || std::none_of(outputs.begin(), outputs.end(), is_open)) return;
  GivenSelections::Result result;
  try {
    result = context.given->run(one.inputs, candidate_picks(one.inputs), one.expected, bounds);
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::kCancelled) throw;
    log().debug("rows behind TopK are matched as sets, since its picks cannot be judged: {}", error.what());
    return;
  }
  for (auto& output : outputs) {
    const std::string name = output.comparison.name;
    if (!context.selected.contains(name) || !actual.contains(name)) continue;
    if (result.finding.fault) {
      if (is_open(output)) output.past_tolerance = result.finding.fault;
      continue;
    }
    const Tensor& expected = result.expected.at(name);
    output.comparison = compare(name, expected, actual.at(name));
    output.comparison.selection_gap = result.finding.largest_gap;
    output.comparison.selection_margin = result.finding.margin;
    output.past_tolerance = fault_of_given_rows(output.comparison, expected, actual.at(name), bounds);
    if (output.past_tolerance) *output.past_tolerance += ", with the same rows picked on both sides";
  }
}

/// Names the first layer past tolerance, or says why none can be named.
void look_into_layers(const Context& context, const RunnerWithOutputs& with_outputs, ProvenCandidate& candidate) {
  const OutputComparison* failure = first_failure(candidate);
  if (failure == nullptr && !context.request.is_per_layer) return;
  if (!with_outputs) {
    candidate.layers_note = "the target cannot give inner values here, so no layer is named";
    return;
  }
  const Case& one = failure != nullptr ? case_named(context.cases, failure->case_name) : context.cases.front();
  try {
    LayerResult result = compare_layers({.source = context.request.source.graph,
                                         .lowered = context.request.lowered.graph,
                                         .reference = [&](const auto& extra) { return context.reference(extra); },
                                         .candidate = with_outputs,
                                         .inputs = one.inputs,
                                         .case_name = one.name,
                                         .tolerance = layer_tolerance(candidate.precision, candidate.operator_class),
                                         .has_all = context.request.is_per_layer,
                                         .progress = context.request.progress});
    candidate.first_bad_layer = std::move(result.first_bad);
    candidate.layers = std::move(result.layers);
    candidate.layers_note =
        std::to_string(result.num_compared) + " inner values were compared in case '" + one.name + "'";
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::kCancelled) throw;
    candidate.layers_note = std::string("inner values could not be compared: ") + error.what();
  }
}

void run_candidate(Context& context, const std::function<Runner()>& make, const RunnerWithOutputs& with_outputs,
                   ProvenCandidate& candidate, double fraction) {
  const auto& progress = context.request.progress;
  const bool has_real_cases = !context.request.real_inputs.empty();
  candidate.tolerance = tolerance(candidate.precision, candidate.operator_class);
  try {
    const Runner runner = make();
    Runner with_picks;  // made when first needed
    const auto candidate_picks = [&](const NamedTensors& inputs) {
      if (!with_outputs) throw Error(ErrorKind::kUnsupported, "the target cannot give inner values here");
      if (!with_picks.run) with_picks = with_outputs(context.given->picks());
      return with_picks.run(inputs);
    };
    candidate.implementation = runner.implementation;
    for (const auto& one : context.cases) {
      progress.check(kStep);
      progress.step(kStep, fraction, candidate.name + ", " + one.name);
      const auto actual = runner.run(one.inputs);
      auto outputs = compare_case(context.request, one, actual, context.selected, candidate, has_real_cases);
      judge_with_given_picks(outputs, context, candidate_picks, one, actual, candidate.tolerance);
      candidate.outputs.insert(candidate.outputs.end(), std::make_move_iterator(outputs.begin()),
                               std::make_move_iterator(outputs.end()));
    }
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::kCancelled || error.kind() == ErrorKind::kDeviceMissing) throw;
    candidate.error = error.what();
  }
  candidate.is_passed = candidate.error.empty() && first_failure(candidate) == nullptr && !candidate.outputs.empty();
  if (candidate.error.empty()) look_into_layers(context, with_outputs, candidate);
}

/// The lowered model's bytes on ONNX Runtime, widened where that has no kernels, or on the interpreter where it refuses
/// them.
ProvenCandidate lowered_candidate(Context& context, const std::shared_ptr<const std::string>& bytes) {
  const auto& request = context.request;
  ProvenCandidate candidate;
  candidate.name = "lowered_model";
  candidate.precision = precision_of(request.lowered.graph);
  candidate.operator_class = is_quantised(request.lowered.graph) ? OperatorClass::kQuantised : request.operator_class;
  candidate.what = "the ONNX bytes that the target was given (lowered_sha256), run by ONNX Runtime";
  OnnxSource source{bytes, {}};
  Runner loaded;  // handed over to the first use, so that weights are not read twice
  try {
    if (candidate.precision == Precision::kFp16) {
      candidate.what +=
          "; it computes float16 operators in float32, so this shows the graph and its rounded weights "
          "and not the roundings of a device";
    } else if (candidate.precision == Precision::kBf16) {
      candidate.what =
          "the lowered model with its bfloat16 values held in float32 and rounded after every operator, run by ONNX "
          "Runtime, which computes no bfloat16 on CPUs; so this shows the graph and its rounding, not the very bytes";
      source.bytes = std::make_shared<const std::string>(serialize_onnx(widen_low_precision(request.lowered)));
    }
    if (!context.is_interpreted) loaded = onnxruntime_runner(source, {}, request.num_threads);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kUnsupported) {
      candidate.tolerance = tolerance(candidate.precision, candidate.operator_class);
      candidate.error = error.what();
      return candidate;
    }
  }
  const bool is_interpreted = !loaded.run;
  if (is_interpreted) {
    candidate.what = "the lowered model, run by the project's interpreter, because ONNX Runtime does not run it";
  }
  const auto with_outputs = [&context, &request, source, is_interpreted](const std::vector<std::string>& extra) {
    return is_interpreted ? interpreter_runner(request.lowered, extra)
                          : onnxruntime_runner(source, extra, request.num_threads);
  };
  const auto first = [&] { return is_interpreted ? with_outputs({}) : std::move(loaded); };
  run_candidate(context, first, with_outputs, candidate, 0.3);
  return candidate;
}

ProvenCandidate engine_candidate(Context& context, const Engine& engine, bool is_exact) {
  const auto& request = context.request;
  ProvenCandidate candidate;
  candidate.name = is_exact ? "engine_exact_fp32" : "engine";
  candidate.what = is_exact ? "the engine, told to compute in float32" : "the engine as it will run";
  const Precision lowered = precision_of(request.lowered.graph);
  const Precision own = request.precision != Precision::kAuto ? request.precision : precision_of(engine);
  candidate.precision = is_exact ? lowered : coarser(own, lowered);
  RunnerWithOutputs with_outputs;
  if (request.compile_with_outputs) {
    with_outputs = [&request, is_exact](const std::vector<std::string>& extra) {
      const auto compiled = request.compile_with_outputs(with_more_outputs(request.lowered, extra), is_exact);
      Runner runner = engine_runner(*compiled);
      // The engine lives as long as the runner.
      runner.run = [compiled, run = std::move(runner.run)](const NamedTensors& inputs) { return run(inputs); };
      return runner;
    };
  }
  candidate.operator_class = request.operator_class;
  if (is_quantised(request.lowered.graph)) candidate.operator_class = OperatorClass::kQuantised;
  run_candidate(
      context, [&] { return engine_runner(engine); }, with_outputs, candidate, is_exact ? 0.5 : 0.7);
  return candidate;
}

std::string text_of(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.2g", value);
  return text;
}

std::string summary_of(const Proof& proof, std::size_t num_cases) {
  std::string text;
  for (const auto& candidate : proof.candidates) {
    if (candidate.is_passed) continue;
    text += (text.empty() ? "" : " ") + candidate.name + " failed: ";
    if (!candidate.error.empty()) {
      text += candidate.error;
    } else if (const auto* failure = first_failure(candidate); failure != nullptr) {
      text += "output '" + failure->comparison.name + "' in case '" + failure->case_name +
              "': " + *failure->past_tolerance + " (" + describe(failure->comparison) + ")";
    } else {
      text += "it has no output that can be compared";
    }
    if (candidate.first_bad_layer) {
      text += "; first layer past tolerance: " + candidate.first_bad_layer->node + ", value '" +
              candidate.first_bad_layer->value + "': " + candidate.first_bad_layer->why;
    } else if (!candidate.layers_note.empty()) {
      text += "; " + candidate.layers_note;
    }
    text += ".";
  }
  if (!text.empty()) return text;
  text =
      "Agrees with " + proof.reference + " on " + std::to_string(num_cases) + (num_cases == 1 ? " case: " : " cases: ");
  bool is_first = true;
  for (const auto& candidate : proof.candidates) {
    double worst = 0;
    for (const auto& output : candidate.outputs) {
      if (output.is_gating) worst = std::max(worst, output.comparison.relative_l2);
    }
    text += std::string(is_first ? "" : ", ") + candidate.name + " (" + to_string(candidate.precision) +
            ") within relative L2 " + text_of(worst);
    is_first = false;
  }
  text += ".";
  for (const auto& note : proof.not_shown) text += " " + note;
  return text;
}

}  // namespace

Proof prove(const ProofRequest& request) {
  Proof proof;
  proof.seed = request.seed;
  request.progress.check(kStep);
  request.progress.step(kStep, 0.0, "loading the reference");

  Context context{request, {}, false, {}, selected_values(request.source.graph)};
  if (request.source_file.empty()) {
    context.source.bytes = std::make_shared<const std::string>(serialize_onnx(request.source));
    proof.reference_source = "the graph made from the checkpoint, serialised";
    proof.source_sha256 = sha256_hex(std::as_bytes(std::span(*context.source.bytes)));
  } else {
    context.source.file = request.source_file;
    proof.reference_source = request.source_file.filename().string();
    proof.source_sha256 = sha256_hex_of_file(request.source_file);
  }
  {
    Runner reference;
    try {
      reference = context.reference({});
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kUnsupported) throw;
      context.is_interpreted = true;
      reference = context.reference({});
      proof.not_shown.push_back(
          std::string("ONNX Runtime does not run the source, so the reference is the project's own interpreter: ") +
          error.message());
    }
    proof.reference = reference.implementation;
    context.cases = reference_cases(request, reference);
  }
  context.given.emplace(
      request.source, request.lowered.graph, [&context](const auto& extra) { return context.reference(extra); },
      [&context](const Model& model, const auto& extra) { return context.reference_of(model, extra); });
  proof.cases = nlohmann::json::array();
  for (const auto& one : context.cases) {
    nlohmann::json inputs = nlohmann::json::object();
    for (const auto& [name, tensor] : one.inputs) inputs[name] = to_string(tensor.dtype()) + tensor.shape().to_string();
    proof.cases.push_back({{"name", one.name}, {"kind", one.is_real ? "real" : "seeded"}, {"inputs", inputs}});
  }

  {
    const auto bytes = std::make_shared<const std::string>(serialize_onnx(request.lowered));
    proof.lowered_sha256 = sha256_hex(std::as_bytes(std::span(*bytes)));
    proof.candidates.push_back(lowered_candidate(context, bytes));
  }
  if (request.exact_engine != nullptr) {
    proof.candidates.push_back(engine_candidate(context, *request.exact_engine, true));
  }
  if (request.engine != nullptr) {
    proof.candidates.push_back(engine_candidate(context, *request.engine, false));
  } else {
    const std::string& why = request.engine_absence;
    proof.not_shown.push_back(
        "The engine itself has not run: " + (why.empty() ? "this machine has no device for it" : why) +
        ", so the proof covers the model it was built from.");
  }
  proof.is_passed = std::all_of(proof.candidates.begin(), proof.candidates.end(),
                                [](const ProvenCandidate& candidate) { return candidate.is_passed; });
  proof.summary = summary_of(proof, context.cases.size());
  request.progress.step(kStep, 1.0, proof.is_passed ? "passed" : "failed");
  return proof;
}

}  // namespace pajamas
