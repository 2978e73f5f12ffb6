// Fuzz target: any bytes as a chat template, with what stands behind the first NUL as the JSON of its messages and
// variables. Whatever parses must render or fail with an Error within its limits, twice the same.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "pajamas/error.h"
#include "text/chat_template.h"

namespace {

using Json = nlohmann::ordered_json;

std::optional<std::string> render(const pajamas::ChatTemplate& chat_template, const pajamas::ChatTemplateInput& input) {
  pajamas::ChatTemplateLimits limits;
  limits.max_steps = 100'000;
  limits.max_memory_bytes = std::size_t{8} << 20;
  limits.max_output_bytes = std::size_t{1} << 20;
  limits.max_duration = std::chrono::hours(1);  // steps decide, so that both runs end alike
  try {
    return chat_template.render(input, limits);
  } catch (const pajamas::Error& error) {
    if (error.kind() != pajamas::ErrorKind::kBadInput) __builtin_trap();
    return std::nullopt;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const std::size_t end = bytes.find('\0');
  pajamas::ChatTemplateInput input;
  input.clock = [] { return std::chrono::system_clock::time_point(); };
  input.bos_token = "<s>";
  if (end != std::string_view::npos) {
    const Json json = Json::parse(bytes.substr(end + 1), nullptr, false);
    if (json.is_object()) {
      input.messages = json.value("messages", Json::array());
      input.tools = json.value("tools", Json());
      input.extra_variables = json;
    }
  }
  try {
    const auto chat_template = pajamas::ChatTemplate::parse(bytes.substr(0, end), "fuzz");
    if (render(chat_template, input) != render(chat_template, input)) __builtin_trap();
  } catch (const pajamas::Error& error) {
    if (error.kind() != pajamas::ErrorKind::kBadInput) __builtin_trap();
  }
  return 0;
}
