// The tasks of this program, as an explicit table, and how a bundle of the wrong one is refused.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "bundle/bundle.h"
#include "engine/target.h"
#include "pajamas/error.h"

namespace pajamas {

struct TaskEntry {
  std::string_view name;         ///< As in the manifest.
  std::string_view description;  ///< One line, for help texts.
  std::string_view class_name;   ///< The public class to open such a bundle with.
  /// Whether facts and declared engine tensors of `part` fit together as far as shapes are known before a run. Throws
  /// Error{kBadInput} as the task would.
  void (*check)(const TaskFacts& facts, const std::string& part, const std::vector<TensorInfo>& inputs,
                const std::vector<TensorInfo>& outputs);
};

/// All tasks, one line each in registry.cpp.
const std::vector<TaskEntry>& tasks();

/// The task of that name. Throws Error{kUsage} for an unknown one, listing the known.
const TaskEntry& find_task(std::string_view name);

/// Throws Error{kBadInput} when the bundle was built for another task, saying which and how to open it.
void require_task(const Bundle& bundle, std::string_view name);

/// What `make` makes of a bundle of the task `name`: throws as require_task and `make` do, the bundle named where an
/// error names nothing.
template <typename Make>
auto open_for_task(const std::filesystem::path& path, std::string_view name, const Make& make) {
  const Bundle bundle = Bundle::open(path);
  require_task(bundle, name);
  try {
    return make(bundle);
  } catch (const Error& error) {
    throw error.where().empty() ? error.with_context(path.string()) : error;
  }
}

/// Session options of a task. Throws Error{kUsage} for a negative number of threads.
SessionOptions session_options(int num_threads);

}  // namespace pajamas
