// The part of the model check that looks at names. Internal to graph/checker.cpp.
#pragma once

#include <string>
#include <string_view>

namespace pajamas {

/// Throws Error{kBadInput} when a name is not valid UTF-8 or holds a NUL character: vendor libraries and manifests
/// would cut or refuse it. `what` says what carries the name.
void check_name(std::string_view name, const char* what, const std::string& where);

/// The name with everything but printable ASCII replaced by '?', for messages.
std::string printable(std::string_view name);

}  // namespace pajamas
