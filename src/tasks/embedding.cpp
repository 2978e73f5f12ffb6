// The embedding task: Embedder of pajamas/embedding.h, the runner behind it, and cosine ranking.
#include "pajamas/embedding.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "bundle/bundle.h"
#include "engine/engine_loader.h"
#include "engine/tensor_lookup.h"
#include "pajamas/error.h"
#include "tasks/classification_runner.h"
#include "tasks/embedding_runner.h"
#include "tasks/registry.h"
#include "tasks/task_checks.h"
#include "tensor/half.h"
#include "text/clip_tokenizer.h"

namespace pajamas {

namespace {

/// The values 1..: which of the ids are text and which padding after the end.
std::vector<std::int64_t> mask_of(const std::vector<std::int64_t>& ids, const ClipTextInput& text) {
  std::vector<std::int64_t> mask(ids.size(), 1);
  if (!text.is_padded) return mask;
  // The end token may be the padding token too (CLIP): the first of a trailing run is text.
  std::size_t end = ids.size();
  while (end > 0 && ids[end - 1] == text.pad_token_id) --end;
  for (std::size_t i = end + 1; i < mask.size(); ++i) mask[i] = 0;
  return mask;
}

Tensor ids_tensor(const std::vector<std::int64_t>& ids, DType dtype, const std::string& name) {
  const Shape shape{1, static_cast<std::int64_t>(ids.size())};
  if (dtype == DType::kInt64) return Tensor::of<std::int64_t>(shape, ids);
  if (dtype == DType::kInt32) {
    const std::vector<std::int32_t> narrow(ids.begin(), ids.end());
    return Tensor::of<std::int32_t>(shape, narrow);
  }
  throw Error(ErrorKind::kUnsupported,
              "text input '" + name + "' has type " + to_string(dtype) + ", where token ids are int64 or int32");
}

/// Path of a tokenizer file of the bundle, its digest checked.
std::filesystem::path checked_file(const Bundle& bundle, const std::string& name) {
  bundle.open_checked(name);
  return bundle.file(name);
}

TextEncoder make_text_encoder(const Bundle& bundle, const ClipTextInput& text) {
  const auto tokenizer = std::make_shared<const ClipTokenizer>(checked_file(bundle, text.vocab_file),
                                                               checked_file(bundle, text.merges_file));
  return [tokenizer, text](const std::string& given) {
    return text.is_padded ? tokenizer->encode_padded(given, text.max_tokens, text.pad_token_id)
                          : tokenizer->encode(given, text.max_tokens);
  };
}

void require_dim(const Shape& shape, const std::string& name, std::int64_t embedding_dim) {
  const bool is_fit =
      shape.num_elements() > 0 && (embedding_dim <= 0 || (shape.num_elements() % embedding_dim == 0 &&
                                                          std::count(shape.begin(), shape.end(), embedding_dim) > 0));
  if (is_fit) return;
  throw Error(ErrorKind::kBadInput,
              "output '" + name + "' has shape " + shape.to_string() + ", but the manifest says embeddings of " +
                  std::to_string(embedding_dim) + " values",
              {}, "build the bundle again from the model");
}

}  // namespace

void normalize_length(std::span<float> values) {
  double sum = 0;
  for (const float value : values) sum += double{value} * double{value};
  if (sum <= 0) return;
  const double factor = 1.0 / std::sqrt(sum);
  for (float& value : values) value = static_cast<float>(value * factor);
}

float cosine_similarity(std::span<const float> a, std::span<const float> b) {
  if (a.size() != b.size()) {
    throw Error(ErrorKind::kUsage, "vectors of " + std::to_string(a.size()) + " and " + std::to_string(b.size()) +
                                       " values cannot be compared");
  }
  double dot = 0;
  double square_a = 0;
  double square_b = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    dot += double{a[i]} * double{b[i]};
    square_a += double{a[i]} * double{a[i]};
    square_b += double{b[i]} * double{b[i]};
  }
  if (square_a <= 0 || square_b <= 0) return 0;
  return static_cast<float>(std::clamp(dot / (std::sqrt(square_a) * std::sqrt(square_b)), -1.0, 1.0));
}

