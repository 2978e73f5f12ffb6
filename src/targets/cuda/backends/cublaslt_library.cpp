// See cublaslt_library.h.
#include "targets/cuda/backends/cublaslt_library.h"

#include <cuda_runtime_api.h>

#include "pajamas/error.h"
#include "targets/cuda/backends/vendor_library.h"

namespace pajamas::cuda {

CublasLtLibrary::CublasLtLibrary(int device_index) {
  const VendorLibrary library{"cuBLASLt", "libcublasLt.so.13", "PAJAMAS_CUBLASLT", "cu13/lib", "nvidia-cublas"};
  void* opened = open_vendor_library(library);
  find_function(library, opened, "cublasLtGetVersion", get_version);
  find_function(library, opened, "cublasLtGetStatusString", get_status_string);
  find_function(library, opened, "cublasLtCreate", create);
  find_function(library, opened, "cublasLtMatmul", matmul);
  find_function(library, opened, "cublasLtMatmulDescCreate", desc_create);
  find_function(library, opened, "cublasLtMatmulDescDestroy", desc_destroy);
  find_function(library, opened, "cublasLtMatmulDescSetAttribute", desc_set);
  find_function(library, opened, "cublasLtMatrixLayoutCreate", layout_create);
  find_function(library, opened, "cublasLtMatrixLayoutDestroy", layout_destroy);
  find_function(library, opened, "cublasLtMatrixLayoutSetAttribute", layout_set);
  find_function(library, opened, "cublasLtMatmulPreferenceCreate", preference_create);
  find_function(library, opened, "cublasLtMatmulPreferenceDestroy", preference_destroy);
  find_function(library, opened, "cublasLtMatmulPreferenceSetAttribute", preference_set);
  find_function(library, opened, "cublasLtMatmulAlgoGetHeuristic", get_heuristic);
  find_function(library, opened, "cublasLtMatmulAlgoCheck", algo_check);
  find_function(library, opened, "cublasLtMatmulAlgoConfigGetAttribute", algo_get);
  if (get_version() / 10000 != CUBLAS_VER_MAJOR) {
    throw Error(
        ErrorKind::kDeviceMissing,
        "cuBLASLt " + version() + " was found; this program works with " + std::to_string(CUBLAS_VER_MAJOR) + ".x", {},
        "install cuBLAS of CUDA 13, or set PAJAMAS_CUBLASLT to another libcublasLt.so.13");
  }
  cudaSetDevice(device_index);
  check(create(&handle_), "starting cuBLASLt");
}

std::unique_ptr<CublasLtLibrary> CublasLtLibrary::open(int device_index) {
  return std::unique_ptr<CublasLtLibrary>(new CublasLtLibrary(device_index));
}

// Opened once a process: when that ends, the driver may be gone before, and destroying the handle would call it.
CublasLtLibrary::~CublasLtLibrary() = default;

std::string CublasLtLibrary::version() const {
  const std::size_t number = get_version();
  return std::to_string(number / 10000) + "." + std::to_string(number / 100 % 100) + "." + std::to_string(number % 100);
}

void CublasLtLibrary::check(cublasStatus_t status, const std::string& what) const {
  if (status != CUBLAS_STATUS_SUCCESS) {
    throw Error(ErrorKind::kInternal, what + " failed: " + get_status_string(status));
  }
}

}  // namespace pajamas::cuda
