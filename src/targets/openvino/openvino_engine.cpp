// See openvino_engine.h.
#include "targets/openvino/openvino_engine.h"

#include <algorithm>
#include <map>
#include <set>

#include "targets/openvino/openvino_library.h"

namespace pajamas::openvino {

namespace {

using Clock = std::chrono::steady_clock;

int find_port(const std::vector<ov::Output<const ov::Node>>& ports, const std::string& name) {
  for (std::size_t i = 0; i < ports.size(); ++i) {
    if (ports[i].get_names().count(name) != 0) return static_cast<int>(i);
  }
  return -1;
}

std::string quoted(const std::string& name) { return "'" + name + "'"; }

}  // namespace

OpenvinoEngine::OpenvinoEngine(Parts parts) : parts_(std::move(parts)) {
  const auto& input_ports = parts_.compiled.inputs();
  const auto& output_ports = parts_.compiled.outputs();
  for (const TensorInfo& input : parts_.inputs) input_ports_.push_back(find_port(input_ports, input.name));
  auto caches = std::make_shared<CachePlan>(plan_caches(parts_.compiled));
  std::set<std::size_t> cache_ports;
  for (const CachePlane& plane : caches->planes) cache_ports.insert(plane.port);
  if (!caches->planes.empty()) {
    paged_inputs_.emplace(parts_.inputs, caches->layout.block_size_tokens, parts_.num_table_rows,
                          parts_.num_position_rows);
    caches_ = std::move(caches);
  }
  for (std::size_t i = 0; i < input_ports.size(); ++i) {
    if (cache_ports.count(i) != 0) continue;
    if (std::find(input_ports_.begin(), input_ports_.end(), static_cast<int>(i)) == input_ports_.end()) {
      throw Error(ErrorKind::kInternal, "the compiled model has an input that the bundle does not list",
                  quoted(input_ports[i].get_names().empty() ? "?" : input_ports[i].get_any_name()),
                  "build the bundle again");
    }
  }
  for (const TensorInfo& output : parts_.outputs) {
    const int port = find_port(output_ports, output.name);
    if (port < 0 || dtype_of(output_ports[static_cast<std::size_t>(port)].get_element_type()) != output.dtype) {
      throw Error(ErrorKind::kInternal, "the compiled model lacks an output that the bundle lists, or has another type",
                  quoted(output.name), "build the bundle again");
    }
    output_ports_.push_back(static_cast<std::size_t>(port));
  }
}

std::unique_ptr<pajamas::Session> OpenvinoEngine::new_session() const {
  return std::make_unique<OpenvinoSession>(shared_from_this());
}

std::shared_ptr<KvCache> OpenvinoEngine::new_kv_cache(std::int64_t num_blocks) const {
  if (caches_ == nullptr) return Engine::new_kv_cache(num_blocks);
  return std::make_shared<PagedKvCache>(caches_, num_blocks);
}

OpenvinoSession::OpenvinoSession(std::shared_ptr<const OpenvinoEngine> engine) : engine_(std::move(engine)) {
  try {
    // Creating requests is safe from several threads, but a compiled model's method is not const.
    request_ = ov::CompiledModel(engine_->parts_.compiled).create_infer_request();
  } catch (const std::exception& exception) {
    throw translate(exception, "OpenVINO could not make an execution context");
  }
  is_input_set_.assign(engine_->parts_.inputs.size(), false);
  inputs_.resize(engine_->parts_.inputs.size());
}

void OpenvinoSession::set_input(std::size_t index, const TensorView& tensor) {
  const auto begin = Clock::now();
  const auto& inputs = engine_->parts_.inputs;
  if (index >= inputs.size()) {
    throw Error(ErrorKind::kBadInput,
                "there is no input " + std::to_string(index) + ": the model has " + std::to_string(inputs.size()));
  }
  const TensorInfo& info = inputs[index];
  if (tensor.dtype != info.dtype) {
    throw Error(ErrorKind::kBadInput,
                "the input is of type " + std::string(to_string(tensor.dtype)) + " but the model takes " +
                    to_string(info.dtype),
                "input " + quoted(info.name));
  }
  const auto& ranges = engine_->parts_.input_ranges[index];
  bool is_fitting = tensor.shape.rank() == ranges.size();
  for (std::size_t axis = 0; is_fitting && axis < ranges.size(); ++axis) {
    const std::int64_t extent = tensor.shape[axis];
    is_fitting = extent >= ranges[axis].min && (ranges[axis].max < 0 || extent <= ranges[axis].max);
  }
  if (!is_fitting) {
    std::string wanted;
    for (std::size_t axis = 0; axis < ranges.size(); ++axis) {
      if (axis > 0) wanted += ", ";
      const ExtentRange& range = ranges[axis];
      if (range.min == range.max) {
        wanted += std::to_string(range.min);
      } else if (range.max >= 0) {
        wanted += std::to_string(range.min) + ".." + std::to_string(range.max);
      } else {
        wanted += info.shape[axis].to_string();
      }
    }
    throw Error(ErrorKind::kBadInput,
                "the input has shape " + tensor.shape.to_string() + " but the engine was built for [" + wanted + "]",
                "input " + quoted(info.name), "give an input of that shape, or build again with other --shapes");
  }
  if (tensor.data == nullptr && tensor.shape.num_elements() != 0) {
    throw Error(ErrorKind::kBadInput, "the input has no data", "input " + quoted(info.name));
  }
  is_input_set_[index] = true;
  inputs_[index] = tensor;
  const int port = engine_->input_ports_[index];
  if (port < 0) return;
  try {
    const ov::Shape shape(tensor.shape.begin(), tensor.shape.end());
    const ov::element::Type type = *element_type_of(info.dtype);
    // OpenVINO only reads inputs, but its tensors have no const form. An empty tensor still needs an address.
    static char nothing[64];
    void* data = tensor.data != nullptr ? const_cast<std::byte*>(tensor.data) : static_cast<void*>(nothing);
    request_.set_input_tensor(static_cast<std::size_t>(port), ov::Tensor(type, shape, data));
  } catch (const std::exception& exception) {
    throw translate(exception, "OpenVINO refused input " + quoted(info.name));
  }
  input_time_ += Clock::now() - begin;
}

void OpenvinoSession::set_kv_cache(std::shared_ptr<KvCache> cache) {
  if (engine_->caches_ == nullptr) return Session::set_kv_cache(std::move(cache));
  auto paged = std::dynamic_pointer_cast<PagedKvCache>(cache);
  if (paged == nullptr || &paged->plan() != engine_->caches_.get()) {
    throw Error(ErrorKind::kInternal, "the key/value cache was made by another engine");
  }
  try {
    for (std::size_t i = 0; i < engine_->caches_->planes.size(); ++i) {
      request_.set_input_tensor(engine_->caches_->planes[i].port, paged->tensor(i));
    }
  } catch (const std::exception& exception) {
    throw translate(exception, "OpenVINO refused the key/value cache");
  }
  cache_ = std::move(paged);
}

void OpenvinoSession::check_named_extents() const {
  // OpenVINO does not check that inputs fit each other, and may crash when they do not.
  const auto& inputs = engine_->parts_.inputs;
  std::map<std::string, std::pair<std::int64_t, std::size_t>> extents;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    for (std::size_t axis = 0; axis < inputs[i].shape.size(); ++axis) {
      const auto* name = std::get_if<std::string>(&inputs[i].shape[axis].value);
      if (name == nullptr || name->empty()) continue;
      const std::int64_t extent = inputs_[i].shape[axis];
      const auto [place, is_new] = extents.try_emplace(*name, extent, i);
      if (is_new || place->second.first == extent) continue;
      throw Error(ErrorKind::kBadInput,
                  "the inputs disagree on '" + *name + "': it is " + std::to_string(place->second.first) + " in " +
                      quoted(inputs[place->second.second].name) + " and " + std::to_string(extent) + " here",
                  "input " + quoted(inputs[i].name), "give inputs of equal extents there");
    }
  }
}