std::vector<RankedItem> rank_by_similarity(std::span<const float> query,
                                           std::span<const std::vector<float>> candidates) {
  std::vector<RankedItem> items;
  items.reserve(candidates.size());
  for (std::size_t i = 0; i < candidates.size(); ++i) items.push_back({i, cosine_similarity(query, candidates[i])});
  std::stable_sort(items.begin(), items.end(),
                   [](const RankedItem& a, const RankedItem& b) { return a.similarity > b.similarity; });
  return items;
}

EmbeddingRunner::EmbeddingRunner(const EmbeddingFacts& facts, std::shared_ptr<const Engine> image_engine,
                                 std::shared_ptr<const Engine> text_engine, TextEncoder encode,
                                 const EmbedderOptions& options)
    : facts_(facts), options_(options), text_engine_(std::move(text_engine)), encode_(std::move(encode)) {
  if (facts_.image && image_engine) {
    image_session_.emplace(std::move(image_engine), *facts_.image, 1);
    image_output_ = image_session_->output_index(facts_.image_embedding_output);
  }
  if (facts_.text && text_engine_) {
    const ClipTextInput& text = *facts_.text;
    text_input_ = find_tensor(text_engine_->inputs(), text.input, "input");
    if (!text.attention_mask_input.empty()) {
      text_mask_ = find_tensor(text_engine_->inputs(), text.attention_mask_input, "input");
    }
    if (text_engine_->inputs().size() != (text_mask_ ? 2U : 1U)) {
      throw Error(ErrorKind::kUnsupported, "the text model takes " + std::to_string(text_engine_->inputs().size()) +
                                               " inputs, where token ids and at most a mask are known");
    }
    text_output_ = find_tensor(text_engine_->outputs(), text.embedding_output, "output");
    text_session_ = text_engine_->new_session();
  }
}

std::vector<float> EmbeddingRunner::vector_of(const TensorView& output, const std::string& name) const {
  require_dim(output.shape, name, facts_.embedding_dim);
  const Tensor values = to_float32(output);
  // A fixed batch may have left more rows; the first is ours.
  const auto all = values.as<float>();
  const auto size = facts_.embedding_dim > 0 ? static_cast<std::size_t>(facts_.embedding_dim) : all.size();
  std::vector<float> vector(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(size));
  if (std::any_of(vector.begin(), vector.end(), [](float value) { return !std::isfinite(value); })) {
    throw Error(ErrorKind::kBadInput, "the model computed values that are not finite in output '" + name + "'", {},
                "check the bundle with `pajamas verify`; a build with --precision fp32 may help");
  }
  if (options_.is_normalized) normalize_length(vector);
  return vector;
}

EmbeddingResult EmbeddingRunner::embed_image(const Image& image) {
  if (!image_session_) throw Error(ErrorKind::kUnsupported, "the bundle has no part that embeds pictures");
  EmbeddingResult result;
  image_session_->run(std::span(&image, 1), [&](const ImageGroup& group) {
    const auto start = std::chrono::steady_clock::now();
    result.values = vector_of(image_session_->output(image_output_), facts_.image_embedding_output);
    result.timing = group.timing;
    result.timing.postprocess = std::chrono::steady_clock::now() - start;
  });
  return result;
}

EmbeddingResult EmbeddingRunner::embed_text(const std::string& text) {
  if (!text_session_) throw Error(ErrorKind::kUnsupported, "the bundle has no part that embeds texts");
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  const ClipTextInput& facts = *facts_.text;
  const std::vector<std::int64_t> ids = encode_(text);
  const auto& inputs = text_engine_->inputs();
  const Tensor tokens = ids_tensor(ids, inputs[text_input_].dtype, facts.input);
  text_session_->set_input(text_input_, tokens.view());
  Tensor mask;
  if (text_mask_) {
    mask = ids_tensor(mask_of(ids, facts), inputs[*text_mask_].dtype, facts.attention_mask_input);
    text_session_->set_input(*text_mask_, mask.view());
  }
  const auto prepared = Clock::now();
  text_session_->run();
  const auto end = Clock::now();
  EmbeddingResult result;
  result.values = vector_of(text_session_->output(text_output_), facts.embedding_output);
  result.timing = {prepared - start, end - prepared, Clock::now() - end};
  return result;
}

