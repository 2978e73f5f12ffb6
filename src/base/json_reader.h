// Reading JSON that somebody else wrote: typed, bounded access whose errors name the file and the path within it
// ("manifest.json: parts[0].files[2].sha256: ..."). Not a JSON library: that is nlohmann::json.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace pajamas {

/// Parses a JSON text. Throws Error{kBadInput} naming `where` and the line. Nesting past `max_depth` is refused, so a
/// hostile file cannot exhaust the stack.
nlohmann::json parse_json(std::string_view text, const std::string& where, int max_depth = 64);

/// A borrowed JSON value with its path. Every getter throws Error{kBadInput} naming file, path, what was expected and
/// what is there.
class JsonReader {
 public:
  /// `json` must outlive the reader. `where` is the file.
  JsonReader(const nlohmann::json& json, std::string where, std::string path = {})
      : json_(&json), where_(std::move(where)), path_(std::move(path)) {}

  bool has(const char* key) const;
  JsonReader member(const char* key) const;
  /// Elements of an array.
  std::vector<JsonReader> elements() const;
  /// Members of an object, in the order of their keys.
  std::vector<std::pair<std::string, JsonReader>> members() const;

  std::string as_string() const;
  bool as_bool() const;
  double as_number() const;
  std::int64_t as_integer(std::int64_t min = INT64_MIN, std::int64_t max = INT64_MAX) const;
  std::vector<std::string> as_strings() const;

  std::string string(const char* key) const { return member(key).as_string(); }
  bool boolean(const char* key) const { return member(key).as_bool(); }
  double number(const char* key) const { return member(key).as_number(); }
  std::int64_t integer(const char* key, std::int64_t min = INT64_MIN, std::int64_t max = INT64_MAX) const {
    return member(key).as_integer(min, max);
  }
  std::string string_or(const char* key, std::string fallback) const { return has(key) ? string(key) : fallback; }
  bool boolean_or(const char* key, bool fallback) const { return has(key) ? boolean(key) : fallback; }
  double number_or(const char* key, double fallback) const { return has(key) ? number(key) : fallback; }
  std::int64_t integer_or(const char* key, std::int64_t fallback, std::int64_t min = INT64_MIN,
                          std::int64_t max = INT64_MAX) const {
    return has(key) ? integer(key, min, max) : fallback;
  }
  std::vector<std::string> strings(const char* key) const { return member(key).as_strings(); }

  const nlohmann::json& json() const { return *json_; }
  const std::string& where() const { return where_; }
  /// Throws the error of this place with another text. Without a remedy: to correct it, or to fetch the file again.
  [[noreturn]] void fail(const std::string& message, const std::string& remedy = {}) const;

 private:
  const nlohmann::json* json_;
  std::string where_;
  std::string path_;
};

}  // namespace pajamas
