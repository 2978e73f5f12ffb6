// The target `openvino`: the CPU of any machine, through OpenVINO's ONNX importer and CPU plugin.
//
// A compiled part is two files: `<part>.onnx`, the lowered model itself, from which the engine can always be made
// again, and `<part>.blob`, OpenVINO's export of it, which loads three times as fast but only under the OpenVINO
// version, the processor features and the precision it was made for. What may be compiled at all is decided in
// allow_list.h; docs/targets-openvino.md describes the whole.
#include <cerrno>
#include <fstream>
#include <limits>
#include <openvino/core/model.hpp>
#include <openvino/core/preprocess/pre_post_process.hpp>
#include <openvino/runtime/properties.hpp>
#include <set>
#include <system_error>
#include <thread>

#include "base/files.h"
#include "base/log.h"
#include "engine/target.h"
#include "graph/passes/expand_paged_attention.h"
#include "io/onnx_writer.h"
#include "pajamas/error.h"
#include "targets/openvino/allow_list.h"
#include "targets/openvino/blob_proof.h"
#include "targets/openvino/cpu_features.h"
#include "targets/openvino/language_import.h"
#include "targets/openvino/lowering.h"
#include "targets/openvino/openvino_engine.h"
#include "targets/openvino/openvino_library.h"
#include "targets/openvino/packed_linear_op.h"
#include "targets/openvino/transposed_convolution.h"

