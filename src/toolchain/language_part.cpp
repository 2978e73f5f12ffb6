// Weights and proofs of language models. See language_part.h.
#include "toolchain/language_part.h"

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <utility>

#include "base/free_memory.h"
#include "engine/step_inputs.h"
#include "graph/passes/choose_forms.h"
#include "graph/passes/dense_cache.h"
#include "graph/passes/expand_paged_attention.h"
#include "graph/passes/passes.h"
#include "graph/passes/scale_by_activations.h"
#include "pajamas/error.h"
#include "tensor/tensor_file.h"
#include "text/tokenizer/utf8.h"
#include "verify/input_cases.h"
#include "verify/language_proof.h"

namespace pajamas {
namespace fs = std::filesystem;
namespace {

/// Text of the proof: several scripts, numbers and code, so that tokens of all kinds occur.
constexpr const char* kProofText =
    "A build is proven before it is packed: the same tokens go through the engine and through another program, and "
    "every number that comes out is compared. The first token of an answer depends on the whole prompt, the second on "
    "the first, and so an error in the cache shows within a few steps.\n\n"
    "for (int row = 0; row < 128; ++row) { sum += weights[row] * 0.5F; }\n"
    "Der Speicher hält Schlüssel und Werte; le cache garde les clés; 缓存保存键和值。 Temperature: 21.5 °C, 1,024 "
    "tokens.";

/// The tensors that count when memory is planned.
std::uint64_t weight_elements(const Graph& graph) {
  std::uint64_t count = 0;
  for (const Initializer& initializer : graph.initializers) {
    if (initializer.tensor.dtype() != DType::kString && initializer.tensor.shape().rank() >= 2) {
      count += static_cast<std::uint64_t>(initializer.tensor.num_elements());
    }
  }
  return count;
}

/// Bytes that ONNX Runtime takes for a graph of so many weights: it widens them to float32 before it runs, and holds
/// what it read beside it for a while.
std::uint64_t reference_bytes(const Graph& graph) { return 6 * weight_elements(graph); }

bool fits_reference(const Graph& graph) { return reference_bytes(graph) <= free_memory_bytes() / 2; }

std::int64_t num_layers_of(const Graph& graph) {
  return std::count_if(graph.nodes.begin(), graph.nodes.end(),
                       [](const Node& node) { return node.op_type == "PagedAttention"; });
}

Model expanded(const Model& model) {
  Model copy = model;
  expand_paged_attention(copy);
  return copy;
}

/// Rows of few elements average out little of the error of 4 bits, and their model has little to spare: SmolLM2-135M
/// (rows of 576) loses 39 % of perplexity in groups of 64 and 27 % in groups of 32 with zero points.
constexpr std::int64_t kNarrowRow = 1024;
constexpr std::int64_t kNarrowGroup = 32;

/// Whether the model's linear layers have rows shorter than kNarrowRow.
bool is_narrow(const Graph& graph) {
  for (const Initializer& initializer : graph.initializers) {
    const Shape& shape = initializer.tensor.shape();
    if (initializer.name.ends_with("q_proj.weight") && shape.rank() == 2 && shape[1] < kNarrowRow) return true;
  }
  return false;
}

std::optional<QuantizedForm> linear_form(WeightFormat format) {
  switch (format) {
    case WeightFormat::kAsStored: return std::nullopt;
    case WeightFormat::kInt8: return kInt8PerRow;
    case WeightFormat::kInt8Group: return kInt8PerGroup;
    case WeightFormat::kInt4: return kInt4PerGroup;
    case WeightFormat::kInt4Awq: return kInt4WithMinimums;
    case WeightFormat::kFp8: return kFloat8PerRow;
  }
  return std::nullopt;
}

/// Samples of what goes into the linear layers when the model reads the text, computed by ONNX Runtime.
CalibrationStats calibrate(const Model& model, const WeightQuantization& quantization, const BuildPlan& plan,
                           const std::vector<std::int64_t>& tokens, const Progress& progress) {
  constexpr std::int64_t kWindowTokens = 256;
  constexpr std::int64_t kMaxWindows = 8;
  constexpr std::int64_t kRowsPerWindow = 32;
  if (!fits_reference(model.graph)) {
    throw Error(ErrorKind::kUnsupported,
                "int4-awq needs about " + std::to_string(reference_bytes(model.graph) >> 20U) +
                    " MiB of memory to run the unquantised model, more than half of what is free",
                {}, "build with --precision int4, or on a machine with more memory");
  }
  const auto wanted = calibration_inputs(model.graph, quantization);
  std::vector<std::string> values;  // Layers of one input share it.
  for (const auto& pair : wanted) {
    if (std::find(values.begin(), values.end(), pair.second) == values.end()) values.push_back(pair.second);
  }
  progress.step("Loading the model to calibrate it");
  const auto session = load_language_reference(expanded(model), plan.num_threads, values).session;
  const auto num_tokens = static_cast<std::int64_t>(tokens.size());
  const std::int64_t num_windows = std::clamp<std::int64_t>(num_tokens / kWindowTokens, 1, kMaxWindows);
  std::map<std::string, std::vector<float>> samples;
  for (std::int64_t window = 0; window < num_windows; ++window) {
    progress.check("calibrating");
    progress.step("Calibrating", static_cast<double>(window) / static_cast<double>(num_windows));
    // Windows from all over the text.
    const std::int64_t begin = window * (num_tokens / num_windows);
    const std::int64_t count = std::min(kWindowTokens, num_tokens - begin);
    const Shape shape{count};
    std::vector<std::int64_t> positions(static_cast<std::size_t>(count));
    for (std::size_t i = 0; i < positions.size(); ++i) positions[i] = static_cast<std::int64_t>(i);
    const auto span = std::span(tokens).subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(count));
    const std::vector<Tensor> outputs =
        session->run({{"input_ids", Tensor::of<std::int64_t>(shape, span)},
                      {"position_ids", Tensor::of<std::int64_t>(shape, std::span<const std::int64_t>(positions))},
                      {"logit_rows", Tensor::of<std::int64_t>(Shape{1}, {count - 1})}});
    for (std::size_t i = 0; i < values.size(); ++i) {
      const Tensor& output = outputs.at(i + 1);
      const std::size_t width = static_cast<std::size_t>(output.num_elements() / count);
      const std::span<const float> rows = output.as<float>();
      for (std::int64_t k = 0; k < std::min(kRowsPerWindow, count); ++k) {
        const auto row = static_cast<std::size_t>(k * count / std::min(kRowsPerWindow, count));
        samples[values[i]].insert(samples[values[i]].end(), rows.begin() + static_cast<std::ptrdiff_t>(row * width),
                                  rows.begin() + static_cast<std::ptrdiff_t>((row + 1) * width));
      }
    }
  }
  std::map<std::string, Tensor> tensors;
  const std::int64_t num_samples = num_windows * std::min(kRowsPerWindow, std::min(kWindowTokens, num_tokens));
  for (const auto& entry : samples) {
    const auto width = static_cast<std::int64_t>(entry.second.size()) / num_samples;
    tensors.emplace(entry.first, Tensor::of<float>(Shape{num_samples, width}, std::span<const float>(entry.second)));
  }
  CalibrationStats stats;
  for (const auto& pair : wanted) stats.inputs.emplace(pair.first, tensors.at(pair.second));
  return stats;
}

std::vector<std::vector<std::int64_t>> proof_sequences(const LanguageProofInputs& inputs) {
  std::vector<std::int64_t> tokens;
  if (inputs.tokenizer) {
    tokens = tokens_of(*inputs.tokenizer, kProofText);
  } else {
    std::mt19937_64 random(1);
    for (int i = 0; i < 120; ++i) {
      tokens.push_back(static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(inputs.vocab_size)));
    }
  }
  for (std::int64_t& token : tokens) token %= inputs.vocab_size;  // A model may have fewer rows than tokens.
  // One token; a few; and all of it, which is cut into chunks.
  std::vector<std::vector<std::int64_t>> sequences;
  std::set<std::size_t> sizes = {1, 17, tokens.size()};
  for (const std::size_t size : sizes) {
    const std::size_t count = std::min({size, tokens.size(), static_cast<std::size_t>(inputs.context_length)});
    sequences.emplace_back(tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(count));
  }
  return sequences;
}

}  // namespace

