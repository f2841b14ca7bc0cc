#include <mollify/experiments/info.h>

#include <mollify/datasets/load.h>
#include <mollify/engine/cpu/threads.h>
#include <mollify/engine/cuda/gpu.h>
#include <mollify/nn/models.h>

#include <hwy/targets.h>

#include <cstdio>
#include <fstream>

namespace mollify::experiments {
namespace {

void line(const char* name, const std::string& value) { std::printf("%-12s %s\n", name, value.c_str()); }

std::string compiler() {
#if defined(__clang__)
  return "clang " __clang_version__;
#else
  return "g++ " __VERSION__;
#endif
}

std::string processor() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string text; std::getline(file, text);)
    if (text.rfind("model name", 0) == 0) return text.substr(text.find(':') + 2);
  return "unknown";
}

// Best first: Highway gives better targets lower bits.
std::string names_of(int64_t targets) {
  std::string out;
  for (; targets != 0; targets &= targets - 1)
    out += (out.empty() ? "" : ", ") + std::string(hwy::TargetName(targets & -targets));
  return out;
}

}  // namespace

std::string simd_target() {
  const int64_t available = hwy::SupportedTargets() & HWY_TARGETS;
  return names_of(available & -available);
}

std::string version_text() { return "mollify " MOLLIFY_VERSION; }

int info_command() {
  line("version", version_text());
  line("compiler", compiler());
  line("processor", processor());
  const int64_t compiled = HWY_TARGETS, available = hwy::SupportedTargets() & compiled;
  line("SIMD", simd_target() + " chosen; available: " + names_of(available) + "; compiled: " + names_of(compiled));
  line("products", "own register-tiled kernels, no BLAS library");
  line("threads", std::to_string(num_threads()));
  line("GPU", cuda::available() ? cuda::description() : "none: " + cuda::unavailable_reason());
  if (cuda::available()) line("GPU products", cuda::products());
#ifdef MOLLIFY_MPI
  line("MPI", "processes of mpirun divide perturbed weights");
#else
  line("MPI", "none: this build was set up without it");
#endif
  std::string models;
  for (const std::string& name : nn::model_names()) models += (models.empty() ? "" : ", ") + name;
  line("models", models);
  line("digits", "drawn by the program");
  for (const char* name : {"mnist", "cifar10", "cifar100"}) {
    const auto folder = datasets::find(name);
    line(name, folder ? folder->string() : "not found (in $MOLLIFY_DATA or ./data)");
  }
  return 0;
}

}  // namespace mollify::experiments
