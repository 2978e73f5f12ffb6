// The child's side of builder_process.h: opens the library, parses, builds, writes the engine file. Runs in a process
// of its own that may die at any call below.
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <mutex>

#include "base/files.h"
#include "base/json_writer.h"
#include "pajamas/error.h"
#include "targets/tensorrt/builder_protocol.h"

namespace pajamas::tensorrt {
namespace {

std::atomic<bool> is_stop_asked{false};
extern "C" void ask_to_stop(int) { is_stop_asked.store(true, std::memory_order_relaxed); }

/// Writes reports to the parent. Used from all threads of the library.
class Reporter {
 public:
  void send(const nlohmann::json& report) {
    std::string line = json_text(report);  // The vendor's texts may hold any bytes.
    line += '\n';
    const std::lock_guard lock(mutex_);
    std::size_t done = 0;
    while (done < line.size()) {
      const ssize_t put = ::write(kChildReportDescriptor, line.data() + done, line.size() - done);
      if (put < 0 && errno != EINTR) return;  // The parent is gone; the kernel ends this process too.
      if (put > 0) done += static_cast<std::size_t>(put);
    }
  }
  void stage(BuildStage stage) { send({{"type", "stage"}, {"stage", static_cast<int>(stage)}}); }

 private:
  std::mutex mutex_;
};

Reporter& reporter() {
  static Reporter instance;
  return instance;
}

/// One for the life of the process, as the library demands.
class ChildLogger final : public Logger {
 public:
  void log(Severity severity, const char* text) noexcept override {
    if (severity > most_detailed) return;
    try {
      reporter().send({{"type", "log"}, {"severity", static_cast<int>(severity)}, {"text", text ? text : ""}});
    } catch (...) {  // Out of memory: the message is lost, the build goes on.
    }
  }
  Severity most_detailed = Severity::kWarning;
};

ChildLogger& logger() {
  static auto* instance = new ChildLogger();  // Never deleted: the library's own static destructors may still log.
  return *instance;
}

class ChildProgress final : public ProgressMonitor {
 public:
  void phase_start(const char* phase, const char* parent, std::int32_t num_steps) noexcept override {
    send({{"type", "phase"}, {"phase", text(phase)}, {"parent", text(parent)}, {"num_steps", num_steps}});
  }
  bool step_complete(const char* phase, std::int32_t step) noexcept override {
    send({{"type", "step"}, {"phase", text(phase)}, {"step", step}});
    return !is_stop_asked.load(std::memory_order_relaxed);
  }
  void phase_finish(const char* phase) noexcept override { send({{"type", "finish"}, {"phase", text(phase)}}); }

