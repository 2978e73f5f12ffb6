// A vendor library gone wrong: it looks like ONNX Runtime and like TensorRT, and the first call into it crashes or
// never returns, as the environment variable PAJAMAS_HOSTILE says ("crash", "hang"). For tests of who survives that.
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <string_view>

namespace {

void misbehave() {
  const char* wanted = std::getenv("PAJAMAS_HOSTILE");
  if (wanted != nullptr && std::string_view(wanted) == "hang") {
    for (;;) ::pause();
  }
  std::raise(SIGSEGV);
}

}  // namespace

extern "C" {
const void* OrtGetApiBase() {
  misbehave();
  return nullptr;
}
int getInferLibVersion() {
  misbehave();
  return 0;
}
int getInferLibMajorVersion() { return 0; }
int getInferLibMinorVersion() { return 0; }
int getInferLibPatchVersion() { return 0; }
int getInferLibBuildVersion() { return 0; }
}
