// pajamas build: from a model to a bundle.
#include <fmt/format.h>

#include <iostream>

#include "cli.h"
#include "pajamas/error.h"
#include "shape_option.h"
#include "supervise.h"
#include "targets/registry.h"
#include "toolchain/build.h"
#include "toolchain/import.h"

namespace pajamas::cli {
namespace {

struct BuildOptions {
  BuildRequest request;
  std::string precision = "auto";
  std::vector<std::string> shapes;
  std::string labels_path;
  std::string output;
  double memory_limit_gb = 0;
  long time_limit_s = kTimeLimitSeconds;
};

nlohmann::json to_json(const BuildResult& result) {
  nlohmann::json steps = nlohmann::json::array();
  for (const BuildStep& step : result.steps) steps.push_back({{"name", step.name}, {"time_ms", to_ms(step.time)}});
  nlohmann::json proofs = nlohmann::json::object();
  for (const ManifestPart& part : result.manifest.parts) proofs[part.name] = part.proof;
  return {{"bundle", result.bundle.string()}, {"steps", steps}, {"notes", result.notes}, {"proof", proofs}};
}

void print(const BuildResult& result) {
  std::cout << result.bundle.string() << '\n';
  const Manifest& manifest = result.manifest;
  std::cerr << fmt::format("built {} for {} ({}), task {}\n", manifest.model, manifest.target, manifest.precision,
                           manifest.task.name);
  for (const ManifestPart& part : manifest.parts) {
    std::cerr << fmt::format("  {}: {}\n", part.name, part.proof.value("summary", "no proof"));
  }
  for (const BuildStep& step : result.steps)
    std::cerr << fmt::format("  {:<8} {}\n", step.name, format_time(step.time));
}

int run_build(BuildOptions& options, Context& context) {
  BuildRequest& request = options.request;
  set_precision(request.plan, options.precision);
  for (const std::string& text : options.shapes) request.plan.profiles.push_back(parse_shape_option(text));
  if (!options.labels_path.empty()) request.hints.labels = read_labels(options.labels_path);
  if (!options.output.empty()) request.output = options.output;
  request.plan.limits.time = std::chrono::seconds(options.time_limit_s);
  request.plan.limits.memory_bytes = static_cast<std::uint64_t>(options.memory_limit_gb * 1e9);
  if (const auto code = supervise(context, {"the build", request.source.string(), request.plan.limits.time,
                                            "check the model with its exporter, simplify it, or build for another "
                                            "target; nothing was left behind"})) {
    return *code;
  }
  request.progress = context.progress();
  const BuildResult result = build(request);
  request.progress = {};  // takes the progress line off the terminal
  if (context.is_json) {
    print_json(to_json(result));
  } else {
    print(result);
  }
  return 0;
}

}  // namespace

Command add_build_command(CLI::App& app, Context& context) {
  auto options = std::make_shared<BuildOptions>();
  CLI::App* command = app.add_subcommand("build", "Build a bundle from a model and prove it");
  BuildPlan& plan = options->request.plan;
  std::string target_names;
  for (const Target* target : targets())
    target_names += (target_names.empty() ? "" : ", ") + std::string(target->name());
  command
      ->add_option("model", options->request.source,
                   "An .onnx file, a GGUF file, a checkpoint folder (Hugging Face, CTranslate2) or "
                   "Whisper as .pt or ggml .bin")
      ->required();
  command->add_option("--target", plan.target, "Who executes it: " + target_names)->required();
  command->add_option(
      "--precision", options->precision,
      "auto (default), fp32, fp16 or bf16; for language and speech models also int8, int8-g128, int4, int4-awq or fp8 "
      "weights; target cuda: tf32 (products of float32), fp8 (products in 8-bit floats)");
  command->add_option("--gpu", plan.gpu_sms, "GPU generations of one engine, for example sm86,sm89,sm120")
      ->delimiter(',');
  command->add_option("--shapes", options->shapes,
                      "Shapes of an input: NAME:SHAPE, or NAME:MIN,OPT,MAX with shapes like 1x3x640x640; repeatable");
  command->add_option("-o,--output", options->output, "Folder of the bundle (default: models/MODEL/TARGET/PRECISION)");
  command->add_option("--name", options->request.model_name, "Model name (default: from the file name)");
  add_hint_options(*command, options->request.hints);
  command->add_option("--labels", options->labels_path, "Text file with one class name a line");
  command->add_option("--tokenizer", options->request.hints.tokenizer,
                      "Tokenizer to put into the bundle, for checkpoints that have none: tokenizer.json or its folder, "
                      "or a .tiktoken file");
  command->add_option("--vad", options->request.hints.voice_detector,
                      "Voice detector for a speech model: silero_vad.onnx (default: the one beside the checkpoint)");
  command->add_option("--keep-fp32", plan.keep_fp32_ops, "Operator types kept in float32, for example Softmax,Pow")
      ->delimiter(',');
  command->add_option("--verify-images", options->request.images, "Pictures to use in the proof, beside random inputs")
      ->delimiter(',');
  command->add_flag("--per-layer", options->request.is_per_layer, "Compare inner values too in the proof");
  command->add_flag("--accept-unproven", options->request.is_unproven_accepted,
                    "Keep a bundle whose proof failed; its manifest says so");
  command->add_option("--timing-cache", options->request.timing_cache,
                      "File of measured kernel times to use and to add to (target cuda): the same kernels every time");
  command
      ->add_option("--context", plan.context_length,
                   "Language models: most tokens of prompt and answer together (default: the model's own)")
      ->check(CLI::Range(1L, 1L << 32));
  command->add_option("--calibration", options->request.calibration,
                      "Language models: a text file for int4-awq, and to measure what quantisation costs. Target cuda "
                      "with fp8: a picture, or a folder of pictures, like those that the model will see");
  add_time_limit_option(*command, options->time_limit_s);
  command->add_option("--memory-limit", options->memory_limit_gb, "Gigabytes the builder may take (default: no limit)")
      ->check(CLI::Range(0.0, 1e6));
  add_threads_option(*command, plan.num_threads);
  add_common_options(*command, context);
  return {command, [options, &context] { return run_build(*options, context); }};
}

}  // namespace pajamas::cli
