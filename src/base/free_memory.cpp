// See free_memory.h. Formats: proc(5); the kernel's cgroup-v2.rst and cgroup-v1/memory.rst.
#include "base/free_memory.h"

#include <algorithm>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>

namespace pajamas {
namespace {

namespace fs = std::filesystem;

/// The number in a file that holds one; nothing for "max" or no file.
std::optional<std::uint64_t> read_number(const fs::path& path) {
  std::ifstream file(path);
  std::uint64_t value = 0;
  if (file >> value) return value;
  return std::nullopt;
}

/// The number after `key` in lines of "key number".
std::optional<std::uint64_t> read_line_number(const fs::path& path, const std::string& key) {
  std::ifstream file(path);
  std::string line;
  while (std::getline(file, line)) {
    std::istringstream words(line);
    std::string word;
    std::uint64_t value = 0;
    if (words >> word && word == key && words >> value) return value;
  }
  return std::nullopt;
}

struct MemoryFiles {
  const char* limit;
  const char* usage;
  const char* droppable;  // key in memory.stat, of the group and all below it
};
constexpr MemoryFiles kVersion2{"memory.max", "memory.current", "inactive_file"};
constexpr MemoryFiles kVersion1{"memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"};

std::uint64_t free_in_group(const fs::path& group, const MemoryFiles& files) {
  const auto limit = read_number(group / files.limit);
  const auto usage = read_number(group / files.usage);
  if (!limit || !usage) return UINT64_MAX;
  const std::uint64_t droppable = read_line_number(group / "memory.stat", files.droppable).value_or(0);
  const std::uint64_t used = *usage - std::min(*usage, droppable);
  return *limit - std::min(*limit, used);
}

/// The group itself and all that hold it: each has a limit of its own. In a container the path may be the host's, of
/// which only the end, or nothing, is visible here.
std::uint64_t free_in_groups(const fs::path& mount, const std::string& path, const MemoryFiles& files) {
  std::uint64_t least = free_in_group(mount, files);
  for (fs::path group = fs::path(path).relative_path(); !group.empty(); group = group.parent_path()) {
    least = std::min(least, free_in_group(mount / group, files));
  }
  return least;
}

}  // namespace

std::uint64_t free_memory_bytes(const fs::path& root) {
  std::uint64_t least = UINT64_MAX;
  if (const auto kib = read_line_number(root / "proc/meminfo", "MemAvailable:")) least = *kib * 1024;
  std::ifstream groups(root / "proc/self/cgroup");
  std::string line;
  while (std::getline(groups, line)) {
    // hierarchy:controllers:path; version 2 has an empty list of controllers.
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string path = line.substr(second + 1);
    if (controllers.empty()) {
      least = std::min(least, free_in_groups(root / "sys/fs/cgroup", path, kVersion2));
    } else if (("," + controllers + ",").find(",memory,") != std::string::npos) {
      least = std::min(least, free_in_groups(root / "sys/fs/cgroup/memory", path, kVersion1));
    }
  }
  return least;
}

}  // namespace pajamas
