#include "exchange.h"

#include "dlpack.h"

#include <mollify/engine/cuda/gpu.h>

#include <cstring>
#include <memory>

namespace mollify::python {
namespace {

void require_no_history(const Tensor& x) {
  require<GraphError>(
      !x.needs_grad(),
      "export: a tensor {} with a history is to leave the library, where gradients would be lost; needs "
      "x.detach()",
      x.shape());
}

// Numbers that several places share are for reading only, as in NumPy.
bool is_read_only(const Tensor& x) {
  for (int i = 0; i < x.rank(); ++i)
    if (x.strides()[i] == 0 && x.shape()[i] > 1) return true;
  return x.buffer().read_only();
}

char* readable_memory(const Tensor& x) {
  require_no_history(x);
  char* place = nullptr;
  if (x.device() == Device::cuda) {
    cuda::synchronize();  // consumers work on streams of their own
    return x.first_byte();
  }
  for_dtype(x.dtype(), [&](auto zero) { place = reinterpret_cast<char*>(x.data<decltype(zero)>()); });
  return place;
}

struct Exported {
  Tensor x;
  int64_t shape[kMaxRank], strides[kMaxRank];

  explicit Exported(const Tensor& tensor, int64_t stride_unit = 1) : x(tensor) {
    for (int i = 0; i < x.rank(); ++i) {
      shape[i] = x.shape()[i];
      strides[i] = x.strides()[i] * stride_unit;
    }
  }
};

DlTensor dl_tensor(Exported& exported, char* data) {
  const Tensor& x = exported.x;
  const auto bits = static_cast<uint8_t>(8 * size_of(x.dtype()));
  const uint8_t code = is_floating(x.dtype()) ? kFloat : x.dtype() == DType::i32 ? kInteger : kUnsigned;
  return {data, {x.device() == Device::cuda ? 2 : 1, 0}, x.rank(), {code, bits, 1}, exported.shape, exported.strides,
          0};
}

template <class Managed>
nb::object capsule_with(const Tensor& x, const char* name, uint64_t flags) {
  auto exported = std::make_unique<Exported>(x);
  char* const data = readable_memory(x);
  auto managed = std::make_unique<Managed>();
  managed->tensor = dl_tensor(*exported, data);
  if constexpr (std::is_same_v<Managed, DlVersioned>) {
    managed->version = {1, 0};
    managed->flags = flags;
  }
  managed->deleter = [](Managed* m) {
    delete static_cast<Exported*>(m->context);
    delete m;
  };
  const nb::object capsule = nb::steal(PyCapsule_New(managed.get(), name, [](PyObject* unused) {
    const char* now = PyCapsule_GetName(unused);  // a consumer would have renamed it
    if (std::strncmp(now, "used", 4) == 0) return;
    auto* m = static_cast<Managed*>(PyCapsule_GetPointer(unused, now));
    m->deleter(m);
  }));
  if (!capsule.is_valid()) throw nb::python_error();
  managed.release()->context = exported.release();
  return capsule;
}

int get_buffer(PyObject* self, Py_buffer* view, int flags) noexcept {
  view->obj = nullptr;
  try {
    const Tensor& x = *nb::inst_ptr<Tensor>(self);
    require_array(x);
    char* const data = readable_memory(x);
    const int64_t size = size_of(x.dtype());
    const bool read_only = is_read_only(x);
    if ((flags & PyBUF_WRITABLE) && read_only) {
      PyErr_SetString(PyExc_BufferError, "export: a tensor in memory for reading only; needs a copy of it");
      return -1;
    }
    if ((flags & PyBUF_STRIDES) != PyBUF_STRIDES && !x.is_packed()) {
      PyErr_SetString(PyExc_BufferError,
                      "export: a tensor that is not row-major, as one run of bytes; needs packed(x)");
      return -1;
    }
    auto exported = std::make_unique<Exported>(x, size);
    static const char* const formats[] = {"f", "d", "i", "B"};
    view->buf = data;
    view->len = x.size() * size;
    view->itemsize = size;
    view->readonly = read_only;
    view->ndim = x.rank();
    view->format = flags & PyBUF_FORMAT ? const_cast<char*>(formats[static_cast<int>(x.dtype())]) : nullptr;
    static_assert(sizeof(Py_ssize_t) == sizeof(int64_t));
    view->shape = flags & PyBUF_ND ? reinterpret_cast<Py_ssize_t*>(exported->shape) : nullptr;
    view->strides =
        (flags & PyBUF_STRIDES) == PyBUF_STRIDES ? reinterpret_cast<Py_ssize_t*>(exported->strides) : nullptr;
    view->suboffsets = nullptr;
    view->internal = exported.release();
    view->obj = Py_NewRef(self);
    return 0;
  } catch (const std::exception& error) { PyErr_SetString(PyExc_BufferError, error.what()); }
  return -1;
}

void release_buffer(PyObject*, Py_buffer* view) noexcept { delete static_cast<Exported*>(view->internal); }

}  // namespace

void require_array(const Tensor& x) {
  require<DeviceError>(x.device() == Device::cpu, "export: a tensor on {} as an array of the CPU; needs to(x, 'cpu')",
                       x.device());
  require_no_history(x);
}

nb::object to_dlpack(const Tensor& x, nb::handle max_version, nb::handle device, nb::handle copy) {
  require<DeviceError>(device.is_none() || dlpack_device(x).equal(device),
                       "__dlpack__: a tensor on {} is asked for on another device; needs to(x, device)", x.device());
  const bool copies = !copy.is_none() && nb::cast<bool>(copy);
  const Tensor given = copies ? copied(x.detach()) : x;
  if (copies) require_no_history(x);
  const bool versioned = !max_version.is_none() && nb::cast<int>(max_version[0]) >= 1;
  const bool read_only = is_read_only(given);
  if (versioned)
    return capsule_with<DlVersioned>(given, "dltensor_versioned",
                                     (read_only ? kReadOnly : 0) | (copies ? kIsCopied : 0));
  if (read_only)
    throw nb::buffer_error(
        "__dlpack__: a tensor in memory for reading only, which DLPack says from version 1 on; needs "
        "a copy of it");
  return capsule_with<DlManaged>(given, "dltensor", 0);
}

nb::tuple dlpack_device(const Tensor& x) { return nb::make_tuple(x.device() == Device::cuda ? 2 : 1, 0); }

PyType_Slot tensor_slots[] = {{Py_bf_getbuffer, reinterpret_cast<void*>(get_buffer)},
                              {Py_bf_releasebuffer, reinterpret_cast<void*>(release_buffer)},
                              {0, nullptr}};

}  // namespace mollify::python
