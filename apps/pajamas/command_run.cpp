// pajamas run: pictures through a bundle, by the bundle's task. Language models: command_run_generation.cpp; speech:
// command_run_transcription.cpp and command_run_speech.cpp.
#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>
#include <iostream>
#include <set>

#include "bundle/bundle.h"
#include "cli.h"
#include "command_run_generation.h"
#include "command_run_speech.h"
#include "command_run_transcription.h"
#include "pajamas/classification.h"
#include "pajamas/detection.h"
#include "pajamas/embedding.h"
#include "pajamas/error.h"
#include "supervise.h"

namespace pajamas::cli {
namespace {

namespace fs = std::filesystem;

struct RunOptions {
  fs::path bundle;
  std::vector<fs::path> images;
  double threshold = -1;
  double iou_threshold = -1;
  int max_detections = 0;
  bool is_agnostic = false;
  fs::path annotate_path;
  int top_k = 5;
  std::vector<std::string> labels;
  std::string prompt = "a photo of a {}";
  std::vector<std::string> texts;
  int num_threads = 0;
  long time_limit_s = kTimeLimitSeconds;
  GenerationRunOptions generation;
  std::vector<std::string> generation_names;  ///< Of the options that only generation has.
  TranscriptionRunOptions transcription;
  std::vector<std::string> transcription_names;
  SpeechRunOptions speech;
  std::vector<std::string> speech_names;
  fs::path output;
};

nlohmann::json timing_json(const TaskTiming& timing, std::chrono::nanoseconds decode) {
  return {{"decode_ms", to_ms(decode)},
          {"preprocess_ms", to_ms(timing.preprocess)},
          {"inference_ms", to_ms(timing.inference)},
          {"postprocess_ms", to_ms(timing.postprocess)}};
}

nlohmann::json class_json(const Classification& item) {
  return {{"label", item.label}, {"class_index", item.class_index}, {"score", item.score}};
}

/// A decoded picture and how long that took.
struct LoadedImage {
  Image image;
  std::chrono::nanoseconds time{0};
};

LoadedImage load(const fs::path& path) {
  const auto start = std::chrono::steady_clock::now();
  LoadedImage loaded{read_image(path), {}};
  loaded.time = std::chrono::steady_clock::now() - start;
  return loaded;
}

nlohmann::json image_json(const fs::path& path, const Image& image) {
  return {{"image", path.string()}, {"width_px", image.width_px}, {"height_px", image.height_px}};
}

/// Where the annotated form of `image` goes: the path itself for one picture, a folder for several.
fs::path annotated_path(const RunOptions& options, const fs::path& image) {
  if (options.images.size() == 1) return options.annotate_path;
  return options.annotate_path / image.filename();
}

/// The folder of several annotated pictures; one that was made here and stayed empty goes again.
class AnnotationFolder {
 public:
  AnnotationFolder() = default;
  ~AnnotationFolder() {
    if (!made_.empty()) ::rmdir(made_.c_str());  // Fails, as it should, when something is in it.
  }
  AnnotationFolder(const AnnotationFolder&) = delete;
  AnnotationFolder& operator=(const AnnotationFolder&) = delete;
  void make(const fs::path& path) {
    std::error_code error;
    if (fs::create_directories(path, error)) made_ = path;
    if (error) {
      throw Error(ErrorKind::kBadInput, "cannot be made a folder for the annotated pictures: " + error.message(),
                  path.string(), "with several pictures --annotate takes a folder");
    }
  }

