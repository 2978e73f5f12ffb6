// The tables of filters and tests: jinja2's own (with transformers' tojson), but those whose output is random or made
// for web pages (random, urlize, pprint, wordwrap, xmlattr).
#pragma once

#include <string_view>

#include "text/jinja/runtime.h"

namespace pajamas::jinja {

using Filter = Value (*)(Runtime& runtime, const Value& value, const Arguments& arguments);
using Test = bool (*)(Runtime& runtime, const Value& value, const Arguments& arguments);

/// Null where there is none of that name.
Filter find_filter(std::string_view name);
Test find_test(std::string_view name);

/// The two halves of find_filter: text and numbers (filters_text.cpp), collections (filters_collections.cpp).
Filter find_text_filter(std::string_view name);
Filter find_collection_filter(std::string_view name);

}  // namespace pajamas::jinja
