// Look-ups in the table of standard operators. See operator_table.h.
#include "graph/operator_table.h"

#include <algorithm>
#include <array>
#include <tuple>

namespace pajamas {
namespace {

constexpr int kAny = OperatorSchema::kAny;

/// The standard operators and, sorted behind them, our own.
constexpr OperatorSchema kRows[] = {
#include "graph/operator_rows.inc"
    {kPajamasDomain, "PagedAttention", 1, 8, 8, 1, 1, 0xff, false,
     "head_dim!i layer_index!i num_heads!i num_kv_heads!i scale!f sliding_window:i softcap:f"},
};

struct Domain {
  std::string_view name;
  std::int64_t newest;
};

constexpr Domain kDomains[] = {
#define PAJAMAS_DOMAIN_ROW(name, newest) {name, newest},
#include "graph/operator_rows.inc"
#undef PAJAMAS_DOMAIN_ROW
    {kPajamasDomain, 1},
};

/// Letters of the attribute types in the rows, in the order of ONNX's numbers; ' ' where a number has no type.
constexpr std::string_view kTypeLetters = " fistgFISTGpPyY";

constexpr std::array<const char*, 15> kTypeNames = {"undefined",
                                                    "float",
                                                    "integer",
                                                    "string",
                                                    "tensor",
                                                    "graph",
                                                    "list of floats",
                                                    "list of integers",
                                                    "list of strings",
                                                    "list of tensors",
                                                    "list of graphs",
                                                    "sparse tensor",
                                                    "list of sparse tensors",
                                                    "type",
                                                    "list of types"};

std::string_view canonical(std::string_view domain) { return domain == "ai.onnx" ? std::string_view() : domain; }

}  // namespace

std::optional<AttributeSchema> take_attribute(std::string_view& text) {
  if (text.empty()) return std::nullopt;
  const std::size_t end = std::min(text.find(' '), text.size());
  const std::string_view item = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  AttributeSchema attribute;
  attribute.name = item.substr(0, item.size() - 2);
  attribute.is_required = item[item.size() - 2] == '!';
  attribute.type = static_cast<int>(kTypeLetters.find(item.back()));
  return attribute;
}

std::optional<AttributeSchema> OperatorSchema::find_attribute(std::string_view attribute_name) const {
  std::string_view text = attribute_text;
  while (const auto attribute = take_attribute(text)) {
    if (attribute->name == attribute_name) return attribute;
  }
  return std::nullopt;
}

const OperatorSchema* find_operator(std::string_view domain, std::string_view name, std::int64_t opset) {
  const std::string_view wanted = canonical(domain);
  // The first row past the wanted version; the one before it, if of the same operator, is the version in force.
  const auto* past = std::upper_bound(std::begin(kRows), std::end(kRows), std::tuple(wanted, name, opset),
                                      [](const auto& key, const OperatorSchema& row) {
                                        return key < std::tuple(row.domain, row.name, std::int64_t{row.since_version});
                                      });
  if (past == std::begin(kRows)) return nullptr;
  const OperatorSchema* row = past - 1;
  return row->domain == wanted && row->name == name ? row : nullptr;
}

const OperatorSchema* find_first_version(std::string_view domain, std::string_view name) {
  const std::string_view wanted = canonical(domain);
  const auto* row = std::lower_bound(std::begin(kRows), std::end(kRows), std::tuple(wanted, name),
                                     [](const OperatorSchema& candidate, const auto& key) {
                                       return std::tuple(candidate.domain, candidate.name) < key;
                                     });
  return row != std::end(kRows) && row->domain == wanted && row->name == name ? row : nullptr;
}

std::int64_t newest_opset(std::string_view domain) {
  const std::string_view wanted = canonical(domain);
  for (const Domain& known : kDomains) {
    if (known.name == wanted) return known.newest;
  }
  return 0;
}

std::span<const OperatorSchema> all_operators() { return kRows; }

const char* attribute_type_name(int type) {
  return type >= 0 && type < static_cast<int>(kTypeNames.size()) ? kTypeNames[static_cast<std::size_t>(type)]
                                                                 : "unknown type";
}

}  // namespace pajamas
