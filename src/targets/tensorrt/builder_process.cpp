// The parent's side: starts the child, follows its reports, gives back how it ended. See builder_process.h.
#include "targets/tensorrt/builder_process.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>

#include "base/files.h"
#include "base/log.h"
#include "pajamas/error.h"
#include "targets/tensorrt/builder_protocol.h"

namespace pajamas::tensorrt {

/// Whether this program answers to kBuilderArgument.
static std::atomic<bool> can_be_builder{false};

namespace {

namespace fs = std::filesystem;

/// The library reports phases within phases, each with a number of steps. The fraction done is that of the outermost
/// phase plus the part of its running step that inner phases have done. It never goes back.
class PhaseTree {
 public:
  void start(const std::string& phase, const std::string& parent, int num_steps) {
    while (!stack_.empty() && stack_.back().name != parent) stack_.pop_back();
    stack_.push_back({phase, std::max(num_steps, 1), 0});
  }
  void step(const std::string& phase, int step) {
    for (Phase& entry : stack_) {
      if (entry.name == phase) entry.num_done = std::min(step + 1, entry.num_steps);
    }
    update();
  }
  void finish(const std::string& phase) {
    const auto found =
        std::find_if(stack_.begin(), stack_.end(), [&](const Phase& entry) { return entry.name == phase; });
    stack_.erase(found, stack_.end());
  }
  double fraction() const { return fraction_; }
  std::string innermost() const { return stack_.empty() ? std::string() : stack_.back().name; }

