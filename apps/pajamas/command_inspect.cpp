// pajamas inspect: what a model or bundle is.
#include <fmt/format.h>

#include <iostream>

#include "base/json_writer.h"
#include "cli.h"
#include "toolchain/inspect.h"

namespace pajamas::cli {
namespace {

void print_tensors(const char* title, const nlohmann::json& tensors) {
  for (const auto& tensor : tensors) {
    std::cout << fmt::format("  {:<8}{} {}\n", title, tensor["name"].get<std::string>(),
                             tensor["type"].get<std::string>());
  }
}

void print_model(const nlohmann::json& json) {
  const std::string family = json["family"].get<std::string>();
  std::cout << fmt::format("{}: {} model, family {}, task {}\n", json["path"].get<std::string>(),
                           json["format"].get<std::string>(), family.empty() ? "not recognised" : family,
                           json["task"]["name"].get<std::string>());
  for (const auto& part : json["parts"]) {
    std::cout << fmt::format("{}: opsets {}, {} nodes, {} parameters, {:.1f} MB of weights, made by {}\n",
                             part["name"].get<std::string>(), json_text(part["opsets"]), part["num_nodes"].get<int>(),
                             part["num_parameters"].get<std::int64_t>(), part["weight_bytes"].get<double>() / 1e6,
                             part["producer"].get<std::string>());
    print_tensors("input", part["inputs"]);
    print_tensors("output", part["outputs"]);
    std::cout << "  operators";
    for (const auto& [name, count] : part["operators"].items()) std::cout << ' ' << name << '(' << count << ')';
    std::cout << '\n';
    for (const auto& [name, answer] : part["targets"].items()) {
      std::cout << fmt::format("  {:<10}{}\n", name,
                               answer["supported"].get<bool>() ? "yes" : "no: " + answer["reason"].get<std::string>());
    }
  }
}

void print_bundle(const nlohmann::json& json) {
  const auto& manifest = json["manifest"];
  std::cout << fmt::format("{}: bundle of {}, target {}, precision {}, task {}, made {}\n",
                           json["path"].get<std::string>(), manifest["model"].get<std::string>(),
                           manifest["target"].get<std::string>(), manifest["precision"].get<std::string>(),
                           manifest["task"]["name"].get<std::string>(), manifest["created_at"].get<std::string>());
  std::cout << (json["intact"].get<bool>() ? "  intact\n" : "  DAMAGED: " + json["damage"].get<std::string>() + "\n");
  for (const auto& part : manifest["parts"]) {
    std::cout << "  part " << part["name"].get<std::string>() << '\n';
    for (const char* side : {"inputs", "outputs"}) {
      for (const auto& tensor : part[side]) {
        std::cout << fmt::format("    {:<8}{} {}{}\n", side, tensor["name"].get<std::string>(),
                                 tensor["dtype"].get<std::string>(), json_text(tensor["shape"]));
      }
    }
    for (const auto& file : part["files"]) {
      std::cout << fmt::format("    {:<8}{} ({:.1f} MB)\n", file["role"].get<std::string>(),
                               file["name"].get<std::string>(), file["size_bytes"].get<double>() / 1e6);
    }
    if (part["proof"].is_object()) std::cout << "    proof   " << part["proof"].value("summary", "") << '\n';
  }
}

}  // namespace

Command add_inspect_command(CLI::App& app, Context& context) {
  struct InspectOptions {
    std::filesystem::path path;
    ImportHints hints;
  };
  auto options = std::make_shared<InspectOptions>();
  CLI::App* command = app.add_subcommand("inspect", "Show what a model or bundle is");
  command->add_option("path", options->path, "An .onnx file, a GGUF file, a checkpoint folder or a bundle")->required();
  add_hint_options(*command, options->hints);
  add_common_options(*command, context);
  return {command, [options, &context] {
            const nlohmann::json json = inspect(options->path, options->hints);
            if (context.is_json) {
              print_json(json);
            } else if (json["kind"] == "bundle") {
              print_bundle(json);
            } else {
              print_model(json);
            }
            return 0;
          }};
}

}  // namespace pajamas::cli
