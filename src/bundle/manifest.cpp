// Reading and writing manifest.json. See manifest.h.
#include "bundle/manifest.h"

#include <charconv>
#include <set>

#include "base/json_reader.h"
#include "bundle/bundle.h"
#include "pajamas/error.h"
#include "pajamas/tensor.h"

namespace pajamas {
namespace {

nlohmann::json files_to_json(const std::vector<BundleFile>& files) {
  nlohmann::json json = nlohmann::json::array();
  for (const BundleFile& file : files) {
    json.push_back(
        {{"name", file.name}, {"role", file.role}, {"sha256", file.sha256}, {"size_bytes", file.size_bytes}});
  }
  return json;
}

nlohmann::json tensors_to_json(const std::vector<ManifestTensor>& tensors) {
  nlohmann::json json = nlohmann::json::array();
  for (const ManifestTensor& tensor : tensors) {
    nlohmann::json shape = nlohmann::json::array();
    for (const std::string& extent : tensor.shape) {
      // An extent that is no number, or too large for one, is the name of an open one.
      std::int64_t number = 0;
      const char* const end = extent.data() + extent.size();
      const auto [stop, error] = std::from_chars(extent.data(), end, number);
      if (error == std::errc{} && stop == end && number >= 0) {
        shape.push_back(number);
      } else {
        shape.push_back(extent);
      }
    }
    json.push_back({{"name", tensor.name}, {"dtype", tensor.dtype}, {"shape", shape}});
  }
  return json;
}

std::vector<BundleFile> read_files(const JsonReader& json) {
  std::vector<BundleFile> files;
  for (const JsonReader& entry : json.elements()) {
    BundleFile file;
    file.name = entry.string("name");
    if (file.name.empty() || file.name.find('/') != std::string::npos || file.name == "." || file.name == ".." ||
        file.name.find('\0') != std::string::npos || file.name == kManifestFileName) {
      entry.member("name").fail("must be the plain name of a file in the bundle's folder");
    }
    file.role = entry.string("role");
    file.sha256 = entry.string("sha256");
    if (file.sha256.size() != 64 || file.sha256.find_first_not_of("0123456789abcdef") != std::string::npos) {
      entry.member("sha256").fail("must be 64 lower-case hexadecimal digits");
    }
    file.size_bytes = static_cast<std::uint64_t>(entry.integer("size_bytes", 0));
    files.push_back(std::move(file));
  }
  return files;
}

std::vector<ManifestTensor> read_tensors(const JsonReader& json) {
  std::vector<ManifestTensor> tensors;
  for (const JsonReader& entry : json.elements()) {
    ManifestTensor tensor;
    tensor.name = entry.string("name");
    tensor.dtype = entry.string("dtype");
    try {
      parse_dtype(tensor.dtype);
    } catch (const Error& error) {
      entry.member("dtype").fail(error.message());
    }
    for (const JsonReader& extent : entry.member("shape").elements()) {
      tensor.shape.push_back(extent.json().is_string() ? extent.as_string() : std::to_string(extent.as_integer(0)));
    }
    tensors.push_back(std::move(tensor));
  }
  return tensors;
}

/// Model, target and precision become folder names, so they are held to what folder_name allows.
std::string read_folder_name(const JsonReader& json, const char* key) {
  std::string name = json.string(key);
  if (name.empty() || name != folder_name(name)) {
    json.member(key).fail("may hold only letters, digits, '.', '_' and '-', and not begin with '.'");
  }
  return name;
}

}  // namespace

const ManifestPart& Manifest::part(const std::string& part_name) const {
  std::string known;
  for (const ManifestPart& candidate : parts) {
    if (candidate.name == part_name) return candidate;
    known += (known.empty() ? "" : ", ") + candidate.name;
  }
  throw Error(ErrorKind::kBadInput, "the bundle has no engine part '" + part_name + "'", {}, "it has: " + known);
}

nlohmann::json to_json(const Manifest& manifest) {
  nlohmann::json parts = nlohmann::json::array();
  for (const ManifestPart& part : manifest.parts) {
    parts.push_back({{"name", part.name},
                     {"files", files_to_json(part.files)},
                     {"inputs", tensors_to_json(part.inputs)},
                     {"outputs", tensors_to_json(part.outputs)},
                     {"target_facts", part.target_facts},
                     {"proof", part.proof}});
    if (part.is_float32) parts.back()["is_float32"] = true;
  }
  return {{"format", "pajamas-bundle"},
          {"format_version", kManifestFormatVersion},
          {"model", manifest.model},
          {"target", manifest.target},
          {"precision", manifest.precision},
          {"plan", manifest.plan},
          {"task", to_json(manifest.task)},
          {"parts", parts},
          {"files", files_to_json(manifest.files)},
          {"source", manifest.source},
          {"made_by", manifest.made_by},
          {"created_at", manifest.created_at}};
}

Manifest parse_manifest(const std::string& text, const std::filesystem::path& path) {
  const nlohmann::json json = parse_json(text, path.string());
  const JsonReader reader(json, path.string());
  if (reader.string_or("format", "") != "pajamas-bundle") {
    reader.fail("is not the manifest of a bundle ('format' is not 'pajamas-bundle')",
                "name the folder that `pajamas build` made");
  }
  const std::int64_t version = reader.integer("format_version");
  if (version != kManifestFormatVersion) {
    throw Error(ErrorKind::kUnsupported,
                "has bundle format version " + std::to_string(version) + ", this program reads version " +
                    std::to_string(kManifestFormatVersion),
                path.string(),
                version > kManifestFormatVersion ? "use a newer pajamas, or build the bundle again with this one"
                                                 : "build the bundle again");
  }
  Manifest manifest;
  manifest.model = read_folder_name(reader, "model");
  manifest.target = read_folder_name(reader, "target");
  manifest.precision = read_folder_name(reader, "precision");
  manifest.plan = reader.member("plan").json();
  manifest.task = parse_task_facts(reader.member("task"));
  std::set<std::string> part_names;
  for (const JsonReader& entry : reader.member("parts").elements()) {
    ManifestPart part;
    part.name = entry.string("name");
    if (!part_names.insert(part.name).second) entry.member("name").fail("is used by two parts");
    part.files = read_files(entry.member("files"));
    part.inputs = read_tensors(entry.member("inputs"));
    part.outputs = read_tensors(entry.member("outputs"));
    part.target_facts = entry.member("target_facts").json();
    if (entry.has("proof")) part.proof = entry.member("proof").json();
    part.is_float32 = entry.boolean_or("is_float32", false);
    manifest.parts.push_back(std::move(part));
  }
  if (manifest.parts.empty()) reader.member("parts").fail("is empty: a bundle has at least one engine");
  manifest.files = read_files(reader.member("files"));
  manifest.source = reader.member("source").json();
  manifest.made_by = reader.member("made_by").json();
  manifest.created_at = reader.string("created_at");
  return manifest;
}

}  // namespace pajamas
