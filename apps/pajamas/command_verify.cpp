// pajamas verify: proves again that a bundle computes what its source computes.
#include <fmt/format.h>

#include <algorithm>
#include <iostream>

#include "bundle/bundle.h"
#include "cli.h"
#include "pajamas/error.h"
#include "supervise.h"
#include "toolchain/audio_quality.h"
#include "toolchain/prove_bundle.h"

namespace pajamas::cli {
namespace {

struct VerifyOptions {
  std::filesystem::path bundle;
  BundleTextRequest text;
  BundleAudioRequest audio;
  std::vector<std::filesystem::path> texts;
  std::string source;
  ProveOptions prove;
  long time_limit_s = kTimeLimitSeconds;
};

int run_verify_text(VerifyOptions& options, const std::optional<std::filesystem::path>& source, Context& context) {
  BundleTextRequest& request = options.text;
  if (request.windows.stride_tokens == 0)
    request.windows.stride_tokens = std::max<std::int64_t>(request.windows.context_tokens / 2, 1);
  if (request.windows.stride_tokens > request.windows.context_tokens) {
    throw Error(ErrorKind::kUsage, "the stride is longer than the window, so tokens would be left out", "--stride",
                "choose a stride of at most --context");
  }
  const MeasuredText measured = measure_bundle_on_text(Bundle::open(options.bundle), source, request, options.prove);
  options.prove.progress = {};
  const TextQuality& quality = measured.quality;
  if (context.is_json) {
    nlohmann::json json = to_json(quality);
    if (!measured.note.empty()) json["note"] = measured.note;
    print_json({{"bundle", options.bundle.string()}, {"text", request.text.string()}, {"text_quality", json}});
    return 0;
  }
  std::cout << fmt::format("perplexity {:.4f} on {} tokens of {} ({} predicted; windows of {}, stride {})\n",
                           quality.perplexity, quality.num_tokens, request.text.string(), quality.num_predicted,
                           quality.context_tokens, quality.stride_tokens);
  if (quality.has_reference) {
    std::cout << fmt::format(
        "the model it was built from: perplexity {:.4f} ({:+.2f} %), mean KL divergence {:.5f} nats, "
        "same most probable token {:.2f} %\n",
        quality.reference_perplexity, 100 * (quality.perplexity / quality.reference_perplexity - 1), quality.mean_kl,
        100 * quality.top1_agreement);
  }
  if (!measured.note.empty()) std::cout << "note: " << measured.note << '\n';
  return 0;
}

int run_verify_audio(VerifyOptions& options, const std::optional<std::filesystem::path>& source, Context& context) {
  options.audio.texts = options.texts;
  const AudioQuality quality =
      measure_bundle_on_audio(Bundle::open(options.bundle), source, options.audio, options.prove);
  options.prove.progress = {};
  const int code = quality.is_passed() ? 0 : exit_code(ErrorKind::kUnsupported);
  if (context.is_json) {
    print_json({{"bundle", options.bundle.string()}, {"passed", quality.is_passed()}, {"audio", to_json(quality)}});
    return code;
  }
  const auto line = [](const WordErrors& errors) {
    return fmt::format("{:.2f} % of {} words ({} other, {} missing, {} added)", errors.rate_percent(), errors.num_words,
                       errors.num_substituted, errors.num_missing, errors.num_added);
  };
  for (const AudioQuality::File& file : quality.files) {
    std::cout << printable(fmt::format("{}: {}\n", file.audio.string(), line(file.errors)));
    if (!file.warning.empty()) std::cout << printable("  warning: " + file.warning + "\n");
    if (file.errors.num_errors() == 0) continue;
    std::cout << printable(fmt::format("  expected: {}\n  heard:    {}\n", file.expected, file.heard));
  }
  std::cout << fmt::format("word error rate {}, at most {} % allowed\n", line(quality.errors), quality.max_wer_percent);
  std::cout << fmt::format("heard by {}; compared with {}\n", quality.ran,
                           quality.reference.empty() ? "the texts" : quality.reference);
  if (!quality.note.empty()) std::cout << "note: " << quality.note << '\n';
  std::cout << (quality.is_passed() ? "passed\n" : "FAILED\n");
  return code;
}

int run_verify(VerifyOptions& options, const CLI::App& app, Context& context) {
  const std::string task = Bundle::open(options.bundle).manifest().task.name;
  if (!options.audio.audio.empty()) {
    for (const char* name : {"--images", "--per-layer", "--seed", "--context", "--stride", "--max-text-tokens",
                             "--no-reference", "--exact-fp32", "--kv-precision"}) {
      if (app.count(name) > 0) {
        throw Error(ErrorKind::kUsage, "means nothing with --audio", name, std::string("leave ") + name + " out");
      }
    }
  } else if (options.texts.size() > 1) {
    throw Error(ErrorKind::kUsage, "several texts are for as many recordings", "--text",
                "give one text, or the recordings with --audio");
  } else if (!options.texts.empty()) {
    options.text.text = options.texts.front();
  }
  if (task == "generation") require_task_option(app, task, "other tasks", {"--images", "--per-layer", "--seed"});
  if (const auto code =
          supervise(context, {"the comparison", options.bundle.string(), std::chrono::seconds(options.time_limit_s),
                              "build the bundle again from its model with the libraries of this machine"})) {
    return *code;
  }
  std::optional<std::filesystem::path> source;
  if (!options.source.empty()) source = options.source;
  options.prove.progress = context.progress();
  if (!options.audio.audio.empty()) return run_verify_audio(options, source, context);
  if (!options.text.text.empty()) return run_verify_text(options, source, context);
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
  CLI::Option* audio =
      command
          ->add_option("--audio", options->audio.audio,
                       "Speech models: the word error rate on these recordings, against --text or the source")
          ->delimiter(',');
  command
      ->add_option("--max-wer", options->audio.max_wer_percent,
                   "Most errors on --audio in per cent of the words (default 3, with --text 11.5)")
      ->needs(audio)
      ->check(CLI::Range(0.0, 1000.0));
  CLI::Option* text =
      command
          ->add_option(
              "--text", options->texts,
              "Language models: measure perplexity on this text, and agreement with the source. Speech models: "
              "what is said, a file for each of --audio")
          ->allow_extra_args(false)
          ->delimiter(',');
  command->add_option("--context", options->text.windows.context_tokens, "Tokens of a window of --text (default 512)")
      ->needs(text)
      ->check(CLI::Range(2L, 1L << 24));
  options->text.windows.stride_tokens = 0;
  command
      ->add_option("--stride", options->text.windows.stride_tokens,
                   "Tokens between the windows of --text (default: half a window)")
      ->needs(text)
      ->check(CLI::Range(1L, 1L << 24));
  command->add_option("--max-text-tokens", options->text.windows.max_tokens, "How much of --text (default: all)")
      ->needs(text)
      ->check(CLI::Range(2L, 1L << 40));
  command->add_flag("!--no-reference", options->text.has_reference, "Do not compare with the source on --text")
      ->needs(text);
  command->add_flag("--exact-fp32", options->text.is_exact_fp32, "The engine at float32, with --text")->needs(text);
  command->add_option("--kv-precision", options->text.kv_precision, "auto, fp32, fp16 or uint8, with --text")
      ->needs(text);
  command->add_flag("--per-layer", options->prove.is_per_layer, "Compare inner values and name the first bad layer");
  command->add_option("--seed", options->prove.seed, "Seed of the random inputs (default 1)");
  add_time_limit_option(*command, options->time_limit_s);
  add_threads_option(*command, options->prove.num_threads);
  add_common_options(*command, context);
  return {command, [options, command, &context] { return run_verify(*options, *command, context); }};
}

}  // namespace pajamas::cli
