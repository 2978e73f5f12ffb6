// What a generation request must be before anything is computed for it. Limits that depend on the prompt's tokens are
// checked where those are known (generation_runner.cpp).
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "bundle/task_facts.h"
#include "pajamas/generation.h"

namespace pajamas {

/// Throws Error{kUsage} naming the field that is out of range or contradicts another, Error{kBadInput} naming the text
/// that is no UTF-8 and where.
void check_request(const GenerationRequest& request, const GenerationFacts& facts);

/// Throws Error{kUsage} for a token outside the vocabulary; `what` they are.
void check_tokens(std::span<const std::int32_t> tokens, std::int64_t vocab_size, const std::string& what);

/// What the publisher's defaults come to.
SamplingOptions sampling_of(const SamplingDefaults& defaults);

}  // namespace pajamas