std::optional<Tokenizer> tokenizer_of(const ImportedModel& imported) {
  for (const ImportedFile& file : imported.files) {
    if (file.role != "tokenizer") continue;
    if (file.path.empty()) return Tokenizer::parse(std::as_bytes(std::span(file.contents)), file.name);
    return Tokenizer::read(file.path);
  }
  return std::nullopt;
}

std::string read_text(const fs::path& path, std::uint64_t max_bytes) {
  std::string text = read_file(path, max_bytes);
  const std::size_t length = valid_utf8_length(text);
  if (length != text.size()) {
    throw Error(ErrorKind::kBadInput, "is not UTF-8 at byte " + std::to_string(length), path.string(),
                "give a text file, converted to UTF-8");
  }
  return text;
}

std::vector<std::int64_t> tokens_of(const Tokenizer& tokenizer, const std::string& text) {
  EncodeOptions options;
  options.add_special_tokens = true;
  options.parse_special_tokens = false;
  const std::vector<std::int32_t> ids = tokenizer.encode(text, options);
  return {ids.begin(), ids.end()};
}

StoredWeights store_weights(Model& model, const BuildPlan& plan, const fs::path& folder, const std::string& part,
                            const std::vector<std::int64_t>& calibration, const Progress& progress) {
  if (plan.weights == WeightFormat::kInt4Awq && calibration.empty()) {
    throw Error(ErrorKind::kUsage,
                "int4-awq scales weights by what text makes of the activations, and there is no text", "--calibration",
                "give a text file with --calibration, or build with --precision int4");
  }
  TensorFile file = TensorFile::create(folder / (part + ".onnx.data"));
  WeightQuantization options;
  options.linear = linear_form(plan.weights);
  if (options.linear && options.linear->values == DType::kUint4 && is_narrow(model.graph)) {
    options.linear->group_size = kNarrowGroup;
  }
  if (options.linear && plan.weights != WeightFormat::kFp8) options.table = kInt8PerRow;
  options.file = &file;
  options.num_threads = plan.num_threads;
  StoredWeights stored;
  if (plan.weights == WeightFormat::kInt4Awq) {
    const CalibrationStats stats = calibrate(model, options, plan, calibration, progress);
    AwqOptions awq;
    awq.num_threads = plan.num_threads;
    ActivationScaling scaling = scale_by_activations(model, stats, options, awq, progress);
    options.scalings = std::move(scaling.scalings);
    FormChoice choice;
    choice.num_threads = plan.num_threads;
    progress.step("Choosing layers for 8 bits");
    options.forms = choose_forms(model.graph, stats, options, choice, progress);
    stored.groups = std::move(scaling.groups);
  }
  stored.report = quantize_weights(model, options, progress);
  stored.file = file.mapping();
  return stored;
}

