// Running the real program from tests, and checking its JSON against the published schemas. Header-only test support.
#pragma once

#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <valijson/adapters/nlohmann_json_adapter.hpp>
#include <valijson/schema.hpp>
#include <valijson/schema_parser.hpp>
#include <valijson/validation_results.hpp>
#include <valijson/validator.hpp>
#include <vector>

#include "base/files.h"
#include "support/temporary_folder.h"

namespace pajamas::test {

struct ProgramRun {
  int exit_code = -1;  ///< 128 + signal when killed by one.
  std::string output;
  std::string errors;
  nlohmann::json json() const { return nlohmann::json::parse(output); }
};

inline std::string shell_quoted(const std::string& text) {
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

/// Runs a program with arguments and waits for it; `prefix` is shell text put before it ("ulimit -f 1; exec ").
inline ProgramRun run_program(const std::string& program, const std::vector<std::string>& arguments,
                              const std::string& prefix = {}) {
  const TemporaryFolder folder;
  std::string command = prefix + shell_quoted(program);
  for (const std::string& argument : arguments) command += " " + shell_quoted(argument);
  command = "(" + command + ") >" + shell_quoted((folder / "out").string()) + " 2>" +
            shell_quoted((folder / "err").string()) + " </dev/null";
  const int status = std::system(command.c_str());
  ProgramRun run;
  run.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  run.output = read_file(folder / "out");
  run.errors = read_file(folder / "err");
  return run;
}

/// Violations of docs/schemas/<name>.schema.json by `json`, one a line; empty when it conforms.
inline std::string schema_violations(const nlohmann::json& json, const std::string& name) {
  const auto path = std::filesystem::path(PAJAMAS_SOURCE_DIR) / "docs/schemas" / (name + ".schema.json");
  const nlohmann::json schema_json = nlohmann::json::parse(read_file(path));
  valijson::Schema schema;
  valijson::SchemaParser parser;
  parser.populateSchema(valijson::adapters::NlohmannJsonAdapter(schema_json), schema);
  valijson::Validator validator;
  valijson::ValidationResults results;
  std::string text;
  if (!validator.validate(schema, valijson::adapters::NlohmannJsonAdapter(json), &results)) {
    valijson::ValidationResults::Error error;
    while (results.popError(error)) {
      for (const std::string& step : error.context) text += step;
      text += ": " + error.description + "\n";
    }
    if (text.empty()) text = "does not conform";
  }
  return text;
}

}  // namespace pajamas::test
