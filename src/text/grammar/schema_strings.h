// Strings of JSON schema: what a JSON string is, formats, and the regular languages of strings under constraints, all
// between the quotes. See text/grammar/schema_emitter.h for the rest of a schema.
#pragma once

#include <string>
#include <vector>

#include "text/grammar/schema_reader.h"
#include "text/grammar/syntax.h"

namespace pajamas::grammar {

/// One character of a JSON string in every spelling that JSON has: raw UTF-8, short escapes, \uXXXX (surrogates only in
/// pairs).
Dfa json_character(const Limits& limits);

/// The syntax tree of a format. Throws Error{kUnsupported} for one that is not known, naming those that are.
SyntaxNode format_syntax(const SchemaRef& format);
/// The syntax tree of `pattern` or a name in patternProperties, which may match anywhere in the text.
SyntaxNode pattern_syntax(const std::string& pattern, const std::string& path);

/// All strings of an alternative in the canonical spelling, patterns, formats and lengths intersected. Types are not
/// looked at, `values` are.
Dfa string_language(const FlatSchema& flat, const Limits& limits);

}  // namespace pajamas::grammar
