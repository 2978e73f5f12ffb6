// Runs every ONNX node conformance case through the target openvino: each must give the expected numbers or be refused
// with a reason. A wrong number, a crash or a hang fails the program. The cases are written by
// tools/make_conformance_cases from the onnx package; docs/conformance.md is this program's report.
//
// Cases run in child processes, so that a crash in a vendor library is a result and not the end of the run.
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <thread>

#include "base/files.h"
#include "engine/target.h"
#include "graph/checker.h"
#include "io/onnx_reader.h"
#include "onnx.pb.h"
#include "pajamas/error.h"
#include "targets/registry.h"
#include "tensor/half.h"

namespace pajamas {
namespace {

/// What came of one case. The order is that of the report.
enum class Verdict { kPassed, kRefused, kWrong, kCrashed };
constexpr const char* kVerdictNames[] = {"passed", "refused", "wrong", "crashed"};

struct Case {
  std::string name;
  double relative_tolerance = 0;
  double absolute_tolerance = 0;
  std::vector<std::string> operators;
  std::vector<std::string> inputs;  ///< File names; empty: not a tensor.
  std::vector<std::string> outputs;
};

struct Outcome {
  Verdict verdict = Verdict::kCrashed;
  std::string reason;
};

struct RunSettings {
  std::filesystem::path cases;
  std::filesystem::path scratch;
  bool use_dynamic_shapes = false;
};

std::vector<Case> read_cases(const std::filesystem::path& folder) {
  const nlohmann::json json = nlohmann::json::parse(read_file(folder / "cases.json"));
  std::vector<Case> cases;
  for (const nlohmann::json& entry : json.at("cases")) {
    Case item{entry.at("name"), entry.at("rtol"), entry.at("atol"), entry.at("operators"), {}, {}};
    for (const nlohmann::json& file : entry.at("inputs")) {
      item.inputs.push_back(file.is_null() ? "" : file.get<std::string>());
    }
    for (const nlohmann::json& file : entry.at("outputs")) {
      item.outputs.push_back(file.is_null() ? "" : file.get<std::string>());
    }
    cases.push_back(std::move(item));
  }
  return cases;
}

Tensor read_tensor(const std::filesystem::path& path) {
  onnx::TensorProto proto;
  if (!proto.ParseFromString(read_file(path))) throw Error(ErrorKind::kBadInput, "not a TensorProto", path.string());
  const auto dtype = static_cast<DType>(proto.data_type());
  Tensor tensor(dtype, Shape(std::vector<std::int64_t>(proto.dims().begin(), proto.dims().end())));
  const std::string& raw = proto.raw_data();
  if (raw.size() != tensor.size_bytes()) throw Error(ErrorKind::kBadInput, "raw data of another size", path.string());
  std::copy(raw.begin(), raw.end(), reinterpret_cast<char*>(tensor.mutable_bytes().data()));
  return tensor;
}

double element(const Tensor& tensor, std::int64_t index) {
  const auto i = static_cast<std::size_t>(index);
  if (tensor.dtype() == DType::kFloat64) return tensor.as<double>()[i];
  return static_cast<double>(tensor.as<float>()[i]);
}

/// Empty when equal within the case's tolerance (floats) or exactly (all else).
std::string difference(const TensorView& found, const Tensor& expected, const Case& item) {
  if (found.dtype != expected.dtype()) {
    return std::string("type ") + to_string(found.dtype) + " instead of " + to_string(expected.dtype());
  }
  if (found.shape != expected.shape()) {
    return "shape " + found.shape.to_string() + " instead of " + expected.shape().to_string();
  }
  Tensor actual = Tensor::copy_of(found);
  Tensor wanted = expected;
  if (!is_floating_point(found.dtype)) {
    const auto a = actual.bytes();
    const auto b = wanted.bytes();
    const auto place = std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first;
    if (place == a.end()) return {};
    return "differs from byte " + std::to_string(place - a.begin()) + " of " + std::to_string(a.size());
  }
  if (found.dtype != DType::kFloat64) {
    actual = to_float32(actual.view());
    wanted = to_float32(wanted.view());
  }
  for (std::int64_t i = 0; i < wanted.num_elements(); ++i) {
    const double a = element(actual, i);
    const double b = element(wanted, i);
    const bool is_equal = (std::isnan(a) && std::isnan(b)) || a == b ||
                          (std::isfinite(a) && std::isfinite(b) &&
                           std::abs(a - b) <= item.absolute_tolerance + item.relative_tolerance * std::abs(b));
    if (!is_equal) {
      return std::to_string(a) + " instead of " + std::to_string(b) + " at element " + std::to_string(i) + " of " +
             std::to_string(wanted.num_elements());
    }
  }
  return {};
}

/// Forgets every declared extent, so that OpenVINO's code for unknown shapes runs.
void make_dynamic(Model& model) {
  for (auto* infos : {&model.graph.inputs, &model.graph.outputs, &model.graph.value_infos}) {
    for (ValueInfo& info : *infos) {
      if (!info.type || !info.type->shape) continue;
      for (Dimension& dimension : *info.type->shape) dimension = {};
    }
  }
}

Outcome run_case(const Case& item, const RunSettings& settings) {
  const Target& target = find_target("openvino");
  BuildPlan plan;
  plan.target = "openvino";
  plan.precision = Precision::kFp32;
  plan.num_threads = 1;
  std::unique_ptr<Session> session;
  std::vector<Tensor> inputs;
  try {
    Model model = read_onnx(settings.cases / item.name / "model.onnx");
    check_model(model);
    if (settings.use_dynamic_shapes) make_dynamic(model);
    if (const Support support = target.supports(model, plan); !support) {
      return {Verdict::kRefused, support.reason};
    }
    const CompiledPart part = target.compile({model, plan, "model", settings.scratch, {}});
    SessionOptions options;
    options.num_threads = 1;
    const auto open = [&](const CompiledFile& file) { return MappedFile::open(settings.scratch / file.name); };
    const auto engine = target.load({settings.scratch, "model", part.files, open, part.facts, plan, options});
    session = engine->new_session();
    // The engine takes only what a caller must feed; the cases list values for all graph inputs in order.
    std::map<std::string, std::string> files;
    for (std::size_t i = 0; i < item.inputs.size() && i < model.graph.inputs.size(); ++i) {
      files[model.graph.inputs[i].name] = item.inputs[i];
    }
    for (const TensorInfo& input : engine->inputs()) {
      inputs.push_back(read_tensor(settings.cases / item.name / files.at(input.name)));
    }
    for (std::size_t i = 0; i < inputs.size(); ++i) session->set_input(i, inputs[i].view());
  } catch (const Error& error) {
    return {Verdict::kRefused, error.what()};
  }
  try {
    session->run();
  } catch (const Error& error) {
    // Late, and so not what a refusal should be, though no wrong answer.
    return {Verdict::kWrong, std::string("failed while running: ") + error.what()};
  }
  for (std::size_t i = 0; i < item.outputs.size(); ++i) {
    const Tensor expected = read_tensor(settings.cases / item.name / item.outputs[i]);
    const std::string text = difference(session->output(i), expected, item);
    if (!text.empty()) return {Verdict::kWrong, "output " + std::to_string(i) + ": " + text};
  }
  return {Verdict::kPassed, {}};
}

/// Runs the cases `indices[begin..end)` in a child; gives how many it finished. The outcomes arrive through a pipe.
std::size_t run_shard(const std::vector<Case>& cases, const std::vector<std::size_t>& indices, std::size_t begin,
                      std::size_t end, const RunSettings& settings, std::vector<Outcome>& outcomes) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("no pipe");
  const pid_t child = ::fork();
  if (child < 0) throw std::runtime_error("no child process");
  if (child == 0) {
    ::close(ends[0]);
    FILE* out = ::fdopen(ends[1], "w");
    for (std::size_t i = begin; i < end; ++i) {
      ::alarm(60);  // no case takes more than a second; a hang then ends by SIGALRM
      Outcome outcome;
      try {
        outcome = run_case(cases[indices[i]], settings);
      } catch (const std::exception& exception) {
        outcome = {Verdict::kCrashed, std::string("exception that is no Error: ") + exception.what()};
      }
      const nlohmann::json line = {static_cast<int>(outcome.verdict), outcome.reason};
      std::fprintf(out, "%s\n", line.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace).c_str());
      std::fflush(out);
    }
    std::fclose(out);
    ::_exit(0);
  }
  ::close(ends[1]);
  FILE* in = ::fdopen(ends[0], "r");
  std::size_t num_done = 0;
  std::string line;
  for (int c = std::fgetc(in); c != EOF; c = std::fgetc(in)) {
    if (c != '\n') {
      line += static_cast<char>(c);
      continue;
    }
    const nlohmann::json json = nlohmann::json::parse(line);
    outcomes[indices[begin + num_done]] = {static_cast<Verdict>(json.at(0).get<int>()), json.at(1)};
    ++num_done;
    line.clear();
  }
  std::fclose(in);
  int status = 0;
  ::waitpid(child, &status, 0);
  if (begin + num_done < end) {
    outcomes[indices[begin + num_done]] = {
        Verdict::kCrashed, WIFSIGNALED(status) ? std::string("killed by ") + ::strsignal(WTERMSIG(status)) : "exited"};
    ++num_done;
  }
  return num_done;
}

