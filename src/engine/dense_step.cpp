// See dense_step.h.
#include "engine/dense_step.h"

#include <algorithm>
#include <cstring>

#include "engine/tensor_lookup.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

TensorView view_of(const std::vector<std::int64_t>& values) {
  return {DType::kInt64, Shape{static_cast<std::int64_t>(values.size())},
          reinterpret_cast<const std::byte*>(values.data())};
}

std::int64_t count_of(std::span<const std::int64_t> values) { return static_cast<std::int64_t>(values.size()); }

}  // namespace

bool has_dense_cache(const Engine& engine) { return has_tensor(engine.inputs(), "past_len"); }

DenseStep::DenseStep(const Engine& engine) {
  const std::vector<TensorInfo>& inputs = engine.inputs();
  input_ids_input_ = find_tensor(inputs, "input_ids", "input");
  position_ids_input_ = find_tensor(inputs, "position_ids", "input");
  logit_rows_input_ = find_tensor(inputs, "logit_rows", "input");
  past_len_input_ = find_tensor(inputs, "past_len", "input");
  parents_input_ = find_tensor(inputs, "parents", "input");
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const TensorInfo& info = inputs[i];
    if (!info.name.starts_with("past_key.") && !info.name.starts_with("past_value.")) continue;
    const bool is_cache = info.shape.size() == 4 && info.shape[1].is_known() && info.shape[2].is_known() &&
                          info.shape[3].is_known() && info.dtype != DType::kUndefined;
    if (!is_cache || (capacity_ > 0 && info.shape[2].extent() != capacity_)) {
      throw Error(ErrorKind::kBadInput, "input '" + info.name + "' of the engine is no cache like the others", {},
                  "build the bundle again");
    }
    capacity_ = info.shape[2].extent();
    CacheTensor tensor;
    tensor.input = i;
    tensor.output = find_tensor(engine.outputs(), "present" + info.name.substr(4), "output");
    tensor.dtype = info.dtype;
    tensor.row = Shape{info.shape[1].extent(), info.shape[2].extent(), info.shape[3].extent()};
    cache_.push_back(std::move(tensor));
  }
  if (cache_.empty()) {
    throw Error(ErrorKind::kBadInput, "the engine takes no cache 'past_key.0'", {}, "build the bundle again");
  }
  clear();
}

void DenseStep::clear() {
  num_rows_ = 1;
  num_past_ = 0;
  input_ids_.clear();
  position_ids_.clear();
  logit_rows_.clear();
  parents_.clear();
  for (CacheTensor& tensor : cache_) tensor.values.assign(bytes_of(tensor.dtype, tensor.row), std::byte{0});
}

void DenseStep::set_tokens(std::span<const std::int64_t> tokens, std::span<const std::int64_t> parents) {
  if (parents.empty() || tokens.empty() || count_of(tokens) % count_of(parents) != 0) {
    throw Error(ErrorKind::kInternal, std::to_string(tokens.size()) + " tokens are not equally many behind each of " +
                                          std::to_string(parents.size()) + " sequences");
  }
  const std::int64_t num_new = count_of(tokens) / count_of(parents);
  if (num_past_ + num_new > capacity_) {
    throw Error(ErrorKind::kInternal, "a sequence of " + std::to_string(num_past_ + num_new) +
                                          " tokens is longer than the cache of " + std::to_string(capacity_));
  }
  for (const std::int64_t parent : parents) {
    if (parent >= 0 && parent < num_rows_) continue;
    throw Error(ErrorKind::kInternal,
                "row " + std::to_string(parent) + " of the cache is not one of its " + std::to_string(num_rows_));
  }
  input_ids_.assign(tokens.begin(), tokens.end());
  parents_.assign(parents.begin(), parents.end());
  position_ids_.resize(tokens.size());
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    position_ids_[i] = num_past_ + static_cast<std::int64_t>(i) % num_new;
  }
  logit_rows_.clear();
}

void DenseStep::set_positions(std::span<const std::int64_t> positions) {
  if (positions.size() != input_ids_.size()) {
    throw Error(ErrorKind::kInternal,
                std::to_string(positions.size()) + " positions for " + std::to_string(input_ids_.size()) + " tokens");
  }
  position_ids_.assign(positions.begin(), positions.end());
}

void DenseStep::bind(Session& session) const {
  session.set_input(input_ids_input_, view_of(input_ids_));
  session.set_input(position_ids_input_, view_of(position_ids_));
  session.set_input(logit_rows_input_, view_of(logit_rows_));
  session.set_input(past_len_input_,
                    TensorView{DType::kInt64, Shape{1}, reinterpret_cast<const std::byte*>(&num_past_)});
  session.set_input(parents_input_, view_of(parents_));
  for (const CacheTensor& tensor : cache_) {
    session.set_input(
        tensor.input,
        TensorView{tensor.dtype, Shape{num_rows_, tensor.row[0], tensor.row[1], tensor.row[2]}, tensor.values.data()});
  }
}

void DenseStep::take(const Session& session) {
  const std::int64_t num_rows = count_of(parents_);
  for (CacheTensor& tensor : cache_) {
    const TensorView given = session.output(tensor.output);
    const Shape wanted{num_rows, tensor.row[0], tensor.row[1], tensor.row[2]};
    if (given.dtype != tensor.dtype || given.shape != wanted) {
      throw Error(ErrorKind::kInternal,
                  std::string("the cache that came out is ") + to_string(given.dtype) + " " + given.shape.to_string() +
                      ", wanted " + to_string(tensor.dtype) + " " + wanted.to_string(),
                  {}, "build the bundle again");
    }
    // A copy: the session may write its next output where this one lies.
    tensor.values.resize(given.size_bytes());
    std::memcpy(tensor.values.data(), given.data, tensor.values.size());
  }
  num_past_ += count_of(input_ids_) / num_rows;
  num_rows_ = num_rows;
}

}  // namespace pajamas
