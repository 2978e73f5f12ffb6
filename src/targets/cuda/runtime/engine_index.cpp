// See engine_index.h.
#include "targets/cuda/runtime/engine_index.h"

#include "base/json_reader.h"
#include "pajamas/error.h"
#include "targets/cuda/program.h"

namespace pajamas::cuda {
namespace {

constexpr std::int64_t kMaxExtent = std::int64_t{1} << 40;

nlohmann::json to_json(const TensorInfo& info) {
  nlohmann::json shape = nlohmann::json::array();
  for (const Dimension& dimension : info.shape) {
    if (dimension.is_known()) {
      shape.push_back(dimension.extent());
    } else if (const auto* name = std::get_if<std::string>(&dimension.value)) {
      shape.push_back(*name);
    } else {
      shape.push_back(nullptr);
    }
  }
  return {{"name", info.name}, {"dtype", to_string(info.dtype)}, {"shape", shape}};
}

DType read_dtype(const JsonReader& json) {
  try {
    return parse_dtype(json.as_string());
  } catch (const Error& error) {
    json.fail(error.message());
  }
}

TensorInfo read_tensor_info(const JsonReader& json) {
  TensorInfo info{json.string("name"), read_dtype(json.member("dtype")), {}};
  for (const JsonReader& extent : json.member("shape").elements()) {
    if (extent.json().is_null()) {
      info.shape.emplace_back();
    } else if (extent.json().is_string()) {
      info.shape.push_back(Dimension::named(extent.as_string()));
    } else {
      info.shape.push_back(Dimension::known(extent.as_integer(0, kMaxExtent)));
    }
  }
  return info;
}

Shape read_shape(const JsonReader& json) {
  Shape shape;
  for (const JsonReader& extent : json.elements()) shape.push_back(extent.as_integer(0, kMaxExtent));
  return shape;
}

/// A part of a section, checked to lie within it.
void read_place(const JsonReader& json, const char* offset_key, const char* size_key, std::uint64_t section_bytes,
                std::uint64_t& offset, std::uint64_t& size) {
  offset = static_cast<std::uint64_t>(json.integer(offset_key, 0));
  size = static_cast<std::uint64_t>(json.integer(size_key, 0));
  if (offset > section_bytes || size > section_bytes - offset) json.fail("lies outside its section");
}

ShapeProfile read_profile(const JsonReader& json, const TensorInfo& input) {
  ShapeProfile profile{json.string("input"), read_shape(json.member("min")), read_shape(json.member("opt")),
                       read_shape(json.member("max"))};
  if (profile.input != input.name) json.member("input").fail("is not input '" + input.name + "'");
  const std::size_t rank = input.shape.size();
  if (profile.min.rank() != rank || profile.opt.rank() != rank || profile.max.rank() != rank) {
    json.fail("has another rank than the input");
  }
  for (std::size_t axis = 0; axis < rank; ++axis) {
    if (profile.min[axis] > profile.opt[axis] || profile.opt[axis] > profile.max[axis]) {
      json.fail("does not rise at axis " + std::to_string(axis));
    }
  }
  return profile;
}

}  // namespace

nlohmann::json to_json(const EngineIndex& index) {
  nlohmann::json json = {{"environment", to_json(index.environment)},
                         {"precision", to_string(index.precision)},
                         {"uses_lanes", index.uses_lanes},
                         {"profiles", pajamas::to_json(index.profiles)}};
  for (const char* key : {"inputs", "outputs", "large_constants", "constants", "tactics"}) {
    json[key] = nlohmann::json::array();
  }
  for (const TensorInfo& input : index.inputs) json["inputs"].push_back(to_json(input));
  for (const TensorInfo& output : index.outputs) json["outputs"].push_back(to_json(output));
  for (const LargeConstant& constant : index.large_constants) {
    json["large_constants"].push_back(
        {{"name", constant.name}, {"dtype", to_string(constant.dtype)}, {"shape", constant.shape.extents()}});
  }
  for (const ConstantPlace& constant : index.constants) {
    json["constants"].push_back({{"key", constant.key}, {"offset", constant.offset}, {"bytes", constant.size_bytes}});
  }
  for (const TacticPlace& tactic : index.tactics) {
    json["tactics"].push_back({{"signature", tactic.signature},
                               {"tactic", tactic.tactic},
                               {"state_offset", tactic.state_offset},
                               {"state_bytes", tactic.state_bytes}});
  }
  return json;
}

EngineIndex parse_engine_index(std::string_view text, const std::string& where, std::uint64_t states_bytes,
                               std::uint64_t weights_bytes) {
  const nlohmann::json json = parse_json(text, where);
  const JsonReader reader(json, where, "index");
  EngineIndex index;
  const JsonReader environment = reader.member("environment");
  index.environment.gpu = environment.string("gpu");
  index.environment.sm = static_cast<int>(environment.integer("sm", 1, 10000));
  for (const auto& [name, version] : environment.member("versions").members()) {
    index.environment.versions[name] = version.as_string();
  }
  try {
    index.precision = parse_precision(reader.string("precision"));
  } catch (const Error& error) {
    reader.member("precision").fail(error.message());
  }
  index.uses_lanes = reader.boolean("uses_lanes");
  for (const JsonReader& input : reader.member("inputs").elements()) index.inputs.push_back(read_tensor_info(input));
  for (const JsonReader& output : reader.member("outputs").elements()) {
    index.outputs.push_back(read_tensor_info(output));
  }
  const std::vector<JsonReader> profiles = reader.member("profiles").elements();
  if (profiles.size() != index.inputs.size()) reader.member("profiles").fail("has not one entry for each input");
  for (std::size_t i = 0; i < profiles.size(); ++i) {
    index.profiles.push_back(read_profile(profiles[i], index.inputs[i]));
  }
  for (const JsonReader& entry : reader.member("large_constants").elements()) {
    index.large_constants.push_back(
        {entry.string("name"), read_dtype(entry.member("dtype")), read_shape(entry.member("shape"))});
  }
  for (const JsonReader& entry : reader.member("constants").elements()) {
    ConstantPlace place{entry.string("key"), 0, 0};
    read_place(entry, "offset", "bytes", weights_bytes, place.offset, place.size_bytes);
    if (place.offset % kBufferAlignment != 0) entry.member("offset").fail("is not aligned");
    index.constants.push_back(std::move(place));
  }
  for (const JsonReader& entry : reader.member("tactics").elements()) {
    TacticPlace place{entry.string("signature"), entry.string("tactic"), 0, 0};
    read_place(entry, "state_offset", "state_bytes", states_bytes, place.state_offset, place.state_bytes);
    index.tactics.push_back(std::move(place));
  }
  return index;
}

}  // namespace pajamas::cuda
