// Equal initializers and equal computations. See passes.h.
#include <algorithm>
#include <cstring>

#include "graph/passes/passes.h"

namespace pajamas {
namespace {

/// A cheap mark of content: type, shape and at most 4 KiB sampled over the bytes (FNV-1a). Equal tensors have equal
/// marks; unequal ones with equal marks are told apart byte by byte.
std::string mark_of(const Tensor& tensor) {
  constexpr std::size_t kSamples = 64;
  constexpr std::size_t kSampleBytes = 64;
  std::uint64_t hash = 0xcbf29ce484222325ULL;
  const auto add = [&](std::span<const std::byte> bytes) {
    for (const std::byte byte : bytes) hash = (hash ^ std::to_integer<std::uint64_t>(byte)) * 0x100000001b3ULL;
  };
  const auto bytes = tensor.bytes();
  if (bytes.size() <= kSamples * kSampleBytes) {
    add(bytes);
  } else {
    for (std::size_t i = 0; i < kSamples; ++i) {
      add(bytes.subspan((bytes.size() - kSampleBytes) / (kSamples - 1) * i, kSampleBytes));
    }
  }
  return std::to_string(static_cast<int>(tensor.dtype())) + tensor.shape().to_string() + std::to_string(hash);
}

bool is_equal(const Tensor& a, const Tensor& b) {
  return a.dtype() == b.dtype() && a.shape() == b.shape() &&
         (a.bytes().data() == b.bytes().data() || std::memcmp(a.bytes().data(), b.bytes().data(), a.size_bytes()) == 0);
}

void merge_initializers(Graph& graph, Renames& renames, PassReport& report) {
  std::unordered_set<std::string_view> kept_names;
  for (const ValueInfo& input : graph.inputs) kept_names.insert(input.name);
  for (const ValueInfo& output : graph.outputs) kept_names.insert(output.name);
  std::unordered_map<std::string, std::vector<const Initializer*>> by_mark;
  for (const Initializer& initializer : graph.initializers) {
    if (initializer.tensor.dtype() == DType::kString || kept_names.count(initializer.name) != 0) continue;
    auto& same = by_mark[mark_of(initializer.tensor)];
    const auto found = std::find_if(same.begin(), same.end(), [&](const Initializer* other) {
      return is_equal(other->tensor, initializer.tensor);
    });
    if (found == same.end()) {
      same.push_back(&initializer);
    } else {
      renames[initializer.name] = (*found)->name;
      report.count("initializers");
    }
  }
  if (renames.empty()) return;
  std::erase_if(graph.initializers,
                [&](const Initializer& initializer) { return renames.count(initializer.name) != 0; });
}

template <typename T>
void append(std::string& key, const T& value) {
  key.append(reinterpret_cast<const char*>(&value), sizeof value);
}

/// Spells an attribute out; false for kinds that are not compared (graphs, sparse tensors, types, large tensors).
bool append_attribute(std::string& key, const Attribute& attribute) {
  constexpr std::size_t kMaxTensorBytes = 4096;
  if (!attribute.ref_attr_name.empty()) return false;
  key += '\1' + attribute.name + '\2' + std::to_string(attribute.value.index()) + '\2';
  const auto append_text = [&](const std::string& text) { key += std::to_string(text.size()) + ':' + text; };
  if (const auto* number = std::get_if<float>(&attribute.value)) {
    append(key, *number);
  } else if (const auto* integer = std::get_if<std::int64_t>(&attribute.value)) {
    append(key, *integer);
  } else if (const auto* text = std::get_if<std::string>(&attribute.value)) {
    append_text(*text);
  } else if (const auto* numbers = std::get_if<std::vector<float>>(&attribute.value)) {
    for (const float value : *numbers) append(key, value);
  } else if (const auto* integers = std::get_if<std::vector<std::int64_t>>(&attribute.value)) {
    for (const std::int64_t value : *integers) append(key, value);
  } else if (const auto* texts = std::get_if<std::vector<std::string>>(&attribute.value)) {
    for (const std::string& value : *texts) append_text(value);
  } else if (const auto* tensor = std::get_if<Tensor>(&attribute.value)) {
    if (tensor->dtype() == DType::kString || tensor->size_bytes() > kMaxTensorBytes) return false;
    key += std::to_string(static_cast<int>(tensor->dtype())) + tensor->shape().to_string();
    key.append(reinterpret_cast<const char*>(tensor->bytes().data()), tensor->size_bytes());
  } else {
    return false;
  }
  return true;
}

bool is_random(const Node& node) {
  if (node.op_type.starts_with("Random") || node.op_type == "Multinomial" || node.op_type == "Bernoulli") return true;
  return node.op_type == "Dropout" && node.inputs.size() > 2;
}

/// What a node computes, as text; empty when it is not compared.
std::string key_of(const Node& node) {
  if (is_random(node) || has_nested_graphs(node)) return {};
  // Operators of other domains may do anything, so two calls need not be one.
  if (!node.domain.empty() && node.domain != "ai.onnx") return {};
  std::string key = node.op_type;
  for (const std::string& input : node.inputs) key += '\0' + input;
  key += '\3';
  // An omitted optional output can change what an operator computes, and the count what Split does.
  for (const std::string& output : node.outputs) key += output.empty() ? '0' : '1';
  std::vector<const Attribute*> attributes;
  for (const Attribute& attribute : node.attributes) attributes.push_back(&attribute);
  std::sort(attributes.begin(), attributes.end(), [](const auto* a, const auto* b) { return a->name < b->name; });
  for (const Attribute* attribute : attributes) {
    if (!append_attribute(key, *attribute)) return {};
  }
  return key;
}

void merge_nodes(Graph& graph, PassReport& report) {
  const auto outputs = output_names(graph);
  std::unordered_map<std::string, std::size_t> first;
  Renames renames;
  std::vector<Node> kept;
  kept.reserve(graph.nodes.size());
  for (Node& node : graph.nodes) {
    for (std::string& input : node.inputs) {
      if (const auto found = renames.find(input); found != renames.end()) input = found->second;
    }
    const std::string key = key_of(node);
    if (key.empty() || gives_graph_output(node, outputs)) {
      // A graph output keeps its node; an equal later node may still use it.
      if (!key.empty()) first.emplace(key, kept.size());
      kept.push_back(std::move(node));
      continue;
    }
    const auto [found, is_new] = first.emplace(key, kept.size());
    if (is_new) {
      kept.push_back(std::move(node));
      continue;
    }
    const Node& same = kept[found->second];
    for (std::size_t i = 0; i < node.outputs.size(); ++i) {
      if (!node.outputs[i].empty()) renames[node.outputs[i]] = same.outputs[i];
    }
    report.count("nodes");
  }
  graph.nodes = std::move(kept);
  rename_uses(graph, renames);
}

}  // namespace

PassReport remove_duplicates(Model& model) {
  PassReport report{"duplicate_removal", 0, {}, {}};
  for_each_graph(model.graph, [&](Graph& graph) {
    Renames renames;
    merge_initializers(graph, renames, report);
    rename_uses(graph, renames);
    merge_nodes(graph, report);
  });
  return report;
}

}  // namespace pajamas
