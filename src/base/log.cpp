// The process-wide logger. See log.h for levels.
#include "base/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>

#include <cstdlib>
#include <memory>
#include <string>

#include "pajamas/error.h"

namespace pajamas {
namespace {

spdlog::level::level_enum parse_level(std::string_view name) {
  const auto level = spdlog::level::from_str(std::string(name));
  // from_str answers `off` for anything it does not know.
  if (level == spdlog::level::off && name != "off") {
    throw Error(ErrorKind::kUsage, "unknown log level '" + std::string(name) + "'", {},
                "use trace, debug, info, warn, error or off");
  }
  return level;
}

std::shared_ptr<spdlog::logger> make_logger() {
  auto logger = std::make_shared<spdlog::logger>("pajamas", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
  logger->set_pattern("%^%l%$: %v");
  logger->set_level(spdlog::level::warn);
  if (const char* name = std::getenv("PAJAMAS_LOG")) {
    const auto level = spdlog::level::from_str(name);
    logger->set_level(level);
  }
  return logger;
}

}  // namespace

spdlog::logger& log() {
  static const std::shared_ptr<spdlog::logger> logger = make_logger();
  return *logger;
}

void set_log_level(std::string_view name) { log().set_level(parse_level(name)); }

}  // namespace pajamas
