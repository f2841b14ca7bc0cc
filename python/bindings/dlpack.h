// The structs of DLPack 1.0 (dmlc/dlpack, include/dlpack/dlpack.h), as far as tensors are passed by them.
#pragma once

#include <cstdint>

namespace mollify::python {

struct DlDevice {
  int32_t type, id;
};  // 1: CPU, 2: CUDA, 3: the host's memory that CUDA pinned
struct DlDataType {
  uint8_t code, bits;
  uint16_t lanes;
};
struct DlTensor {
  void* data;
  DlDevice device;
  int32_t ndim;
  DlDataType dtype;
  int64_t *shape, *strides;  // in elements; no strides: packed
  uint64_t byte_offset;
};
struct DlManaged {
  DlTensor tensor;
  void* context;
  void (*deleter)(DlManaged*);
};
struct DlVersioned {
  struct {
    uint32_t major, minor;
  } version;
  void* context;
  void (*deleter)(DlVersioned*);
  uint64_t flags;
  DlTensor tensor;
};
constexpr uint64_t kReadOnly = 1, kIsCopied = 2;
enum DlCode : uint8_t { kInteger = 0, kUnsigned = 1, kFloat = 2, kBfloat = 4, kComplex = 5, kBool = 6 };

}  // namespace mollify::python
