#include <mollify/experiments/device.h>

#include <mollify/engine/cpu/threads.h>
#include <mollify/engine/cuda/gpu.h>
#include <mollify/engine/products.h>

#include <cstdio>

namespace mollify::experiments {

Device use_device(const std::string& command, const DeviceRequest& request) {
  const bool gpu = request.device == "cuda";
  require<UsageError>(!gpu || cuda::available(), "mollify {}: --device: cuda given; {}", command,
                      gpu ? cuda::unavailable_reason() : "");
  require<UsageError>(gpu || request.precision == "fp32", "mollify {}: --precision: {} given; the CPU computes in fp32",
                      command, request.precision);
  if (const std::string missing = gpu ? cuda::missing_products() : ""; !missing.empty())
    std::fprintf(stderr, "mollify %s: matrix products by the slower own kernel: %s\n", command.c_str(),
                 missing.c_str());
  set_precision(request.precision == "tf32"   ? Precision::tf32
                : request.precision == "bf16" ? Precision::bf16
                                              : Precision::fp32);
  require<UsageError>(!gpu || request.products == "own",
                      "mollify {}: --products: {} given; on a GPU its libraries multiply", command, request.products);
  try {
    set_products(request.products == "openblas" ? Products::openblas : Products::own);
  } catch (const Error& error) {
    throw UsageError(format("mollify {}: --products: {}", command, error.what()));
  }
  return gpu ? Device::cuda : Device::cpu;
}

Device use_device_for_bounds(const std::string& command, const DeviceRequest& request, bool fast) {
  require<UsageError>(fast || request.precision == "fp32",
                      "mollify {}: --precision: {} given; bounds that hold in real arithmetic need fp32, "
                      "or --fast",
                      command, request.precision);
  return use_device(command, request);
}

void use_threads(int64_t count) {
  if (count > 0) set_num_threads(static_cast<int>(count));
}

FullPrecision::FullPrecision() : before_(precision()) { set_precision(Precision::fp32); }
FullPrecision::~FullPrecision() { set_precision(before_); }

}  // namespace mollify::experiments
