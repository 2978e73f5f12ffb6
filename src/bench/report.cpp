// The three forms of a report.
#include "bench/report.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <ctime>

#include "pajamas/error.h"

namespace pajamas {
namespace {

/// Three significant digits for what is measured, all digits for counts.
std::string number_text(double value) {
  char text[48];
  const bool is_count = value == std::floor(value) && std::abs(value) < 1e9;
  if (is_count || std::abs(value) >= 100) {
    std::snprintf(text, sizeof(text), "%.0f", value);
  } else {
    std::snprintf(text, sizeof(text), "%.3g", value);
  }
  return text;
}

std::string with_unit(double value, const std::string& unit) {
  if (unit.empty()) return number_text(value);
  return number_text(value) + (unit == "×" || unit == "%" ? "" : " ") + unit;
}

std::string goal_text(const std::optional<Goal>& goal, const std::string& unit) {
  if (!goal) return "";
  return std::string(goal->kind == Goal::Kind::kAtLeast ? "≥ " : "≤ ") + with_unit(goal->bound, unit);
}

std::string now_utc() {
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

/// Columns on a terminal: bytes of UTF-8 that do not continue a character.
std::size_t width_of(const std::string& text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

/// A cell must not break the table.
std::string escaped(std::string text) {
  std::string out;
  for (const char c : text) {
    if (c == '|') out += '\\';
    out += c == '\n' ? ' ' : c;
  }
  return out;
}

}  // namespace

Verified Verified::by(std::string how, bool is_passed) {
  if (!is_passed) {
    throw Error(ErrorKind::kInternal, "the outputs are wrong, so there is no figure to report (checked: " + how + ")");
  }
  return Verified(std::move(how));
}

std::optional<bool> Figure::is_passed() const {
  if (!goal) return std::nullopt;
  return goal->kind == Goal::Kind::kAtLeast ? value >= goal->bound : value <= goal->bound;
}

Report::Report(std::string title, nlohmann::json environment)
    : title_(std::move(title)), environment_(std::move(environment)), created_at_(now_utc()) {}

void Report::add(Figure figure, const Verified& verified) {
  if (!std::isfinite(figure.value)) throw Error(ErrorKind::kInternal, "the figure '" + figure.name + "' is not finite");
  rows_.push_back({std::move(figure), verified.how(), false});
}

void Report::add_missing(std::string name, std::optional<Goal> goal, std::string unit, std::string reason) {
  Figure figure;
  figure.name = std::move(name);
  figure.goal = goal;
  figure.unit = std::move(unit);
  figure.note = std::move(reason);
  rows_.push_back({std::move(figure), {}, true});
}

bool Report::has_failures() const {
  return std::any_of(rows_.begin(), rows_.end(), [](const Row& row) {
    return row.is_missing ? row.figure.goal.has_value() : !row.figure.is_passed().value_or(true);
  });
}

nlohmann::json Report::to_json() const {
  nlohmann::json figures = nlohmann::json::array();
  for (const auto& row : rows_) {
    const auto& f = row.figure;
    nlohmann::json json = {{"name", f.name}, {"unit", f.unit}, {"note", f.note}};
    json["value"] = row.is_missing ? nlohmann::json(nullptr) : nlohmann::json(f.value);
    json["verified_by"] = row.is_missing ? nlohmann::json(nullptr) : nlohmann::json(row.verified_by);
    json["goal"] = nullptr;
    json["is_passed"] = nullptr;
    if (f.goal) {
      json["goal"] = {{f.goal->kind == Goal::Kind::kAtLeast ? "at_least" : "at_most", f.goal->bound}};
      json["is_passed"] = !row.is_missing && *f.is_passed();
    }
    if (!f.details.is_null()) json["details"] = f.details;
    figures.push_back(std::move(json));
  }
  return {{"title", title_}, {"created_at", created_at_}, {"environment", environment_}, {"figures", figures}};
}

std::vector<std::vector<std::string>> Report::cells() const {
  std::vector<std::vector<std::string>> cells{{"figure", "value", "goal", "", "note"}};
  for (const auto& row : rows_) {
    const auto& f = row.figure;
    const bool is_passed = !row.is_missing && f.is_passed().value_or(true);
    std::string note = f.note;
    if (!row.is_missing) note += (note.empty() ? "verified: " : "; verified: ") + row.verified_by;
    cells.push_back({f.name, row.is_missing ? "not measured" : with_unit(f.value, f.unit), goal_text(f.goal, f.unit),
                     f.goal ? (is_passed ? "pass" : "FAIL") : "", std::move(note)});
  }
  return cells;
}

std::string Report::to_markdown() const {
  std::string out = "# " + title_ + "\n\n";
  const auto cpu = environment_.value("cpu", nlohmann::json::object());
  out += created_at_ + ", " +
         (cpu.contains("model") && cpu["model"].is_string() ? cpu["model"].get<std::string>() : "unknown CPU") + ", " +
         std::to_string(cpu.value("num_usable_cpus", 0)) + " CPUs.\n";
  const auto versions = environment_.value("versions", nlohmann::json::object());
  for (const auto& [name, version] : versions.items()) {
    out += (version.is_string() ? name + " " + version.get<std::string>() : name + " " + version.dump()) + ". ";
  }
  out += versions.empty() ? "" : "\n";
  for (const auto& warning : environment_.value("warnings", nlohmann::json::array())) {
    out += "\nWarning: " + warning.get<std::string>() + ".\n";
  }
  out += "\n";
  const auto rows = cells();
  for (std::size_t i = 0; i < rows.size(); ++i) {
    for (const auto& cell : rows[i]) out += "| " + escaped(cell) + " ";
    out += "|\n";
    if (i == 0) out += "|---|---:|---:|---|---|\n";
  }
  return out;
}

std::string Report::to_text() const {
  const auto rows = cells();
  std::vector<std::size_t> widths(rows[0].size());
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width_of(row[i]));
  }
  std::string out = title_ + "\n";
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      const std::string padding(widths[i] - width_of(row[i]), ' ');
      const bool is_number = i == 1 || i == 2;
      line += (i == 0 ? "" : "  ") + (is_number ? padding + row[i] : row[i] + padding);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  }
  for (const auto& warning : environment_.value("warnings", nlohmann::json::array())) {
    out += "warning: " + warning.get<std::string>() + "\n";
  }
  return out;
}

}  // namespace pajamas