/// Runs the cases with `num_jobs` children at a time. Each thread has every num_jobs-th case and starts a new child
/// after a crash and after every hundred cases.
std::vector<Outcome> run_all(const std::vector<Case>& cases, const std::vector<std::size_t>& indices, int num_jobs,
                             const RunSettings& settings) {
  std::vector<Outcome> outcomes(cases.size());
  std::vector<std::thread> threads;
  for (int job = 0; job < num_jobs; ++job) {
    threads.emplace_back([&, job] {
      std::vector<std::size_t> own;
      for (std::size_t i = static_cast<std::size_t>(job); i < indices.size(); i += static_cast<std::size_t>(num_jobs)) {
        own.push_back(indices[i]);
      }
      RunSettings mine = settings;
      mine.scratch = settings.scratch / std::to_string(job);
      std::filesystem::create_directories(mine.scratch);
      constexpr std::size_t kShard = 100;
      for (std::size_t begin = 0; begin < own.size();) {
        begin += run_shard(cases, own, begin, std::min(own.size(), begin + kShard), mine, outcomes);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return outcomes;
}

/// The operator a case is about: its only one, or for a case that spells an operator out, that operator.
std::string subject_of(const Case& item, const std::map<std::string, const Case*>& by_name) {
  const std::size_t expanded = item.name.find("_expanded");
  if (expanded != std::string::npos) {
    const auto base = by_name.find(item.name.substr(0, expanded));
    if (base != by_name.end() && base->second->operators.size() == 1) {
      return base->second->operators[0] + " (spelled out)";
    }
    return "others (spelled out)";
  }
  return item.operators.size() == 1 ? item.operators[0] : "several operators";
}

/// A refusal without what names the single node, so that equal reasons are told once.
std::string general_reason(std::string reason) {
  const std::size_t node = reason.find(" node ");
  const std::size_t colon = reason.find(": ", node == std::string::npos ? 0 : node);
  if (node != std::string::npos && colon != std::string::npos) {
    reason = reason.substr(0, node) + ": " + reason.substr(colon + 2);
  }
  for (char& c : reason) {
    if (c == '\n') c = ' ';
    if (c == '|') c = '/';
  }
  constexpr std::size_t kMaxLength = 160;
  if (reason.size() > kMaxLength) reason = reason.substr(0, kMaxLength) + "...";
  return reason;
}

std::string report_of(const std::vector<Case>& cases, const std::vector<Outcome>& outcomes,
                      const std::string& version) {
  std::map<std::string, const Case*> by_name;
  for (const Case& item : cases) by_name[item.name] = &item;
  struct Row {
    int counts[4] = {0, 0, 0, 0};
    std::set<std::string> reasons;
  };
  std::map<std::string, Row> rows;
  int totals[4] = {0, 0, 0, 0};
  for (std::size_t i = 0; i < cases.size(); ++i) {
    Row& row = rows[subject_of(cases[i], by_name)];
    const auto verdict = static_cast<std::size_t>(outcomes[i].verdict);
    ++row.counts[verdict];
    ++totals[verdict];
    if (outcomes[i].verdict != Verdict::kPassed) row.reasons.insert(general_reason(outcomes[i].reason));
  }
  std::ostringstream out;
  out << "# ONNX conformance of the target openvino\n\n"
      << "Written by `conformance --report docs/conformance.md`; do not edit. The cases are the node cases of the "
         "onnx\n"
      << "package (`tools/make_conformance_cases`). Each runs through the whole target (import, allow-list, "
         "compilation,\n"
      << "blob, session) at fp32 on the CPU and must give the expected numbers within the case's own tolerance, or be\n"
      << "refused with its reason before anything is computed.\n\n"
      << "OpenVINO " << version << ": **" << totals[0] << " passed, " << totals[1] << " refused, " << totals[2]
      << " wrong, " << totals[3] << " crashed** of " << cases.size() << ".\n\n"
      << "| operator | passed | refused | reasons |\n|---|---|---|---|\n";
  for (const auto& [name, row] : rows) {
    out << "| " << name << " | " << row.counts[0] << " | " << row.counts[1];
    if (row.counts[2] + row.counts[3] > 0) out << " (and " << row.counts[2] + row.counts[3] << " failed)";
    out << " | ";
    std::string separator;
    for (const std::string& reason : row.reasons) {
      out << separator << reason;
      separator = "; ";
    }
    out << " |\n";
  }
  return out.str();
}

int run(int argc, char** argv) {
  CLI::App app("Runs the ONNX node conformance cases on the target openvino.");
  RunSettings settings;
  settings.cases = std::filesystem::path(PAJAMAS_DEPS_DIR) / "conformance";
  std::string report;
  std::string json_path;
  std::string filter;
  int num_jobs = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  app.add_option("--cases", settings.cases, "Folder written by tools/make_conformance_cases");
  app.add_option("--report", report, "Write the table by operator as Markdown");
  app.add_option("--json", json_path, "Write every case's outcome");
  app.add_option("--filter", filter, "Only cases whose name contains this");
  app.add_option("--jobs", num_jobs, "Processes at a time")->check(CLI::Range(1, 256));
  app.add_flag("--dynamic", settings.use_dynamic_shapes, "Forget the declared extents before compiling");
  CLI11_PARSE(app, argc, argv);
  if (!std::filesystem::exists(settings.cases / "cases.json")) {
    std::cerr << settings.cases.string() << ": no cases: run tools/make_conformance_cases\n";
    return 77;  // skipped
  }
  const std::vector<Case> cases = read_cases(settings.cases);
  std::vector<std::size_t> indices;
  for (std::size_t i = 0; i < cases.size(); ++i) {
    if (cases[i].name.find(filter) != std::string::npos) indices.push_back(i);
  }
  settings.scratch = std::filesystem::temp_directory_path() / ("pajamas-conformance-" + std::to_string(::getpid()));
  const std::vector<Outcome> outcomes = run_all(cases, indices, num_jobs, settings);
  std::filesystem::remove_all(settings.scratch);

  int totals[4] = {0, 0, 0, 0};
  nlohmann::json all = nlohmann::json::array();
  for (const std::size_t i : indices) {
    ++totals[static_cast<std::size_t>(outcomes[i].verdict)];
    const char* verdict = kVerdictNames[static_cast<std::size_t>(outcomes[i].verdict)];
    all.push_back({{"case", cases[i].name},
                   {"verdict", verdict},
                   {"reason", outcomes[i].reason},
                   {"operators", cases[i].operators}});
    if (outcomes[i].verdict == Verdict::kWrong || outcomes[i].verdict == Verdict::kCrashed) {
      std::cout << verdict << ": " << cases[i].name << ": " << outcomes[i].reason << "\n";
    }
  }
  if (!json_path.empty()) {
    write_file(json_path, all.dump(1, ' ', true, nlohmann::json::error_handler_t::replace) + "\n");
  }
  if (!report.empty()) {
    write_file(report, report_of(cases, outcomes, find_target("openvino").doctor().at("version")));
  }
  std::cout << indices.size() << " cases: " << totals[0] << " passed, " << totals[1] << " refused, " << totals[2]
            << " wrong, " << totals[3] << " crashed\n";
  return totals[2] + totals[3] == 0 && !indices.empty() ? 0 : 1;
}

}  // namespace
}  // namespace pajamas

int main(int argc, char** argv) {
  try {
    return pajamas::run(argc, argv);
  } catch (const std::exception& exception) {
    std::cerr << exception.what() << "\n";
    return 1;
  }
}
