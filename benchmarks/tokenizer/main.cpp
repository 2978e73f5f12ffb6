// Measures one tokenizer on one text, one thread: loading, encoding, decoding; prints one JSON line and can leave the
// ids in a file. benchmarks/tokenizer/run has it take turns with Hugging Face's tokenizers and compares the ids.
#include <algorithm>
#include <chrono>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/files.h"
#include "pajamas/error.h"
#include "text/tokenizer.h"

namespace {

template <typename Function>
double milliseconds_of(const Function& function) {
  const auto start = std::chrono::steady_clock::now();
  function();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

/// Texts as users have them: paragraphs, cut at empty lines or after some 2,000 bytes.
std::vector<std::string_view> cut_into_documents(std::string_view text) {
  constexpr std::size_t kDocumentBytes = 2000;
  std::vector<std::string_view> documents;
  while (!text.empty()) {
    std::size_t end = text.size() <= kDocumentBytes ? std::string_view::npos : text.find('\n', kDocumentBytes);
    end = end == std::string_view::npos ? text.size() : end + 1;
    documents.push_back(text.substr(0, end));
    text.remove_prefix(end);
  }
  return documents;
}

int measure(int argc, char** argv) {
  if (argc < 4) {
    std::cerr << "usage: tokenizer_benchmark TOKENIZER TEXT ROUNDS [IDS_FILE]\n";
    return 2;
  }
  const std::string path = argv[1], text = pajamas::read_file(argv[2]);
  const int num_rounds = std::max(1, std::stoi(argv[3]));
  std::vector<double> load_ms, bundle_load_ms, encode_ms, document_ms, decode_ms;
  std::optional<pajamas::Tokenizer> tokenizer;
  load_ms.push_back(milliseconds_of([&] { tokenizer = pajamas::Tokenizer::read(path); }));
  const std::string bundle_form = tokenizer->bundle_form();
  const std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(bundle_form.data()), bundle_form.size());
  for (int i = 0; i < std::min(num_rounds, 5); ++i) {
    bundle_load_ms.push_back(milliseconds_of([&] { tokenizer = pajamas::Tokenizer::parse(bytes, "bundle form"); }));
  }
  pajamas::EncodeOptions options;
  options.add_special_tokens = false;
  std::vector<std::int32_t> ids;
  const double first_ms = milliseconds_of([&] { ids = tokenizer->encode(text, options); });
  const std::vector<std::string_view> documents = cut_into_documents(text);
  std::string decoded;
  for (int i = 0; i < num_rounds; ++i) {
    encode_ms.push_back(milliseconds_of([&] { ids = tokenizer->encode(text, options); }));
    document_ms.push_back(milliseconds_of([&] {
      for (const std::string_view document : documents) tokenizer->encode(document, options);
    }));
    decode_ms.push_back(milliseconds_of([&] { decoded = tokenizer->decode(ids); }));
  }
  if (argc > 4) {
    std::ofstream file(argv[4], std::ios::binary);
    file.write(reinterpret_cast<const char*>(ids.data()), static_cast<std::streamsize>(ids.size() * sizeof(ids[0])));
  }
  std::cout << nlohmann::json{{"load_ms", load_ms[0]},
                              {"bundle_load_ms", median(bundle_load_ms)},
                              {"bundle_bytes", bundle_form.size()},
                              {"num_ids", ids.size()},
                              {"text_bytes", text.size()},
                              {"first_encode_ms", first_ms},
                              {"encode_ms", encode_ms},
                              {"documents_ms", document_ms},
                              {"decode_ms", decode_ms},
                              {"decodes_to_text", decoded == text}}
                   .dump()
            << '\n';
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return measure(argc, argv);
  } catch (const pajamas::Error& error) {
    std::cerr << "tokenizer_benchmark: " << error.what() << '\n';
    return pajamas::exit_code(error.kind());
  }
}
