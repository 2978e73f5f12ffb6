// Text of kernels compiled by the host's compiler, for tests that run device code without a GPU.
#pragma once

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <string>

#include "base/files.h"
#include "support/temporary_folder.h"

namespace pajamas::test {

/// Compiles C++20 text with the project's src/ and tests/ as include folders and opens it; it stays open. nullptr and a
/// failure of the test with the compiler's words when that does not work.
inline void* compiled_for_host(const std::string& text) {
  const TemporaryFolder folder;  // An open library needs its file no more.
  const std::string source = folder / "text.cpp", made = folder / "text.so", log = folder / "log";
  std::ofstream(source) << text;
  const std::string command = "g++ -std=c++20 -O1 -w -fPIC -shared -fno-strict-aliasing -I" PAJAMAS_SOURCE_DIR
                              "/src -I" PAJAMAS_SOURCE_DIR "/tests -o " +
                              made + " " + source + " > " + log + " 2>&1";
  if (std::system(command.c_str()) != 0) {
    ADD_FAILURE() << "the host's compiler refuses the text: " << read_file(log).substr(0, 3000);
    return nullptr;
  }
  void* library = dlopen(made.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) ADD_FAILURE() << dlerror();
  return library;
}

}  // namespace pajamas::test