 private:
  fs::path made_;
};

/// Makes the folder, and refuses what would write over a picture that was given or over another annotated one.
void prepare_annotation(const RunOptions& options, AnnotationFolder& folder) {
  if (options.annotate_path.empty()) return;
  std::error_code error;
  std::set<fs::path> targets;
  for (const fs::path& image : options.images) {
    const fs::path target = annotated_path(options, image);
    if (!targets.insert(target).second) {
      throw Error(ErrorKind::kUsage, "two of the pictures would be annotated in this one file", target.string(),
                  "run them one by one, each with its own --annotate");
    }
    for (const fs::path& given : options.images) {
      if (fs::equivalent(given, target, error)) {
        throw Error(ErrorKind::kUsage, "the annotated picture would replace the picture itself", given.string(),
                    "choose another path for --annotate");
      }
    }
  }
  if (options.images.size() > 1) folder.make(options.annotate_path);
}

nlohmann::json run_detection(const RunOptions& options, const Context& context) {
  DetectorOptions detector_options;
  if (options.threshold >= 0) detector_options.score_threshold = options.threshold;
  if (options.iou_threshold >= 0) detector_options.iou_threshold = options.iou_threshold;
  if (options.max_detections > 0) detector_options.max_detections = options.max_detections;
  detector_options.is_nms_class_agnostic = options.is_agnostic;
  detector_options.num_threads = options.num_threads;
  Detector detector(options.bundle, detector_options);
  AnnotationFolder folder;
  prepare_annotation(options, folder);
  nlohmann::json results = nlohmann::json::array();
  for (const fs::path& path : options.images) {
    context.step("running " + path.string());
    const LoadedImage loaded = load(path);
    const DetectionResult result = detector.detect(loaded.image);
    nlohmann::json entry = image_json(path, loaded.image);
    entry["detections"] = nlohmann::json::array();
    for (const Detection& detection : result.detections) {
      const BoxXyxyPx& box = detection.box;
      entry["detections"].push_back({{"label", detection.label},
                                     {"class_index", detection.class_index},
                                     {"score", detection.score},
                                     {"box_px", {box.x1, box.y1, box.x2, box.y2}}});
      if (!context.is_json) {
        std::cout << fmt::format("{}: {} {:.3f} [{:.1f}, {:.1f}, {:.1f}, {:.1f}]\n", path.string(), detection.label,
                                 detection.score, box.x1, box.y1, box.x2, box.y2);
      }
    }
    if (!context.is_json && result.detections.empty()) std::cout << path.string() << ": nothing found\n";
    entry["timing"] = timing_json(result.timing, loaded.time);
    if (!options.annotate_path.empty()) {
      const fs::path target = annotated_path(options, path);
      write_image(annotate(loaded.image, result.detections), target);
      entry["annotated"] = target.string();
    }
    results.push_back(std::move(entry));
  }
  return results;
}

void print_classes(const fs::path& path, std::span<const Classification> classes) {
  for (const Classification& item : classes) {
    std::cout << fmt::format("{}: {} {:.4f}\n", path.string(), item.label, item.score);
  }
}

nlohmann::json run_classification(const RunOptions& options, const Context& context) {
  Classifier classifier(options.bundle, {options.top_k, options.num_threads});
  nlohmann::json results = nlohmann::json::array();
  for (const fs::path& path : options.images) {
    context.step("running " + path.string());
    const LoadedImage loaded = load(path);
    const ClassificationResult result = classifier.classify(loaded.image);
    nlohmann::json entry = image_json(path, loaded.image);
    entry["classes"] = nlohmann::json::array();
    for (const Classification& item : result.classes) entry["classes"].push_back(class_json(item));
    entry["timing"] = timing_json(result.timing, loaded.time);
    if (!context.is_json) print_classes(path, result.classes);
    results.push_back(std::move(entry));
  }
  return results;
}

void print_vector(const std::string& name, std::span<const float> values) {
  std::cout << fmt::format("{}: {} values [", name, values.size());
  const std::size_t shown = std::min<std::size_t>(values.size(), 6);
  for (std::size_t i = 0; i < shown; ++i) std::cout << fmt::format("{}{:.4f}", i > 0 ? ", " : "", values[i]);
  std::cout << (shown < values.size() ? ", ...]\n" : "]\n");
}

nlohmann::json run_embedding(const RunOptions& options, const Context& context) {
  Embedder embedder(options.bundle, {true, options.num_threads});
  nlohmann::json results = nlohmann::json::array();
  for (const fs::path& path : options.images) {
    context.step("running " + path.string());
    const LoadedImage loaded = load(path);
    nlohmann::json entry = image_json(path, loaded.image);
    if (!options.labels.empty()) {
      const auto classes = embedder.classify_zero_shot(loaded.image, options.labels, options.prompt);
      entry["classes"] = nlohmann::json::array();
      for (const Classification& item : classes) entry["classes"].push_back(class_json(item));
      if (!context.is_json) print_classes(path, classes);
    } else {
      const EmbeddingResult result = embedder.embed_image(loaded.image);
      entry["embedding"] = result.values;
      entry["timing"] = timing_json(result.timing, loaded.time);
      if (!context.is_json) print_vector(path.string(), result.values);
    }
    results.push_back(std::move(entry));
  }
  for (const std::string& text : options.texts) {
    context.step("embedding a text");
    const EmbeddingResult result = embedder.embed_text(text);
    results.push_back({{"text", text}, {"embedding", result.values}});
    if (!context.is_json) print_vector("\"" + text + "\"", result.values);
  }
  return results;
}

/// Options that tasks share, as generation understands them.
GenerationRunOptions generation_options(const RunOptions& options, const CLI::App& app) {
  if (!options.images.empty()) {
    throw Error(ErrorKind::kUsage, "a language model takes text, no pictures", options.images.front().string(),
                "give --prompt TEXT, --chat or --prompts FILE");
  }
  GenerationRunOptions generation = options.generation;
  generation.bundle = options.bundle;
  if (app.count("--prompt") > 0) generation.prompt = options.prompt;
  if (app.count("--top-k") > 0) generation.top_k = options.top_k;
  generation.num_threads = options.num_threads;
  generation.time_limit_s = options.time_limit_s;
  return generation;
}

/// Options that tasks share, as transcription understands them.
TranscriptionRunOptions transcription_options(const RunOptions& options) {
  TranscriptionRunOptions transcription = options.transcription;
  transcription.bundle = options.bundle;
  transcription.files = options.images;
  transcription.output = options.output;
  transcription.num_threads = options.num_threads;
  transcription.time_limit_s = options.time_limit_s;
  return transcription;
}

/// Options that tasks share, as speech understands them.
SpeechRunOptions speech_options(const RunOptions& options) {
  if (!options.images.empty()) {
    throw Error(ErrorKind::kUsage, "a voice takes text", options.images.front().string(),
                "give --text TEXT, or --file FILE for a file of text");
  }
  SpeechRunOptions speech = options.speech;
  speech.bundle = options.bundle;
  speech.texts = options.texts;
  speech.output = options.output;
  speech.seed = options.generation.seed;
  speech.num_threads = options.num_threads;
  speech.time_limit_s = options.time_limit_s;
  return speech;
}

int run_run(const RunOptions& options, const CLI::App& app, Context& context) {
  const std::string task = Bundle::open(options.bundle).manifest().task.name;
  require_task_option(app, task, "detection", {"--threshold", "--iou", "--max-detections", "--agnostic", "--annotate"});
  require_task_option(app, task, "classification or generation", {"--top-k"});
  require_task_option(app, task, "embedding or generation", {"--prompt"});
  require_task_option(app, task, "embedding", {"--labels"});
  require_task_option(app, task, "embedding or speech", {"--text"});
  require_task_option(app, task, "generation or speech", {"--seed"});
  require_task_option(app, task, "generation", options.generation_names);
  require_task_option(app, task, "transcription", options.transcription_names);
  require_task_option(app, task, "speech", options.speech_names);
  require_task_option(app, task, "transcription or speech", {"--output"});
  if (task == "speech") return run_speech_command(speech_options(options), context);
  if (task == "transcription") return run_transcription_command(transcription_options(options), context);
  if (task == "generation") return run_generation(generation_options(options, app), context);
  if (task == "classification" && options.top_k < 1) {
    throw Error(ErrorKind::kUsage, "no class at all is asked for", "--top-k", "give at least 1");
  }
  if (options.images.empty() && options.texts.empty()) {
    throw Error(ErrorKind::kUsage, "no picture was given", {}, "name one or more JPEG, PNG, WebP or BMP files");
  }
  if (const auto code =
          supervise(context, {"the run", options.bundle.string(), std::chrono::seconds(options.time_limit_s),
                              "run `pajamas verify` on the bundle, or build it again"})) {
    return *code;
  }
  context.step("loading the engine");
  nlohmann::json results;
  if (task == "detection") {
    results = run_detection(options, context);
  } else if (task == "classification") {
    results = run_classification(options, context);
  } else if (task == "embedding") {
    results = run_embedding(options, context);
  } else {
    throw Error(ErrorKind::kUnsupported, "the bundle's task is not known, so it cannot take pictures",
                options.bundle.string(), "build it again with --task and, for a detector, --head");
  }
  if (context.is_json) {
    print_json({{"bundle", options.bundle.string()}, {"task", task}, {"results", std::move(results)}});
  }
  return 0;
}

}  // namespace

Command add_run_command(CLI::App& app, Context& context) {
  auto options = std::make_shared<RunOptions>();
  CLI::App* command = app.add_subcommand("run", "Run a bundle on pictures, text or audio");
  command->add_option("bundle", options->bundle, "Folder of the bundle")->required();
  command->add_option("files", options->images, "Pictures (JPEG, PNG, WebP, BMP) or audio; - for standard input");
  command->add_option("--threshold", options->threshold, "Detection: least score, 0..1 (default: the bundle's)")
      ->check(CLI::Range(0.0, 1.0));
  command->add_option("--iou", options->iou_threshold, "Detection: overlap that NMS allows, 0..1")
      ->check(CLI::Range(0.0, 1.0));
  command->add_option("--max-detections", options->max_detections, "Detection: most boxes a picture")
      ->check(CLI::Range(1, 1'000'000));
  command->add_flag("--agnostic", options->is_agnostic, "Detection: one box per place whatever the class");
  command->add_option("--annotate", options->annotate_path,
                      "Detection: write the picture with boxes here (several pictures: a folder)");
  command
      ->add_option("--top-k", options->top_k,
                   "Classification: how many classes (default 5); generation: sample among this many tokens (0: all)")
      ->check(CLI::Range(0, 1'000'000));
  command->add_option("--labels", options->labels, "Embedding: classify by these labels, for example cat,dog")
      ->delimiter(',');
  command->add_option("--prompt", options->prompt,
                      "Generation: the prompt; embedding: text around each label (default \"a photo of a {}\")");
  command->add_option("--text", options->texts, "Embedding, speech: a text to embed or to speak; repeatable");
  options->generation_names = add_generation_options(*command, options->generation);
  std::erase(options->generation_names, "--seed");  // Which speech has, too.
  options->transcription_names = add_transcription_options(*command, options->transcription);
  options->speech_names = add_speech_options(*command, options->speech);
  command->add_option("-o,--output", options->output,
                      "Transcription: file for the text (several inputs: a folder); speech: .wav, .flac, or - for WAV "
                      "on standard output");
  add_time_limit_option(*command, options->time_limit_s);
  add_threads_option(*command, options->num_threads);
  add_common_options(*command, context);
  return {command, [options, command, &context] { return run_run(*options, *command, context); }};
}

}  // namespace pajamas::cli
