// Opening and writing bundles. See bundle.h.
#include "bundle/bundle.h"

#include <sys/stat.h>

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>

#include "base/digest.h"
#include "base/json_writer.h"
#include "base/log.h"
#include "pajamas/error.h"

namespace pajamas {
namespace fs = std::filesystem;
namespace {

/// A manifest is small even with thousands of labels and per-layer proofs; more is not a manifest.
constexpr std::uint64_t kMaxManifestBytes = 64ULL << 20;

template <typename Visit>
void for_each_file(const Manifest& manifest, const Visit& visit) {
  for (const ManifestPart& part : manifest.parts) {
    for (const BundleFile& file : part.files) visit(file);
  }
  for (const BundleFile& file : manifest.files) visit(file);
}

}  // namespace

/// Files whose digest was found right, with what they were then.
struct Bundle::CheckedFiles {
  struct State {
    std::uint64_t device, inode, size_bytes, changed_ns;
    friend bool operator==(const State&, const State&) = default;
  };
  std::mutex mutex;
  std::map<std::string, State> states;

  /// Nothing when the file cannot be looked at.
  static std::optional<State> state_of(const fs::path& path) {
    struct stat status {};
    if (::stat(path.c_str(), &status) != 0) return std::nullopt;
    return State{status.st_dev, status.st_ino, static_cast<std::uint64_t>(status.st_size),
                 static_cast<std::uint64_t>(status.st_ctim.tv_sec) * 1'000'000'000U +
                     static_cast<std::uint64_t>(status.st_ctim.tv_nsec)};
  }
};

Bundle Bundle::open(const fs::path& directory) {
  std::error_code error;
  if (!fs::exists(directory, error)) {
    throw Error(ErrorKind::kBadInput, "there is no such bundle", directory.string(), "check the path");
  }
  if (!fs::is_directory(directory, error)) {
    throw Error(ErrorKind::kBadInput, "is a file, not a bundle", directory.string(),
                "a bundle is the folder that `pajamas build` made");
  }
  const fs::path manifest_path = directory / kManifestFileName;
  if (!fs::exists(manifest_path, error)) {
    if (error) {
      throw Error(ErrorKind::kBadInput, "cannot be looked into: " + error.message(), directory.string(),
                  "check the permissions");
    }
    throw Error(ErrorKind::kBadInput, "is not a bundle: it has no manifest.json", directory.string(),
                "name the folder that `pajamas build` made, models/<model>/<target>/<precision>");
  }
  Bundle bundle;
  bundle.directory_ = directory;
  bundle.checked_ = std::make_shared<CheckedFiles>();
  bundle.manifest_ = parse_manifest(read_file(manifest_path, kMaxManifestBytes), manifest_path);
  for_each_file(bundle.manifest_, [&](const BundleFile& file) {
    if (file.role == "cache") return;  // may be absent or stale: the target makes it again
    const fs::path path = directory / file.name;
    std::error_code ignored;
    const auto size = fs::file_size(path, ignored);
    if (ignored) {
      throw Error(ErrorKind::kBadInput, "is missing from the bundle", path.string(), "build the bundle again");
    }
    if (size != file.size_bytes) {
      throw Error(ErrorKind::kBadInput,
                  "is " + std::to_string(size) + " bytes, the manifest says " + std::to_string(file.size_bytes),
                  path.string(), "the bundle is damaged: build it again");
    }
  });
  return bundle;
}

fs::path Bundle::file(const std::string& name) const {
  bool is_listed = false;
  for_each_file(manifest_, [&](const BundleFile& file) { is_listed = is_listed || file.name == name; });
  if (!is_listed) {
    throw Error(ErrorKind::kBadInput, "lists no file '" + name + "'", (directory_ / kManifestFileName).string(),
                "the bundle is damaged: build it again");
  }
  return directory_ / name;
}

std::shared_ptr<const MappedFile> Bundle::open_checked(const BundleFile& file) const {
  const fs::path path = directory_ / file.name;
  std::error_code error;
  if (file.role == "cache" && !fs::is_regular_file(path, error)) return nullptr;
  const auto state = CheckedFiles::state_of(path);
  std::shared_ptr<const MappedFile> mapped;
  try {
    mapped = MappedFile::open(path);
  } catch (const Error& fault) {
    if (file.role != "cache") throw;
    log().warn("{} will not be used, the engine is compiled anew: {}", path.string(), fault.message());
    return nullptr;
  }
  {
    const std::lock_guard lock(checked_->mutex);
    const auto known = checked_->states.find(file.name);
    if (state && known != checked_->states.end() && known->second == *state) return mapped;
  }
  if (mapped->bytes().size() == file.size_bytes && sha256_hex(mapped->bytes()) == file.sha256) {
    const std::lock_guard lock(checked_->mutex);
    if (state && state == CheckedFiles::state_of(path)) checked_->states[file.name] = *state;
    return mapped;
  }
  if (file.role == "cache") {
    log().warn("{} is damaged and will not be used; the engine is compiled anew", path.string());
    return nullptr;
  }
  throw Error(ErrorKind::kBadInput, "does not have the size and SHA-256 digest that the manifest gives", path.string(),
              "the bundle is damaged: build it again");
}

std::shared_ptr<const MappedFile> Bundle::open_checked(const std::string& name) const {
  const fs::path path = file(name);
  std::shared_ptr<const MappedFile> mapped;
  for_each_file(manifest_, [&](const BundleFile& listed) {
    if (listed.name == name && !mapped) mapped = open_checked(listed);
  });
  if (!mapped) {
    throw Error(ErrorKind::kBadInput, "the manifest names this file, but the bundle has none that is whole",
                path.string(), "build the bundle again");
  }
  return mapped;
}

void Bundle::verify_digests() const {
  for_each_file(manifest_, [&](const BundleFile& file) {
    if (file.role != "cache") open_checked(file);
  });
}

void write_bundle(StagedDirectory& staged, Manifest& manifest) {
  const auto fill = [&](BundleFile& file) {
    file.size_bytes = fs::file_size(staged.path() / file.name);
    file.sha256 = sha256_hex_of_file(staged.path() / file.name);
  };
  for (ManifestPart& part : manifest.parts) {
    for (BundleFile& file : part.files) fill(file);
  }
  for (BundleFile& file : manifest.files) fill(file);
  write_file(staged.path() / kManifestFileName, json_text(to_json(manifest), 2) + "\n");
  staged.commit();
}

fs::path bundle_path(const fs::path& root, const Manifest& manifest) {
  return root / "models" / manifest.model / manifest.target / manifest.precision;
}

std::string folder_name(const std::string& model_name) {
  std::string name;
  for (const char c : model_name) {
    const bool is_plain = std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '_' || c == '-';
    name += is_plain ? c : '_';
  }
  while (!name.empty() && name.front() == '.') name.erase(name.begin());
  return name.empty() ? "model" : name;
}

}  // namespace pajamas
