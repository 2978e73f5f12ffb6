// The interface of loops.h over regions and kernels: what is supported is what a kernel can be made of.
#include "targets/cuda/loops/loops.h"

#include <algorithm>
#include <set>

#include "graph/graph_builder.h"
#include "pajamas/error.h"
#include "targets/cuda/loops/kernel_builder.h"
#include "targets/cuda/loops/requests.h"

namespace pajamas::cuda {
namespace loops {
namespace {

ValueInfo info_of(const std::string& name, const TensorDesc& desc) {
  return tensor_value(name, desc.dtype, desc.extents.extents());
}

KernelRequest request_of_step(const Program& program, const LoopStep& step) {
  KernelRequest request;
  request.opset = program.opset;
  Model model;
  model.ir_version = 10;
  model.opset_imports = {{"", program.opset}};
  std::set<std::string> named;
  const auto to_output = [&](ValueId id) {
    const Value& value = program.value(id);
    return Output{value.name, value.desc, value.offset_elements};
  };
  for (const ValueId id : step.inputs) {
    request.inputs.push_back(to_output(id));
    model.graph.inputs.push_back(info_of(request.inputs.back().name, request.inputs.back().desc));
    named.insert(request.inputs.back().name);
  }
  for (const ValueId id : step.outputs) {
    request.outputs.push_back(to_output(id));
    model.graph.outputs.push_back(info_of(request.outputs.back().name, request.outputs.back().desc));
  }
  std::set<std::string> wanted;
  std::set<std::string> made;
  for (const std::int32_t index : step.nodes) {
    const Node& node = program.nodes[static_cast<std::size_t>(index)];
    request.nodes.push_back(&node);
    model.graph.nodes.push_back(node);
    wanted.insert(node.inputs.begin(), node.inputs.end());
    made.insert(node.outputs.begin(), node.outputs.end());
  }
  for (const Initializer& constant : program.small_constants) {
    if (!wanted.contains(constant.name) || made.contains(constant.name)) continue;
    if (named.insert(constant.name).second) {
      request.constants.emplace_back(constant.name, &constant.tensor);
    }
    // A value that is also an input may still be asked for as numbers.
    if (model.graph.find_initializer(constant.name) == nullptr) {
      model.graph.initializers.push_back({constant.name, constant.tensor, {}, {}, {}});
    }
  }
  // What lowering knew of values that nothing here tells the shape of.
  for (const Value& value : program.values) {
    if (value.name.empty() || named.contains(value.name)) continue;
    if (made.contains(value.name)) {
      model.graph.value_infos.push_back(info_of(value.name, value.desc));
    } else if (wanted.contains(value.name) && named.insert(value.name).second) {
      model.graph.inputs.push_back(info_of(value.name, value.desc));
    }
  }
  std::shared_ptr<const GraphFacts> facts = infer_facts(model);
  request.facts = std::move(facts);
  return request;
}

}  // namespace

KernelRequest request_of(const std::vector<const Node*>& nodes, std::int64_t opset, const GraphFacts& facts,
                         const std::function<bool(const std::string&)>& is_used_outside) {
  KernelRequest request;
  request.nodes = nodes;
  request.opset = opset;
  request.facts = std::shared_ptr<const GraphFacts>(std::shared_ptr<void>(), &facts);
  std::set<std::string> made;
  for (const Node* node : nodes) made.insert(node->outputs.begin(), node->outputs.end());
  // A region without inputs answers what is constant.
  const Region probe(nodes, opset, facts);
  std::set<std::string> named;
  const auto output = [&](const std::string& name) {
    return Output{name, dense(probe.type_of(name), probe.shape_of(name)), 0};
  };
  for (const Node* node : nodes) {
    for (const std::string& name : node->inputs) {
      if (name.empty() || made.contains(name) || !named.insert(name).second || probe.constant(name)) continue;
      request.inputs.push_back(output(name));
    }
    for (const std::string& name : node->outputs) {
      if (!name.empty() && is_used_outside(name)) request.outputs.push_back(output(name));
    }
  }
  return request;
}

LoopKernel make_kernel(const KernelRequest& request, int variant) {
  return reduces(request) ? make_row_kernel(request, variant) : make_pointwise_kernel(request, variant);
}

}  // namespace loops

Support supports_loop(const Node& node, std::int64_t opset, const GraphFacts& facts) {
  const std::string remedy = "the operator needs a kernel of its own";
  if (loops::find_operator(node) == nullptr) {
    return Support::no(node.describe() + ": the loop generator has no formula for this operator", remedy);
  }
  try {
    for (const std::string& name : node.outputs) {
      const ValueFact* fact = name.empty() ? nullptr : facts.find(name);
      if (!name.empty() && (fact == nullptr || !fact->static_shape())) {
        return Support::no(node.describe() + ": the shape of '" + name + "' is not known", "fix the input shapes");
      }
    }
    const auto request = loops::request_of({&node}, opset, facts, [](const std::string&) { return true; });
    loops::make_kernel(request, 0);
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::kCancelled) throw;
    return Support::no(node.describe() + ": " + error.message(), remedy);
  } catch (const std::exception& error) {
    return Support::no(node.describe() + ": " + error.what(), remedy);
  }
  return Support::yes();
}

bool is_view_operator(const Node& node) {
  if (!node.domain.empty() && node.domain != "ai.onnx") return false;
  for (const char* name :
       {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Identity", "Slice", "Split", "Expand", "Dropout"}) {
    if (node.op_type == name) return true;
  }
  return false;
}

LoopKernel make_loop_kernel(const Program& program, const LoopStep& step, int variant) {
  return loops::make_kernel(loops::request_of_step(program, step), variant);
}

int num_loop_variants(const Program& program, const LoopStep& step) {
  const auto request = loops::request_of_step(program, step);
  return loops::reduces(request) ? loops::num_row_variants(request) : loops::num_pointwise_variants(request);
}

}  // namespace pajamas::cuda
