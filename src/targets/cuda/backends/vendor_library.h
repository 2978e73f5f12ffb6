// Opening NVIDIA's libraries at run time, wherever the toolkit, the distribution or pip's packages put them. Not the
// tables of their functions: cudnn_library.h, cublaslt_library.h.
#pragma once

#include <string>
#include <type_traits>

namespace pajamas::cuda {

/// What to open and what to say when it is not there.
struct VendorLibrary {
  std::string title;        ///< "cuDNN"
  std::string soname;       ///< "libcudnn.so.9"
  std::string variable;     ///< Environment variable that names the file, and then alone counts.
  std::string pip_folder;   ///< Folder below nvidia/ in pip's packages: "cudnn/lib".
  std::string pip_package;  ///< "nvidia-cudnn-cu13", for the remedy.
};

/// Handle of dlopen; stays open as long as the process. Throws Error{kDeviceMissing} with every place that was tried.
void* open_vendor_library(const VendorLibrary& library);
/// Throws Error{kDeviceMissing} naming the function that the library lacks.
void* find_function(const VendorLibrary& library, void* handle, const char* name);

/// Fills one entry of a table of functions.
template <typename Function>
void find_function(const VendorLibrary& library, void* handle, const char* name, Function& function) {
  function = reinterpret_cast<Function>(find_function(library, handle, name));
}

}  // namespace pajamas::cuda
