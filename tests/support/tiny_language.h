// A checkpoint folder of a tiny random language model with a tokenizer of single characters, for tests that need text.
// The weights are those of tests/data/language/llama; the tokenizer is made here.
#pragma once

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

namespace pajamas::test {

/// Ids 0 to 70: <unk>, <s>, </s>, letters, digits and some signs.
inline nlohmann::json tiny_tokenizer_json() {
  nlohmann::json vocab = {{"<unk>", 0}, {"<s>", 1}, {"</s>", 2}};
  int id = 3;
  for (const char c : std::string("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ,:{}\"")) {
    vocab[std::string(1, c)] = id++;
  }
  nlohmann::json added = nlohmann::json::array();
  for (const char* name : {"<unk>", "<s>", "</s>"}) {
    added.push_back({{"id", vocab[name]},
                     {"content", name},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", true}});
  }
  return {{"version", "1.0"},
          {"added_tokens", added},
          {"normalizer", nullptr},
          {"pre_tokenizer", nullptr},
          {"post_processor", nullptr},
          {"decoder", {{"type", "Fuse"}}},
          {"model",
           {{"type", "BPE"},
            {"unk_token", "<unk>"},
            {"fuse_unk", false},
            {"byte_fallback", false},
            {"vocab", vocab},
            {"merges", nlohmann::json::array()}}}};
}

/// Makes the folder, with a chat template ("u:text,a:") where asked.
inline void write_tiny_checkpoint(const std::filesystem::path& folder, bool with_template = true) {
  std::filesystem::create_directories(folder);
  const std::filesystem::path source = std::filesystem::path(PAJAMAS_TEST_DATA) / "language/llama";
  for (const char* file : {"config.json", "model.safetensors"}) {
    std::filesystem::copy_file(source / file, folder / file, std::filesystem::copy_options::overwrite_existing);
  }
  std::ofstream(folder / "tokenizer.json") << tiny_tokenizer_json();
  nlohmann::json config = {{"bos_token", "<s>"}, {"eos_token", "</s>"}, {"add_bos_token", true}};
  if (with_template) {
    config["chat_template"] = "{% for message in messages %}{{ message.role[0] }}:{{ message.content }},{% endfor %}a:";
  }
  std::ofstream(folder / "tokenizer_config.json") << config;
}

}  // namespace pajamas::test
