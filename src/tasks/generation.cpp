// The generation task: Generator of pajamas/generation.h over a bundle. The work is in generation/.
#include "pajamas/generation.h"

#include <string>
#include <utility>

#include "bundle/bundle.h"
#include "engine/engine_loader.h"
#include "pajamas/error.h"
#include "tasks/generation/bundle_text.h"
#include "tasks/generation/generation_runner.h"
#include "tasks/generation/step_runner.h"
#include "tasks/registry.h"
#include "tasks/task_checks.h"

namespace pajamas {
namespace {

SessionOptions engine_options(const GeneratorOptions& options) {
  SessionOptions session = session_options(options.num_threads);
  session.is_exact_fp32 = options.is_exact_fp32;
  session.kv_precision = parse_kv_precision(options.kv_precision);
  if (options.is_exact_fp32 && session.kv_precision != KvPrecision::kAuto &&
      session.kv_precision != KvPrecision::kFp32) {
    throw Error(ErrorKind::kUsage, "is_exact_fp32 asks for a float32 cache, kv_precision for " + options.kv_precision,
                "kv_precision", "give one of the two");
  }
  return session;
}

}  // namespace

void check_generation(const TaskFacts& task, const std::string& part, const std::vector<TensorInfo>& inputs,
                      const std::vector<TensorInfo>& outputs) {
  const GenerationFacts& facts = task.generation.value();
  if (facts.part == part) check_language_tensors(inputs, outputs, facts.vocab_size);
}

const char* to_string(FinishReason reason) noexcept {
  switch (reason) {
    case FinishReason::kStop: return "stop";
    case FinishReason::kLength: return "length";
    case FinishReason::kDeadline: return "deadline";
    case FinishReason::kCancelled: return "cancelled";
    case FinishReason::kError: return "error";
  }
  return "error";
}

struct Generator::Impl {
  GenerationRunner runner;
};

Generator::Generator(const std::filesystem::path& bundle_path, const GeneratorOptions& options)
    : impl_(open_for_task(bundle_path, "generation", [&](const Bundle& bundle) {
        const GenerationFacts& facts = *bundle.manifest().task.generation;
        const SessionOptions session = engine_options(options);
        std::shared_ptr<const LanguageText> text = BundleText::open(bundle, facts);
        std::shared_ptr<const Engine> engine = load_engine(bundle, facts.part, session);
        // No way to move a runner, whose worker knows where it lies.
        return std::unique_ptr<Impl>(new Impl{{facts, std::move(engine), std::move(text), options}});
      })) {}

Generator::~Generator() = default;
Generator::Generator(Generator&&) noexcept = default;
Generator& Generator::operator=(Generator&&) noexcept = default;

RequestId Generator::submit(GenerationRequest request, OnChunk on_chunk, OnDone on_done) {
  return impl_->runner.submit(std::move(request), std::move(on_chunk), std::move(on_done));
}
void Generator::cancel(RequestId request) { impl_->runner.cancel(request); }
GenerationResult Generator::generate(GenerationRequest request, const OnChunk& on_chunk) {
  return impl_->runner.generate(std::move(request), on_chunk);
}
GeneratorStatistics Generator::statistics() const { return impl_->runner.statistics(); }
SamplingOptions Generator::default_sampling() const { return impl_->runner.default_sampling(); }
std::int64_t Generator::context_length() const { return impl_->runner.facts().context_length; }
std::int64_t Generator::vocab_size() const { return impl_->runner.facts().vocab_size; }
bool Generator::has_chat_template() const { return impl_->runner.text().has_chat_template(); }
std::string Generator::render_chat(const GenerationRequest& request) const {
  return impl_->runner.text().render_chat(request);
}
std::vector<std::int32_t> Generator::tokenize(const std::string& text, bool has_special_tokens) const {
  return impl_->runner.text().encode(text, has_special_tokens);
}
std::string Generator::detokenize(const std::vector<std::int32_t>& tokens) const {
  return impl_->runner.text().decode(tokens);
}

}  // namespace pajamas