namespace pajamas {

namespace openvino {
namespace {

constexpr const char* kEngineRole = "engine";
constexpr const char* kCacheRole = "cache";

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
  return {{"name", info.name}, {"dtype", to_string(info.dtype)}, {"shape", std::move(shape)}};
}

TensorInfo parse_tensor_info(const nlohmann::json& json) {
  TensorInfo info;
  info.name = json.at("name").get<std::string>();
  info.dtype = parse_dtype(json.at("dtype").get<std::string>());
  for (const nlohmann::json& extent : json.at("shape")) {
    if (extent.is_string()) {
      info.shape.push_back(Dimension::named(extent.get<std::string>()));
    } else if (extent.is_null()) {
      info.shape.emplace_back();
    } else {
      info.shape.push_back(Dimension::known(extent.get<std::int64_t>()));
    }
  }
  return info;
}

/// Why the profiles do not fit the model, or nothing.
std::optional<Support> check_profiles(const Model& model, const BuildPlan& plan) {
  const std::string remedy = "correct --shapes";
  std::set<std::string> seen;
  for (const ShapeProfile& profile : plan.profiles) {
    const std::string where = "shapes of input '" + profile.input + "'";
    if (!seen.insert(profile.input).second) {
      return Support::no(where + " are given twice: OpenVINO takes one range an input", remedy);
    }
    const auto inputs = model.graph.required_inputs();
    const auto found =
        std::find_if(inputs.begin(), inputs.end(), [&](const ValueInfo* info) { return info->name == profile.input; });
    if (found == inputs.end()) {
      std::string known;
      for (const ValueInfo* info : inputs) known += (known.empty() ? "" : ", ") + info->name;
      return Support::no("the model has no input '" + profile.input + "'", "its inputs are: " + known);
    }
    const std::size_t rank = profile.opt.rank();
    if (profile.min.rank() != rank || profile.max.rank() != rank) {
      return Support::no(where + " differ in rank", remedy);
    }
    for (std::size_t axis = 0; axis < rank; ++axis) {
      if (profile.min[axis] < 0 || profile.min[axis] > profile.opt[axis] || profile.opt[axis] > profile.max[axis]) {
        return Support::no(where + " do not rise from min over opt to max on axis " + std::to_string(axis), remedy);
      }
    }
    // Past this the plugin's 32-bit counts of elements overflow, and no machine runs the proof.
    std::int64_t num_left = std::numeric_limits<std::int32_t>::max();
    for (const std::int64_t extent : profile.max) num_left /= std::max<std::int64_t>(extent, 1);
    if (num_left == 0) {
      return Support::no(where + " reach " + profile.max.to_string() + ", which has more than 2^31-1 elements",
                         "give the largest shape you will really run with --shapes");
    }
    const auto& type = (*found)->type;
    if (!type || !type->shape) continue;
    const auto& declared = *type->shape;
    if (declared.size() != rank) {
      return Support::no(where + " have rank " + std::to_string(rank) + " but the model declares " + type->to_string(),
                         remedy);
    }
    for (std::size_t axis = 0; axis < rank; ++axis) {
      if (declared[axis].is_known() &&
          (profile.min[axis] != declared[axis].extent() || profile.max[axis] != declared[axis].extent())) {
        return Support::no(where + " change axis " + std::to_string(axis) + ", which the model fixes: it declares " +
                               type->to_string(),
                           remedy);
      }
    }
  }
  return std::nullopt;
}

/// Whether inputs and outputs are of kinds that an engine can take and give.
std::optional<Support> check_interface(const Model& model, const BuildPlan& plan) {
  const auto check = [](const ValueInfo& info, const char* what) -> std::optional<Support> {
    if (!info.type || info.type->kind != ValueType::Kind::kTensor) {
      return Support::no(std::string(what) + " '" + info.name + "' is not a tensor" +
                             (info.type ? " but " + info.type->to_string() : std::string()),
                         "export the model with tensors as inputs and outputs");
    }
    if (!element_type_of(info.type->dtype)) {
      return Support::no(std::string(what) + " '" + info.name + "' is of type " + to_string(info.type->dtype) +
                             ", which OpenVINO cannot pass in or out",
                         "convert it inside the model, or outside before the call");
    }
    if (info.type->dtype == DType::kFloat64) {
      return Support::no(
          std::string(what) + " '" + info.name + "' is of type float64, which OpenVINO computes in float32",
          "export the model in float32");
    }
    return std::nullopt;
  };
  for (const ValueInfo* input : model.graph.required_inputs()) {
    if (auto refusal = check(*input, "input")) return refusal;
    if (!input->type->shape && find_profile(plan.profiles, input->name) == nullptr) {
      return Support::no("input '" + input->name + "' declares no rank", "give its shape with --shapes");
    }
  }
  std::set<std::string> outputs;
  for (const ValueInfo& output : model.graph.outputs) {
    if (auto refusal = check(output, "output")) return refusal;
    if (!outputs.insert(output.name).second) {
      return Support::no("output '" + output.name + "' is listed twice", "export the model with distinct outputs");
    }
  }
  return std::nullopt;
}

std::optional<Support> check_precision(Precision precision) {
  const CpuFeatures& features = cpu_features();
  if (precision == Precision::kTf32) {
    return Support::no("tf32 is a precision of GPUs' matrix units", "use --precision fp32 or auto");
  }
  if (precision == Precision::kBf16 && !features.is_bf16_native()) {
    return Support::no(
        "this processor has no bfloat16 instructions (AVX512_BF16 or AMX); it has " + features.to_string(),
        "use --precision fp32 or auto");
  }
  if (precision == Precision::kFp16 && !features.is_fp16_native()) {
    return Support::no("this processor has no float16 instructions (AVX512_FP16); it has " + features.to_string(),
                       "use --precision fp32 or auto");
  }
  return std::nullopt;
}

Precision resolved(Precision precision) {
  return precision == Precision::kAuto ? cpu_features().fastest_accurate_precision() : precision;
}

/// The declared inputs under the plan's shapes.
std::vector<TensorInfo> declared_inputs(const Model& model, const BuildPlan& plan) {
  std::vector<TensorInfo> inputs;
  for (const ValueInfo* value : model.graph.required_inputs()) {
    TensorInfo info{value->name, value->type->dtype, {}};
    const ShapeProfile* profile = find_profile(plan.profiles, value->name);
    if (value->type->shape) {
      info.shape = *value->type->shape;
    } else {
      info.shape.resize(profile->opt.rank());
    }
    for (std::size_t axis = 0; profile != nullptr && axis < info.shape.size(); ++axis) {
      if (profile->min[axis] == profile->max[axis]) info.shape[axis] = Dimension::known(profile->opt[axis]);
    }
    for (Dimension& dimension : info.shape) dimension.denotation.clear();
    inputs.push_back(std::move(info));
  }
  return inputs;
}

std::vector<std::vector<ExtentRange>> input_ranges(const std::vector<TensorInfo>& inputs, const BuildPlan& plan) {
  std::vector<std::vector<ExtentRange>> all;
  for (const TensorInfo& input : inputs) {
    const ShapeProfile* profile = find_profile(plan.profiles, input.name);
    std::vector<ExtentRange> ranges;
    for (std::size_t axis = 0; axis < input.shape.size(); ++axis) {
      if (input.shape[axis].is_known()) {
        ranges.push_back({input.shape[axis].extent(), input.shape[axis].extent()});
      } else if (profile != nullptr && axis < profile->min.rank()) {
        ranges.push_back({profile->min[axis], profile->max[axis]});
      } else {
        ranges.push_back({});
      }
    }
    all.push_back(std::move(ranges));
  }
  return all;
}

/// Reads the engine file, lowers it and gives it the shapes and the output types it was built for. `is_language`: the
/// graph has paged attention.
std::shared_ptr<ov::Model> read_engine_file(const std::filesystem::path& path, bool is_language,
                                            const std::vector<TensorInfo>& inputs,
                                            const std::vector<std::vector<ExtentRange>>& ranges,
                                            const std::vector<TensorInfo>& outputs) {
  std::shared_ptr<ov::Model> model = is_language ? read_language_model(path) : core().read_model(path.string());
  std::map<ov::Output<ov::Node>, ov::PartialShape> shapes;
  for (const ov::Output<ov::Node>& port : model->inputs()) {
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      if (port.get_names().count(inputs[i].name) == 0) continue;
      ov::PartialShape shape;
      for (const ExtentRange& range : ranges[i]) {
        shape.push_back(range.max < 0 ? ov::Dimension(range.min, -1) : ov::Dimension(range.min, range.max));
      }
      if (shape != port.get_partial_shape()) shapes[port] = shape;
    }
  }
  if (!shapes.empty()) model->reshape(shapes);
  check_open_shapes(model);
  lower_for_openvino(model);
  replace_transposed_convolutions(model);
  // The importer sometimes gives another type than the model declares (bool as u8): convert at the end.
  bool is_conversion_needed = false;
  ov::preprocess::PrePostProcessor postprocessor(model);
  for (const ov::Output<ov::Node>& port : model->outputs()) {
    for (const TensorInfo& output : outputs) {
      if (port.get_names().count(output.name) == 0) continue;
      const ov::element::Type type = *element_type_of(output.dtype);
      if (port.get_element_type() == type) continue;
      postprocessor.output(output.name).tensor().set_element_type(type);
      is_conversion_needed = true;
    }
  }
  return is_conversion_needed ? postprocessor.build() : model;
}

/// Declared outputs; extents that the model leaves open are taken from the compiled model where it knows them.
std::vector<TensorInfo> declared_outputs(const Model& model) {
  std::vector<TensorInfo> outputs;
  for (const ValueInfo& value : model.graph.outputs) {
    TensorInfo info{value.name, value.type->dtype, {}};
    if (value.type->shape) info.shape = *value.type->shape;
    for (Dimension& dimension : info.shape) dimension.denotation.clear();
    outputs.push_back(std::move(info));
  }
  return outputs;
}

void refine_outputs(std::vector<TensorInfo>& outputs, const ov::CompiledModel& compiled) {
  for (const auto& port : compiled.outputs()) {
    for (TensorInfo& output : outputs) {
      if (port.get_names().count(output.name) == 0) continue;
      const ov::PartialShape& shape = port.get_partial_shape();
      if (shape.rank().is_dynamic()) continue;
      const auto rank = static_cast<std::size_t>(shape.rank().get_length());
      if (output.shape.size() != rank) output.shape.assign(rank, Dimension{});
      for (std::size_t axis = 0; axis < rank; ++axis) {
        if (shape[axis].is_static()) output.shape[axis] = Dimension::known(shape[axis].get_length());
      }
    }
  }
}

nlohmann::json cache_key(Precision precision) {
  return {{"openvino", library_version()},
          {"cpu_features", cpu_features().to_string()},
          {"precision", to_string(precision)}};
}

ov::CompiledModel compile_model(const std::shared_ptr<ov::Model>& model, ov::AnyMap options) {
  // OpenVINO fuses neighbouring elementwise operators into generated kernels in a time that grows with the cube of
  // their number: a chain of 500 additions takes 14 s, one of 3,000 never ends; without that 0.3 s and 6 s (one core of
  // a Sapphire Rapids). The longest runs of real models are residual streams, two a layer.
  constexpr std::size_t kLongestFusedRun = 256;
  if (longest_elementwise_run(model) > kLongestFusedRun || has_open_attention(model)) {
    options["SNIPPETS_MODE"] = "DISABLE";
  }
  return core().compile_model(model, "CPU", options);
}

/// How a language model is compiled: where weights are packed here, the rest is float32, and the products have an
/// arithmetic of their own.
struct LanguageCompilation {
  ov::CompiledModel compiled;
  Precision precision;           ///< Of what OpenVINO computes.
  std::size_t packed_bytes = 0;  ///< Of weights in PackedLinear; 0: OpenVINO computes everything.
};

LanguageCompilation compile_language_model(const std::shared_ptr<ov::Model>& model, Precision asked,
                                           const SessionOptions& options) {
  LanguageCompilation result{{}, options.is_exact_fp32 ? Precision::kFp32 : resolved(asked)};
  // fp32 and bf16 name an arithmetic; only auto leaves it open.
  if (asked == Precision::kAuto && !options.is_exact_fp32 && PackedLinear::is_available()) {
    result.packed_bytes = pack_linear_layers(model);
    if (result.packed_bytes > 0) result.precision = Precision::kFp32;
  }
  ov::AnyMap properties = compile_options(result.precision, options.num_threads, options.is_exact_fp32);
  // After precision: packed or bf16, keys and values may be bytes; where the user asked for fp32 they are not.
  const Precision kv_precision = result.packed_bytes > 0 ? Precision::kAuto : result.precision;
  add_language_options(properties, kv_precision, options);
  result.compiled = compile_model(model, properties);
  return result;
}

const CompiledFile* find_file(const LoadRequest& request, std::string_view role, std::string_view ending) {
  for (const CompiledFile& file : request.files) {
    if (file.role == role && file.name.ends_with(ending)) return &file;
  }
  return nullptr;
}

ov::CompiledModel import_blob(const MappedFile& file, const ov::AnyMap& options) {
  const std::span<const std::byte> bytes = file.bytes();
  // OpenVINO only reads the blob, but its tensors have no const form.
  const ov::Tensor blob(ov::element::u8, ov::Shape{bytes.size()}, const_cast<std::byte*>(bytes.data()));
  return core().import_model(blob, "CPU", options);
}

/// Imports the blob if it is intact and was made for this library, processor and precision; says in the log why not.
bool load_blob(const LoadRequest& request, const CompiledFile& file, Precision precision, const ov::AnyMap& options,
               OpenvinoEngine::Parts& parts) {
  const std::string path = (request.directory / file.name).string();
  const nlohmann::json wanted = cache_key(precision);
  const auto found = request.facts.find("cache");
  if (found == request.facts.end() || *found != wanted) {
    log().info("{}: the compiled blob was made for {}, this is {}: compiling anew", path,
               found == request.facts.end() ? "?" : found->dump(), wanted.dump());
    return false;
  }
  const std::shared_ptr<const MappedFile> mapped = request.open(file);
  if (mapped == nullptr) {
    log().info("{}: the compiled blob is missing or damaged: compiling anew", path);
    return false;
  }
  try {
    parts.compiled = import_blob(*mapped, options);
    parts.memory = mapped;
    return true;
  } catch (const std::exception& exception) {
    log().info("{}: the compiled blob cannot be used ({}): compiling anew", path,
               translate(exception, "importing it").message());
    parts.compiled = {};
    return false;
  }
}

/// The build compiled this model, so either another OpenVINO is here than there, which is "not for this machine", or
/// the bundle is not what it was.
Error load_failure(const std::exception& exception, const LoadRequest& request, const std::filesystem::path& path) {
  const Error error = translate(exception, "OpenVINO could not compile the bundle's model");
  if (error.kind() != ErrorKind::kUnsupported) return error.with_context(path.string());
  const std::string here = library_version();
  const std::string built_by = request.facts.value("library", here);
  if (built_by == here) return Error(ErrorKind::kBadInput, error.message(), path.string(), "build the bundle again");
  return Error(
      ErrorKind::kUnsupported,
      "was built by OpenVINO " + built_by + ", and OpenVINO " + here + " here does not take it: " + error.message(),
      path.string(), "build the bundle again with this OpenVINO, or install OpenVINO " + built_by);
}

/// Writes the export of a compiled model. Throws Error{kBadInput} when the file cannot be written.
void export_blob(ov::CompiledModel& compiled, const std::filesystem::path& path) {
  std::ofstream stream(path, std::ios::binary | std::ios::trunc);
  errno = 0;
  try {
    if (stream) compiled.export_model(stream);
  } catch (const std::exception&) {
    if (stream) throw;  // Else it only says that the stream failed.
  }
  stream.close();
  if (!stream) {
    const std::string reason = errno != 0 ? ": " + std::generic_category().message(errno) : std::string();
    throw Error(ErrorKind::kBadInput, "cannot write the compiled blob" + reason, path.string(),
                "free some space, or choose another folder with -o");
  }
}

}  // namespace
}  // namespace openvino