std::vector<Classification> EmbeddingRunner::classify_zero_shot(const Image& image, std::span<const std::string> labels,
                                                                const std::string& prompt) {
  if (labels.empty()) throw Error(ErrorKind::kUsage, "zero-shot classification needs at least one label");
  const std::size_t place = prompt.find("{}");
  if (place == std::string::npos) {
    throw Error(ErrorKind::kUsage, "the prompt '" + prompt + "' has no {} to put the label in");
  }
  const std::vector<float> picture = embed_image(image).values;
  std::vector<float> logits;
  for (const std::string& label : labels) {
    std::string text = prompt;
    text.replace(place, 2, label);
    const std::vector<float> vector = embed_text(text).values;
    logits.push_back(static_cast<float>(facts_.logit_scale) * cosine_similarity(picture, vector));
  }
  ClassificationFacts facts;
  facts.labels.assign(labels.begin(), labels.end());
  facts.activation = ClassificationFacts::Activation::kSoftmax;
  return rank_classes(logits, facts, static_cast<int>(labels.size()));
}

void check_embedding(const TaskFacts& task, const std::string& part, const std::vector<TensorInfo>& inputs,
                     const std::vector<TensorInfo>& outputs) {
  const EmbeddingFacts& facts = task.embedding.value();
  const auto check_output = [&](const std::string& name) {
    const auto shape = probe_shape(outputs[find_tensor(outputs, name, "output")]);
    if (shape) require_dim(*shape, name, facts.embedding_dim);
  };
  if (facts.image && facts.image->part == part) {
    check_image_input(inputs[find_tensor(inputs, facts.image->input, "input")], *facts.image);
    check_output(facts.image_embedding_output);
  }
  if (facts.text && facts.text->part == part) {
    find_tensor(inputs, facts.text->input, "input");
    if (!facts.text->attention_mask_input.empty()) find_tensor(inputs, facts.text->attention_mask_input, "input");
    check_output(facts.text->embedding_output);
  }
}

struct Embedder::Impl {
  EmbeddingRunner runner;
};

Embedder::Embedder(const std::filesystem::path& bundle_path, const EmbedderOptions& options)
    : impl_(open_for_task(bundle_path, "embedding", [&](const Bundle& bundle) {
        const EmbeddingFacts& facts = *bundle.manifest().task.embedding;
        const SessionOptions session = session_options(options.num_threads);
        std::shared_ptr<const Engine> image_engine;
        if (facts.image) image_engine = load_engine(bundle, facts.image->part, session);
        std::shared_ptr<const Engine> text_engine;
        TextEncoder encode;
        if (facts.text) {
          text_engine = load_engine(bundle, facts.text->part, session);
          encode = make_text_encoder(bundle, *facts.text);
        }
        return std::make_unique<Impl>(
            Impl{EmbeddingRunner(facts, std::move(image_engine), std::move(text_engine), std::move(encode), options)});
      })) {}

Embedder::~Embedder() = default;
Embedder::Embedder(Embedder&&) noexcept = default;
Embedder& Embedder::operator=(Embedder&&) noexcept = default;

bool Embedder::has_image() const { return impl_->runner.has_image(); }
bool Embedder::has_text() const { return impl_->runner.has_text(); }
EmbeddingResult Embedder::embed_image(const Image& image) { return impl_->runner.embed_image(image); }
EmbeddingResult Embedder::embed_text(const std::string& text) { return impl_->runner.embed_text(text); }
std::vector<Classification> Embedder::classify_zero_shot(const Image& image, std::span<const std::string> labels,
                                                         const std::string& prompt) {
  return impl_->runner.classify_zero_shot(image, labels, prompt);
}

}  // namespace pajamas
