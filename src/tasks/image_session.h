// Pictures through an engine that takes one picture input: groups them into batches, prepares the tensor, runs, and
// hands over the outputs as float32. What the outputs mean is each task's own affair.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/target.h"
#include "pajamas/detection.h"
#include "pajamas/error.h"
#include "pajamas/image.h"
#include "tasks/image_pipeline.h"

namespace pajamas {

class Bundle;

/// Pictures that went through the engine in one run.
struct ImageGroup {
  std::size_t begin = 0;              ///< Index of the first picture.
  std::size_t count = 0;              ///< How many; outputs may hold more rows, which are to be ignored.
  std::size_t batch = 0;              ///< Rows of the run: count, or the engine's fixed batch.
  std::vector<Placement> placements;  ///< [count]
  TaskTiming timing;                  ///< preprocess and inference, the share of one picture.
};

/// One execution context of an engine with one picture input. One thread at a time.
class ImageSession {
 public:
  /// `max_batch`: most pictures in one run where the engine leaves it open; 0: no limit known. Throws Error{kBadInput}
  /// when the engine's inputs do not fit the facts.
  ImageSession(std::shared_ptr<const Engine> engine, const ImageInput& facts, std::size_t max_batch);

  /// Runs all pictures, in order, calling `use` after each run; output() is valid within it. Throws Error as the parts
  /// do; for a picture that cannot be prepared the error names its position where there are several.
  void run(std::span<const Image> images, const std::function<void(const ImageGroup&)>& use);

  /// Index of the output of that name. Throws Error{kBadInput} listing the outputs there are.
  std::size_t output_index(const std::string& name) const;
  /// Output of the last run in its own type.
  TensorView output(std::size_t index) const { return session_->output(index); }
  const Engine& engine() const noexcept { return *engine_; }
  const ImagePipeline& pipeline() const noexcept { return pipeline_; }
  /// Pictures of one run at most.
  std::size_t max_batch() const noexcept { return max_batch_; }

 private:
  void prepare(std::span<const Image> images, ImageGroup& group);

  std::shared_ptr<const Engine> engine_;
  std::unique_ptr<Session> session_;
  std::size_t input_index_ = 0;
  ImagePipeline pipeline_;
  std::size_t fixed_batch_ = 0;  ///< 0: open.
  std::size_t max_batch_ = 1;
  Tensor input_;
};

/// Throws Error{kBadInput} when an input's declared shape cannot take the pictures that the facts describe.
void check_image_input(const TensorInfo& input, const ImageInput& facts);

/// Shapes of an output where every extent but the first is known, the first taken as 1 when it is open; else nothing.
/// For checks before a run.
std::optional<Shape> probe_shape(const TensorInfo& output);

/// The largest batch that the bundle's plan allows for `input`; 0 when the plan does not limit it.
std::size_t max_batch_of(const Bundle& bundle, const std::string& input);

/// Throws the error again; of one of several pictures, named by its place among `count`.
[[noreturn]] void throw_of_picture(const Error& error, std::size_t index, std::size_t count);

/// "output 'output0' [1, 84, 8400]" of an engine, for messages.
std::string describe_output(const std::string& name, const Shape& shape);

}  // namespace pajamas
