// free_memory_bytes over made-up /proc and /sys.
#include "base/free_memory.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "support/temporary_folder.h"

namespace pajamas {
namespace {

class FreeMemory : public ::testing::Test {
 protected:
  void put(const std::string& path, const std::string& text) {
    std::filesystem::create_directories((folder_.path() / path).parent_path());
    std::ofstream(folder_.path() / path) << text;
  }
  std::uint64_t free() const { return free_memory_bytes(folder_.path()); }

 private:
  test::TemporaryFolder folder_;
};

constexpr const char* kMemory = "MemTotal:  8000 kB\nMemFree:  10 kB\nMemAvailable:    4000 kB\n";

TEST_F(FreeMemory, NothingKnown) { EXPECT_EQ(free(), UINT64_MAX); }

TEST_F(FreeMemory, TheSystemsOwnFigure) {
  put("proc/meminfo", kMemory);
  put("proc/self/cgroup", "0::/\n");
  EXPECT_EQ(free(), 4000U * 1024);
}

TEST_F(FreeMemory, ALimitOfAnOuterGroup) {
  put("proc/meminfo", kMemory);
  put("proc/self/cgroup", "0::/outer/inner\n");
  put("sys/fs/cgroup/outer/inner/memory.max", "max\n");
  put("sys/fs/cgroup/outer/inner/memory.current", "5\n");
  put("sys/fs/cgroup/outer/memory.max", "1000000\n");
  put("sys/fs/cgroup/outer/memory.current", "400000\n");
  put("sys/fs/cgroup/outer/memory.stat", "anon 1\ninactive_file 100000\nactive_file 7\n");
  EXPECT_EQ(free(), 1000000U - 300000U);
}

TEST_F(FreeMemory, VersionOneAndAFullGroup) {
  put("proc/meminfo", kMemory);
  put("proc/self/cgroup", "5:cpu,cpuacct:/\n4:hugetlb,memory:/container\n0::/\n");
  put("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  put("sys/fs/cgroup/memory/memory.usage_in_bytes", "100\n");
  EXPECT_EQ(free(), 4000U * 1024);
  put("sys/fs/cgroup/memory/container/memory.limit_in_bytes", "1000\n");
  put("sys/fs/cgroup/memory/container/memory.usage_in_bytes", "2000\n");
  put("sys/fs/cgroup/memory/container/memory.stat", "total_inactive_file 300\n");
  EXPECT_EQ(free(), 0U);
}

TEST(FreeMemoryHere, IsSomething) {
  const std::uint64_t bytes = free_memory_bytes();
  EXPECT_GT(bytes, 1U << 20);
}

}  // namespace
}  // namespace pajamas
