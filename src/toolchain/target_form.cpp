// See target_form.h.
#include "toolchain/target_form.h"

#include <algorithm>
#include <optional>
#include <set>
#include <string>
#include <variant>

#include "graph/passes/dense_cache.h"
#include "graph/passes/expand_paged_attention.h"
#include "pajamas/error.h"
#include "targets/registry.h"
#include "tasks/transcription/voice_detector.h"

namespace pajamas {
namespace {

/// What a named extent of inputs may be.
struct ExtentRange {
  std::string extent;  ///< "num_tokens"
  std::int64_t min = 1, opt = 1, max = 1;
  std::string per = {};  ///< Another extent: `max` is for each one of its maximum ("num_chunks"); empty: `max` it is.
};

/// Of Whisper (docs/audio.md, "The dense cache"), tuned for one text of one chunk.
std::vector<ExtentRange> whisper_ranges(const WhisperFacts& facts, const std::string& part) {
  constexpr std::int64_t kTexts = 5;  // Beams, or texts drawn at a temperature.
  constexpr std::int64_t kRows = 64;  // Proofs ask for the logits of every token of a step.
  const std::int64_t context = facts.context_length;
  if (part == facts.aligner_part) return {{"num_tokens", 1, std::min<std::int64_t>(32, context), context}};
  // Half of the context is the text before, at most; then come the tokens that begin a transcript. Equally many for
  // each text: TensorRT divides the largest numbers by each other.
  const std::int64_t prompt = std::max(std::min(context, context / 2 + 8), kRows);
  const std::int64_t tokens = (prompt + kTexts - 1) / kTexts * kTexts;
  return {{"num_chunks", 1, 1, 4},
          {"num_sequences", 1, 1, kTexts, "num_chunks"},
          {"num_past_sequences", 1, 1, kTexts, "num_chunks"},
          {"num_tokens", 1, 1, tokens, "num_chunks"},
          {"num_rows", 1, 1, kRows, "num_chunks"}};
}

/// Of a voice. A sentence of 600 characters has some 1,300 phonemes at most, with what stands between them; 4,096
/// frames are 47 s of a voice of 22 kHz. The decoder goes over them in windows of at most 128, unless its context is as
/// long.
std::vector<ExtentRange> voice_ranges(const SpeechFacts& facts, const std::string& part) {
  constexpr std::int64_t kFrames = 4096, kWindow = 128;
  if (part == facts.decoder_part)
    return {{"frames", 1, kWindow, 2 * facts.context_frames < kWindow ? kWindow : kFrames}};
  return {{"phonemes", 32, 96, 1344}, {"frames", 64, 256, kFrames}};
}

/// Of the graphs that model definitions make.
std::vector<ExtentRange> own_ranges(const ImportedModel& imported, const std::string& part) {
  if (part == kVoicePart) return {{"sequence_length", 1, 64, 64}};  // Frames of a run of the voice detector.
  const TaskFacts& task = imported.task;
  if (task.transcription && task.transcription->whisper) return whisper_ranges(*task.transcription->whisper, part);
  if (task.speech) return voice_ranges(*task.speech, part);
  return {};
}

/// The name of an open extent; empty for one that is known or has none.
std::string name_of(const Dimension& dimension) {
  const auto* name = std::get_if<std::string>(&dimension.value);
  return name != nullptr ? *name : std::string();
}

std::vector<Dimension> shape_of(const ValueInfo& input) {
  return input.type && input.type->shape ? *input.type->shape : std::vector<Dimension>{};
}

bool has_open_extent(const std::vector<Dimension>& shape) {
  return std::any_of(shape.begin(), shape.end(), [](const Dimension& dimension) { return !dimension.is_known(); });
}

/// What profiles can be given for: the inputs that must be set, and their open extents that have a name.
std::set<std::string> profile_names(const Model& form) {
  std::set<std::string> names;
  for (const ValueInfo* input : form.graph.required_inputs()) {
    names.insert(input->name);
    for (const Dimension& dimension : shape_of(*input)) {
      if (!name_of(dimension).empty()) names.insert(name_of(dimension));
    }
  }
  return names;
}

/// The range of a named extent: the plan's, else that of `own`.
std::optional<ExtentRange> range_of(const std::string& extent, const Model& form, const std::vector<ExtentRange>& own,
                                    const BuildPlan& plan) {
  if (extent.empty()) return std::nullopt;
  if (const ShapeProfile* given = find_profile(plan.profiles, extent);
      given != nullptr && form.graph.find_input(extent) == nullptr) {
    const bool is_range = given->opt.rank() == 1 && given->min.rank() == 1 && given->max.rank() == 1;
    if (!is_range || given->min[0] < 1 || given->min[0] > given->opt[0] || given->opt[0] > given->max[0]) {
      throw Error(ErrorKind::kUsage, "the range of '" + extent + "' does not rise from 1 on", "--shapes",
                  "give it as " + extent + ":MIN,OPT,MAX, for example " + extent + ":1,1,8");
    }
    return ExtentRange{extent, given->min[0], given->opt[0], given->max[0]};
  }
  const auto known =
      std::find_if(own.begin(), own.end(), [&](const ExtentRange& range) { return range.extent == extent; });
  if (known == own.end()) return std::nullopt;
  ExtentRange range = *known;
  if (!range.per.empty()) {
    if (const auto unit = range_of(range.per, form, own, plan)) range.max *= unit->max;
  }
  return range;
}

/// All extents from ranges; nothing where one of them has none.
std::optional<ShapeProfile> profile_from_ranges(const ValueInfo& input, const Model& form,
                                                const std::vector<ExtentRange>& own, const BuildPlan& plan) {
  ShapeProfile profile{input.name, {}, {}, {}};
  for (const Dimension& dimension : shape_of(input)) {
    if (dimension.is_known()) {
      for (Shape* shape : {&profile.min, &profile.opt, &profile.max}) shape->push_back(dimension.extent());
      continue;
    }
    const auto range = range_of(name_of(dimension), form, own, plan);
    if (!range) return std::nullopt;
    profile.min.push_back(range->min);
    profile.opt.push_back(range->opt);
    profile.max.push_back(range->max);
  }
  return profile;
}

}  // namespace

std::int64_t dense_cache_tokens(const ImportedModel& imported) {
  const TaskFacts& task = imported.task;
  return task.transcription && task.transcription->whisper ? task.transcription->whisper->context_length : 0;
}

Model target_form(const Target& target, Model stored, const ImportedModel& imported) {
  const std::int64_t tokens = dense_cache_tokens(imported);
  if (tokens > 0 && !traits_of(target).has_paged_attention && has_paged_attention(stored)) {
    use_dense_cache(stored, tokens);
  }
  return stored;
}

std::vector<ShapeProfile> target_profiles(const Target& target, const Model& form, const ImportedPart& part,
                                          const ImportedModel& imported, const BuildPlan& plan) {
  if (!traits_of(target).needs_shapes) return plan.profiles.empty() ? part.profiles : plan.profiles;
  const std::vector<ExtentRange> ranges = own_ranges(imported, part.name);
  std::vector<ShapeProfile> profiles;
  for (const ValueInfo* input : form.graph.required_inputs()) {
    if (const ShapeProfile* given = find_profile(plan.profiles, input->name)) {
      profiles.push_back(*given);
    } else if (const ShapeProfile* own = find_profile(part.profiles, input->name)) {
      profiles.push_back(*own);
    } else if (has_open_extent(shape_of(*input))) {
      if (auto profile = profile_from_ranges(*input, form, ranges, plan)) profiles.push_back(std::move(*profile));
    }
  }
  if (imported.parts.size() > 1) return profiles;
  // What is of no use is not forgotten: the target refuses it by name.
  const std::set<std::string> known = profile_names(form);
  for (const ShapeProfile& given : plan.profiles) {
    if (!known.contains(given.input)) profiles.push_back(given);
  }
  return profiles;
}

void check_profile_names(const Target& target, const ImportedModel& imported, const BuildPlan& plan) {
  if (!traits_of(target).needs_shapes) return;
  std::set<std::string> names;
  for (const ImportedPart& part : imported.parts) {
    names.merge(profile_names(target_form(target, part.model, imported)));
  }
  for (const ShapeProfile& profile : plan.profiles) {
    if (names.contains(profile.input)) continue;
    std::string known;
    for (const std::string& name : names) known += (known.empty() ? "" : ", ") + name;
    throw Error(ErrorKind::kUsage, "no part of the model has an input or open extent '" + profile.input + "'",
                "--shapes", known.empty() ? "leave --shapes out" : "it has: " + known);
  }
}

}  // namespace pajamas
