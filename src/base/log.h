// Logging: one process-wide logger on stderr. Results never go through it; they belong on stdout.
// Thread-safe. The level comes from `--log-level` or the environment variable PAJAMAS_LOG (trace, debug, info, warn,
// error, off); the default is `warn`, so that a quiet run prints only what the user must know.
#pragma once

#include <spdlog/spdlog.h>

#include <string_view>

namespace pajamas {

/// The logger; created on first use.
spdlog::logger& log();

/// Sets the level by name. Throws Error{kUsage} for an unknown name, listing the known ones.
void set_log_level(std::string_view name);

}  // namespace pajamas
