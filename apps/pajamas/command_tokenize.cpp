// pajamas tokenize: the ids and pieces of a text, or the text of ids.
#include <fmt/format.h>

#include <charconv>
#include <filesystem>
#include <iostream>
#include <memory>

#include "base/files.h"
#include "bundle/bundle.h"
#include "cli.h"
#include "pajamas/error.h"
#include "text/tokenizer.h"

namespace pajamas::cli {
namespace {

struct TokenizeOptions {
  std::filesystem::path path;
  std::string text, file, ids;
  bool adds_no_special = false, parses_no_special = false, skips_special = false;
};

/// The tokenizer's file within a bundle.
std::filesystem::path tokenizer_file(const std::filesystem::path& directory) {
  const Bundle bundle = Bundle::open(directory);
  const BundleFile* found = nullptr;
  for (const BundleFile& file : bundle.manifest().files) {
    if (file.role != "tokenizer") continue;
    if (found == nullptr || file.name == Tokenizer::kBundleFileName) found = &file;
  }
  if (found == nullptr) {
    throw Error(ErrorKind::kBadInput, "is a bundle of a model without a tokenizer", directory.string(),
                "give the bundle of a language model");
  }
  bundle.open_checked(*found);
  return bundle.file(found->name);
}

Tokenizer open_tokenizer(const std::filesystem::path& path) {
  if (std::filesystem::exists(path / kManifestFileName)) return Tokenizer::read(tokenizer_file(path));
  return Tokenizer::read(path);
}

/// "1 2 3" or "1, 2, 3" or "[1, 2, 3]".
std::vector<std::int32_t> parse_ids(const std::string& text) {
  std::vector<std::int32_t> ids;
  const char* position = text.data();
  const char* const end = text.data() + text.size();
  while (position != end) {
    if (*position == ' ' || *position == ',' || *position == '[' || *position == ']' || *position == '\n') {
      ++position;
      continue;
    }
    std::int32_t id = 0;
    const auto result = std::from_chars(position, end, id);
    if (result.ec != std::errc()) {
      throw Error(ErrorKind::kUsage,
                  "--decode takes ids, which '" + std::string(position, end).substr(0, 40) + "' is not", {},
                  "for example --decode \"1 15043 3186\"");
    }
    ids.push_back(id);
    position = result.ptr;
  }
  return ids;
}

/// A piece between quotes, with what a terminal would not show as \xNN and \n.
std::string quoted(std::string_view piece) {
  std::string result = "\"";
  for (const char c : piece) {
    const auto byte = static_cast<std::uint8_t>(c);
    if (c == '\n') {
      result += "\\n";
    } else if (c == '"' || c == '\\') {
      result += std::string("\\") + c;
    } else if (byte < 0x20 || byte == 0x7F) {
      result += fmt::format("\\x{:02X}", byte);
    } else {
      result += c;
    }
  }
  return result + "\"";
}

void print_tokens(const Tokenizer& tokenizer, const std::vector<std::int32_t>& ids, bool is_json) {
  if (is_json) {
    nlohmann::json tokens = nlohmann::json::array();
    for (const std::int32_t id : ids) {
      tokens.push_back({{"id", id}, {"piece", tokenizer.piece(id)}, {"special", tokenizer.is_special(id)}});
    }
    return print_json({{"num_tokens", ids.size()}, {"vocab_size", tokenizer.vocab_size()}, {"tokens", tokens}});
  }
  for (const std::int32_t id : ids) {
    std::cout << fmt::format("{:>7} {}{}\n", id, quoted(tokenizer.piece(id)),
                             tokenizer.is_special(id) ? "  (special)" : "");
  }
  std::cout << ids.size() << " tokens\n";
}

int tokenize(const TokenizeOptions& options, bool has_text, bool has_file, bool is_json) {
  const Tokenizer tokenizer = open_tokenizer(options.path);
  if (!has_text && !has_file) {
    const std::vector<std::int32_t> ids = parse_ids(options.ids);
    const std::string text = tokenizer.decode(ids, {.skip_special = options.skips_special});
    if (is_json) {
      print_json({{"num_tokens", ids.size()}, {"text", text}});
    } else {
      std::cout << text << '\n';
    }
    return 0;
  }
  EncodeOptions encode_options;
  encode_options.add_special_tokens = !options.adds_no_special;
  encode_options.parse_special_tokens = !options.parses_no_special;
  print_tokens(tokenizer, tokenizer.encode(has_file ? read_file(options.file) : options.text, encode_options), is_json);
  return 0;
}

}  // namespace

Command add_tokenize_command(CLI::App& app, Context& context) {
  auto options = std::make_shared<TokenizeOptions>();
  CLI::App* command = app.add_subcommand("tokenize", "Show the tokens of a text, or the text of tokens");
  command
      ->add_option("path", options->path,
                   "A GGUF file, a checkpoint folder, tokenizer.json, tokenizer.model or a bundle")
      ->required();
  CLI::Option_group* source = command->add_option_group("what", "What to tokenize");
  CLI::Option* text = source->add_option("--text", options->text, "This text");
  CLI::Option* file = source->add_option("--file", options->file, "The text of this file");
  CLI::Option* decode = source->add_option("--decode", options->ids, "The way back: these ids (\"1 2 3\")");
  source->require_option(1);
  command->add_flag("--no-add-special", options->adds_no_special, "Put no special tokens around the text")
      ->excludes(decode);
  command
      ->add_flag("--no-parse-special", options->parses_no_special,
                 "Take special tokens written in the text for text like any other")
      ->excludes(decode);
  command->add_flag("--skip-special", options->skips_special, "With --decode: leave special tokens out")->needs(decode);
  add_common_options(*command, context);
  return {command, [options, text, file, &context] {
            return tokenize(*options, text->count() > 0, file->count() > 0, context.is_json);
          }};
}

}  // namespace pajamas::cli
