// Real inputs for proofs: pictures made into the tensors that the task would give the model.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "bundle/task_facts.h"
#include "graph/graph.h"
#include "pajamas/tensor.h"

namespace pajamas {

/// One set of inputs a picture, in the order of graph.required_inputs(). Empty for a part that takes no pictures.
/// Throws Error{kUsage} when pictures are given for a model whose task takes none, Error{kBadInput} for a picture that
/// cannot be read.
std::vector<std::vector<Tensor>> read_real_inputs(const std::vector<std::filesystem::path>& images,
                                                  const TaskFacts& task, const std::string& part_name,
                                                  const Graph& graph);

}  // namespace pajamas