namespace {

class OpenvinoTarget final : public Target {
 public:
  std::string_view name() const override { return "openvino"; }
  Support supports(const Model& model, const BuildPlan& plan) const override;
  BuildPlan resolve(BuildPlan plan) const override;
  Precision graph_precision(const BuildPlan& plan) const override;
  CompiledPart compile(const CompileRequest& request) const override;
  std::shared_ptr<const Engine> load(const LoadRequest& request) const override;
  nlohmann::json doctor() const override;
};

Support OpenvinoTarget::supports(const Model& model, const BuildPlan& plan) const {
  if (auto refusal = openvino::check_precision(plan.precision)) return *refusal;
  if (auto refusal = openvino::check_interface(model, plan)) return *refusal;
  if (auto refusal = openvino::check_profiles(model, plan)) return *refusal;
  return openvino::check_operators(model);
}

BuildPlan OpenvinoTarget::resolve(BuildPlan plan) const {
  if (!plan.gpu_sms.empty()) {
    throw Error(ErrorKind::kUsage, "the target openvino runs on the CPU and takes no --gpu", "--gpu",
                "leave --gpu out, or build with --target tensorrt");
  }
  if (!plan.keep_fp32_ops.empty() && plan.precision != Precision::kFp32) {
    throw Error(ErrorKind::kUnsupported,
                "the target openvino cannot keep single operators in float32: its precision holds for the whole graph",
                "--keep-fp32", "use --precision fp32");
  }
  if (plan.num_threads < 0) {
    throw Error(ErrorKind::kUsage, "the number of threads is negative", "--threads", "use 0 for all cores");
  }
  if (auto refusal = openvino::check_precision(plan.precision)) {
    throw Error(ErrorKind::kUnsupported, refusal->reason, "--precision", refusal->remedy);
  }
  return plan;  // kAuto stays: the machine that loads decides
}

Precision OpenvinoTarget::graph_precision(const BuildPlan&) const {
  // The file keeps the model's own weights: OpenVINO converts at load, and exact float32 stays possible from the same
  // bundle.
  return Precision::kFp32;
}

CompiledPart OpenvinoTarget::compile(const CompileRequest& request) const {
  using namespace openvino;
  const Support support = supports(request.model, request.plan);
  if (!support) throw Error(ErrorKind::kUnsupported, support.reason, request.part, support.remedy);
  const Precision precision = resolved(request.plan.precision);
  const std::string engine_name = request.part + ".onnx";
  const std::string cache_name = request.part + ".blob";

  request.progress.step("Writing the model", -1, engine_name);
  CompiledPart part;
  part.inputs = declared_inputs(request.model, request.plan);
  part.outputs = declared_outputs(request.model);
  const bool is_language = has_paged_attention(request.model);
  OnnxWriteOptions write_options;
  write_options.existing_data = request.weights;
  // Weights outside the ONNX message are mapped when the bundle is loaded, those inside are copied.
  if (is_language) write_options.external_data = OnnxWriteOptions::ExternalData::kAlways;
  write_onnx(request.model, request.directory / engine_name, write_options);
  part.files.push_back({engine_name, kEngineRole});
  if (std::filesystem::exists(request.directory / (engine_name + ".data"))) {
    part.files.push_back({engine_name + ".data", kEngineRole});
  }
  if (request.weights != nullptr) {
    const std::string shared_name = request.weights->path().filename().string();
    if (shared_name != engine_name + ".data") part.files.push_back({shared_name, kEngineRole});
  }

  request.progress.check("compiling with OpenVINO");
  request.progress.step("Compiling with OpenVINO", -1, to_string(precision));
  ov::CompiledModel compiled;
  try {
    const auto ranges = input_ranges(part.inputs, request.plan);
    const std::shared_ptr<ov::Model> model =
        read_engine_file(request.directory / engine_name, is_language, part.inputs, ranges, part.outputs);
    if (is_language) {
      part.facts["language"] = {{"num_table_rows", num_table_rows(*model, "input_ids")},
                                {"num_position_rows", num_table_rows(*model, "position_ids")}};
    }
    if (request.is_only_written) {
      log().info("{}: written without a trial compilation", request.part);
    } else if (is_language) {
      SessionOptions options;
      options.num_threads = request.plan.num_threads;
      compiled = compile_language_model(model, request.plan.precision, options).compiled;
    } else {
      compiled = compile_model(model, compile_options(precision, request.plan.num_threads, false));
    }
    if (!request.is_only_written) refine_outputs(part.outputs, compiled);
  } catch (const std::exception& exception) {
    throw translate(exception, "OpenVINO could not compile the model", &request.model);
  }
  request.progress.check("compiling with OpenVINO");
  std::string blob_fault;
  // A blob would hold the weights a second time, and the inputs of a language model cannot be made up to prove it.
  if (is_language || request.weights != nullptr) {
    blob_fault = "a model whose weights lie in a file of their own is compiled when it is loaded";
  }
  if (blob_fault.empty()) request.progress.step("Writing the compiled blob", -1, cache_name);
  if (blob_fault.empty()) try {
      const std::filesystem::path path = request.directory / cache_name;
      export_blob(compiled, path);
      const auto mapped = MappedFile::open(path);
      ov::CompiledModel imported = import_blob(*mapped, compile_options(precision, request.plan.num_threads, false));
      blob_fault = difference_of(compiled, imported, request.plan);
    } catch (const Error&) {
      throw;
    } catch (const std::exception& exception) {
      blob_fault = translate(exception, "OpenVINO could not export the compiled model").message();
    }
  if (blob_fault.empty()) {
    part.files.push_back({cache_name, kCacheRole});
    part.facts["cache"] = cache_key(precision);
  } else {
    // The bundle works without it: it is compiled anew at every load.
    std::filesystem::remove(request.directory / cache_name);
    log().info("{}: no compiled blob is kept, loading will take longer: {}", request.part, blob_fault);
    part.facts["no_cache_reason"] = blob_fault;
  }

  part.facts["library"] = library_version();
  part.facts["precision"] = to_string(request.plan.precision);
  part.facts["built_precision"] = to_string(precision);
  part.facts["inputs"] = nlohmann::json::array();
  for (const TensorInfo& input : part.inputs) part.facts["inputs"].push_back(to_json(input));
  part.facts["outputs"] = nlohmann::json::array();
  for (const TensorInfo& output : part.outputs) part.facts["outputs"].push_back(to_json(output));
  if (request.is_only_written) return part;
  // Constructing an engine proves that inputs and outputs are found again by name.
  const OpenvinoEngine checked{
      {nullptr, compiled, part.inputs, input_ranges(part.inputs, request.plan), part.outputs, {}, 0}};
  return part;
}

std::shared_ptr<const Engine> OpenvinoTarget::load(const LoadRequest& request) const {
  using namespace openvino;
  if (request.options.num_threads < 0) {
    throw Error(ErrorKind::kUsage, "the number of threads is negative", "--threads", "use 0 for all cores");
  }
  Precision precision = request.options.is_exact_fp32 ? Precision::kFp32 : resolved(request.plan.precision);
  if (auto refusal = check_precision(precision)) {
    throw Error(ErrorKind::kDeviceMissing,
                "the bundle was built for " + std::string(to_string(precision)) + ", but " + refusal->reason,
                request.directory.string(), "build it again on this machine with --precision fp32 or auto");
  }
  OpenvinoEngine::Parts parts;
  try {
    for (const nlohmann::json& input : request.facts.at("inputs")) parts.inputs.push_back(parse_tensor_info(input));
    for (const nlohmann::json& output : request.facts.at("outputs")) parts.outputs.push_back(parse_tensor_info(output));
  } catch (const nlohmann::json::exception& exception) {
    throw Error(ErrorKind::kBadInput,
                std::string("the bundle's record of the OpenVINO engine is damaged: ") + exception.what(),
                request.directory.string(), "build the bundle again");
  }
  parts.input_ranges = input_ranges(parts.inputs, request.plan);
  const auto language = request.facts.find("language");
  const bool is_language = language != request.facts.end();
  if (is_language) {
    parts.num_table_rows = language->value("num_table_rows", std::int64_t{0});
    parts.num_position_rows = language->value("num_position_rows", std::int64_t{0});
  }

  const ov::AnyMap options = compile_options(precision, request.options.num_threads, request.options.is_exact_fp32);
  std::string loaded_from = "engine";
  std::size_t packed_bytes = 0;
  // An exact session never uses the blob: it may have been made with options that are not exact.
  const CompiledFile* cache_file = find_file(request, kCacheRole, ".blob");
  if (cache_file != nullptr && !request.options.is_exact_fp32) {
    if (load_blob(request, *cache_file, precision, options, parts)) loaded_from = "cache";
  }
  if (loaded_from != "cache") {
    const CompiledFile* engine_file = find_file(request, kEngineRole, ".onnx");
    if (engine_file == nullptr) {
      throw Error(ErrorKind::kBadInput, "the bundle has no engine file for part '" + request.part + "'",
                  request.directory.string(), "build the bundle again");
    }
    // Checks every digest; OpenVINO then reads the files by path, external weights beside the model included.
    for (const CompiledFile& file : request.files) {
      if (file.role == kEngineRole) request.open(file);
    }
    const std::filesystem::path path = request.directory / engine_file->name;
    try {
      const auto model = read_engine_file(path, is_language, parts.inputs, parts.input_ranges, parts.outputs);
      if (is_language) {
        LanguageCompilation result = compile_language_model(model, request.plan.precision, request.options);
        parts.compiled = std::move(result.compiled);
        precision = result.precision;
        packed_bytes = result.packed_bytes;
      } else {
        parts.compiled = compile_model(model, options);
      }
    } catch (const std::exception& exception) {
      throw load_failure(exception, request, path);
    }
  }
  try {
    parts.description = {{"target", "openvino"},
                         {"device", core().get_property("CPU", ov::device::full_name)},
                         {"library", library_version()},
                         {"precision", to_string(precision)},
                         {"num_threads", parts.compiled.get_property(ov::inference_num_threads)},
                         {"cpu_features", cpu_features().to_string()},
                         {"loaded_from", loaded_from}};
    if (packed_bytes > 0) {
      parts.description["packed_linear"] = {{"bytes", packed_bytes}, {"few_tokens", "int8"}, {"many_tokens", "bf16"}};
    }
    return std::make_shared<const OpenvinoEngine>(std::move(parts));
  } catch (const std::exception& exception) {
    throw translate(exception, "OpenVINO could not load the engine");
  }
}

nlohmann::json OpenvinoTarget::doctor() const {
  using namespace openvino;
  const CpuFeatures& features = cpu_features();
  nlohmann::json state;
  state["version"] = library_version();
  state["cpu_features"] = {{"avx2", features.has_avx2},
                           {"avx512", features.has_avx512},
                           {"avx_vnni", features.has_avx_vnni},
                           {"avx512_vnni", features.has_avx512_vnni},
                           {"avx512_bf16", features.has_avx512_bf16},
                           {"avx512_fp16", features.has_avx512_fp16},
                           {"amx_bf16", features.has_amx_bf16},
                           {"amx_int8", features.has_amx_int8}};
  state["preferred_precision"] = to_string(features.fastest_accurate_precision());
  state["num_cores"] = std::thread::hardware_concurrency();
  try {
    state["device"] = core().get_property("CPU", ov::device::full_name);
    state["available"] = true;
  } catch (const std::exception& exception) {
    state["available"] = false;
    state["reason"] = translate(exception, "OpenVINO's CPU plugin cannot be loaded").message();
    state["remedy"] = "run ./dev setup: libopenvino_intel_cpu_plugin.so belongs beside libopenvino.so";
  }
  return state;
}

}  // namespace

const Target& openvino_target() {
  static const OpenvinoTarget kTarget;
  return kTarget;
}

}  // namespace pajamas
