// See require_gpu.h.
#include "gpu/require_gpu.h"

#include <cstdlib>

#include "pajamas/error.h"

namespace pajamas::test {
namespace {

struct Found {
  std::shared_ptr<cuda::DeviceContext> device;
  std::string reason;
};

const Found& found() {
  static const Found kFound = [] {
    Found result;
    try {
      result.device = cuda::DeviceContext::open();
    } catch (const Error& error) {
      result.reason = error.message();
    }
    return result;
  }();
  return kFound;
}

}  // namespace

std::shared_ptr<cuda::DeviceContext> gpu() { return found().device; }
std::string why_no_gpu() { return found().reason; }

bool is_gpu_required() {
  const char* wanted = std::getenv("PAJAMAS_REQUIRE");
  return wanted != nullptr && std::string(wanted).find("gpu") != std::string::npos;
}

}  // namespace pajamas::test
