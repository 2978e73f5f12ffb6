// JSON as text. See json_writer.h.
#include "base/json_writer.h"

namespace pajamas {

std::string json_text(const nlohmann::json& json, int indent) {
  return json.dump(indent, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace pajamas