nlohmann::json to_json(const StoredWeights& stored) {
  const WeightQuantizationReport& report = stored.report;
  struct Form {
    std::int64_t count = 0;
    std::uint64_t bytes = 0;
  };
  std::map<std::string, Form> forms;
  for (const QuantizedWeight& weight : report.weights) {
    Form& form = forms[weight.after];
    ++form.count;
    form.bytes += weight.bytes_after;
  }
  // Which layers are not in the form that most of them have.
  std::map<std::string, std::int64_t> num_linears;
  for (const QuantizedWeight& weight : report.weights) num_linears[weight.after] += weight.is_table ? 0 : 1;
  const auto most = std::max_element(num_linears.begin(), num_linears.end(),
                                     [](const auto& a, const auto& b) { return a.second < b.second; });
  nlohmann::json exceptions = nlohmann::json::object();
  for (const QuantizedWeight& weight : report.weights) {
    if (!weight.is_table && weight.after != most->first) exceptions[weight.after].push_back(weight.name);
  }
  nlohmann::json by_form = nlohmann::json::object();
  for (const auto& [name, form] : forms) by_form[name] = {{"tensors", form.count}, {"bytes", form.bytes}};
  nlohmann::json json = {{"bytes_before", report.bytes_before()},
                         {"bytes_after", report.bytes_after()},
                         {"relative_error", report.relative_error()},
                         {"linear_bits_per_weight", report.bits_per_weight()},
                         {"forms", by_form},
                         {"linear_layers_in_other_forms", exceptions},
                         {"notes", report.pass.notes}};
  if (!stored.groups.empty()) {
    double before = 0, after = 0, strength = 0;
    for (const ScaledGroup& group : stored.groups) {
      before += group.error_before;
      after += group.error_after;
      strength += group.strength;
    }
    const auto count = static_cast<double>(stored.groups.size());
    json["awq"] = {{"groups", stored.groups.size()},
                   {"mean_strength", strength / count},
                   {"mean_output_error_before", before / count},
                   {"mean_output_error_after", after / count}};
  }
  return json;
}

