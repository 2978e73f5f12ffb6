// Base64 (RFC 4648) as tokenizer.json holds bytes in it.
#pragma once

#include <string>
#include <string_view>

namespace pajamas {

/// Throws Error{kBadInput} naming `where` for anything that is not base64 with padding.
std::string decode_base64(std::string_view text, const std::string& where);
std::string encode_base64(std::string_view bytes);

}  // namespace pajamas
