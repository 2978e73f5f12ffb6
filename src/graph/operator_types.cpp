// Look-ups in the table of element types. See operator_types.h.
#include "graph/operator_types.h"

#include <unordered_map>

namespace pajamas {
namespace {

struct Row {
  std::string_view name;
  int since_version;
  std::string_view inputs;
  std::string_view outputs;
  std::string_view variables;
};

constexpr Row kRows[] = {
#include "graph/operator_types.inc"
};

/// The letter of a type in the rows: 'a' for ONNX's number 1 and on.
char letter_of(DType dtype) { return static_cast<char>('a' + static_cast<int>(dtype) - 1); }

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (!text.empty()) {
    const auto end = text.find(separator);
    parts.push_back(text.substr(0, end));
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
  }
  return parts;
}

}  // namespace

/// All rows, taken apart once.
class OperatorTypesTable {
 public:
  OperatorTypesTable() {
    for (const Row& row : kRows) {
      OperatorTypes types;
      types.since_version_ = row.since_version;
      types.inputs_ = split(row.inputs, ',');
      types.outputs_ = split(row.outputs, ',');
      for (const std::string_view part : split(row.variables, ' ')) {
        const auto equals = part.find('=');
        types.variables_.emplace_back(part.substr(0, equals), part.substr(equals + 1));
      }
      rows_[row.name].push_back(std::move(types));
    }
  }

  const OperatorTypes* find(std::string_view name, std::int64_t opset) const {
    const auto found = rows_.find(name);
    if (found == rows_.end()) return nullptr;
    const OperatorTypes* best = nullptr;
    for (const OperatorTypes& types : found->second) {
      if (types.since_version_ <= opset) best = &types;  // rows are in order of the version
    }
    return best;
  }

 private:
  std::unordered_map<std::string_view, std::vector<OperatorTypes>> rows_;
};

std::string_view OperatorTypes::variable(const std::vector<std::string_view>& list, std::size_t index) {
  if (list.empty()) return {};
  const bool is_past = index >= list.size();
  std::string_view name = is_past ? list.back() : list[index];
  const bool is_variadic = name.ends_with('*');
  if (is_past && !is_variadic) return {};
  if (is_variadic) name.remove_suffix(1);
  return name.ends_with('?') ? std::string_view() : name;
}

bool OperatorTypes::allows(std::string_view variable_name, DType dtype) const {
  if (variable_name.starts_with('=')) return variable_name.substr(1).find(letter_of(dtype)) != std::string_view::npos;
  for (const auto& [name, letters] : variables_) {
    if (name == variable_name) return letters.find(letter_of(dtype)) != std::string_view::npos;
  }
  return false;
}

DType OperatorTypes::only_type(std::string_view variable_name) const {
  std::string_view only = variable_name.starts_with('=') ? variable_name.substr(1) : std::string_view();
  for (const auto& [name, letters] : variables_) {
    if (name == variable_name) only = letters;
  }
  if (only.size() != 1 || only[0] == '~') return DType::kUndefined;
  return static_cast<DType>(only[0] - 'a' + 1);
}

const OperatorTypes* find_operator_types(std::string_view name, std::int64_t opset) {
  static const OperatorTypesTable table;
  return table.find(name, opset);
}

}  // namespace pajamas
