// Import and passes in this process, measured by the system's own account of its memory.
#include <sys/resource.h>

#include <chrono>
#include <iostream>
#include <nlohmann/json.hpp>

#include "graph/checker.h"
#include "graph/inline_functions.h"
#include "graph/passes/pipeline.h"
#include "io/onnx_reader.h"
#include "rows.h"

namespace pajamas::benchmark {

void print_import_measurement(const std::filesystem::path& model) {
  const auto start = std::chrono::steady_clock::now();
  Model lowered = read_onnx(model);
  check_model(lowered);
  inline_functions(lowered);
  run_passes(lowered, {});
  const std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - start;
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  constexpr std::uint64_t kKib = 1024;  // the unit of ru_maxrss on Linux
  std::cout << nlohmann::json{{"time_ms", time.count()},
                              {"peak_bytes", static_cast<std::uint64_t>(usage.ru_maxrss) * kKib},
                              {"file_bytes", std::filesystem::file_size(model)},
                              {"num_nodes", lowered.graph.nodes.size()}}
            << "\n";
}

}  // namespace pajamas::benchmark
