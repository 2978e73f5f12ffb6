// Tests of base/files.h: writes leave all or nothing, and paths cannot leave their folder.
#include "base/files.h"

#include <gtest/gtest.h>

#include <fstream>

#include "base/digest.h"
#include "pajamas/error.h"
#include "support/temporary_folder.h"

namespace pajamas {
namespace {

namespace fs = std::filesystem;

class FilesTest : public testing::Test {
 protected:
  std::size_t num_entries() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()));
  }
  const test::TemporaryFolder temporary_;
  const fs::path folder_ = temporary_.path();
};

TEST_F(FilesTest, WrittenFileReadsBackAndMaps) {
  write_file(folder_ / "a.txt", "hello");
  write_file(folder_ / "a.txt", "world!");
  EXPECT_EQ(read_file(folder_ / "a.txt"), "world!");
  EXPECT_EQ(MappedFile::open(folder_ / "a.txt")->bytes().size(), 6U);
  EXPECT_EQ(num_entries(), 1U);
}

TEST_F(FilesTest, MissingFileAndFolderAreNamed) {
  try {
    read_file(folder_ / "none");
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
    EXPECT_NE(std::string(error.what()).find("none"), std::string::npos);
  }
  EXPECT_THROW(MappedFile::open(folder_), Error);
}

TEST_F(FilesTest, LimitOnSizeIsKept) {
  write_file(folder_ / "a.txt", "hello");
  EXPECT_THROW(read_file(folder_ / "a.txt", 4), Error);
}

TEST_F(FilesTest, StagedFolderAppearsOnlyOnCommit) {
  {
    StagedDirectory staged(folder_ / "bundle");
    write_file(staged.path() / "f", "1");
    EXPECT_FALSE(fs::exists(folder_ / "bundle"));
  }
  EXPECT_EQ(num_entries(), 0U);
  {
    StagedDirectory staged(folder_ / "bundle");
    write_file(staged.path() / "f", "2");
    staged.commit();
  }
  EXPECT_EQ(read_file(folder_ / "bundle/f"), "2");
  {
    StagedDirectory staged(folder_ / "bundle/");
    write_file(staged.path() / "g", "3");
    staged.commit();
  }
  EXPECT_FALSE(fs::exists(folder_ / "bundle/f"));
  EXPECT_EQ(read_file(folder_ / "bundle/g"), "3");
  EXPECT_EQ(num_entries(), 1U);
}

TEST_F(FilesTest, ALinkUnderTheNameIsNotReplaced) {
  fs::create_directory(folder_ / "elsewhere");
  write_file(folder_ / "elsewhere/f", "1");
  fs::create_directory_symlink("elsewhere", folder_ / "bundle");
  {
    StagedDirectory staged(folder_ / "bundle");
    write_file(staged.path() / "f", "2");
    EXPECT_THROW(staged.commit(), Error);
  }
  EXPECT_TRUE(fs::is_symlink(folder_ / "bundle"));
  EXPECT_EQ(read_file(folder_ / "bundle/f"), "1");
  EXPECT_EQ(num_entries(), 2U);
}

TEST_F(FilesTest, ParentsMadeForAFolderThatNeverCameGoToo) {
  {
    StagedDirectory staged(folder_ / "models/m/target/fp32");
    EXPECT_TRUE(fs::exists(folder_ / "models/m/target"));
  }
  EXPECT_EQ(num_entries(), 0U);
  fs::create_directory(folder_ / "models");
  { StagedDirectory staged(folder_ / "models/m/target/fp32"); }
  EXPECT_TRUE(fs::exists(folder_ / "models")) << "was there before";
  EXPECT_FALSE(fs::exists(folder_ / "models/m"));
}

TEST_F(FilesTest, LeftoversOfDeadProcessesAreRemoved) {
  fs::create_directories(folder_ / ".bundle.partial-4194999-0");  // above the largest process id
  StagedDirectory staged(folder_ / "bundle");
  EXPECT_FALSE(fs::exists(folder_ / ".bundle.partial-4194999-0"));
}

TEST_F(FilesTest, PathsCannotLeaveTheirFolder) {
  write_file(folder_ / "inside", "x");
  EXPECT_NO_THROW(resolve_inside(folder_, "inside"));
  EXPECT_NO_THROW(resolve_inside(folder_, "sub/new"));
  EXPECT_THROW(resolve_inside(folder_, "../x"), Error);
  EXPECT_THROW(resolve_inside(folder_, "a/../../x"), Error);
  EXPECT_THROW(resolve_inside(folder_, "/etc/passwd"), Error);
  EXPECT_THROW(resolve_inside(folder_, ""), Error);
  fs::create_symlink("/etc/passwd", folder_ / "link");
  EXPECT_THROW(resolve_inside(folder_, "link"), Error);
  fs::create_symlink("inside", folder_ / "good_link");
  EXPECT_NO_THROW(resolve_inside(folder_, "good_link"));
}

TEST(Digest, KnownValue) {
  const std::string text = "abc";
  EXPECT_EQ(sha256_hex(std::as_bytes(std::span(text.data(), text.size()))),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

}  // namespace
}  // namespace pajamas
