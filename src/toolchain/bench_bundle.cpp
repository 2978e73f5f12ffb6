// Measuring one part of a bundle. See bench_bundle.h.
#include "toolchain/bench_bundle.h"

#include <new>
#include <optional>
#include <random>

#include "base/json_reader.h"
#include "bench/environment.h"
#include "bench/measure.h"
#include "bundle/bundle.h"
#include "engine/bundle_plan.h"
#include "engine/engine_loader.h"
#include "pajamas/error.h"
#include "tensor/half.h"
#include "toolchain/real_inputs.h"
#include "toolchain/version.h"
#include "verify/comparison.h"
#include "verify/onnxruntime_reference.h"
#include "verify/tolerances.h"

namespace pajamas {
namespace {

/// What one run takes of the first input: its first extent, unless it is a picture or a row without a batch.
std::int64_t items_of_run(const std::vector<TensorInfo>& infos, const std::vector<Tensor>& inputs,
                          const TaskFacts& task) {
  if (inputs.empty() || inputs[0].shape().rank() < 2) return 1;
  const ImageInput* image = picture_input(task);
  const bool has_batch = image == nullptr || image->input != infos[0].name || image->has_batch;
  return has_batch ? inputs[0].shape()[0] : 1;
}

Shape bench_shape(const TensorInfo& info, std::int64_t batch, const BuildPlan& plan, const TaskFacts& task) {
  const ShapeProfile* profile = find_profile(plan.profiles, info.name);
  // Gives the size of inputs that leave height and width open.
  const ImageInput* image = picture_input(task);
  if (image != nullptr && image->input != info.name) image = nullptr;
  Shape shape;
  for (std::size_t axis = 0; axis < info.shape.size(); ++axis) {
    const Dimension& dimension = info.shape[axis];
    const bool is_batch_axis = axis == 0 && (image == nullptr || image->has_batch);
    if (dimension.is_known()) {
      if (is_batch_axis && batch != dimension.extent() && batch != 1) {
        throw Error(ErrorKind::kUsage,
                    "the engine's input '" + info.name + "' has the fixed batch " + std::to_string(dimension.extent()),
                    "--batch", "leave --batch out, or build with --shapes that leave the batch open");
      }
      shape.push_back(dimension.extent());
    } else if (is_batch_axis) {
      if (profile != nullptr && (batch < profile->min[axis] || batch > profile->max[axis])) {
        throw Error(ErrorKind::kUsage,
                    "batch " + std::to_string(batch) + " is outside the profile of input '" + info.name + "', " +
                        profile->min.to_string() + " to " + profile->max.to_string(),
                    "--batch", "choose a batch within the profile, or build with other --shapes");
      }
      shape.push_back(batch);
    } else if (profile != nullptr) {
      shape.push_back(profile->opt[axis]);
    } else if (image != nullptr && info.shape.size() == (image->has_batch ? 4U : 3U)) {
      const std::size_t spatial = axis - (image->has_batch ? 1 : 0);  // 0..2 in [C, H, W] or [H, W, C]
      const std::size_t height_axis = image->is_nhwc ? 0 : 1;
      shape.push_back(spatial == height_axis ? image->height_px : image->width_px);
    } else {
      throw Error(
          ErrorKind::kUsage,
          "axis " + std::to_string(axis) + " of input '" + info.name + "' is open, and nothing says how long it is",
          "--shapes", "build with --shapes, which then give the size to measure at");
    }
  }
  return shape;
}

/// Values as a picture gives them after normalisation: around zero, within a few units. Integers are small, so that
/// they are valid indices.
Tensor bench_tensor(const TensorInfo& info, const Shape& shape, std::mt19937& random) {
  if (is_floating_point(info.dtype) && bits_of(info.dtype) >= 16) {
    std::uniform_real_distribution<float> distribution(-1.5F, 1.5F);
    std::vector<float> values(static_cast<std::size_t>(shape.num_elements()));
    for (float& value : values) value = distribution(random);
    Tensor tensor(info.dtype, shape);
    if (info.dtype == DType::kFloat32) return Tensor::of<float>(shape, values);
    if (info.dtype == DType::kFloat64) {
      std::copy(values.begin(), values.end(), tensor.mutable_as<double>().begin());
      return tensor;
    }
    auto* out = reinterpret_cast<std::uint16_t*>(tensor.mutable_bytes().data());
    for (std::size_t i = 0; i < values.size(); ++i) {
      out[i] = info.dtype == DType::kFloat16 ? float16_from_float(values[i]) : bfloat16_from_float(values[i]);
    }
    return tensor;
  }
  Tensor tensor(info.dtype, shape);
  const auto bytes = tensor.mutable_bytes();
  std::fill(bytes.begin(), bytes.end(), std::byte{0});
  const std::size_t width = static_cast<std::size_t>(bits_of(info.dtype)) / 8;
  // One or nothing in the lowest byte: valid for booleans, ids and masks of every integer type.
  for (std::size_t i = 0; width > 0 && i < bytes.size(); i += width) bytes[i] = static_cast<std::byte>(random() & 1U);
  return tensor;
}

/// Refuses when an output of the engine and the peer's differ past the tolerance of the engine's precision.
nlohmann::json compare_outputs(const Engine& engine, const Session& session, const Engine& peer,
                               const Session& peer_session) {
  const std::string precision_name = engine.describe().value("precision", "fp32");
  const Tolerance bound = tolerance(parse_precision(precision_name), OperatorClass::kNetwork);
  nlohmann::json compared = nlohmann::json::array();
  for (std::size_t i = 0; i < engine.outputs().size(); ++i) {
    for (std::size_t j = 0; j < peer.outputs().size(); ++j) {
      if (peer.outputs()[j].name != engine.outputs()[i].name) continue;
      const Comparison comparison = compare(engine.outputs()[i].name, Tensor::copy_of(peer_session.output(j)),
                                            Tensor::copy_of(session.output(i)));
      if (const auto failure = past_tolerance(comparison, bound)) {
        throw Error(
            ErrorKind::kUnsupported,
            "output '" + comparison.name + "' differs from ONNX Runtime's: " + *failure + "; no figure is given", {},
            "run `pajamas verify --per-layer` to find the first layer that differs");
      }
      compared.push_back({{"output", comparison.name}, {"relative_l2", comparison.relative_l2}});
    }
  }
  return compared;
}

}  // namespace

void require_passed_proof(const ManifestPart& part, const Bundle& bundle) {
  std::string summary = "no proof";
  if (!part.proof.is_null()) {
    const JsonReader proof(part.proof, (bundle.directory() / kManifestFileName).string(), "proof");
    if (proof.boolean_or("is_passed", false)) return;
    summary = proof.string_or("summary", "no summary");
  }
  throw Error(ErrorKind::kUnsupported, "the bundle's proof did not pass, so its speed means nothing: " + summary,
              bundle.directory().string(), "run `pajamas verify`, and build the bundle again");
}

nlohmann::json bench_bundle(const BenchRequest& request) {
  const Bundle bundle = Bundle::open(request.bundle);
  const Manifest& manifest = bundle.manifest();
  const ManifestPart& part = request.part.empty() ? manifest.parts.front() : manifest.part(request.part);
  require_passed_proof(part, bundle);
  const BuildPlan plan = plan_of(bundle, part);

  request.progress.step("Loading");
  const auto engine = load_engine(bundle, part.name, {request.num_threads, request.is_exact_fp32});
  const auto session = engine->new_session();
  std::mt19937 random(1);
  std::vector<Tensor> inputs;
  nlohmann::json shapes = nlohmann::json::object();
  for (std::size_t i = 0; i < engine->inputs().size(); ++i) {
    const TensorInfo& info = engine->inputs()[i];
    const Shape shape = bench_shape(info, request.batch, plan, manifest.task);
    try {
      inputs.push_back(bench_tensor(info, shape, random));
    } catch (const std::bad_alloc&) {
      throw Error(ErrorKind::kBadInput, "not enough memory for input '" + info.name + "' of shape " + shape.to_string(),
                  request.bundle.string(), "give a smaller --batch");
    }
    session->set_input(i, inputs.back().view());
    shapes[info.name] = shape.extents();
  }
  const std::int64_t num_items = items_of_run(engine->inputs(), inputs, manifest.task);
  const auto batch = static_cast<double>(num_items);

  std::vector<Contender> contenders = {contender_of(manifest.target, *session, batch)};
  std::shared_ptr<const Engine> peer;
  std::unique_ptr<Session> peer_session;
  nlohmann::json compared;
  if (request.is_beside_onnxruntime) {
    std::optional<BundleFile> graph_file;
    for (const BundleFile& file : part.files) {
      if (file.name == part.name + ".onnx") graph_file = file;
    }
    if (!graph_file) {
      throw Error(ErrorKind::kUnsupported, "the bundle holds no ONNX form of its graph, so ONNX Runtime cannot run it",
                  bundle.directory().string(), "leave --peer out");
    }
    bundle.open_checked(*graph_file);
    OnnxRuntimeOptions options;
    options.num_threads = request.num_threads;
    options.optimisation = OnnxRuntimeOptions::Optimisation::kAll;
    peer =
        onnxruntime_engine(std::make_shared<const OnnxRuntimeSession>(bundle.directory() / graph_file->name, options),
                           request.num_threads);
    peer_session = peer->new_session();
    for (std::size_t i = 0; i < peer->inputs().size(); ++i) {
      for (std::size_t j = 0; j < engine->inputs().size(); ++j) {
        if (peer->inputs()[i].name == engine->inputs()[j].name) peer_session->set_input(i, inputs[j].view());
      }
    }
    session->run();
    peer_session->run();
    compared = compare_outputs(*engine, *session, *peer, *peer_session);
    contenders.push_back(contender_of("onnxruntime", *peer_session, batch));
  }

  MeasureOptions options;
  options.seconds = request.seconds;
  options.warm_up_seconds = std::min(0.5, request.seconds);
  options.progress = request.progress;
  request.progress.step("Measuring");
  const std::vector<Measurement> measured = measure(contenders, options);
  nlohmann::json report = {{"bundle", request.bundle.string()},
                           {"model", manifest.model},
                           {"target", manifest.target},
                           {"part", part.name},
                           {"batch", num_items},
                           {"inputs", shapes},
                           {"engine", engine->describe()},
                           {"latency_ms", to_json(measured[0].total_ms)},
                           {"device_ms", to_json(measured[0].device_ms)},
                           {"host_ms", to_json(measured[0].host_ms)},
                           {"throughput_per_s", measured[0].items_per_second},
                           {"proof", part.proof.value("summary", "")},
                           {"environment", environment({{"pajamas", program_version()}})}};
  if (request.has_layers) {
    request.progress.step("Measuring layers");
    report["layers"] = session->layer_times();
  }
  if (peer) {
    const Ratio ratio = speed_ratio(measured[0], measured[1]);
    report["peer"] = {{"name", "onnxruntime"},
                      {"version", peer->describe().value("version", "")},
                      {"latency_ms", to_json(measured[1].total_ms)},
                      {"throughput_per_s", measured[1].items_per_second},
                      {"ratio", ratio.of_medians},
                      {"ratio_low", ratio.low},
                      {"ratio_high", ratio.high},
                      {"outputs", compared}};
  }
  return report;
}

}  // namespace pajamas
