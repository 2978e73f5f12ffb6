// pajamas verify: proves again that a bundle computes what its source computes.
#include <fmt/format.h>

#include <iostream>

#include "bundle/bundle.h"
#include "cli.h"
#include "pajamas/error.h"
#include "supervise.h"
#include "toolchain/prove_bundle.h"

namespace pajamas::cli {
namespace {

struct VerifyOptions {
  std::filesystem::path bundle;
  std::string source;
  ProveOptions prove;
  long time_limit_s = kTimeLimitSeconds;
};

int run_verify(VerifyOptions& options, Context& context) {
  if (const auto code =
          supervise(context, {"the comparison", options.bundle.string(), std::chrono::seconds(options.time_limit_s),
                              "build the bundle again from its model with the libraries of this machine"})) {
    return *code;
  }
  std::optional<std::filesystem::path> source;
  if (!options.source.empty()) source = options.source;
  options.prove.progress = context.progress();
  const auto proofs = prove_bundle(Bundle::open(options.bundle), source, options.prove);
  options.prove.progress = {};
  bool is_passed = true;
  nlohmann::json parts = nlohmann::json::object();
  nlohmann::json notes = nlohmann::json::array();
  for (const auto& [part, proof, note] : proofs) {
    is_passed = is_passed && proof.is_passed;
    parts[part] = proof.to_json();
    if (!context.is_json) std::cout << fmt::format("{}: {}\n", part, proof.summary);
    if (note.empty()) continue;
    notes.push_back(part + ": " + note);
    if (!context.is_json) std::cout << fmt::format("{}: note: {}\n", part, note);
  }
  if (context.is_json) {
    print_json({{"bundle", options.bundle.string()}, {"passed", is_passed}, {"notes", notes}, {"proof", parts}});
  } else {
    std::cout << (is_passed ? "passed\n" : "FAILED\n");
  }
  return is_passed ? 0 : exit_code(ErrorKind::kUnsupported);
}

}  // namespace

Command add_verify_command(CLI::App& app, Context& context) {
  auto options = std::make_shared<VerifyOptions>();
  CLI::App* command = app.add_subcommand("verify", "Compare a bundle with the model it was built from");
  command->add_option("bundle", options->bundle, "Folder of the bundle")->required();
  command->add_option("--source", options->source, "The model (default: where it was read from at the build)");
  command->add_option("--images", options->prove.images, "Pictures to compare on, beside random inputs")
      ->delimiter(',');
  command->add_flag("--per-layer", options->prove.is_per_layer, "Compare inner values and name the first bad layer");
  command->add_option("--seed", options->prove.seed, "Seed of the random inputs (default 1)");
  add_time_limit_option(*command, options->time_limit_s);
  add_threads_option(*command, options->prove.num_threads);
  add_common_options(*command, context);
  return {command, [options, &context] { return run_verify(*options, context); }};
}

}  // namespace pajamas::cli
