// Every kernel that the libraries offer for a table of steps, against the sum itself: its numbers, what it leaves alone
// around a slice, and the same kernel made again from what an engine file keeps of it. With PAJAMAS_GPU_TIMES=FILE also
// the time of each, as JSON.
#include <gmock/gmock.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "gpu/require_gpu.h"
#include "gpu/step_cases.h"
#include "gpu/step_reference.h"
#include "targets/cuda/runtime/graph_exec.h"
#include "targets/cuda/runtime/parallel.h"
#include "targets/cuda/runtime/step_kernel.h"
#include "tensor/float8.h"
#include "tensor/half.h"

namespace pajamas::cuda {

const Backend& attention_backend();
const Backend& cublaslt_backend();
const Backend& cudnn_backend();
const Backend& halo_backend();
const Backend& plain_backend();
const Backend& tile_backend();
const Backend& warpgroup_backend();

namespace {

using test::StepCase;

/// Outputs that are compared; each is a sum of up to 10,000 products on the host.
constexpr std::int64_t kMaxCompared = 1500;
constexpr int kNumLaunches = 20;
constexpr int kNumReplays = 7;

/// ‖out − ref‖ / ‖ref‖. The libraries sum in float32 and round once (attention twice: its weights have the type of v).
double tolerance_of(DType dtype) {
  switch (dtype) {
    case DType::kFloat16: return 2e-3;
    case DType::kBfloat16: return 1e-2;
    // One rounding to 3 bits of mantissa is uniform in half a unit either way: 2^-4 / sqrt(3) of numbers just above a
    // power of two, half of that just below one.
    case DType::kFloat8E4M3Fn: return 3.2e-2;
    case DType::kInt8: return 1e-2;  // A level is rounded the other way here and there.
    default: return 1e-5;
  }
}

std::uint32_t bits_from(float value, DType dtype) {
  switch (dtype) {
    case DType::kFloat16: return float16_from_float(value);
    case DType::kBfloat16: return bfloat16_from_float(value);
    case DType::kFloat8E4M3Fn: return float8_e4m3_from_float(value);
    case DType::kInt8: return static_cast<std::uint8_t>(static_cast<std::int8_t>(value * 127));
    case DType::kInt32: return std::bit_cast<std::uint32_t>(static_cast<std::int32_t>(value * 1000));
    default: return std::bit_cast<std::uint32_t>(value);
  }
}

float value_from(std::uint32_t bits, DType dtype) {
  switch (dtype) {
    case DType::kFloat16: return float_from_float16(static_cast<std::uint16_t>(bits));
    case DType::kBfloat16: return float_from_bfloat16(static_cast<std::uint16_t>(bits));
    case DType::kFloat8E4M3Fn: return float_from_float8_e4m3(static_cast<std::uint8_t>(bits));
    case DType::kInt8: return static_cast<float>(static_cast<std::int8_t>(bits));
    case DType::kInt32: return static_cast<float>(std::bit_cast<std::int32_t>(bits));
    default: return std::bit_cast<float>(bits);
  }
}

ValueId output_of(const Program& program) {
  const StepWork& work = program.steps.front().work;
  if (const auto* conv = std::get_if<ConvStep>(&work)) return conv->y;
  if (const auto* product = std::get_if<MatMulStep>(&work)) return product->y;
  return std::get<AttentionStep>(work).y;
}

/// Terms of one sum, by which weights are scaled so that results stay near 1.
std::int64_t num_terms(const Program& program) {
  const StepWork& work = program.steps.front().work;
  if (const auto* conv = std::get_if<ConvStep>(&work)) {
    const Shape& weights = program.value(conv->weights).desc.extents;
    return weights.num_elements() / (conv->is_transposed ? weights[1] : weights[0]);
  }
  if (const auto* product = std::get_if<MatMulStep>(&work)) {
    const Shape& a = program.value(product->a).desc.extents;
    return a[a.rank() - 1];
  }
  return 1;
}

/// The buffers of one case on the device with random numbers, and the same numbers here.
class Stage {
 public:
  explicit Stage(const StepCase& step_case) : program_(step_case.program), output_(output_of(program_)) {
    std::mt19937 random(17);
    std::uniform_real_distribution<float> uniform(-1, 1);
    std::vector<DType> types(program_.buffers.size(), DType::kFloat32);
    for (const Value& value : program_.values) types[static_cast<std::size_t>(value.buffer)] = value.desc.dtype;
    const float weight_scale = std::sqrt(6.0F / static_cast<float>(num_terms(program_)));
    for (std::size_t i = 0; i < program_.buffers.size(); ++i) {
      const Buffer& buffer = program_.buffers[i];
      const std::size_t element_bytes = static_cast<std::size_t>(bits_of(types[i])) / 8;
      const std::size_t count = buffer.size_bytes / element_bytes;
      const bool is_weight = (buffer.name == "weights" || buffer.name == "b") && types[i] != DType::kInt8;
      const float scale = is_weight ? weight_scale : 1;
      std::vector<float> values(count);
      std::vector<std::byte> bytes(buffer.size_bytes);
      for (std::size_t k = 0; k < count; ++k) {
        const std::uint32_t bits = bits_from(uniform(random) * scale, types[i]);
        values[k] = value_from(bits, types[i]);
        std::copy_n(reinterpret_cast<const std::byte*>(&bits), element_bytes, bytes.data() + k * element_bytes);
      }
      device_.emplace_back(buffer.size_bytes + kBufferAlignment);
      check(cudaMemcpy(device_.back().data(), bytes.data(), bytes.size(), cudaMemcpyHostToDevice), "copying");
      addresses_.push_back(device_.back().data());
      host_.push_back(std::move(values));
    }
    expected_ = test::expected_elements(program_, host_, kMaxCompared);
    host_.clear();
    const Value& output = program_.value(output_);
    element_bytes_ = static_cast<std::size_t>(bits_of(output.desc.dtype)) / 8;
    is_written_.resize(program_.buffers[static_cast<std::size_t>(output.buffer)].size_bytes / element_bytes_, 0);
    for (const std::int64_t offset : test::offsets_of(output)) is_written_[static_cast<std::size_t>(offset)] = 1;
  }

