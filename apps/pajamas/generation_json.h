// Requests and answers of language models as JSON lines: what `pajamas run --prompts` reads and writes. Schemas:
// docs/schemas/generation_request.schema.json, generation_answer.schema.json.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "pajamas/generation.h"

namespace pajamas::cli {

/// One line of a file of requests.
struct RequestLine {
  std::size_t number = 0;  ///< From 1, as editors count.
  std::string text;
  std::string where;  ///< "FILE:NUMBER"
};

/// The lines that hold something. Throws Error{kBadInput} when the file cannot be read or holds no request.
std::vector<RequestLine> read_request_lines(const std::filesystem::path& path);

/// What a line asks for.
struct ParsedRequest {
  nlohmann::json id;  ///< Null: none was given.
  GenerationRequest request;
  bool is_raw = false;  ///< The prompt is taken as it is, whatever template there is.
};
/// `base` holds what the line does not say, its sampling set. Throws Error{kBadInput} naming line and field that is
/// unknown, of the wrong type or out of range.
ParsedRequest parse_request(const RequestLine& line, const GenerationRequest& base, bool is_raw);

/// Makes the prompt a conversation of one message (after `system`, where that is not empty) unless it is to be taken as
/// it is. Throws Error{kUsage} for an empty prompt, Error{kUnsupported} for a system message without a template.
void apply_chat_template(GenerationRequest& request, const std::string& system, bool has_template, bool is_raw);

/// The JSON of a finished request, and of one that was refused.
nlohmann::json answer_json(const GenerationResult& result, bool has_logprobs);
nlohmann::json error_json(const Error& error);

}  // namespace pajamas::cli
