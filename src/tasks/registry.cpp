// The table of tasks. See registry.h.
#include "tasks/registry.h"

#include "tasks/task_checks.h"

namespace pajamas {

const std::vector<TaskEntry>& tasks() {
  static const std::vector<TaskEntry> kTasks = {
      {"detection", "boxes with classes and scores in pictures", "Detector", check_detection},
      {"classification", "the most probable classes of a picture", "Classifier", check_classification},
      {"embedding", "vectors for pictures and texts", "Embedder", check_embedding},
      {"generation", "text from language models", "Generator", check_generation},
      {"transcription", "text of speech", "Transcriber", check_transcription},
      {"speech", "speech of text", "SpeechSynthesizer", check_speech},
  };
  return kTasks;
}

const TaskEntry& find_task(std::string_view name) {
  std::string known;
  for (const TaskEntry& task : tasks()) {
    if (task.name == name) return task;
    known += (known.empty() ? "" : ", ") + std::string(task.name);
  }
  throw Error(ErrorKind::kUsage, "unknown task '" + std::string(name) + "'", {}, "known: " + known);
}

void require_label_count(const std::vector<std::string>& labels, std::int64_t num_classes) {
  if (num_classes <= 0 || labels.empty() || static_cast<std::int64_t>(labels.size()) == num_classes) return;
  throw Error(ErrorKind::kBadInput,
              "there are " + std::to_string(labels.size()) + " labels for " + std::to_string(num_classes) + " classes",
              {}, "build the bundle again with a --labels file of one line for each class");
}

void require_task(const Bundle& bundle, std::string_view name) {
  const std::string& actual = bundle.manifest().task.name;
  if (actual == name) return;
  std::string remedy = "build the bundle with --task " + std::string(name) + " if the model is one";
  for (const TaskEntry& task : tasks()) {
    if (task.name == actual) remedy = "open it with " + std::string(task.class_name);
  }
  throw Error(ErrorKind::kBadInput,
              "the bundle is for " + (actual == "none" ? std::string("no known task") : actual) + ", not for " +
                  std::string(name),
              bundle.directory().string(), remedy);
}

SessionOptions session_options(int num_threads) {
  if (num_threads < 0) {
    throw Error(ErrorKind::kUsage, "the number of threads is " + std::to_string(num_threads), {},
                "give 0 for all cores, or a positive number");
  }
  SessionOptions options;
  options.num_threads = num_threads;
  return options;
}

}  // namespace pajamas