LanguageExtents language_extents(const Model& model, const TaskFacts& task) {
  if (task.generation) return {task.generation->vocab_size, task.generation->context_length};
  if (task.transcription && task.transcription->whisper) {
    return {task.transcription->whisper->vocab_size, task.transcription->whisper->context_length};
  }
  constexpr std::int64_t kModerateContext = 512;
  LanguageExtents extents{0, kModerateContext};
  for (const ValueInfo& output : model.graph.outputs) {
    if (output.name != "logits" || !output.type || !output.type->shape || output.type->shape->empty()) continue;
    if (output.type->shape->back().is_known()) extents.vocab_size = output.type->shape->back().extent();
  }
  return extents;
}

std::vector<std::pair<std::string, Tensor>> fixed_inputs_of(const Model& decoder,
                                                            const std::vector<ImportedPart>& parts,
                                                            const BuildPlan& plan, const Progress& progress) {
  std::set<std::string> wanted;
  for (const ValueInfo* input : decoder.graph.required_inputs()) {
    if (find_step_input(input->name) == nullptr) wanted.insert(input->name);
  }
  std::vector<std::pair<std::string, Tensor>> fixed;
  if (wanted.empty()) return fixed;
  const auto gives_all = [&](const ImportedPart& part) {
    return std::all_of(wanted.begin(), wanted.end(), [&](const std::string& name) {
      const auto& outputs = part.model.graph.outputs;
      return std::any_of(outputs.begin(), outputs.end(), [&](const ValueInfo& output) { return output.name == name; });
    });
  };
  const auto giver = std::find_if(parts.begin(), parts.end(), gives_all);
  if (giver == parts.end()) {
    throw Error(ErrorKind::kUnsupported, "nothing gives the input '" + *wanted.begin() + "', so it cannot be proven");
  }
  progress.step("Computing the inputs of the proof", -1, giver->name);
  constexpr std::uint64_t kSeed = 1;
  const auto cases = seeded_cases(giver->model.graph, giver->model.graph, {}, kSeed);
  const InputCase noise = cases.at(std::min<std::size_t>(1, cases.size() - 1)).at(0)();
  std::vector<std::pair<std::string, Tensor>> inputs;
  const auto required = giver->model.graph.required_inputs();
  for (std::size_t i = 0; i < required.size(); ++i) inputs.emplace_back(required[i]->name, noise.inputs[i]);
  const std::vector<Tensor> outputs = load_language_reference(giver->model, plan.num_threads).session->run(inputs);
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const std::string& name = giver->model.graph.outputs[i].name;
    if (wanted.contains(name)) fixed.emplace_back(name, outputs[i]);
  }
  return fixed;
}

Proof prove_language_part(const LanguageProofInputs& inputs, const BuildPlan& plan, const Progress& progress) {
  const Model source = expanded(*inputs.stored);
  const Model lowered = has_dense_cache(*inputs.lowered) ? *inputs.lowered : expanded(*inputs.lowered);
  LanguageProofRequest request{.source = source, .lowered = lowered};
  if (plan.precision != Precision::kAuto) request.precision = plan.precision;
  request.engine = inputs.engine;
  request.exact_engine = inputs.exact_engine;
  request.engine_absence = inputs.engine_absence;
  request.sequences = proof_sequences(inputs);
  request.fixed_inputs = inputs.fixed_inputs;
  request.num_threads = plan.num_threads;
  request.progress = progress;
  return prove_language(request);
}

ProvableLayers provable_layers(const Graph& graph, const BuildPlan& plan) {
  ProvableLayers layers;
  layers.num_layers = num_layers_of(graph);
  const std::uint64_t limit = plan.limits.memory_bytes > 0 ? plan.limits.memory_bytes : kLanguageBuildBytes;
  const std::uint64_t budget = std::min(limit, free_memory_bytes() / 2);
  // Beside the reference stand the engine and its exact form: measured 7.4 bytes an element with 8B shapes.
  constexpr double kBytesAnElement = 9;
  const std::uint64_t all = weight_elements(graph);
  if (kBytesAnElement * static_cast<double>(all) <= static_cast<double>(budget)) {
    layers.num_provable = layers.num_layers;
    return layers;
  }
  std::uint64_t in_layers = 0;
  std::int64_t hidden_dim = 1;
  for (const Initializer& initializer : graph.initializers) {
    const bool is_in_layer =
        initializer.name.starts_with("model.layers.") || initializer.name.starts_with("model.decoder.layers.");
    if (initializer.tensor.shape().rank() >= 2 && is_in_layer) {
      in_layers += static_cast<std::uint64_t>(initializer.tensor.num_elements());
      if (initializer.name.ends_with("q_proj.weight")) hidden_dim = initializer.tensor.shape()[1];
    }
  }
  const double per_layer =
      static_cast<double>(in_layers) / static_cast<double>(std::max<std::int64_t>(layers.num_layers, 1));
  const double left = static_cast<double>(budget) / kBytesAnElement -
                      2 * static_cast<double>(kProofVocabulary) * static_cast<double>(hidden_dim);
  const double fitting = per_layer > 0 ? left / per_layer : 0;
  layers.num_provable =
      std::clamp(static_cast<std::int64_t>(fitting), std::int64_t{1}, std::max<std::int64_t>(layers.num_layers, 1));
  return layers;
}