 private:
  static std::string text(const char* value) { return value != nullptr ? value : ""; }
  static void send(const nlohmann::json& report) noexcept {
    try {
      reporter().send(report);
    } catch (...) {
    }
  }
};

[[noreturn]] void fail(ErrorKind kind, const std::string& what, const std::string& remedy = {}) {
  throw Error(kind, what, {}, remedy);
}

void check_stop() {
  if (is_stop_asked.load(std::memory_order_relaxed)) fail(ErrorKind::kCancelled, "stopped on request");
}

void write_engine(const std::filesystem::path& path, const void* data, std::size_t size) {
  const auto fail_to_write = [&] {
    const int saved = errno;
    ::unlink(path.c_str());
    throw Error(ErrorKind::kBadInput, std::string("cannot write the engine: ") + std::strerror(saved), path.string(),
                "check the free space of the disk and the permissions of the folder");
  };
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (file < 0) fail_to_write();
  const char* bytes = static_cast<const char*>(data);
  std::size_t done = 0;
  while (done < size) {
    const ssize_t put = ::write(file, bytes + done, size - done);
    if (put < 0 && errno != EINTR) {
      const int saved = errno;
      ::close(file);
      errno = saved;
      fail_to_write();
    }
    if (put > 0) done += static_cast<std::size_t>(put);
  }
  if (::close(file) != 0) fail_to_write();
}

nlohmann::json describe(const NetworkTensor& tensor) {
  return {{"name", tensor.name()}, {"dtype", static_cast<int>(tensor.dtype())}, {"extents", tensor.extents()}};
}

void set_targets(const BuilderConfig& config, const std::vector<int>& sms, nlohmann::json& done) {
  if (sms.empty()) return;
  if (config.slots->family != Family::kTensorRtRtx) {
    fail(ErrorKind::kUnsupported, "TensorRT builds for the GPU of the machine it runs on, not for listed SMs",
         "leave out the list of GPUs, or use TensorRT for RTX");
  }
  const auto count = static_cast<std::int32_t>(sms.size());
  if (!config.set_num_targets(count)) fail(ErrorKind::kInternal, "TensorRT refused the number of target GPUs");
  for (std::int32_t i = 0; i < count; ++i) {
    const int sm = sms[static_cast<std::size_t>(i)];
    if (!config.set_target(sm, i)) {
      fail(ErrorKind::kUnsupported, "TensorRT for RTX does not know the target sm" + std::to_string(sm));
    }
  }
  for (std::int32_t i = 0; i < count; ++i) {
    const std::int32_t got = config.target(i);
    if (got != sms[static_cast<std::size_t>(i)]) {
      fail(ErrorKind::kInternal, "TensorRT took sm" + std::to_string(got) + " where sm" +
                                     std::to_string(sms[static_cast<std::size_t>(i)]) + " was asked for");
    }
    done["targets"].push_back(got);
  }
}

void add_profiles(const Builder& builder, const BuilderConfig& config, const std::vector<ShapeProfile>& profiles) {
  if (profiles.empty()) return;
  const Profile profile = builder.create_profile();
  if (!profile) fail(ErrorKind::kInternal, "TensorRT could not create a shape profile");
  for (const ShapeProfile& wanted : profiles) {
    const bool is_taken = profile.set_dimensions(wanted.input.c_str(), Profile::Select::kMin, Dims::of(wanted.min)) &&
                          profile.set_dimensions(wanted.input.c_str(), Profile::Select::kOpt, Dims::of(wanted.opt)) &&
                          profile.set_dimensions(wanted.input.c_str(), Profile::Select::kMax, Dims::of(wanted.max));
    if (!is_taken) {
      fail(ErrorKind::kUsage, "TensorRT refused the shapes " + wanted.min.to_string() + ", " + wanted.opt.to_string() +
                                  ", " + wanted.max.to_string() + " of input '" + wanted.input + "'");
    }
  }
  if (config.add_profile(profile) < 0) fail(ErrorKind::kUsage, "TensorRT refused the shape profile");
}

void build(const nlohmann::json& message) {
  const BuilderRequest request = request_from_json(message);
  if (request.is_verbose) logger().most_detailed = Severity::kInfo;
  nlohmann::json done{{"type", "done"}, {"targets", nlohmann::json::array()}};

  reporter().stage(BuildStage::kOpening);
  const auto library = Library::open(request.library);
  reporter().send(
      {{"type", "library"},
       {"version",
        {library->version().major, library->version().minor, library->version().patch, library->version().build}},
       {"family", to_string(library->family())}});
  const auto builder = library->create_builder(logger());
  if (request.num_threads > 0) builder->set_max_threads(request.num_threads);
  const auto network = builder->create_network();
  if (!network) fail(ErrorKind::kInternal, "TensorRT could not create a network");
  const auto parser = library->create_parser(*network, logger());

  reporter().stage(BuildStage::kParsing);
  const auto file = MappedFile::open(request.onnx);
  if (!parser->parse(file->bytes().data(), file->bytes().size(), request.onnx.c_str())) {
    for (int i = 0; i < parser->num_errors(); ++i) {
      const ParserError error = parser->error(i);
      if (!error) continue;
      reporter().send({{"type", "node_error"},
                       {"code", error.code()},
                       {"description", error.description()},
                       {"node_index", error.node_index()},
                       {"node_name", error.node_name()},
                       {"node_operator", error.node_operator()}});
    }
    fail(ErrorKind::kUnsupported, "TensorRT's parser refused the model");
  }
  if (network->num_outputs() == 0) fail(ErrorKind::kBadInput, "the model has no outputs, or is not an ONNX model");
  check_stop();
  for (int i = 0; i < network->num_inputs(); ++i) done["inputs"].push_back(describe(network->input(i)));
  for (int i = 0; i < network->num_outputs(); ++i) done["outputs"].push_back(describe(network->output(i)));
  done["num_layers"] = network->num_layers();

  reporter().stage(BuildStage::kConfiguring);
  const auto config = builder->create_config();
  if (!config) fail(ErrorKind::kInternal, "TensorRT could not create a builder configuration");
  set_targets(*config, request.sms, done);
  add_profiles(*builder, *config, request.profiles);
  if (request.workspace_bytes > 0) config->set_workspace_limit(request.workspace_bytes);
  if (request.optimization_level) {
    config->set_optimization_level(*request.optimization_level);
    if (config->optimization_level() != *request.optimization_level) {
      fail(ErrorKind::kUsage, "TensorRT refused the optimization level " + std::to_string(*request.optimization_level),
           "use 0 to 5");
    }
  }
  ChildProgress progress;
  config->set_progress_monitor(&progress);

  reporter().stage(BuildStage::kBuilding);
  const auto begin = std::chrono::steady_clock::now();
  const auto engine = builder->build(*network, *config);
  check_stop();
  if (!engine) fail(ErrorKind::kUnsupported, "TensorRT could not build the engine");
  done["build_seconds"] = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();

  reporter().stage(BuildStage::kWriting);
  write_engine(request.engine, engine->data(), engine->size());
  reporter().send(done);
}

void probe(const nlohmann::json& message) {
  const auto library = Library::open(library_from_json(message.at("library")));
  const Version& version = library->version();
  nlohmann::json report{{"type", "library"},
                        {"version", {version.major, version.minor, version.patch, version.build}},
                        {"family", to_string(library->family())},
                        {"has_builder", library->has_builder()}};
  // Creating the run-time side shows that the entry points are what their names say.
  { const auto runtime = library->create_runtime(logger()); }
  reporter().send(report);
}

}  // namespace

int serve_builder_request(const std::string& text) {
  ::signal(SIGXFSZ, SIG_IGN);  // A file limit must come back as an error of write, with its reason.
  ::signal(SIGPIPE, SIG_IGN);
  struct sigaction action {};
  action.sa_handler = ask_to_stop;
  ::sigaction(SIGTERM, &action, nullptr);
  // The large stack is for this thread, which recurses over the graph; the library's own threads need no gigabyte.
  pthread_attr_t attributes;
  if (::pthread_attr_init(&attributes) == 0) {
    ::pthread_attr_setstacksize(&attributes, std::size_t{16} << 20);
    ::pthread_setattr_default_np(&attributes);
    ::pthread_attr_destroy(&attributes);
  }
  // When the machine runs out of memory, the kernel shall end this process and no other.
  if (std::FILE* file = std::fopen("/proc/self/oom_score_adj", "w")) {
    std::fputs("1000", file);
    std::fclose(file);
  }
  try {
    const auto message = nlohmann::json::parse(text);
    if (message.at("action") == "probe") {
      probe(message);
    } else {
      build(message);
    }
    return 0;
  } catch (const Error& error) {
    reporter().send({{"type", "failure"},
                     {"kind", static_cast<int>(error.kind())},
                     {"message", error.message()},
                     {"where", error.where()},
                     {"remedy", error.remedy()}});
  } catch (const std::bad_alloc&) {
    reporter().send({{"type", "failure"},
                     {"kind", static_cast<int>(ErrorKind::kBadInput)},
                     {"message", "the builder ran out of memory"},
                     {"where", ""},
                     {"remedy", "raise the memory limit, or build on a machine with more memory"}});
  } catch (const std::exception& error) {
    reporter().send({{"type", "failure"},
                     {"kind", static_cast<int>(ErrorKind::kInternal)},
                     {"message", error.what()},
                     {"where", ""},
                     {"remedy", ""}});
  }
  return 1;
}

}  // namespace pajamas::tensorrt
