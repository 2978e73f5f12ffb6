// Fuzz target for the ONNX reader, checker, inliner and writer: any bytes either become a model or a pajamas::Error, a
// model survives being written and read again, and a model that passes the check still passes after inlining.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>

#include "base/log.h"
#include "graph/checker.h"
#include "graph/inline_functions.h"
#include "io/onnx_reader.h"
#include "io/onnx_writer.h"
#include "pajamas/error.h"

namespace {

using namespace pajamas;

void require(bool is_true, const char* claim) {
  if (is_true) return;
  std::fprintf(stderr, "violated: %s\n", claim);
  std::abort();
}

Model read_back(const std::string& bytes) {
  try {
    return parse_onnx(std::as_bytes(std::span(bytes.data(), bytes.size())));
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    require(false, "what the writer wrote can be read");
  }
  return {};
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  set_log_level("off");
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Model model;
  try {
    model = parse_onnx(std::as_bytes(std::span(data, size)));
  } catch (const Error&) {
    return 0;
  }
  const std::string bytes = serialize_onnx(model);
  require(serialize_onnx(read_back(bytes)) == bytes, "reading what was written gives the same model");
  CheckLimits limits;
  limits.max_nodes = 10'000;  // Small, so that inlining stays fast.
  try {
    check_model(model, limits);
  } catch (const Error&) {
    return 0;
  }
  if (model.functions.empty()) return 0;
  try {
    inline_functions(model);
  } catch (const Error& error) {
    require(error.kind() == ErrorKind::kUnsupported, "inlining a checked model fails for an opset only");
    return 0;
  }
  try {
    check_model(model, limits);
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    require(false, "a checked model still passes after inlining");
  }
  return 0;
}
