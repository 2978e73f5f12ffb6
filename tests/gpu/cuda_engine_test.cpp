// Engines and sessions on a real GPU: numbers, dynamic shapes, sharing, the engine file, timing caches, bad input.
#include <gmock/gmock.h>

#include <cmath>
#include <thread>

#include "base/files.h"
#include "gpu/run_on_gpu.h"
#include "graph/graph_builder.h"
#include "support/temporary_folder.h"
#include "targets/cuda/lowering/lower.h"
#include "targets/cuda/runtime/engine_file.h"
#include "targets/cuda/runtime/session.h"
#include "targets/registry.h"

namespace pajamas::cuda {
namespace {

using test::build_on_gpu;
using test::expect_near;
using test::lowered_for_gpu;
using test::random_tensor;
using test::run_by_interpreter;
using test::run_on_gpu;
using testing::HasSubstr;

/// Two parallel convolution branches joined by Concat, a residual, pooling and a product: every kind of step but
/// attention, with channel counts that are not multiples of anything.
Model branching_model() {
  GraphBuilder graph("branching");
  const auto x =
      graph.input("x", DType::kFloat32,
                  {Dimension::named("batch"), Dimension::known(3), Dimension::known(17), Dimension::known(16)});
  const auto conv = [&](const std::string& name, const GraphValue& input, std::int64_t in, std::int64_t out,
                        std::int64_t kernel) {
    const auto weight = graph.weight(name + ".w", random_tensor(DType::kFloat32, {out, in, kernel, kernel}, 11));
    const auto bias = graph.weight(name + ".b", random_tensor(DType::kFloat32, {out}, 12));
    const std::int64_t pad = kernel / 2;
    return graph.node("Conv", {input, weight, bias},
                      {{"kernel_shape", std::vector<std::int64_t>{kernel, kernel}},
                       {"pads", std::vector<std::int64_t>{pad, pad, pad, pad}}});
  };
  const auto stem = graph.node("Relu", {conv("stem", x, 3, 20, 3)});
  const auto left = conv("left", stem, 20, 12, 3);
  const auto left_gate = graph.node("Sigmoid", {left});
  const auto left_out = graph.node("Mul", {left, left_gate});
  const auto right = graph.node("Relu", {conv("right", stem, 20, 8, 1)});
  const auto joined = graph.node("Concat", {left_out, right}, {{"axis", std::int64_t{1}}});
  const auto sum = graph.node("Add", {conv("after", joined, 20, 20, 1), stem});
  const auto pooled = graph.node("GlobalAveragePool", {sum});
  const auto flat = graph.node("Flatten", {pooled});
  const auto y = graph.node("Gemm", {flat, graph.weight("fc.w", random_tensor(DType::kFloat32, {20, 7}, 13)),
                                     graph.weight("fc.b", random_tensor(DType::kFloat32, {7}, 14))});
  graph.output("y", y, DType::kFloat32, {Dimension::named("batch"), Dimension::known(7)});
  graph.output("map", sum, DType::kFloat32,
               {Dimension::named("batch"), Dimension::known(20), Dimension::known(17), Dimension::known(16)});
  return graph.build();
}

ShapeProfile batches(std::int64_t min, std::int64_t opt, std::int64_t max) {
  return {"x", {min, 3, 17, 16}, {opt, 3, 17, 16}, {max, 3, 17, 16}};
}

Tensor input_of(std::int64_t batch, unsigned seed = 1) {
  return random_tensor(DType::kFloat32, {batch, 3, 17, 16}, seed);
}

/// As YOLO's exporters write heads of open sizes: anchors from the extents of what a convolution gives, whose weights
/// are too large to stay in an engine's graph.
Model anchored_model() {
  GraphBuilder graph("anchored");
  const auto x = graph.input("x", DType::kFloat32,
                             {Dimension::known(1), Dimension::known(3), Dimension::named("h"), Dimension::named("w")});
  const auto weight = graph.weight("w", random_tensor(DType::kFloat32, {64, 3, 3, 3}, 11));
  const auto map = graph.node("Conv", {x, weight},
                              {{"kernel_shape", std::vector<std::int64_t>{3, 3}},
                               {"strides", std::vector<std::int64_t>{2, 2}},
                               {"pads", std::vector<std::int64_t>{1, 1, 1, 1}}});
  const auto scalar = [&](const std::string& name, auto value) { return graph.weight(name, Tensor::scalar(value)); };
  const auto width = graph.node("Gather", {graph.node("Shape", {map}), scalar("axis", std::int64_t{3})});
  const auto places = graph.node(
      "Range", {scalar("zero", 0.0F), graph.node("Cast", {width}, {{"to", static_cast<std::int64_t>(DType::kFloat32)}}),
                scalar("one", 1.0F)});
  const auto y = graph.node("Add", {map, graph.node("Add", {places, scalar("half", 0.5F)})});
  graph.output("y", y, DType::kFloat32,
               {Dimension::known(1), Dimension::known(64), Dimension::named("h2"), Dimension::named("w2")});
  return graph.build();
}

TEST(CudaOpenShapes, fold_through_weights_that_the_graph_does_not_hold) {
  const Model model = lowered_for_gpu(anchored_model(), Precision::kFp32);
  Model stripped = model;
  ConstantTable table;
  for (const Initializer& initializer : model.graph.initializers) {
    const bool is_large = initializer.tensor.size_bytes() > ConstantTable::kSmallBytes;
    table.add(initializer.name, {initializer.tensor.dtype(), initializer.tensor.shape(),
                                 is_large ? std::nullopt : std::optional<Tensor>(initializer.tensor)});
    if (is_large)
      std::erase_if(stripped.graph.initializers, [&](const auto& one) { return one.name == initializer.name; });
  }
  ASSERT_LT(stripped.graph.initializers.size(), model.graph.initializers.size());
  const FixedModel fixed = with_input_shapes(stripped, table, {Shape{1, 3, 10, 14}});
  EXPECT_EQ(fixed.model.graph.inputs.size(), 1U);
  for (const Node& node : fixed.model.graph.nodes) EXPECT_FALSE(node.is("Range")) << node.describe();
  EXPECT_FALSE(lower(fixed.model, fixed.table).program.steps.empty());
}

TEST(CudaOpenShapes, an_engine_of_open_sizes_knows_its_anchors) {
  PAJAMAS_NEED_GPU();
  const Model model = anchored_model();
  const ShapeProfile sizes{"x", {1, 3, 8, 8}, {1, 3, 16, 12}, {1, 3, 20, 20}};
  const BuiltEngine built = build_on_gpu(lowered_for_gpu(model, Precision::kFp32), Precision::kFp32, {sizes});
  for (const Shape& shape : {Shape{1, 3, 16, 12}, Shape{1, 3, 8, 20}}) {
    const std::vector<Tensor> inputs{random_tensor(DType::kFloat32, shape, 3)};
    expect_near(run_on_gpu(*built.engine, inputs), run_by_interpreter(model, inputs), Precision::kFp32,
                shape.to_string());
  }
}

class CudaEngineTest : public testing::TestWithParam<Precision> {};

TEST_P(CudaEngineTest, computes_what_the_interpreter_computes_tuned_and_not) {
  PAJAMAS_NEED_GPU();
  const Model model = branching_model();
  for (const bool is_tuned : {false, true}) {
    const BuiltEngine built =
        build_on_gpu(lowered_for_gpu(model, GetParam()), GetParam(), {batches(1, 2, 3)}, is_tuned);
    for (const std::int64_t batch : {2, 1, 3}) {
      const std::vector<Tensor> inputs{input_of(batch)};
      expect_near(run_on_gpu(*built.engine, inputs), run_by_interpreter(model, inputs), GetParam(),
                  "batch " + std::to_string(batch));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Precisions, CudaEngineTest,
                         testing::Values(Precision::kFp32, Precision::kFp16, Precision::kBf16),
                         [](const auto& test_case) { return std::string(to_string(test_case.param)); });

/// The same plan with every product computed in the plainest way: a second opinion on the libraries, and on the plain
/// kernels themselves.
TEST(CudaEngine, computes_the_same_with_plain_kernels) {
  PAJAMAS_NEED_GPU();
  const Model model = branching_model();
  for (const Precision precision : {Precision::kFp32, Precision::kFp16}) {
    const BuiltEngine built = build_on_gpu(lowered_for_gpu(model, precision), precision, {batches(1, 2, 2)});
    const auto plan = built.engine->plan({{2, 3, 17, 16}});
    StepKernels kernels = plan->kernels();
    const auto program = std::make_shared<Program>(plan->program());
    const Backend& plain = backend_of("plain:1");
    std::vector<std::string> refusals;
    std::size_t num_plain = 0;
    for (std::size_t i = 0; i < kernels.size(); ++i) {
      auto found = plain.kernels(*test::gpu(), *program, program->steps[i], 1, refusals);
      if (found.empty()) continue;
      kernels[i] = std::move(found.front());
      ++num_plain;
    }
    EXPECT_THAT(refusals, testing::IsEmpty());
    EXPECT_GE(num_plain, 5U);
    const auto other = std::make_shared<const Plan>(
        program, kernels, std::shared_ptr<const DeviceConstants>(built.engine, &built.engine->constants()), true);
    const Stream stream;
    const PlanInstance instance(other, std::make_shared<const DeviceMemory>(other->arena_bytes() + kBufferAlignment),
                                stream.get());
    const Tensor input = input_of(2);
    check(cudaMemcpy(instance.input(0), input.bytes().data(), input.size_bytes(), cudaMemcpyHostToDevice), "copying");
    instance.graph().launch(stream.get());
    stream.synchronize();
    const std::vector<Tensor> expected = run_by_interpreter(model, {input});
    std::vector<Tensor> actual;
    for (std::size_t i = 0; i < expected.size(); ++i) {
      Tensor output(DType::kFloat32, expected[i].shape());
      check(cudaMemcpy(output.mutable_bytes().data(), instance.output(i), output.size_bytes(), cudaMemcpyDeviceToHost),
            "copying");
      actual.push_back(std::move(output));
    }
    expect_near(actual, expected, precision, "plain");
  }
}

TEST(CudaEngine, keeps_at_most_its_number_of_plans) {
  PAJAMAS_NEED_GPU();
  const Model model = branching_model();
  const BuiltEngine built =
      build_on_gpu(lowered_for_gpu(model, Precision::kFp32), Precision::kFp32, {batches(1, 2, 20)});
  const auto session = built.engine->new_session();
  for (int round = 0; round < 2; ++round) {
    for (std::int64_t batch = 1; batch <= static_cast<std::int64_t>(kMaxPlans) + 3; ++batch) {
      const Tensor input = input_of(batch, static_cast<unsigned>(batch));
      session->set_input(0, input.view());
      session->run();
      expect_near({Tensor::copy_of(session->output(0)), Tensor::copy_of(session->output(1))},
                  run_by_interpreter(model, {input}), Precision::kFp32, "batch " + std::to_string(batch));
    }
  }
  EXPECT_EQ(built.engine->describe()["num_plans"], kMaxPlans);
}

TEST(CudaEngine, refuses_shapes_and_types_that_it_was_not_built_for) {
  PAJAMAS_NEED_GPU();
  const BuiltEngine built =
      build_on_gpu(lowered_for_gpu(branching_model(), Precision::kFp32), Precision::kFp32, {batches(1, 2, 4)});
  const auto session = built.engine->new_session();
  const auto refusal = [&](const Tensor& input) {
    try {
      session->set_input(0, input.view());
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_THAT(refusal(input_of(5)), HasSubstr("[1, 3, 17, 16] to [4, 3, 17, 16]"));
  EXPECT_THAT(refusal(random_tensor(DType::kFloat32, {1, 3, 17}, 1)), HasSubstr("shape"));
  EXPECT_THAT(refusal(random_tensor(DType::kFloat16, {1, 3, 17, 16}, 1)), HasSubstr("float16"));
  EXPECT_THROW(session->run(), Error);  // Nothing was given.
  EXPECT_THROW(session->output(0), Error);
  EXPECT_THROW(session->set_input(1, input_of(1).view()), Error);
  session->set_input(0, input_of(1).view());
  EXPECT_NO_THROW(session->run());  // And goes on after all that.
  EXPECT_THROW(session->output(2), Error);
}

TEST(CudaEngine, runs_again_without_new_inputs_and_gives_the_same) {
  PAJAMAS_NEED_GPU();
  const BuiltEngine built =
      build_on_gpu(lowered_for_gpu(branching_model(), Precision::kFp16), Precision::kFp16, {batches(2, 2, 2)});
  const auto session = built.engine->new_session();
  session->set_input(0, input_of(2).view());
  session->run();
  const Tensor first = Tensor::copy_of(session->output(1));
  for (int i = 0; i < 20; ++i) {
    session->run();
    ASSERT_TRUE(std::ranges::equal(Tensor::copy_of(session->output(1)).bytes(), first.bytes())) << "run " << i;
  }
  EXPECT_GT(session->last_timing().device.count(), 0);
}

TEST(CudaEngine, lets_eight_sessions_share_its_weights) {
  PAJAMAS_NEED_GPU();
  const Model model = branching_model();
  const BuiltEngine built =
      build_on_gpu(lowered_for_gpu(model, Precision::kFp32), Precision::kFp32, {batches(1, 2, 4)});
  std::vector<std::vector<Tensor>> expected;
  for (unsigned i = 0; i < 8; ++i) expected.push_back(run_by_interpreter(model, {input_of(1 + i % 4, i)}));
  std::vector<std::vector<Tensor>> actual(8);
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] {
      const auto session = built.engine->new_session();
      const Tensor input = input_of(1 + i % 4, i);
      for (int run = 0; run < 50; ++run) {
        session->set_input(0, input.view());
        session->run();
      }
      actual[i] = {Tensor::copy_of(session->output(0)), Tensor::copy_of(session->output(1))};
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (std::size_t i = 0; i < 8; ++i) expect_near(actual[i], expected[i], Precision::kFp32, "session");
}

TEST(CudaEngine, passes_nan_through_and_recovers) {
  PAJAMAS_NEED_GPU();
  const BuiltEngine built =
      build_on_gpu(lowered_for_gpu(branching_model(), Precision::kFp16), Precision::kFp16, {batches(1, 1, 1)});
  const auto session = built.engine->new_session();
  Tensor poisoned = input_of(1);
  poisoned.mutable_as<float>()[5] = std::nanf("");
  session->set_input(0, poisoned.view());
  session->run();
  const Tensor map = Tensor::copy_of(session->output(1));
  EXPECT_TRUE(std::ranges::any_of(map.as<float>(), [](float value) { return std::isnan(value); }));
  session->set_input(0, input_of(1).view());
  session->run();
  const Tensor clean = Tensor::copy_of(session->output(1));
  EXPECT_FALSE(std::ranges::any_of(clean.as<float>(), [](float value) { return std::isnan(value); }));
}

TEST(CudaEngine, comes_back_from_its_file_with_the_same_bits) {
  PAJAMAS_NEED_GPU();
  const test::TemporaryFolder folder;
  for (const Precision precision : {Precision::kFp32, Precision::kFp16}) {
    const BuiltEngine built =
        build_on_gpu(lowered_for_gpu(branching_model(), precision), precision, {batches(1, 2, 4)}, true);
    write_engine(built, folder / "model.cuda");
    const auto file = MappedFile::open(folder / "model.cuda");
    const auto loaded = read_engine(test::gpu(), file->bytes(), "model.cuda");
    for (const std::int64_t batch : {2, 4}) {
      const auto expected = run_on_gpu(*built.engine, {input_of(batch)});
      const auto actual = run_on_gpu(*loaded, {input_of(batch)});
      for (std::size_t i = 0; i < expected.size(); ++i) {
        // Shapes that nothing was tuned for take the first kernel both times.
        EXPECT_TRUE(std::ranges::equal(expected[i].bytes(), actual[i].bytes())) << "batch " << batch;
      }
    }
  }
}

TEST(CudaEngine, refuses_a_file_of_another_gpu_by_name) {
  PAJAMAS_NEED_GPU();
  const test::TemporaryFolder folder;
  const BuiltEngine built =
      build_on_gpu(lowered_for_gpu(branching_model(), Precision::kFp32), Precision::kFp32, {batches(1, 1, 1)});
  write_engine(built, folder / "model.cuda");
  const std::string text = read_file(folder / "model.cuda");
  // The index as another GPU would have written it, in a file that is whole.
  const auto sections = parse_engine_file({reinterpret_cast<const std::byte*>(text.data()), text.size()}, "model.cuda");
  auto index =
      nlohmann::json::parse(std::string(reinterpret_cast<const char*>(sections.index.data()), sections.index.size()));
  index["environment"]["sm"] = 61;
  index["environment"]["gpu"] = "Another GPU";
  const std::string changed = index.dump();
  const std::vector weights{sections.weights};
  write_engine_file(folder / "other.cuda", sections.graph,
                    {reinterpret_cast<const std::byte*>(changed.data()), changed.size()}, sections.states, weights);
  const auto file = MappedFile::open(folder / "other.cuda");
  try {
    read_engine(test::gpu(), file->bytes(), "other.cuda");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUnsupported);
    EXPECT_THAT(error.message(), HasSubstr("Another GPU"));
    EXPECT_THAT(error.message(), HasSubstr(test::gpu()->info().name));
  }
}

TEST(CudaEngine, times_nothing_that_its_cache_knows) {
  PAJAMAS_NEED_GPU();
  const Model lowered = lowered_for_gpu(branching_model(), Precision::kFp16);
  BuildEngineOptions options;
  options.precision = Precision::kFp16;
  options.profiles = {batches(2, 2, 2)};
  options.max_kernels = 4;
  TimingCache cache;
  const BuiltEngine first = build_engine(test::gpu(), lowered, options, cache);
  EXPECT_GT(first.num_timed, 0U);
  const BuiltEngine second = build_engine(test::gpu(), lowered, options, cache);
  EXPECT_EQ(second.num_timed, 0U);
  EXPECT_EQ(second.num_from_cache, second.engine->tactics().size());
  for (const auto& [signature, chosen] : first.engine->tactics()) {
    EXPECT_EQ(second.engine->tactics().at(signature).tactic, chosen.tactic);
  }
  // And through text, as a file keeps it.
  TimingCache read = TimingCache::parse(cache.to_json().dump(), "timing.json");
  EXPECT_EQ(build_engine(test::gpu(), lowered, options, read).num_timed, 0U);
}

TEST(CudaEngine, stops_a_build_when_asked) {
  PAJAMAS_NEED_GPU();
  CancelToken token;
  token.cancel();
  BuildEngineOptions options;
  options.profiles = {batches(1, 1, 1)};
  options.progress.cancel = &token;
  TimingCache cache;
  try {
    build_engine(test::gpu(), lowered_for_gpu(branching_model(), Precision::kFp32), options, cache);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kCancelled);
  }
}

TEST(CudaEngine, refuses_what_does_not_fit_into_memory_in_bytes) {
  PAJAMAS_NEED_GPU();
  // Two million pictures: hundreds of gigabytes of activations, refused before anything is allocated.
  try {
    build_on_gpu(lowered_for_gpu(branching_model(), Precision::kFp32), Precision::kFp32,
                 {batches(1, 1, (std::int64_t{1} << 21) + 400000)});
    FAIL();
  } catch (const Error& error) {
    EXPECT_TRUE(error.kind() == ErrorKind::kUnsupported || error.kind() == ErrorKind::kUsage) << error.what();
    EXPECT_THAT(std::string(error.what()), testing::ContainsRegex("[0-9]+ bytes|elements"));
  }
}

TEST(CudaEngine, tells_what_each_step_takes) {
  PAJAMAS_NEED_GPU();
  const BuiltEngine built =
      build_on_gpu(lowered_for_gpu(branching_model(), Precision::kFp16), Precision::kFp16, {batches(2, 2, 2)});
  const auto session = built.engine->new_session();
  session->set_input(0, input_of(2).view());
  const nlohmann::json report = session->layer_times();
  ASSERT_FALSE(report["steps"].empty());
  for (const auto& step : report["steps"]) {
    EXPECT_GT(step["time_us"].get<double>(), 0) << step;
    EXPECT_GE(step["fraction_of_limit"].get<double>(), 0) << step;
    EXPECT_LT(step["fraction_of_limit"].get<double>(), 2) << step;
  }
}

/// Whoever launches it gets an error, as from a library that fails.
class FailingKernel final : public StepKernel {
 public:
  void launch(const LaunchContext&) const override { throw Error(ErrorKind::kInternal, "the kernel failed"); }
  std::size_t workspace_bytes() const override { return 0; }
  std::string tactic() const override { return "failing:1"; }
};

TEST(CudaEngine, lets_other_sessions_go_on_when_a_kernel_fails) {
  PAJAMAS_NEED_GPU();
  const Model model = branching_model();
  const BuiltEngine built =
      build_on_gpu(lowered_for_gpu(model, Precision::kFp32), Precision::kFp32, {batches(1, 1, 4)});
  const auto plan = built.engine->plan({{1, 3, 17, 16}});
  StepKernels kernels = plan->kernels();
  kernels.back() = std::make_shared<FailingKernel>();
  auto program = std::make_shared<Program>(plan->program());
  const auto broken = std::make_shared<const Plan>(
      program, kernels, std::shared_ptr<const DeviceConstants>(built.engine, &built.engine->constants()), true);
  built.engine->keep_plan({{3, 3, 17, 16}}, broken);

  const auto healthy = built.engine->new_session();
  healthy->set_input(0, input_of(1).view());
  healthy->run();
  const auto session = built.engine->new_session();
  session->set_input(0, input_of(3).view());
  try {
    session->run();
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.message(), HasSubstr("the kernel failed"));
  }
  healthy->run();
  expect_near({Tensor::copy_of(healthy->output(0)), Tensor::copy_of(healthy->output(1))},
              run_by_interpreter(model, {input_of(1)}), Precision::kFp32, "the other session");
  session->set_input(0, input_of(1).view());
  session->run();  // And itself with another plan.
  expect_near({Tensor::copy_of(session->output(0)), Tensor::copy_of(session->output(1))},
              run_by_interpreter(model, {input_of(1)}), Precision::kFp32, "the same session");
}

TEST(CudaEngine, gives_back_the_memory_of_sessions_and_engines) {
  PAJAMAS_NEED_GPU();
  const test::TemporaryFolder folder;
  write_engine(build_on_gpu(lowered_for_gpu(branching_model(), Precision::kFp16), Precision::kFp16, {batches(1, 2, 4)}),
               folder / "model.cuda");
  const auto cycle = [&] {
    const auto file = MappedFile::open(folder / "model.cuda");
    run_on_gpu(*read_engine(test::gpu(), file->bytes(), "model.cuda"), {input_of(2)});
  };
  const auto free_bytes = [] {
    std::size_t free = 0;
    std::size_t total = 0;
    check(cudaMemGetInfo(&free, &total), "asking for free memory");
    return free;
  };
  for (int i = 0; i < 5; ++i) cycle();
  const std::size_t before = free_bytes();
  for (int i = 0; i < 30; ++i) cycle();
  EXPECT_LE(before, free_bytes() + (std::size_t{16} << 20));
}

TEST(CudaTarget, builds_and_loads_through_the_interface_of_all_targets) {
  PAJAMAS_NEED_GPU();
  const test::TemporaryFolder folder;
  const Target& target = find_target("cuda");
  const Model model = branching_model();
  BuildPlan plan;
  plan.target = "cuda";
  plan.profiles = {batches(1, 2, 3)};
  plan = target.resolve(plan);
  EXPECT_EQ(plan.precision, Precision::kFp16);
  const Model lowered = lowered_for_gpu(model, target.graph_precision(plan));
  ASSERT_TRUE(target.supports(lowered, plan)) << target.supports(lowered, plan).reason;
  const Progress silent;
  const CompiledPart part = target.compile({lowered, plan, "model", folder.path(), silent, folder / "timing.json"});
  EXPECT_TRUE(std::filesystem::exists(folder / "timing.json"));
  LoadRequest load;
  load.directory = folder.path();
  load.part = "model";
  load.files = part.files;
  load.facts = part.facts;
  load.plan = plan;
  const auto engine = target.load(load);
  const auto session = engine->new_session();
  const Tensor input = input_of(3);
  session->set_input(0, input.view());
  session->run();
  expect_near({Tensor::copy_of(session->output(0)), Tensor::copy_of(session->output(1))},
              run_by_interpreter(model, {input}), Precision::kFp16, "through the target");
  load.options.is_exact_fp32 = true;
  EXPECT_THROW(target.load(load), Error);
  EXPECT_TRUE(target.doctor()["can_run"].get<bool>());
}

}  // namespace
}  // namespace pajamas::cuda
