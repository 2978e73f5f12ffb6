// Real inputs for proofs: pictures made into the tensors that the task would give the model, and sounds in place of
// random features. Also which input takes pictures.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "bundle/task_facts.h"
#include "graph/graph.h"
#include "pajamas/tensor.h"

namespace pajamas {

/// The task's picture input, or nullptr where it takes no pictures. Valid as long as `facts`.
const ImageInput* picture_input(const TaskFacts& facts) noexcept;

/// One set of inputs a picture, in the order of graph.required_inputs(). Empty for a part that takes no pictures.
/// Throws Error{kUsage} when pictures are given for a model whose task takes none, Error{kBadInput} for a picture that
/// cannot be read.
std::vector<std::vector<Tensor>> read_real_inputs(const std::vector<std::filesystem::path>& images,
                                                  const TaskFacts& task, const std::string& part_name,
                                                  const Graph& graph);

/// For the encoder of a speech model: replaces made-up features [chunks, bands, frames] by those of sounds like a voice
/// (gliding harmonics in syllables, over noise), which the made-up numbers seed. Attention over features that no sound
/// has turns on single roundings, so errors there would say nothing. For the parts of a voice: phonemes, lengths,
/// scales and masks as synthesis gives them. Empty for every other part.
std::function<void(std::vector<Tensor>&)> input_refinement(const TaskFacts& task, const std::string& part_name);

}  // namespace pajamas
