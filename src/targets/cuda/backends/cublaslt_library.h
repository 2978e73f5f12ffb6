// cuBLASLt, opened at run time: the functions used, its version, one handle. Not the products: cublaslt_product.h.
#pragma once

#include <cublasLt.h>

#include <memory>
#include <string>

namespace pajamas::cuda {

/// Made once a device. The handle may be used from any thread, as cuBLASLt's handles may.
class CublasLtLibrary {
 public:
  /// Throws Error{kDeviceMissing} when there is none, or one of another major version.
  static std::unique_ptr<CublasLtLibrary> open(int device_index);
  ~CublasLtLibrary();
  CublasLtLibrary(const CublasLtLibrary&) = delete;
  CublasLtLibrary& operator=(const CublasLtLibrary&) = delete;

  decltype(&cublasLtGetVersion) get_version = nullptr;
  decltype(&cublasLtGetStatusString) get_status_string = nullptr;
  decltype(&cublasLtCreate) create = nullptr;
  decltype(&cublasLtMatmul) matmul = nullptr;
  decltype(&cublasLtMatmulDescCreate) desc_create = nullptr;
  decltype(&cublasLtMatmulDescDestroy) desc_destroy = nullptr;
  decltype(&cublasLtMatmulDescSetAttribute) desc_set = nullptr;
  decltype(&cublasLtMatrixLayoutCreate) layout_create = nullptr;
  decltype(&cublasLtMatrixLayoutDestroy) layout_destroy = nullptr;
  decltype(&cublasLtMatrixLayoutSetAttribute) layout_set = nullptr;
  decltype(&cublasLtMatmulPreferenceCreate) preference_create = nullptr;
  decltype(&cublasLtMatmulPreferenceDestroy) preference_destroy = nullptr;
  decltype(&cublasLtMatmulPreferenceSetAttribute) preference_set = nullptr;
  decltype(&cublasLtMatmulAlgoGetHeuristic) get_heuristic = nullptr;
  decltype(&cublasLtMatmulAlgoCheck) algo_check = nullptr;
  decltype(&cublasLtMatmulAlgoConfigGetAttribute) algo_get = nullptr;

  cublasLtHandle_t handle() const noexcept { return handle_; }
  /// "13.1.0".
  std::string version() const;
  /// Throws Error{kInternal} "what failed: cuBLASLt's reason".
  void check(cublasStatus_t status, const std::string& what) const;

 private:
  explicit CublasLtLibrary(int device_index);
  cublasLtHandle_t handle_ = nullptr;
};

}  // namespace pajamas::cuda