  void launch(const StepKernel& kernel, cudaStream_t stream) {
    if (workspace_.size_bytes() < kernel.workspace_bytes()) workspace_ = DeviceMemory(kernel.workspace_bytes());
    LaunchContext context;
    context.stream = stream;
    context.buffers = addresses_;
    context.workspace = workspace_.data();
    kernel.launch(context);
  }

  /// The output's whole buffer after a run over NaNs.
  std::vector<std::byte> run(const StepKernel& kernel) {
    const std::size_t buffer = static_cast<std::size_t>(program_.value(output_).buffer);
    const std::size_t num_bytes = program_.buffers[buffer].size_bytes;
    const Stream stream;
    check(cudaMemsetAsync(addresses_[buffer], 0xff, num_bytes, stream.get()), "poisoning");
    launch(kernel, stream.get());
    stream.synchronize();
    std::vector<std::byte> bytes(num_bytes);
    check(cudaMemcpy(bytes.data(), addresses_[buffer], num_bytes, cudaMemcpyDeviceToHost), "copying back");
    return bytes;
  }

  void expect_right(const std::vector<std::byte>& bytes) const {
    const auto bits = [&](std::size_t offset) {
      std::uint32_t element = 0;
      std::memcpy(&element, bytes.data() + offset * element_bytes_, element_bytes_);
      return element;
    };
    const DType dtype = program_.value(output_).desc.dtype;
    double difference = 0;
    double norm = 0;
    for (const test::ExpectedElement& element : expected_) {
      const double actual = static_cast<double>(value_from(bits(static_cast<std::size_t>(element.offset)), dtype));
      difference += (actual - element.value) * (actual - element.value);
      norm += element.value * element.value;
    }
    const auto* product = std::get_if<MatMulStep>(&program_.steps.front().work);
    // Matrix units add products of 8 bits with some 13 bits behind the leading one of the largest, and cut off the
    // rest: over 5,120 terms that is half a per cent.
    const bool has_small_factors = product != nullptr && program_.value(product->a).desc.dtype == DType::kFloat8E4M3Fn;
    EXPECT_LE(std::sqrt(difference / norm), tolerance_of(dtype) + (has_small_factors ? 1e-2 : 0));
    const std::uint32_t poison = 0xffffffffU >> (32 - bits_of(dtype));
    std::int64_t num_missing = 0;
    std::int64_t num_touched = 0;
    for (std::size_t i = 0; i < is_written_.size(); ++i) {
      const bool is_poison = bits(i) == poison;
      // Of integers it is a number like others.
      num_missing += is_written_[i] != 0 && is_poison && dtype != DType::kInt8 ? 1 : 0;
      num_touched += is_written_[i] == 0 && !is_poison ? 1 : 0;
    }
    EXPECT_EQ(num_missing, 0) << "elements were not written";
    EXPECT_EQ(num_touched, 0) << "elements beside the slice were written";
  }

  double time_us(const StepKernel& kernel) {
    const Stream stream;
    launch(kernel, stream.get());
    const GraphExec graph = GraphExec::capture(stream.get(), [&] {
      for (int i = 0; i < kNumLaunches; ++i) launch(kernel, stream.get());
    });
    std::vector<double> times;
    const Event begin;
    const Event end;
    for (int i = 0; i <= kNumReplays; ++i) {
      begin.record(stream.get());
      graph.launch(stream.get());
      end.record(stream.get());
      stream.synchronize();
      if (i > 0) times.push_back(end.us_since(begin) / kNumLaunches);  // The first replay uploads the graph.
    }
    std::sort(times.begin(), times.end());
    return times[times.size() / 2];
  }

