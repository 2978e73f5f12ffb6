// What a measurement was made on, and what about it may have disturbed the figures.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace pajamas {

/// Where to read the system's files; tests give another root.
struct EnvironmentSource {
  std::string root = "/";
};

/// {"cpu": {"model", "num_cores", "num_usable_cpus", "features"}, "memory_bytes", "kernel", "governor" (null where the
/// system has none), "load_average", "compiler", "build_type", "versions": as given, "warnings": [...]}.
/// Warnings name what makes figures unsteady: other load, a power-saving governor, a CPU quota, an unoptimised build.
/// What cannot be read is null, never an error.
nlohmann::json environment(const nlohmann::json& versions = nlohmann::json::object(),
                           const EnvironmentSource& source = {});

}  // namespace pajamas