Model first_layers(const Model& model, std::int64_t num_layers, std::int64_t vocab_size) {
  Model part = model;
  Graph& graph = part.graph;
  if (vocab_size > kProofVocabulary) {
    // Rows of tables and of the output layer, with their scales, zero points and bias.
    for (Initializer& initializer : graph.initializers) {
      const Tensor whole = initializer.tensor;
      if (whole.shape().rank() == 0 || whole.shape()[0] != vocab_size || whole.dtype() == DType::kString) continue;
      Shape shape = whole.shape();
      shape[0] = kProofVocabulary;
      const std::size_t num_bytes = bytes_of(whole.dtype(), shape);
      initializer.tensor =
          Tensor(whole.dtype(), shape, std::make_shared<const Tensor>(whole), whole.bytes().first(num_bytes));
    }
    for (ValueInfo& output : graph.outputs) {
      if (output.type && output.type->shape) output.type->shape->back() = Dimension::known(kProofVocabulary);
    }
    graph.value_infos.clear();
  }
  // What enters the first layer that goes is what its norm takes; the rows wanted are gathered from what leaves the
  // last.
  const std::string number = std::to_string(num_layers);
  const std::string norm_weight = "model.layers." + number + ".input_layernorm.weight";
  const std::string whisper_norm_weight = "model.decoder.layers." + number + ".self_attn_layer_norm.weight";
  std::string stream;
  for (const Node& node : graph.nodes) {
    if (!node.is("RMSNormalization") && !node.is("LayerNormalization")) continue;
    if (node.inputs.size() < 2) continue;
    if (node.inputs[1] == norm_weight || node.inputs[1] == whisper_norm_weight) stream = node.inputs[0];
  }
  Node* rows = nullptr;
  for (Node& node : graph.nodes) {
    if (node.is("Gather") && node.inputs.size() > 1 && node.inputs[1] == "logit_rows") rows = &node;
  }
  if (stream.empty() || rows == nullptr) {
    throw Error(ErrorKind::kInternal, "the graph cannot be cut after layer " + std::to_string(num_layers) +
                                          ": its norms are not named as expected");
  }
  rows->inputs[0] = stream;
  remove_dead_code(part);
  // Cross attention of the layers that go.
  std::set<std::string> used;
  for (const Node& node : graph.nodes) used.insert(node.inputs.begin(), node.inputs.end());
  std::erase_if(graph.inputs, [&](const ValueInfo& input) { return !used.contains(input.name); });
  return part;
}

MeasuredText measure_on_text(const std::shared_ptr<const Engine>& engine, const Model* original,
                             const std::vector<std::int64_t>& tokens, const TextWindows& windows, int num_threads,
                             const Progress& progress) {
  MeasuredText measured;
  const std::int64_t longest = std::min(windows.context_tokens, static_cast<std::int64_t>(tokens.size()));
  const auto model = engine_text_model(engine, std::max<std::int64_t>(longest, 1));
  std::unique_ptr<TextModel> reference;
  if (original != nullptr) {
    if (fits_reference(original->graph)) {
      progress.step("Loading the unquantised model");
      reference = onnxruntime_text_model(load_language_reference(expanded(*original), num_threads).session);
    } else {
      measured.note = "the unquantised model would need about " +
                      std::to_string(reference_bytes(original->graph) >> 20U) +
                      " MiB of memory, more than half of what is free: it was not measured";
    }
  }
  measured.quality = measure_text_quality(tokens, *model, reference.get(), windows, progress);
  return measured;
}

}  // namespace pajamas
