// The measuring program of the vision suite; benchmarks/vision/run calls it. It measures what belongs into one process,
// takes the rows that `run` measured over whole commands, and writes the report.
#include <CLI/CLI.hpp>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "bench/environment.h"
#include "pajamas/error.h"
#include "rows.h"
#include "verify/onnxruntime_library.h"

namespace {

using namespace pajamas;

std::optional<Goal> goal_of(const nlohmann::json& row) {
  if (row.contains("at_least")) return Goal{Goal::Kind::kAtLeast, row["at_least"].get<double>()};
  if (row.contains("at_most")) return Goal{Goal::Kind::kAtMost, row["at_most"].get<double>()};
  return std::nullopt;
}

/// Rows that the script measured: {"name", "unit", "value" or "missing", "at_least" or "at_most", "note",
/// "verified_by", "is_verified"}.
void add_rows_of(const std::filesystem::path& path, Report& report) {
  for (const auto& row : nlohmann::json::parse(read_file(path))) {
    const auto name = row.at("name").get<std::string>();
    const auto unit = row.value("unit", std::string());
    if (row.contains("missing")) {
      report.add_missing(name, goal_of(row), unit, row["missing"].get<std::string>());
      continue;
    }
    Figure figure;
    figure.name = name;
    figure.unit = unit;
    figure.value = row.at("value").get<double>();
    figure.goal = goal_of(row);
    figure.note = row.value("note", std::string());
    if (row.contains("details")) figure.details = row["details"];
    report.add(std::move(figure),
               Verified::by(row.at("verified_by").get<std::string>(), row.at("is_verified").get<bool>()));
  }
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Measures the vision path; called by benchmarks/vision/run"};
  benchmark::Settings settings;
  std::filesystem::path extra, json_path, markdown_path, import_model;
  std::string only;
  app.add_option("--models", settings.models, "Folder of the .onnx files");
  app.add_option("--bundles", settings.bundles, "Folder of the bundles");
  app.add_option("--rows", extra, "JSON of rows that the script measured");
  app.add_option("--json", json_path, "Where the report goes as JSON");
  app.add_option("--markdown", markdown_path, "Where the report goes as Markdown");
  app.add_option("--seconds", settings.seconds, "Measured time of each contender");
  app.add_option("--threads", settings.num_threads, "CPU threads of both contenders (default: all)");
  app.add_option("--only", only, "peers or pictures");
  app.add_option("--import", import_model, "Measure import and passes of this file in this process, and nothing else");
  CLI11_PARSE(app, argc, argv);
  try {
    if (!import_model.empty()) {
      benchmark::print_import_measurement(import_model);
      return 0;
    }
    settings.progress.report = [last = std::string()](const ProgressEvent& event) mutable {
      const std::string text = event.step + (event.detail.empty() ? "" : ": " + event.detail);
      if (text != last) std::cerr << text << "\n";
      last = text;
    };
    Report report("Vision benchmark", environment({{"onnxruntime", OnnxRuntimeLibrary::get()->version()}}));
    if (only.empty() || only == "peers") benchmark::add_peer_rows(settings, report);
    if (only.empty() || only == "pictures") benchmark::add_picture_rows(settings, report);
    if (!extra.empty()) add_rows_of(extra, report);
    if (!json_path.empty()) write_file(json_path, std::string_view(report.to_json().dump(2) + "\n"));
    if (!markdown_path.empty()) write_file(markdown_path, std::string_view(report.to_markdown()));
    std::cout << report.to_text();
    return report.has_failures() ? 1 : 0;
  } catch (const Error& error) {
    std::cerr << "vision_benchmark: " << error.what() << "\n";
    return exit_code(error.kind());
  } catch (const std::exception& error) {
    std::cerr << "vision_benchmark: " << error.what() << "\n";
    return 1;
  }
}
