// pajamas doctor: what is on this machine and what works with it.
#include <fmt/format.h>

#include <iostream>

#include "base/json_writer.h"
#include "cli.h"
#include "supervise.h"
#include "toolchain/inspect.h"

namespace pajamas::cli {
namespace {

/// "key: value" lines, nested objects indented.
void print_tree(const nlohmann::json& json, int depth) {
  for (const auto& [key, value] : json.items()) {
    const std::string indent(static_cast<std::size_t>(depth) * 2, ' ');
    if (value.is_object()) {
      std::cout << indent << key << '\n';
      print_tree(value, depth + 1);
    } else {
      std::cout << fmt::format("{}{}: {}\n", indent, key,
                               value.is_string() ? value.get<std::string>() : json_text(value));
    }
  }
}

}  // namespace

Command add_doctor_command(CLI::App& app, Context& context) {
  CLI::App* command = app.add_subcommand("doctor", "Show what is on this machine and what works with it");
  add_common_options(*command, context);
  return {command, [&context] {
            // Opening a damaged library runs its code.
            constexpr std::chrono::seconds kLimit{120};
            if (const auto code = supervise(
                    context, {"the report", {}, kLimit, "check the vendor libraries: run ./dev setup again"})) {
              return *code;
            }
            const nlohmann::json report = doctor();
            if (context.is_json) {
              print_json(report);
            } else {
              print_tree(report, 0);
            }
            return 0;
          }};
}

}  // namespace pajamas::cli