void OpenvinoSession::run() {
  const auto& parts = engine_->parts_;
  for (std::size_t i = 0; i < is_input_set_.size(); ++i) {
    if (!is_input_set_[i]) {
      throw Error(ErrorKind::kBadInput, "the input was not given", "input " + quoted(parts.inputs[i].name));
    }
  }
  check_named_extents();
  if (engine_->paged_inputs_) {
    if (cache_ == nullptr) throw Error(ErrorKind::kInternal, "the session was given no key/value cache");
    engine_->paged_inputs_->check(inputs_, cache_->num_blocks());
  }
  outputs_.clear();
  const auto begin = Clock::now();
  auto end = begin;
  try {
    request_.infer();
    end = Clock::now();
    outputs_.reserve(engine_->output_ports_.size());
    for (const std::size_t port : engine_->output_ports_) outputs_.push_back(request_.get_output_tensor(port));
  } catch (const std::exception& exception) {
    outputs_.clear();
    const Error error = translate(exception, "OpenVINO could not run the model on these inputs");
    throw Error(error.kind() == ErrorKind::kUnsupported ? ErrorKind::kBadInput : error.kind(), error.message(),
                error.where(), "check the inputs' shapes and values against what the model was made for");
  }
  timing_.device = end - begin;
  timing_.host = input_time_ + (Clock::now() - end);
  input_time_ = std::chrono::nanoseconds{0};
}

TensorView OpenvinoSession::output(std::size_t index) const {
  if (index >= outputs_.size()) {
    throw Error(ErrorKind::kBadInput, "there is no output " + std::to_string(index) + ": " +
                                          (outputs_.empty() ? std::string("nothing has been run")
                                                            : "the model has " + std::to_string(outputs_.size())));
  }
  const ov::Tensor& tensor = outputs_[index];
  const ov::Shape shape = tensor.get_shape();
  return {engine_->parts_.outputs[index].dtype, Shape(std::vector<std::int64_t>(shape.begin(), shape.end())),
          static_cast<const std::byte*>(tensor.data())};
}

}  // namespace pajamas::openvino
