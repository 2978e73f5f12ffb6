// Sets of Unicode code points, as character classes write them. Surrogates are no members of anything: text is UTF-8.
#pragma once

#include <cstdint>
#include <vector>

namespace pajamas::grammar {

struct CodePointRange {
  char32_t first;
  char32_t last;  ///< Inclusive.
};

/// Sorted, disjoint, not adjacent ranges of U+0000..U+10FFFF without U+D800..U+DFFF.
class CodePointSet {
 public:
  CodePointSet() = default;
  static CodePointSet of(char32_t code_point) { return of(code_point, code_point); }
  static CodePointSet of(char32_t first, char32_t last);
  static CodePointSet all() { return of(0, 0x10FFFF); }

  void add(char32_t first, char32_t last);
  void add(const CodePointSet& other);
  CodePointSet complement() const;
  CodePointSet intersection(const CodePointSet& other) const;
  CodePointSet without(const CodePointSet& other) const { return intersection(other.complement()); }
  bool contains(char32_t code_point) const;
  bool is_empty() const { return ranges_.empty(); }
  const std::vector<CodePointRange>& ranges() const { return ranges_; }

 private:
  std::vector<CodePointRange> ranges_;
};

}  // namespace pajamas::grammar
