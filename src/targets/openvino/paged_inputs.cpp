// See paged_inputs.h.
#include "targets/openvino/paged_inputs.h"

#include <algorithm>
#include <span>
#include <string>

#include "pajamas/error.h"

namespace pajamas::openvino {

namespace {

std::size_t find_input(const std::vector<TensorInfo>& inputs, std::string_view name) {
  const auto found =
      std::find_if(inputs.begin(), inputs.end(), [&](const TensorInfo& info) { return info.name == name; });
  return static_cast<std::size_t>(found - inputs.begin());
}

/// The first input whose rows are the chunks of a speech model.
std::size_t find_chunks(const std::vector<TensorInfo>& inputs) {
  const auto found = std::find_if(inputs.begin(), inputs.end(), [](const TensorInfo& info) {
    const auto* name = info.shape.empty() ? nullptr : std::get_if<std::string>(&info.shape[0].value);
    return name != nullptr && *name == "num_chunks";
  });
  return static_cast<std::size_t>(found - inputs.begin());
}

std::size_t need_input(const std::vector<TensorInfo>& inputs, std::string_view name) {
  const std::size_t index = find_input(inputs, name);
  if (index == inputs.size()) {
    throw Error(ErrorKind::kInternal, "a model with paged attention lacks the input '" + std::string(name) + "'");
  }
  return index;
}

[[noreturn]] void refuse(const char* input, const std::string& what) {
  throw Error(ErrorKind::kBadInput, what, "input '" + std::string(input) + "'");
}

/// [count + 1] numbers that rise from 0 to `total`; equal neighbours only where `is_empty_allowed`.
void check_begins(std::span<const std::int32_t> begins, std::size_t count, std::int64_t total, bool is_empty_allowed,
                  const char* name, const char* of_what) {
  if (begins.size() != count + 1) {
    refuse(name, "has " + std::to_string(begins.size()) + " entries for " + std::to_string(count) +
                     " sequences: one a sequence and the end are needed");
  }
  if (begins.front() != 0) refuse(name, "begins with " + std::to_string(begins.front()) + ", not with 0");
  for (std::size_t i = 0; i < count; ++i) {
    if (begins[i + 1] < begins[i] || (!is_empty_allowed && begins[i + 1] == begins[i])) {
      refuse(name, "sequence " + std::to_string(i) + " reaches from " + std::to_string(begins[i]) + " to " +
                       std::to_string(begins[i + 1]) + (is_empty_allowed ? ", backwards" : ", so it has no token"));
    }
  }
  if (begins.back() != total) {
    refuse(name, "ends with " + std::to_string(begins.back()) + ", but there are " + std::to_string(total) + " " +
                     std::string(of_what));
  }
}

}  // namespace

PagedInputs::PagedInputs(const std::vector<TensorInfo>& inputs, std::int64_t block_size_tokens,
                         std::int64_t num_table_rows, std::int64_t num_position_rows)
    : input_ids_(need_input(inputs, "input_ids")),
      position_ids_(find_input(inputs, "position_ids")),
      past_lens_(need_input(inputs, "past_lens")),
      subsequence_begins_(need_input(inputs, "subsequence_begins")),
      block_indices_(need_input(inputs, "block_indices")),
      block_indices_begins_(need_input(inputs, "block_indices_begins")),
      max_context_len_(need_input(inputs, "max_context_len")),
      logit_rows_(find_input(inputs, "logit_rows")),
      chunks_(find_chunks(inputs)),
      block_size_tokens_(block_size_tokens),
      num_table_rows_(num_table_rows),
      num_position_rows_(num_position_rows) {}

void PagedInputs::check(const std::vector<TensorView>& inputs, std::int64_t num_blocks) const {
  const auto input_ids = inputs[input_ids_].as<std::int64_t>();
  const auto past_lens = inputs[past_lens_].as<std::int32_t>();
  const auto subsequence_begins = inputs[subsequence_begins_].as<std::int32_t>();
  const auto block_indices = inputs[block_indices_].as<std::int32_t>();
  const auto block_indices_begins = inputs[block_indices_begins_].as<std::int32_t>();
  const std::int64_t max_context_len = inputs[max_context_len_].as<std::int32_t>()[0];
  const auto num_tokens = static_cast<std::int64_t>(input_ids.size());
  const std::size_t num_sequences = past_lens.size();
  if (num_sequences == 0) refuse("past_lens", "there is no sequence to compute");
  for (std::size_t i = 0; num_table_rows_ > 0 && i < input_ids.size(); ++i) {
    if (input_ids[i] < 0 || input_ids[i] >= num_table_rows_) {
      refuse("input_ids", "token " + std::to_string(i) + " has the id " + std::to_string(input_ids[i]) +
                              ", but the model knows 0 to " + std::to_string(num_table_rows_ - 1));
    }
  }
  if (num_position_rows_ > 0 && position_ids_ < inputs.size()) {
    for (const std::int64_t position : inputs[position_ids_].as<std::int64_t>()) {
      if (position >= 0 && position < num_position_rows_) continue;
      refuse("position_ids", "has the position " + std::to_string(position) + ", but the model knows 0 to " +
                                 std::to_string(num_position_rows_ - 1));
    }
  }
  if (chunks_ < inputs.size()) {
    // OpenVINO divides the tokens among the chunks, and takes what is left over from the memory behind them.
    const std::int64_t num_chunks = inputs[chunks_].shape[0];
    if (num_chunks < 1 || num_tokens % num_chunks != 0) {
      refuse("input_ids", "has " + std::to_string(num_tokens) + " tokens, which are not equally many of each of " +
                              std::to_string(num_chunks) + " chunks");
    }
  }
  check_begins(subsequence_begins, num_sequences, num_tokens, false, "subsequence_begins", "tokens");
  check_begins(block_indices_begins, num_sequences, static_cast<std::int64_t>(block_indices.size()), true,
               "block_indices_begins", "blocks");
  for (std::size_t i = 0; i < block_indices.size(); ++i) {
    if (block_indices[i] < 0 || block_indices[i] >= num_blocks) {
      refuse("block_indices", "entry " + std::to_string(i) + " is block " + std::to_string(block_indices[i]) +
                                  ", but the cache has " + std::to_string(num_blocks));
    }
  }
  std::int64_t longest = 0;
  for (std::size_t i = 0; i < num_sequences; ++i) {
    if (past_lens[i] < 0) {
      refuse("past_lens", "sequence " + std::to_string(i) + " has " + std::to_string(past_lens[i]) + " past tokens");
    }
    const std::int64_t length =
        static_cast<std::int64_t>(past_lens[i]) + subsequence_begins[i + 1] - subsequence_begins[i];
    const std::int64_t num_own = block_indices_begins[i + 1] - block_indices_begins[i];
    if (length > num_own * block_size_tokens_) {
      refuse("past_lens", "sequence " + std::to_string(i) + " would have " + std::to_string(length) +
                              " tokens, but its " + std::to_string(num_own) + " blocks hold " +
                              std::to_string(num_own * block_size_tokens_));
    }
    longest = std::max(longest, length);
  }
  if (max_context_len != longest) {
    refuse("max_context_len", "is " + std::to_string(max_context_len) + ", but the longest sequence has " +
                                  std::to_string(longest) + " tokens");
  }
  if (logit_rows_ >= inputs.size()) return;
  const auto logit_rows = inputs[logit_rows_].as<std::int64_t>();
  for (std::size_t i = 0; i < logit_rows.size(); ++i) {
    if (logit_rows[i] < 0 || logit_rows[i] >= num_tokens) {
      refuse("logit_rows", "entry " + std::to_string(i) + " is row " + std::to_string(logit_rows[i]) + " of " +
                               std::to_string(num_tokens) + " tokens");
    }
  }
}

}  // namespace pajamas::openvino
