// Class names as model files carry them: the text of a Python dict or list (Ultralytics' "names"), or JSON.
// Reads text only: nothing is evaluated. The names of pictures' classes, not tensor names.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace pajamas {

/// Class names by the number the model gives them. Numbers may have gaps.
using LabelsById = std::map<std::int64_t, std::string>;

/// Most class names a model may carry: five times the largest published label set (ImageNet-21k).
inline constexpr std::int64_t kMaxLabels = 100'000;

/// Parses `{0: 'person', 1: "it's"}`, `['person', 'car']` or the same as JSON (keys then are digits in quotes).
/// Throws Error{kBadInput} naming `where` and the place in the text for anything else, and for a number past
/// kMaxLabels.
LabelsById parse_labels(std::string_view text, const std::string& where);

/// Parses `640`, `[640, 480]` or `(640, 480)`. Throws Error{kBadInput} naming `where` for anything else.
std::vector<std::int64_t> parse_integers(std::string_view text, const std::string& where);

/// Names as a dense list of `num_classes`, number `first_id` first; gaps become empty. Numbers below `first_id` are
/// dropped; one past the end throws Error{kBadInput} naming `where`. `num_classes` 0: as many as there are names.
std::vector<std::string> dense_labels(const LabelsById& labels, std::int64_t first_id, std::int64_t num_classes,
                                      const std::string& where);

}  // namespace pajamas
