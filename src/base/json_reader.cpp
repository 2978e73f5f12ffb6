// Typed access to untrusted JSON. See json_reader.h.
#include "base/json_reader.h"

#include <cmath>

#include "pajamas/error.h"

namespace pajamas {

nlohmann::json parse_json(std::string_view text, const std::string& where, int max_depth) {
  // The depth is checked before parsing: outside strings, every bracket counts.
  int depth = 0;
  bool is_in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (is_in_string) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        is_in_string = false;
      }
    } else if (c == '"') {
      is_in_string = true;
    } else if (c == '{' || c == '[') {
      if (++depth > max_depth) {
        throw Error(ErrorKind::kBadInput, "is nested deeper than " + std::to_string(max_depth) + " levels", where,
                    "no file of this kind is: fetch or write it again");
      }
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  try {
    return nlohmann::json::parse(text);
  } catch (const nlohmann::json::exception& error) {
    // The library's text begins with an identifier in brackets, which says nothing to a user.
    std::string reason = error.what();
    if (const auto end = reason.find("] "); end != std::string::npos) reason = reason.substr(end + 2);
    throw Error(ErrorKind::kBadInput, "is not valid JSON: " + reason, where,
                "correct it at that place; a file that was fetched or built is damaged: fetch or build it again");
  }
}

void JsonReader::fail(const std::string& message, const std::string& remedy) const {
  throw Error(ErrorKind::kBadInput, message, path_.empty() ? where_ : where_ + ": " + path_,
              remedy.empty() ? "correct it there; a file that was fetched or built is damaged: fetch or build it again"
                             : remedy);
}

bool JsonReader::has(const char* key) const {
  if (!json_->is_object()) fail("should be an object, is " + std::string(json_->type_name()));
  const auto found = json_->find(key);
  return found != json_->end() && !found->is_null();
}

JsonReader JsonReader::member(const char* key) const {
  if (!has(key)) fail("has no '" + std::string(key) + "'");
  return {(*json_)[key], where_, path_.empty() ? key : path_ + "." + key};
}

std::vector<JsonReader> JsonReader::elements() const {
  if (!json_->is_array()) fail("should be an array, is " + std::string(json_->type_name()));
  std::vector<JsonReader> result;
  for (std::size_t i = 0; i < json_->size(); ++i) {
    result.emplace_back((*json_)[i], where_, path_ + "[" + std::to_string(i) + "]");
  }
  return result;
}

std::vector<std::pair<std::string, JsonReader>> JsonReader::members() const {
  if (!json_->is_object()) fail("should be an object, is " + std::string(json_->type_name()));
  std::vector<std::pair<std::string, JsonReader>> result;
  for (auto it = json_->begin(); it != json_->end(); ++it) {
    result.emplace_back(it.key(), JsonReader(it.value(), where_, path_.empty() ? it.key() : path_ + "." + it.key()));
  }
  return result;
}

std::string JsonReader::as_string() const {
  if (!json_->is_string()) fail("should be a string, is " + std::string(json_->type_name()));
  return json_->get<std::string>();
}

bool JsonReader::as_bool() const {
  if (!json_->is_boolean()) fail("should be true or false, is " + std::string(json_->type_name()));
  return json_->get<bool>();
}

double JsonReader::as_number() const {
  if (!json_->is_number()) fail("should be a number, is " + std::string(json_->type_name()));
  const double value = json_->get<double>();
  if (!std::isfinite(value)) fail("should be a finite number");
  return value;
}

std::int64_t JsonReader::as_integer(std::int64_t min, std::int64_t max) const {
  if (!json_->is_number_integer()) fail("should be an integer, is " + std::string(json_->type_name()));
  if (json_->is_number_unsigned() && json_->get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX)) {
    fail("is too large");
  }
  const auto value = json_->get<std::int64_t>();
  if (value < min || value > max) {
    fail("is " + std::to_string(value) + ", must be between " + std::to_string(min) + " and " + std::to_string(max));
  }
  return value;
}

std::vector<std::string> JsonReader::as_strings() const {
  std::vector<std::string> result;
  for (const JsonReader& element : elements()) result.push_back(element.as_string());
  return result;
}

}  // namespace pajamas
