// The check of each task for the table in registry.cpp; each is defined beside its task.
#pragma once

#include <string>
#include <vector>

#include "bundle/task_facts.h"
#include "engine/target.h"

namespace pajamas {

/// See TaskEntry::check.
void check_detection(const TaskFacts& facts, const std::string& part, const std::vector<TensorInfo>& inputs,
                     const std::vector<TensorInfo>& outputs);
void check_classification(const TaskFacts& facts, const std::string& part, const std::vector<TensorInfo>& inputs,
                          const std::vector<TensorInfo>& outputs);
void check_embedding(const TaskFacts& facts, const std::string& part, const std::vector<TensorInfo>& inputs,
                     const std::vector<TensorInfo>& outputs);

}  // namespace pajamas