 private:
  struct Phase {
    std::string name;
    int num_steps;
    int num_done;
  };
  void update() {
    double fraction = 0;
    double share = 1;
    for (const Phase& phase : stack_) {
      fraction += share * phase.num_done / phase.num_steps;
      share /= phase.num_steps;
    }
    fraction_ = std::clamp(std::max(fraction_, fraction), 0.0, 1.0);
  }
  std::vector<Phase> stack_;
  double fraction_ = 0;
};

spdlog::level::level_enum level_of(Severity severity) {
  switch (severity) {
    case Severity::kInternalError:
    case Severity::kError: return spdlog::level::debug;  // They come back in the exception.
    case Severity::kWarning: return spdlog::level::info;
    case Severity::kInfo: return spdlog::level::debug;
    case Severity::kVerbose: return spdlog::level::trace;
  }
  return spdlog::level::debug;
}

std::vector<BuiltTensor> tensors_of(const nlohmann::json& list) {
  std::vector<BuiltTensor> tensors;
  for (const auto& entry : list) {
    tensors.push_back({entry.at("name"), static_cast<DType>(entry.at("dtype").get<int>()), entry.at("extents")});
  }
  return tensors;
}

Version version_of(const nlohmann::json& list) { return {list.at(0), list.at(1), list.at(2), list.at(3)}; }

/// Takes one report into the outcome.
void take_report(const nlohmann::json& report, BuilderOutcome& outcome, PhaseTree& phases) {
  const std::string type = report.at("type");
  if (type == "stage") {
    outcome.stage = static_cast<BuildStage>(report.at("stage").get<int>());
  } else if (type == "library") {
    outcome.version = version_of(report.at("version"));
    outcome.family = report.at("family");
  } else if (type == "log") {
    const auto severity = static_cast<Severity>(report.at("severity").get<int>());
    const std::string text = report.at("text");
    log().log(level_of(severity), "TensorRT: {}", text);
    if (severity <= Severity::kWarning && outcome.messages.size() < kMaxMessages) {
      outcome.messages.push_back({severity, text});
    }
  } else if (type == "node_error") {
    outcome.node_errors.push_back({report.at("code"), report.at("description"), report.at("node_index"),
                                   report.at("node_name"), report.at("node_operator")});
  } else if (type == "phase") {
    phases.start(report.at("phase"), report.at("parent"), report.at("num_steps"));
    outcome.phase = phases.innermost();
  } else if (type == "step") {
    phases.step(report.at("phase"), report.at("step"));
  } else if (type == "finish") {
    phases.finish(report.at("phase"));
  } else if (type == "failure") {
    outcome.failure_kind = static_cast<ErrorKind>(report.at("kind").get<int>());
    outcome.failure = report.at("message");
    outcome.failure_where = report.at("where");
    outcome.failure_remedy = report.at("remedy");
  } else if (type == "done") {
    outcome.inputs = tensors_of(report.value("inputs", nlohmann::json::array()));
    outcome.outputs = tensors_of(report.at("outputs"));
    outcome.targets = report.at("targets").get<std::vector<int>>();
    outcome.num_layers = report.at("num_layers");
    outcome.build_seconds = report.at("build_seconds");
    outcome.stage = BuildStage::kDone;
  }
}

ChildCommand builder_command(const nlohmann::json& request) {
  ChildCommand command;
  command.program = builder_program();
  try {
    command.arguments = {kBuilderArgument, request.dump()};
  } catch (const nlohmann::json::type_error&) {  // Replacing the bytes would name another file.
    throw Error(ErrorKind::kUnsupported, "a file or an input of this build has a name that is not UTF-8", {},
                "rename it, or choose another folder with -o");
  }
  return command;
}

}  // namespace

const char* to_string(BuildStage stage) noexcept {
  switch (stage) {
    case BuildStage::kStarting: return "starting the builder";
    case BuildStage::kOpening: return "opening the TensorRT library";
    case BuildStage::kParsing: return "parsing the model";
    case BuildStage::kConfiguring: return "setting up the build";
    case BuildStage::kBuilding: return "building the engine";
    case BuildStage::kWriting: return "writing the engine";
    case BuildStage::kDone: return "done";
  }
  return "building";
}

nlohmann::json to_json(const LibraryPaths& library) {
  return {{"library", library.library.string()}, {"parser", library.parser.string()}, {"found_by", library.found_by}};
}

LibraryPaths library_from_json(const nlohmann::json& json) {
  return {json.at("library").get<std::string>(), json.at("parser").get<std::string>(), json.at("found_by")};
}

nlohmann::json to_json(const BuilderRequest& request) {
  nlohmann::json json{{"action", "build"},
                      {"library", to_json(request.library)},
                      {"onnx", request.onnx.string()},
                      {"engine", request.engine.string()},
                      {"sms", request.sms},
                      {"profiles", pajamas::to_json(request.profiles)},
                      {"workspace_bytes", request.workspace_bytes},
                      {"num_threads", request.num_threads},
                      {"is_verbose", request.is_verbose}};
  if (request.optimization_level) json["optimization_level"] = *request.optimization_level;
  return json;
}

BuilderRequest request_from_json(const nlohmann::json& json) {
  BuilderRequest request;
  request.library = library_from_json(json.at("library"));
  request.onnx = json.at("onnx").get<std::string>();
  request.engine = json.at("engine").get<std::string>();
  request.sms = json.at("sms").get<std::vector<int>>();
  request.workspace_bytes = json.at("workspace_bytes");
  request.num_threads = json.at("num_threads");
  request.is_verbose = json.at("is_verbose");
  if (json.contains("optimization_level")) request.optimization_level = json.at("optimization_level").get<int>();
  const auto shape = [](const nlohmann::json& extents) { return Shape(extents.get<std::vector<std::int64_t>>()); };
  for (const auto& profile : json.at("profiles")) {
    request.profiles.push_back(
        {profile.at("input"), shape(profile.at("min")), shape(profile.at("opt")), shape(profile.at("max"))});
  }
  return request;
}

fs::path builder_program() {
  fs::path self = executable_path();
  if (can_be_builder) return self;
  std::error_code ignored;
  for (const fs::path& candidate :
       {self.parent_path() / "pajamas", self.parent_path().parent_path() / "bin" / "pajamas"}) {
    if (fs::is_regular_file(candidate, ignored)) return candidate;
  }
  throw Error(ErrorKind::kDeviceMissing, "the program 'pajamas', which builds engines in a child process, is not here",
              self.parent_path().string(), "install it beside this program or in ../bin");
}

BuilderOutcome run_builder(const BuilderRequest& request, const BuildLimits& limits, const Progress& progress) {
  BuilderOutcome outcome;
  PhaseTree phases;
  ChildCommand command = builder_command(to_json(request));
  command.limits = {.time = limits.time, .memory_bytes = limits.memory_bytes, .stack_bytes = limits.stack_bytes};
  command.use_fixed_addresses = true;  // Makes builds of the same model identical.
  command.cancel = progress.cancel;
  command.on_line = [&](std::string_view line) {
    const auto report = nlohmann::json::parse(line, nullptr, false);
    try {
      if (!report.is_discarded()) take_report(report, outcome, phases);
    } catch (const nlohmann::json::exception& error) {  // A child that writes nonsense is a broken child, not a crash.
      log().debug("builder: a report could not be read: {}", error.what());
    }
  };
  command.on_tick = [&](std::chrono::milliseconds elapsed) {
    if (!progress.report) return;
    char detail[160];
    const std::string phase = outcome.stage == BuildStage::kBuilding && !phases.innermost().empty()
                                  ? phases.innermost()
                                  : std::string(to_string(outcome.stage));
    std::snprintf(detail, sizeof detail, "%.100s, %.1f s", phase.c_str(), static_cast<double>(elapsed.count()) / 1000);
    progress.report({"Building engine", detail, phases.fraction()});
  };
  outcome.child = run_child(command);
  if (progress.report && outcome.is_built()) {
    char detail[32];
    std::snprintf(detail, sizeof detail, "%.1f s", static_cast<double>(outcome.child.elapsed.count()) / 1000);
    progress.report({"Building engine", detail, 1.0});
  }
  return outcome;
}

nlohmann::json probe_library(const LibraryPaths& library) {
  nlohmann::json result;
  try {
    ChildCommand command = builder_command({{"action", "probe"}, {"library", to_json(library)}});
    command.limits.time = std::chrono::seconds(30);
    command.on_line = [&](std::string_view line) {
      const auto report = nlohmann::json::parse(line, nullptr, false);
      if (report.is_discarded()) return;
      if (report.value("type", "") == "library") {
        result["version"] = version_of(report.at("version")).to_string();
        result["family"] = report.at("family");
        result["has_builder"] = report.at("has_builder");
      } else if (report.value("type", "") == "failure") {
        result["error"] = report.at("message");
        result["remedy"] = report.at("remedy");
      }
    };
    const ChildResult child = run_child(command);
    if (!child.is_success() && !result.contains("error")) {
      result["error"] = "a process that opened the library " + child.describe();
      result["remedy"] = "set PAJAMAS_TENSORRT_LIBRARY to an undamaged library";
    }
  } catch (const Error& error) {
    result["error"] = error.message();
    result["remedy"] = error.remedy();
  }
  return result;
}

}  // namespace pajamas::tensorrt

namespace pajamas {

std::optional<int> run_builder_child(int argc, char** argv) {
  tensorrt::can_be_builder = true;
  if (argc < 2 || std::strcmp(argv[1], tensorrt::kBuilderArgument) != 0) return std::nullopt;
  if (argc != 3) return 2;
  return tensorrt::serve_builder_request(argv[2]);
}

}  // namespace pajamas
