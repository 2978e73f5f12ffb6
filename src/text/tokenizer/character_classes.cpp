// See character_classes.h.
#include "text/tokenizer/character_classes.h"

#include <unicode/uchar.h>

namespace pajamas {
namespace {

std::uint32_t category_mask(char32_t code_point) { return U_GET_GC_MASK(static_cast<UChar32>(code_point)); }

}  // namespace

std::uint8_t compute_classes(char32_t code_point) {
  const std::uint32_t mask = category_mask(code_point);
  unsigned classes = 0;
  if ((mask & U_GC_L_MASK) != 0) classes |= kLetterClass;
  if ((mask & U_GC_N_MASK) != 0) classes |= kNumberClass;
  if ((mask & U_GC_M_MASK) != 0) classes |= kMarkClass;
  if ((mask & U_GC_P_MASK) != 0) classes |= kPunctuationClass;
  if ((mask & (U_GC_LU_MASK | U_GC_LT_MASK | U_GC_LM_MASK | U_GC_LO_MASK | U_GC_M_MASK)) != 0)
    classes |= kUpperSideClass;
  if ((mask & (U_GC_LL_MASK | U_GC_LM_MASK | U_GC_LO_MASK | U_GC_M_MASK)) != 0) classes |= kLowerSideClass;
  if (u_isUWhiteSpace(static_cast<UChar32>(code_point)) != 0) classes |= kSpaceClass;
  if (code_point == U'\r' || code_point == U'\n') classes |= kNewlineClass;
  return static_cast<std::uint8_t>(classes);
}

CharacterClasses::CharacterClasses() : table_{} {
  for (char32_t code_point = 0; code_point < kTableSize; ++code_point) table_[code_point] = compute_classes(code_point);
}

const CharacterClasses& CharacterClasses::instance() {
  static const CharacterClasses classes;
  return classes;
}

bool is_word_character(char32_t code_point) {
  if (code_point < 0x80) {
    return (code_point >= U'a' && code_point <= U'z') || (code_point >= U'A' && code_point <= U'Z') ||
           (code_point >= U'0' && code_point <= U'9') || code_point == U'_';
  }
  return (category_mask(code_point) & (U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK)) != 0 ||
         u_hasBinaryProperty(static_cast<UChar32>(code_point), UCHAR_ALPHABETIC) != 0 ||
         u_hasBinaryProperty(static_cast<UChar32>(code_point), UCHAR_JOIN_CONTROL) != 0;
}

bool is_mark(char32_t code_point) { return (category_mask(code_point) & U_GC_M_MASK) != 0; }
bool is_nonspacing_mark(char32_t code_point) { return (category_mask(code_point) & U_GC_MN_MASK) != 0; }

bool is_control_for_bert(char32_t code_point) {
  if (code_point == U'\t' || code_point == U'\n' || code_point == U'\r') return false;
  return (category_mask(code_point) & (U_GC_CC_MASK | U_GC_CF_MASK | U_GC_CO_MASK | U_GC_CS_MASK)) != 0;
}

bool is_punctuation_for_bert(char32_t code_point) {
  if (code_point < 0x80) {
    return (code_point >= 0x21 && code_point <= 0x2F) || (code_point >= 0x3A && code_point <= 0x40) ||
           (code_point >= 0x5B && code_point <= 0x60) || (code_point >= 0x7B && code_point <= 0x7E);
  }
  return (category_mask(code_point) & U_GC_P_MASK) != 0;
}

bool is_chinese_for_bert(char32_t c) {
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) ||
         (c >= 0x2A700 && c <= 0x2B73F) || (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
         (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

}  // namespace pajamas
