// Reading /proc and /sys of Linux.
#include "bench/environment.h"

#include <sched.h>
#include <sys/utsname.h>

#include <fstream>
#include <set>
#include <sstream>
#include <vector>

namespace pajamas {
namespace {

/// Processor features that decide which kernels an inference library picks.
const std::set<std::string> kFeatures = {
    "sse4_2",   "avx",         "fma",         "avx2",     "f16c",     "avx512f",  "avx512bw", "avx512vl", "avx512_vnni",
    "avx_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16", "amx_int8", "asimd",    "asimddp",  "sve"};

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

/// Value of the first "name : value" line of a /proc file; empty when there is none.
std::string field_of(const std::string& path, const std::string& name) {
  std::ifstream file(path);
  std::string line;
  while (std::getline(file, line)) {
    const auto colon = line.find(':');
    if (colon == std::string::npos) continue;
    std::string key = line.substr(0, colon);
    key.erase(key.find_last_not_of(" \t") + 1);
    if (key != name) continue;
    const auto begin = line.find_first_not_of(" \t", colon + 1);
    return begin == std::string::npos ? std::string() : line.substr(begin);
  }
  return {};
}

/// Distinct pairs of socket and core; 0 where the system does not say.
int num_physical_cores(const std::string& cpuinfo) {
  std::ifstream file(cpuinfo);
  std::string line, socket, core;
  std::set<std::pair<std::string, std::string>> cores;
  while (std::getline(file, line)) {
    const auto colon = line.find(':');
    if (line.rfind("physical id", 0) == 0 && colon != std::string::npos) socket = line.substr(colon);
    if (line.rfind("core id", 0) == 0 && colon != std::string::npos) cores.emplace(socket, line.substr(colon));
  }
  return static_cast<int>(cores.size());
}

nlohmann::json text_or_null(const std::string& text) {
  return text.empty() ? nlohmann::json(nullptr) : nlohmann::json(text);
}

}  // namespace

nlohmann::json environment(const nlohmann::json& versions, const EnvironmentSource& source) {
  const std::string proc = source.root + "/proc/";
  const std::string sys = source.root + "/sys/";
  std::vector<std::string> warnings;

  cpu_set_t usable;
  CPU_ZERO(&usable);
  const int num_usable = sched_getaffinity(0, sizeof(usable), &usable) == 0 ? CPU_COUNT(&usable) : 0;
  const std::string cpuinfo = proc + "cpuinfo";
  std::istringstream flags(field_of(cpuinfo, "flags") + " " + field_of(cpuinfo, "Features"));
  std::vector<std::string> features;
  for (std::string flag; flags >> flag;) {
    if (kFeatures.contains(flag)) features.push_back(flag);
  }

  nlohmann::json json;
  json["cpu"] = {{"model", text_or_null(field_of(cpuinfo, "model name"))},
                 {"num_cores", num_physical_cores(cpuinfo)},
                 {"num_usable_cpus", num_usable},
                 {"features", features}};
  std::istringstream memory(field_of(proc + "meminfo", "MemTotal"));
  std::uint64_t kib = 0;
  json["memory_bytes"] = memory >> kib ? nlohmann::json(kib * 1024) : nlohmann::json(nullptr);
  utsname system{};
  json["kernel"] = uname(&system) == 0 ? std::string(system.sysname) + " " + system.release + " " + system.machine : "";

  const std::string governor = first_line(sys + "devices/system/cpu/cpu0/cpufreq/scaling_governor");
  json["governor"] = text_or_null(governor);
  if (!governor.empty() && governor != "performance") {
    warnings.push_back("the CPU governor is '" + governor + "': clock speeds follow the load");
  }
  std::istringstream load(first_line(proc + "loadavg"));
  double load_1min = 0;
  if (load >> load_1min) {
    json["load_average"] = load_1min;
    if (num_usable > 0 && load_1min > 0.5 * num_usable) {
      std::ostringstream text;
      text << "other programs were using this machine: load " << load_1min << " on " << num_usable << " CPUs";
      warnings.push_back(text.str());
    }
  } else {
    json["load_average"] = nullptr;
  }
  // Control groups version 2: "max 100000" or "200000 100000" (quota and period in microseconds).
  std::istringstream quota(first_line(sys + "fs/cgroup/cpu.max"));
  double quota_us = 0;
  double period_us = 0;
  if (quota >> quota_us >> period_us && period_us > 0 && num_usable > 0 && quota_us / period_us < num_usable) {
    std::ostringstream text;
    text << "a quota allows " << quota_us / period_us << " of " << num_usable << " CPUs";
    warnings.push_back(text.str());
  }
#if defined(__clang__)
  json["compiler"] = "clang " __clang_version__;
#else
  json["compiler"] = "gcc " __VERSION__;
#endif
#ifdef NDEBUG
  json["build_type"] = "optimised";
#else
  json["build_type"] = "with assertions";
  warnings.emplace_back("this is not an optimised build");
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  warnings.emplace_back("this build has sanitizers");
#endif
  json["versions"] = versions;
  json["warnings"] = warnings;
  return json;
}

}  // namespace pajamas
