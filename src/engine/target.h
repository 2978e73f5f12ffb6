// The interface every target implements: can you take this graph, compile it, load it, run it.
// No vendor type appears here. To add a target: docs/add-a-target.md.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/cancel.h"
#include "base/files.h"
#include "engine/build_plan.h"
#include "engine/kv_cache.h"
#include "graph/graph.h"
#include "pajamas/tensor.h"

namespace pajamas {

/// Yes, or no with the reason and the remedy: an expected "no" is a value, not an error.
struct Support {
  bool is_supported = true;
  std::string reason;  ///< What is not supported and where (operator, node, type, SM).
  std::string remedy;
  static Support yes() { return {}; }
  static Support no(std::string why, std::string what_to_do) { return {false, std::move(why), std::move(what_to_do)}; }
  explicit operator bool() const noexcept { return is_supported; }
};

/// Name, element type and declared shape of one input or output of an engine.
struct TensorInfo {
  std::string name;
  DType dtype = DType::kUndefined;
  std::vector<Dimension> shape;
};

/// One file that a compilation wrote into the bundle's folder.
struct CompiledFile {
  std::string name;  ///< Relative to the bundle, no folders.
  std::string role;  ///< "engine" (needed to run), "cache" (can be made again from the engine), ...
};

/// What a compilation gives back beside its files.
struct CompiledPart {
  std::vector<CompiledFile> files;
  std::vector<TensorInfo> inputs;
  std::vector<TensorInfo> outputs;
  nlohmann::json facts;  ///< The target's own record: library version, SMs, resolved precision, warnings.
};

struct CompileRequest {
  const Model& model;  ///< Already lowered by the passes; compiled exactly as it is.
  const BuildPlan& plan;
  std::string part;                 ///< Name of the engine part, the stem of its file names: "model", "image", "text".
  std::filesystem::path directory;  ///< Existing folder for the files.
  Progress progress;
  /// File of measured times to use and to add to, for targets that choose kernels by time; empty: none.
  std::filesystem::path timing_cache = {};
  /// A file in `directory` that holds weights of `model` already (tensors that lie in this mapping): the target refers
  /// to it instead of writing them again, and lists it among its files. Null: none.
  std::shared_ptr<const MappedFile> weights = {};
  /// Write the files without compiling the model on trial: for one that would not fit into the memory that the build
  /// may take, of which the caller proves a part. Only for language models.
  bool is_only_written = false;
};

/// How keys and values are stored.
enum class KvPrecision {
  kAuto,  ///< The target's fastest that keeps the bundle's tolerance.
  kFp32,
  kFp16,
  kUint8,
};

/// "auto", "fp32", "fp16", "uint8"; throws Error{kUsage} for another name.
KvPrecision parse_kv_precision(std::string_view name);

/// How a loaded engine shall run.
struct SessionOptions {
  int num_threads = 0;         ///< CPU threads; 0: the target's default (all cores).
  bool is_exact_fp32 = false;  ///< Compute in float32 whatever the bundle's precision: for verification.
  KvPrecision kv_precision = KvPrecision::kAuto;  ///< Of engines with a cache; kFp32 under is_exact_fp32.
};

struct LoadRequest {
  std::filesystem::path directory;  ///< The bundle.
  std::string part;
  std::vector<CompiledFile> files;  ///< As compile() gave them.
  /// Maps one of `files` after checking its digest, so that no damaged byte reaches a vendor library. Returns null for
  /// a missing or damaged file of role "cache" (make it again), throws Error{kBadInput} for any other.
  std::function<std::shared_ptr<const MappedFile>(const CompiledFile&)> open;
  nlohmann::json facts;  ///< As compile() gave them.
  BuildPlan plan;
  SessionOptions options;
};

/// Time of one run. `device` is the time of the computation itself, `host` everything around it (copies, launch).
struct RunTiming {
  std::chrono::nanoseconds host{0};
  std::chrono::nanoseconds device{0};
};

/// One execution context with its own mutable state. Use from one thread at a time; several sessions of one engine may
/// run at once.
class Session {
 public:
  virtual ~Session() = default;
  /// Gives input `index` (order of Engine::inputs). The memory is borrowed until run() returns. Throws
  /// Error{kBadInput} naming the input when type or shape do not fit what the engine was built for.
  virtual void set_input(std::size_t index, const TensorView& tensor) = 0;
  /// Computes all outputs; synchronous. Throws Error{kInternal} or Error{kDeviceMissing} when the device fails; the
  /// session may be used again afterwards.
  virtual void run() = 0;
  /// The cache that PagedAttention reads and writes; needed before run() where Engine::kv_cache_layout() is set. Throws
  /// Error{kInternal} for a cache of another engine, and where the engine takes none.
  virtual void set_kv_cache(std::shared_ptr<KvCache> cache);
  /// Output `index` of the last run; the memory belongs to the session and is valid until the next run().
  virtual TensorView output(std::size_t index) const = 0;
  virtual RunTiming last_timing() const = 0;
  /// What each layer of a run with the inputs given takes: {"steps": [{"kind", "time_us", "bytes", "flops",
  /// "fused_from", ...}], ...}. Overwrites the outputs. Throws Error{kUnsupported} where the target cannot tell.
  virtual nlohmann::json layer_times();
};

/// A loaded engine: immutable, shareable between threads.
class Engine {
 public:
  virtual ~Engine() = default;
  virtual const std::vector<TensorInfo>& inputs() const = 0;
  virtual const std::vector<TensorInfo>& outputs() const = 0;
  /// What a block of this engine's cache is; nothing for a model without paged attention.
  virtual const KvCacheLayout* kv_cache_layout() const { return nullptr; }
  /// A pool of `num_blocks` blocks (1 or more), which may outlive the engine. Memory is taken as blocks are written, up
  /// to num_blocks * block_bytes. Throws Error{kUnsupported} without a layout, Error{kDeviceMissing} naming bytes
  /// wanted and free when it cannot fit.
  virtual std::shared_ptr<KvCache> new_kv_cache(std::int64_t num_blocks) const;
  /// Bytes that a cache could take now where this engine's caches lie; an estimate. Default: the host's memory.
  virtual std::uint64_t free_cache_bytes() const;
  /// The engine outlives its sessions: each keeps a reference.
  virtual std::unique_ptr<Session> new_session() const = 0;
  /// What it runs as: {"device": "...", "precision": "bf16", ...}; for reports.
  virtual nlohmann::json describe() const = 0;
};

/// A way of executing graphs. Stateless and thread-safe.
class Target {
 public:
  virtual ~Target() = default;
  virtual std::string_view name() const = 0;
  /// Whether this target can compile the graph as it is under the plan. Does not touch a device.
  virtual Support supports(const Model& model, const BuildPlan& plan) const = 0;
  /// Resolves what the plan leaves open (kAuto, "all SMs") and refuses what can never work, before passes run. The
  /// precision that comes back is what passes convert to; kAuto may stay where the device decides at load.
  virtual BuildPlan resolve(BuildPlan plan) const = 0;
  /// The precision the graph's weights and operators are converted to for this plan. kFp32: leave the graph as it is.
  virtual Precision graph_precision(const BuildPlan& plan) const = 0;
  virtual CompiledPart compile(const CompileRequest& request) const = 0;
  virtual std::shared_ptr<const Engine> load(const LoadRequest& request) const = 0;
  /// State of the target on this machine for `doctor`: {"available": bool, "version": "...", "reason": "...", ...}.
  virtual nlohmann::json doctor() const = 0;
};

}  // namespace pajamas
