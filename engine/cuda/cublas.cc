#include <mollify/engine/cuda/cublas.h>
#include <mollify/engine/error.h>

#include <cuda_runtime.h>
#include <dlfcn.h>
#include <glob.h>

#include <cstdlib>
#include <string>
#include <vector>

namespace mollify::cuda {
namespace {

// Where Python packages of NVIDIA's keep the library of this version.
std::vector<std::string> wheel_folders() {
  std::vector<std::string> roots;
  for (const char* name : {"VIRTUAL_ENV", "CONDA_PREFIX"})
    if (const char* root = std::getenv(name); root && *root) roots.push_back(std::string(root) + "/lib");
  if (const char* home = std::getenv("HOME"); home && *home) roots.push_back(std::string(home) + "/.local/lib");
  roots.insert(roots.end(), {"/usr/local/lib", "/usr/lib", "/opt/venv/lib"});
  std::vector<std::string> folders;
  for (const std::string& root : roots)
    for (const char* packages : {"site-packages", "dist-packages"})
      for (const std::string& package : {"cu" + std::to_string(CUDART_VERSION / 1000), std::string("cublas")}) {
        glob_t found{};
        if (glob((root + "/python3*/" + packages + "/nvidia/" + package + "/lib").c_str(), 0, nullptr, &found) == 0)
          for (size_t i = 0; i < found.gl_pathc; ++i) folders.push_back(std::string(found.gl_pathv[i]) + "/");
        globfree(&found);
      }
  return folders;
}

// Files to try, in order. A file that the user names is the only one.
std::vector<std::string> candidates() {
  if (const char* named = std::getenv("MOLLIFY_CUBLASLT"); named && *named) return {named};
  const std::string versioned = "libcublasLt.so." + std::to_string(CUDART_VERSION / 1000), plain = "libcublasLt.so";
  std::vector<std::string> files{versioned, plain};
  std::vector<std::string> folders;
  if (const char* home = std::getenv("CUDA_HOME"); home && *home) folders.push_back(std::string(home) + "/lib64/");
  folders.push_back("/usr/local/cuda/lib64/");
  for (const std::string& folder : wheel_folders()) folders.push_back(folder);
  for (const std::string& folder : folders) {
    files.push_back(folder + versioned);
    files.push_back(folder + plain);
  }
  return files;
}

// Never closed: handles and algorithms stay in use until the process ends.
void* open_library() {
  if (!std::getenv("MOLLIFY_CUBLASLT") && dlsym(RTLD_DEFAULT, "cublasLtMatmul")) return RTLD_DEFAULT;
  std::string tried;
  for (const std::string& file : candidates()) {
    if (void* library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL)) return library;
    const char* reason = dlerror();
    tried += "\n  " + (reason ? std::string(reason) : file);
  }
  throw DeviceError(
      "cublasLt: the library was not found; needs cuBLAS, or its libcublasLt.so named by MOLLIFY_CUBLASLT; tried" +
      tried);
}

template <class Function>
void find(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  require<DeviceError>(function != nullptr, "cublasLt: the library found has no {}; needs cuBLAS {} or newer", name,
                       CUDART_VERSION / 1000);
}

CublasLt load() {
  void* library = open_library();
  CublasLt lt{};
  find(library, "cublasLtCreate", lt.create);
  find(library, "cublasLtGetStatusString", lt.status_string);
  find(library, "cublasLtMatmul", lt.matmul);
  find(library, "cublasLtMatmulAlgoGetHeuristic", lt.heuristic);
  find(library, "cublasLtMatmulDescCreate", lt.operation_create);
  find(library, "cublasLtMatmulDescDestroy", lt.operation_destroy);
  find(library, "cublasLtMatmulDescSetAttribute", lt.operation_set);
  find(library, "cublasLtMatrixLayoutCreate", lt.layout_create);
  find(library, "cublasLtMatrixLayoutDestroy", lt.layout_destroy);
  find(library, "cublasLtMatrixLayoutSetAttribute", lt.layout_set);
  find(library, "cublasLtMatmulPreferenceCreate", lt.preference_create);
  find(library, "cublasLtMatmulPreferenceDestroy", lt.preference_destroy);
  find(library, "cublasLtMatmulPreferenceSetAttribute", lt.preference_set);
  return lt;
}

cublasLtHandle_t make_handle() {
  cublasLtHandle_t handle;
  cublas_lt().check(cublas_lt().create(&handle), "cublasLtCreate");
  return handle;
}

}  // namespace

void CublasLt::check(cublasStatus_t status, const char* operation) const {
  require<DeviceError>(status == CUBLAS_STATUS_SUCCESS, "{}: {}", operation, status_string(status));
}

const CublasLt& cublas_lt() {
  static const CublasLt lt = load();  // a throw leaves it for the next call
  return lt;
}

const char* missing_cublas_lt() {
  static const std::string reason = []() -> std::string {
    try {
      (void)cublas_lt();
      return "";
    } catch (const DeviceError& error) {
      if (std::getenv("MOLLIFY_CUBLASLT")) throw;
      return error.what();
    }
  }();
  return reason.empty() ? nullptr : reason.c_str();
}

cublasLtHandle_t cublas_lt_handle() {
  static const cublasLtHandle_t handle = make_handle();
  return handle;
}

}  // namespace mollify::cuda
