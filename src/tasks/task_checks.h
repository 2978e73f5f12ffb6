// The check of each task for the table in registry.cpp, each defined beside its task, and what they share.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bundle/task_facts.h"
#include "engine/target.h"

namespace pajamas {

/// Throws Error{kBadInput} when there are labels, but not one for each class. `num_classes` 0: not known.
void require_label_count(const std::vector<std::string>& labels, std::int64_t num_classes);

/// See TaskEntry::check.
void check_detection(const TaskFacts& facts, const std::string& part, const std::vector<TensorInfo>& inputs,
                     const std::vector<TensorInfo>& outputs);
void check_classification(const TaskFacts& facts, const std::string& part, const std::vector<TensorInfo>& inputs,
                          const std::vector<TensorInfo>& outputs);
void check_embedding(const TaskFacts& facts, const std::string& part, const std::vector<TensorInfo>& inputs,
                     const std::vector<TensorInfo>& outputs);
void check_generation(const TaskFacts& facts, const std::string& part, const std::vector<TensorInfo>& inputs,
                      const std::vector<TensorInfo>& outputs);
void check_transcription(const TaskFacts& facts, const std::string& part, const std::vector<TensorInfo>& inputs,
                         const std::vector<TensorInfo>& outputs);
void check_speech(const TaskFacts& facts, const std::string& part, const std::vector<TensorInfo>& inputs,
                  const std::vector<TensorInfo>& outputs);

}  // namespace pajamas
