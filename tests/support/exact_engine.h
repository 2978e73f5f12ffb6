// A graph as a target runs it in float32 on one thread: lowered, compiled into a folder and loaded, without a bundle.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>

#include "base/files.h"
#include "engine/target.h"
#include "toolchain/build.h"

namespace pajamas::test {

inline std::shared_ptr<const Engine> exact_engine(const Target& target, const Model& model, const std::string& part,
                                                  const std::filesystem::path& folder) {
  BuildPlan plan;
  plan.target = std::string(target.name());
  plan.precision = Precision::kFp32;
  plan.num_threads = 1;
  plan = target.resolve(plan);
  const LoweredModel lowered = lower(model, target, plan, {});
  EXPECT_TRUE(target.supports(lowered.model, plan)) << target.supports(lowered.model, plan).reason;
  const CompiledPart compiled = target.compile({lowered.model, plan, part, folder, {}});
  const auto open = [&](const CompiledFile& file) { return MappedFile::open(folder / file.name); };
  SessionOptions options;
  options.num_threads = 1;
  options.is_exact_fp32 = true;
  return target.load({folder, part, compiled.files, open, compiled.facts, plan, options});
}

}  // namespace pajamas::test
