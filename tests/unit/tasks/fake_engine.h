// An engine that gives prepared outputs and remembers its inputs, so that tasks are tested without any target.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/target.h"
#include "pajamas/tensor.h"

namespace pajamas::test {

/// What the session computes: outputs from inputs.
using FakeFunction = std::function<std::vector<Tensor>(const std::vector<Tensor>& inputs)>;

inline TensorInfo tensor_info(std::string name, std::vector<Dimension> shape, DType dtype = DType::kFloat32) {
  TensorInfo info;
  info.name = std::move(name);
  info.dtype = dtype;
  info.shape = std::move(shape);
  return info;
}

inline std::vector<Dimension> known(std::initializer_list<std::int64_t> extents) {
  std::vector<Dimension> shape;
  for (const std::int64_t extent : extents) {
    shape.push_back(extent < 0 ? Dimension::named("open") : Dimension::known(extent));
  }
  return shape;
}

class FakeEngine : public Engine {
 public:
  FakeEngine(std::vector<TensorInfo> inputs, std::vector<TensorInfo> outputs, FakeFunction function)
      : inputs_(std::move(inputs)), outputs_(std::move(outputs)), function_(std::move(function)) {}
  const std::vector<TensorInfo>& inputs() const override { return inputs_; }
  const std::vector<TensorInfo>& outputs() const override { return outputs_; }
  nlohmann::json describe() const override { return {{"device", "fake"}}; }
  std::unique_ptr<Session> new_session() const override;

 private:
  friend class FakeSession;
  std::vector<TensorInfo> inputs_;
  std::vector<TensorInfo> outputs_;
  FakeFunction function_;
};

class FakeSession : public Session {
 public:
  explicit FakeSession(const FakeEngine& engine) : engine_(engine), given_(engine.inputs_.size()) {}
  void set_input(std::size_t index, const TensorView& tensor) override { given_.at(index) = Tensor::copy_of(tensor); }
  void run() override { results_ = engine_.function_(given_); }
  TensorView output(std::size_t index) const override { return results_.at(index).view(); }
  RunTiming last_timing() const override { return {}; }

 private:
  const FakeEngine& engine_;
  std::vector<Tensor> given_;
  std::vector<Tensor> results_;
};

inline std::unique_ptr<Session> FakeEngine::new_session() const { return std::make_unique<FakeSession>(*this); }

}  // namespace pajamas::test
