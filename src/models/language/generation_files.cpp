// Settings, tokenizer and template of a checkpoint. See generation_files.h.
#include "models/language/generation_files.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string>

#include "base/files.h"
#include "base/log.h"
#include "io/gguf.h"
#include "pajamas/error.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace pajamas {
namespace fs = std::filesystem;
namespace {

constexpr std::uint64_t kMaxSettingsBytes = 64ULL << 20;
constexpr std::uint64_t kMaxTemplateBytes = 4ULL << 20;  // what text/chat_template.h parses
constexpr const char* kTemplateFileName = "chat_template.jinja";

/// By which published chat formats end a turn: ChatML (Qwen, SmolLM2), Llama 3, Phi-3, Gemma.
constexpr std::array<const char*, 6> kTurnEnds{"<|im_end|>", "<|eot_id|>",    "<|eom_id|>",
                                               "<|end|>",    "<end_of_turn>", "<|end_of_turn|>"};

bool is_file(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

std::optional<nlohmann::json> read_settings(const fs::path& path) {
  if (!is_file(path)) return std::nullopt;
  nlohmann::json json = parse_json(read_file(path, kMaxSettingsBytes), path.string());
  if (!json.is_object()) throw Error(ErrorKind::kBadInput, "is no JSON object", path.string());
  return json;
}

class FactsReader {
 public:
  FactsReader(const fs::path& path, const JsonReader& config, const DecoderConfig& decoder,
              std::vector<ImportedFile>& files)
      : path_(path), config_(config), files_(files), is_gguf_(!fs::is_directory(path)) {
    facts_.architecture = decoder.architecture;
    facts_.vocab_size = decoder.vocab_size;
    facts_.context_length = decoder.context_length;
  }

  GenerationFacts read() {
    const auto settings = is_gguf_ ? std::nullopt : read_settings(path_ / "generation_config.json");
    if (settings) {
      const JsonReader reader(*settings, (path_ / "generation_config.json").string());
      read_sampling(reader);
      add_ends(has_value(reader, "eos_token_id") ? reader : config_);
    } else {
      facts_.defaults.is_greedy = true;
      add_ends(config_);
    }
    std::optional<std::string> chat_template = is_gguf_ ? template_of_gguf() : template_of_folder();
    if (chat_template && !is_readable(*chat_template)) chat_template.reset();
    if (chat_template) {
      files_.push_back({{}, kTemplateFileName, "chat_template", *chat_template});
      facts_.chat_template_file = kTemplateFileName;
    }
    read_tokenizer(chat_template.value_or(""));
    std::sort(facts_.stop_token_ids.begin(), facts_.stop_token_ids.end());
    return std::move(facts_);
  }

 private:
  void read_sampling(const JsonReader& settings) {
    SamplingDefaults& defaults = facts_.defaults;
    defaults.is_greedy = !(has_value(settings, "do_sample") && settings.boolean("do_sample"));
    const auto number = [&](const char* key, double low, double high) -> std::optional<double> {
      if (!has_value(settings, key)) return std::nullopt;
      const double value = settings.number(key);
      if (!(value >= low && value <= high)) {
        settings.member(key).fail("must be between " + std::to_string(low) + " and " + std::to_string(high));
      }
      return value;
    };
    defaults.temperature = number("temperature", 0, 100);
    if (has_value(settings, "top_k")) defaults.top_k = settings.integer("top_k", 0, INT32_MAX);
    defaults.top_p = number("top_p", 0, 1);
    defaults.min_p = number("min_p", 0, 1);
    defaults.repetition_penalty = number("repetition_penalty", 0.001, 1000);
  }

  void add_end(std::int64_t id) {
    auto& ids = facts_.stop_token_ids;
    if (std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
  }

  void add_ends(const JsonReader& source) {
    if (!has_value(source, "eos_token_id")) return;
    const JsonReader value = source.member("eos_token_id");
    if (!value.json().is_array()) {
      add_end(value.as_integer(0, facts_.vocab_size - 1));
      return;
    }
    for (const JsonReader& id : value.elements()) add_end(id.as_integer(0, facts_.vocab_size - 1));
  }

  /// A template that is none is no reason to have no model: the bundle then takes prompts as they are.
  bool is_readable(const std::string& chat_template) const {
    try {
      ChatTemplate::parse(chat_template, kTemplateFileName);
      return true;
    } catch (const Error& error) {
      log().warn("{}: {}: the bundle has no chat template and takes prompts as they are", path_.string(), error.what());
      return false;
    }
  }

  std::optional<std::string> template_of_gguf() const {
    const Gguf gguf = Gguf::read(path_);
    const auto text = gguf.find_string("tokenizer.chat_template");
    return text ? std::optional<std::string>(*text) : std::nullopt;
  }

  std::optional<std::string> template_of_folder() const {
    if (is_file(path_ / kTemplateFileName)) return read_file(path_ / kTemplateFileName, kMaxTemplateBytes);
    const fs::path file = path_ / "tokenizer_config.json";
    const auto settings = read_settings(file);
    if (!settings) return std::nullopt;
    const JsonReader reader(*settings, file.string());
    if (!has_value(reader, "chat_template")) return std::nullopt;
    const JsonReader value = reader.member("chat_template");
    if (!value.json().is_array()) return value.as_string();
    std::string names;
    for (const JsonReader& entry : value.elements()) {
      const std::string name = entry.string("name");
      if (name == "default") return entry.string("template");
      names += (names.empty() ? "" : ", ") + name;
    }
    log().warn("{}: none of the chat templates ({}) is called 'default': the bundle has none", file.string(), names);
    return std::nullopt;
  }

  bool has_tokenizer() const {
    if (is_gguf_) return true;
    return is_file(path_ / "tokenizer.json") || is_file(path_ / "tokenizer.model");
  }

  void read_tokenizer(const std::string& chat_template) {
    if (!has_tokenizer()) {
      log().warn("{}: has neither tokenizer.json nor tokenizer.model: the bundle takes token ids only", path_.string());
      return;
    }
    const Tokenizer tokenizer = Tokenizer::read(path_);
    if (tokenizer.vocab_size() > facts_.vocab_size) {
      throw Error(ErrorKind::kBadInput,
                  "the tokenizer has " + std::to_string(tokenizer.vocab_size()) + " tokens, but the model has " +
                      std::to_string(facts_.vocab_size),
                  path_.string(), "tokenizer and weights may belong to different models: fetch the folder again");
    }
    if (const auto end = tokenizer.eos_id()) add_end(*end);
    for (const char* piece : kTurnEnds) {
      const auto id = tokenizer.find_token(piece);
      if (id && tokenizer.is_special(*id) && chat_template.find(piece) != std::string::npos) add_end(*id);
    }
    files_.push_back({{}, Tokenizer::kBundleFileName, "tokenizer", tokenizer.bundle_form()});
    facts_.tokenizer_file = Tokenizer::kBundleFileName;
  }

  const fs::path& path_;
  const JsonReader& config_;
  std::vector<ImportedFile>& files_;
  bool is_gguf_;
  GenerationFacts facts_;
};

}  // namespace

GenerationFacts read_generation_facts(const fs::path& path, const JsonReader& config, const DecoderConfig& decoder,
                                      std::vector<ImportedFile>& files) {
  return FactsReader(path, config, decoder, files).read();
}

}  // namespace pajamas