 private:
  const Program& program_;
  ValueId output_;
  std::vector<std::vector<float>> host_;
  std::vector<DeviceMemory> device_;
  std::vector<std::byte*> addresses_;
  DeviceMemory workspace_;
  std::vector<test::ExpectedElement> expected_;
  std::size_t element_bytes_ = 4;  ///< Of the output.
  std::vector<char> is_written_;   ///< Of the output's buffer, element by element.
};

TEST(CudaBackends, every_kernel_gives_what_the_sum_gives) {
  PAJAMAS_NEED_GPU();
  const char* times_file = std::getenv("PAJAMAS_GPU_TIMES");
  const bool is_timed = times_file != nullptr && *times_file != '\0';
  const char* wanted = std::getenv("PAJAMAS_GPU_CASES");
  std::vector<StepCase> cases = test::step_cases();
  if (wanted != nullptr) {
    std::erase_if(cases, [&](const StepCase& item) { return item.name.find(wanted) == std::string::npos; });
  }
  const std::vector<const Backend*> candidates{&cublaslt_backend(),  &cudnn_backend(),     &tile_backend(),
                                               &warpgroup_backend(), &attention_backend(), &halo_backend(),
                                               &plain_backend()};
  struct Offer {
    std::vector<std::unique_ptr<StepKernel>> kernels;
    std::vector<std::string> refusals;
  };
  std::vector<Offer> offers(cases.size() * candidates.size());
  std::vector<std::unique_ptr<Stage>> stages(cases.size());
  DeviceContext& device = *test::gpu();
  parallel_for(device, offers.size() + cases.size(), 0, [&](std::size_t i) {
    if (i >= offers.size()) {
      stages[i - offers.size()] = std::make_unique<Stage>(cases[i - offers.size()]);
      return;
    }
    const StepCase& item = cases[i / candidates.size()];
    offers[i].kernels = candidates[i % candidates.size()]->kernels(device, item.program, item.program.steps.front(),
                                                                   is_timed ? 10 : 4, offers[i].refusals);
  });
  nlohmann::json table = nlohmann::json::array();
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const StepCase& item = cases[i];
    const Step& step = item.program.steps.front();
    SCOPED_TRACE(item.name);
    Stage& stage = *stages[i];
    nlohmann::json row{{"step", item.name}, {"kernels", nlohmann::json::array()}};
    std::size_t num_kernels = 0;
    for (std::size_t c = 0; c < candidates.size(); ++c) {
      Offer& offer = offers[i * candidates.size() + c];
      for (std::size_t k = 0; k < offer.kernels.size(); ++k) {
        const StepKernel& kernel = *offer.kernels[k];
        SCOPED_TRACE(kernel.tactic());
        ++num_kernels;
        try {
          const std::vector<std::byte> result = stage.run(kernel);
          stage.expect_right(result);
          if (k == 0) {
            const std::vector<std::byte> state = kernel.state();
            const auto kept = candidates[c]->restore(device, item.program, step, kernel.tactic(), state);
            EXPECT_EQ(kept->tactic(), kernel.tactic());
            EXPECT_TRUE(stage.run(*kept) == result) << "made again from its state";
            const auto named = candidates[c]->restore(device, item.program, step, kernel.tactic(), {});
            EXPECT_TRUE(stage.run(*named) == result) << "made again from its name";
          }
          if (is_timed) row["kernels"].push_back({{"tactic", kernel.tactic()}, {"us", stage.time_us(kernel)}});
        } catch (const Error& error) {
          ADD_FAILURE() << error.what();
        }
      }
      for (const std::string& refusal : offer.refusals) row["refusals"].push_back(refusal);
      // Our own kernels are offered for what they can compute: the GPU must take them all.
      if (candidates[c] == &tile_backend() || candidates[c] == &warpgroup_backend() ||
          candidates[c] == &attention_backend() || candidates[c] == &halo_backend()) {
        EXPECT_TRUE(offer.refusals.empty()) << testing::PrintToString(offer.refusals);
      }
      // The last resort is there for everything.
      if (candidates[c]->is_last_resort()) {
        EXPECT_FALSE(offer.kernels.empty()) << testing::PrintToString(offer.refusals);
      }
    }
    EXPECT_GE(num_kernels, 1U);
    table.push_back(std::move(row));
    stages[i].reset();
  }
  if (is_timed) std::ofstream(times_file) << table.dump(1) << "\n";
}

TEST(CudaBackends, refuses_to_make_again_what_it_never_made) {
  PAJAMAS_NEED_GPU();
  const StepCase item = test::conv_case({.name = "conv", .x = {1, 8, 4, 4}, .num_channels = 8, .kernel = {1, 1}});
  const Step& step = item.program.steps.front();
  for (const Backend* backend : {&cublaslt_backend(), &cudnn_backend(), &plain_backend()}) {
    for (const std::string tactic :
         {"", "nothing", "cudnn:", "cudnn:fused:", "cudnn:fused:engx", "cudnn:odd:eng1", "cudnn:fused:eng99999",
          "cublaslt:fused:", "cublaslt:fused:alg1-0g", "cublaslt:fused:alg1-000"}) {
      try {
        backend->restore(*test::gpu(), item.program, step, tactic, {});
        ADD_FAILURE() << backend->name() << " made " << tactic;
      } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::kUnsupported) << tactic << ": " << error.what();
      }
    }
  }
}

}  // namespace
}  // namespace pajamas::cuda
