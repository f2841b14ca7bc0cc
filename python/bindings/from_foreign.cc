#include "exchange.h"

#include "dlpack.h"

#include <mollify/engine/cuda/gpu.h>

#include <cstring>
#include <memory>

namespace mollify::python {
namespace {

// What another library lends, whichever way it was asked.
struct Lent {
  std::unique_ptr<void, void (*)(void*)> owner{nullptr, nullptr};
  char* data = nullptr;
  std::vector<int64_t> shape, strides;  // strides in bytes
  DlDataType dtype{};
  DlDevice device{1, 0};
  bool read_only = false, swapped = false;

  int64_t item_size() const { return dtype.bits / 8; }
};

// Memory may be given back on any thread, and after the interpreter is gone.
template <class F>
void with_interpreter(const F& f) {
  if (nb::detail::cleanup_guard guard{}) f();
}

void finish_work() noexcept {
  try {
    cuda::synchronize();
  } catch (const Error&) {}  // told at the next reading of a value
}

std::string name_of(const Lent& lent) {
  const char* kind = lent.dtype.code == kInteger    ? "int"
                     : lent.dtype.code == kUnsigned ? "uint"
                     : lent.dtype.code == kFloat    ? "float"
                     : lent.dtype.code == kBfloat   ? "bfloat"
                     : lent.dtype.code == kComplex  ? "complex"
                     : lent.dtype.code == kBool     ? "bool"
                                                    : "a number of another kind, of bits: ";
  return (lent.swapped ? "big-endian " : "") + std::string(kind) + std::to_string(lent.dtype.bits);
}

std::optional<DType> dtype_of_lent(const Lent& lent) {
  const auto [code, bits, lanes] = lent.dtype;
  if (lanes != 1 || (lent.swapped && bits > 8)) return {};
  if (code == kFloat && bits == 32) return DType::f32;
  if (code == kFloat && bits == 64) return DType::f64;
  if (code == kInteger && bits == 32) return DType::i32;
  if ((code == kUnsigned || code == kBool) && bits == 8) return DType::u8;
  return {};
}

// The struct module's letter for a number; of its size alone where the letter's depends on the platform.
DlDataType dtype_of_format(char letter, Py_ssize_t size) {
  const auto bits = static_cast<uint8_t>(8 * size);
  switch (letter) {
    case 'e':
    case 'f':
    case 'd':
    case 'g': return {kFloat, bits, 1};
    case 'b':
    case 'h':
    case 'i':
    case 'l':
    case 'q':
    case 'n': return {kInteger, bits, 1};
    case 'B':
    case 'H':
    case 'I':
    case 'L':
    case 'Q':
    case 'N': return {kUnsigned, bits, 1};
    case '?': return {kBool, bits, 1};
    case 'c': return {kUnsigned, bits, 1};
  }
  return {letter == 'Z' ? kComplex : DlCode{255}, bits, 1};
}

Lent lent_by_buffer(nb::handle source) {
  const auto give_back = [](void* view) {
    with_interpreter([&] { PyBuffer_Release(static_cast<Py_buffer*>(view)); });
    delete static_cast<Py_buffer*>(view);
  };
  auto view = std::make_unique<Py_buffer>();
  if (PyObject_GetBuffer(source.ptr(), view.get(), PyBUF_RECORDS_RO) != 0) throw nb::python_error();
  Lent lent;
  lent.owner = {view.get(), give_back};
  const Py_buffer& v = *view.release();
  const char* format = v.format ? v.format : "B";
  lent.swapped = *format == '>' || *format == '!';
  if (std::strchr("@=<>!", *format)) ++format;
  lent.dtype = dtype_of_format(format[0] == 'Z' || format[1] == '\0' ? *format : '\0', v.itemsize);
  lent.data = static_cast<char*>(v.buf);
  lent.read_only = v.readonly;
  lent.shape.assign(v.shape, v.shape + v.ndim);
  lent.strides.assign(v.strides, v.strides + v.ndim);
  return lent;
}

void describe(Lent& lent, const DlTensor& tensor) {
  lent.dtype = tensor.dtype;
  lent.device = tensor.device;
  lent.data = static_cast<char*>(tensor.data) + tensor.byte_offset;
  lent.shape.assign(tensor.shape, tensor.shape + tensor.ndim);
  lent.strides.resize(lent.shape.size());
  int64_t packed = lent.item_size();
  for (size_t i = lent.shape.size(); i-- > 0; packed *= lent.shape[i])
    lent.strides[i] = tensor.strides ? tensor.strides[i] * lent.item_size() : packed;
}

template <class Managed>
Lent lent_by_capsule(nb::handle capsule, const char* name, const char* used) {
  auto* managed = static_cast<Managed*>(PyCapsule_GetPointer(capsule.ptr(), name));
  if (!managed || PyCapsule_SetName(capsule.ptr(), used) != 0) throw nb::python_error();
  Lent lent;
  lent.owner = {managed, [](void* held) {
                  auto* m = static_cast<Managed*>(held);
                  if (m->tensor.device.type == 2) finish_work();  // the library's, on memory that others may now use
                  with_interpreter([&] {
                    if (m->deleter) m->deleter(m);
                  });
                }};
  if constexpr (std::is_same_v<Managed, DlVersioned>) {
    require<ValueError>(managed->version.major == 1, "from_dlpack: DLPack {}.{} given; needs 1.x",
                        managed->version.major, managed->version.minor);
    lent.read_only = managed->flags & kReadOnly;
  }
  describe(lent, managed->tensor);
  return lent;
}

// The owner of a GPU's memory makes it ready for the library's stream. Older libraries do not know max_version.
nb::object capsule_of(nb::handle source) {
  if (PyCapsule_CheckExact(source.ptr())) return nb::borrow(source);
  const nb::object method = source.attr("__dlpack__");
  const bool on_gpu =
      nb::hasattr(source, "__dlpack_device__") && nb::cast<int>(source.attr("__dlpack_device__")()[0]) == 2;
  if (on_gpu && cuda::available())
    return method("stream"_a = static_cast<int64_t>(reinterpret_cast<intptr_t>(cuda::work_stream())));
  try {
    return method("max_version"_a = nb::make_tuple(1, 0));
  } catch (const nb::python_error& error) {
    if (!error.matches(PyExc_TypeError)) throw;
  }
  return method();
}

Lent lent_by(nb::handle source) {
  if (PyObject_CheckBuffer(source.ptr())) return lent_by_buffer(source);
  if (!is_foreign(source)) {
    const nb::str type = nb::str(source.type());
    throw TypeError(format("from_dlpack: {} given; needs an array: __dlpack__ or a buffer", type.c_str()));
  }
  const nb::object capsule = capsule_of(source);
  if (PyCapsule_IsValid(capsule.ptr(), "dltensor_versioned"))
    return lent_by_capsule<DlVersioned>(capsule, "dltensor_versioned", "used_dltensor_versioned");
  return lent_by_capsule<DlManaged>(capsule, "dltensor", "used_dltensor");
}

Tensor on_memory_of(Lent lent) {
  const std::optional<DType> dtype = dtype_of_lent(lent);
  require<TypeError>(dtype.has_value(),
                     "from_dlpack: an array of {} given; needs float32, float64, int32 or uint8: convert it where it "
                     "is, such as x.astype('float32'), or copy it by tensor(x, dtype)",
                     name_of(lent));
  Layout layout{.shape = Shape(lent.shape), .strides = Shape(), .dtype = *dtype};
  require<DeviceError>(lent.device.type >= 1 && lent.device.type <= 3,
                       "from_dlpack: an array on device type {} given; needs the CPU's or a CUDA GPU's memory",
                       lent.device.type);
  if (lent.device.type == 2) {
    require<DeviceError>(cuda::available() && lent.device.id == 0,
                         "from_dlpack: an array on cuda:{} given; this build uses cuda:0 where there is one",
                         lent.device.id);
    layout.device = Device::cuda;
  }
  const int64_t size = size_of(*dtype);
  require<ValueError>(reinterpret_cast<uintptr_t>(lent.data) % static_cast<uintptr_t>(size) == 0,
                      "from_dlpack: an array whose address is no multiple of {} bytes given; needs a copy of it, such "
                      "as numpy.require(x, requirements='A')",
                      size);
  int64_t lowest = 0, highest = 0;  // places, in elements
  const bool none = layout.shape.size() == 0;
  for (size_t i = 0; i < lent.shape.size(); ++i) {
    require<ValueError>(lent.strides[i] % size == 0 || lent.shape[i] <= 1,
                        "from_dlpack: strides of {} bytes for elements of {} given; needs a copy of the array, such as "
                        "numpy.ascontiguousarray(x)",
                        lent.strides[i], size);
    const int64_t stride = lent.shape[i] <= 1 ? 1 : lent.strides[i] / size;
    layout.strides.push_back(0);
    layout.strides[static_cast<int>(i)] = stride;
    if (!none) (stride < 0 ? lowest : highest) += stride * (lent.shape[i] - 1);
  }
  if (none) layout = Layout::packed(layout.shape, *dtype, layout.device);
  layout.offset = -lowest;
  const int64_t bytes = none ? 0 : (highest - lowest + 1) * size;
  void (*const give_back)(void*) = lent.owner.get_deleter();
  Buffer* buffer =
      Buffer::foreign(lent.data + lowest * size, bytes, layout.device, lent.read_only, give_back, lent.owner.get());
  (void)lent.owner.release();
  Tensor made = Tensor::on(buffer, layout);
  buffer->release();
  return made;
}

template <class T>
double number_at(const char* place) {
  T value;
  std::memcpy(&value, place, sizeof value);
  if constexpr (sizeof(T) == 8) {
    constexpr T kExact = T{1} << 53;  // f64 holds every whole number up to here
    require<ValueError>(value <= kExact && (std::is_unsigned_v<T> || value >= T(0) - kExact),
                        "tensor: {} given; needs whole numbers up to 2^53", value);
  }
  return static_cast<double>(value);
}

double (*reader_of(const Lent& lent))(const char*) {
  if (lent.swapped || lent.dtype.lanes != 1) return nullptr;
  const bool sign = lent.dtype.code == kInteger;
  if (!sign && lent.dtype.code != kUnsigned) return nullptr;
  switch (lent.dtype.bits) {
    case 8: return sign ? number_at<int8_t> : number_at<uint8_t>;
    case 16: return sign ? number_at<int16_t> : number_at<uint16_t>;
    case 32: return sign ? number_at<int32_t> : number_at<uint32_t>;
    case 64: return sign ? number_at<int64_t> : number_at<uint64_t>;
  }
  return nullptr;
}

}  // namespace

Tensor copied(const Tensor& x) {
  return x.rank() == 0 ? reshape(copied(reshape(x, Shape{1})), Shape{}) : concat(std::span<const Tensor>(&x, 1));
}

bool is_foreign(nb::handle source) noexcept {
  return PyObject_CheckBuffer(source.ptr()) || PyCapsule_CheckExact(source.ptr()) ||
         (!PyType_Check(source.ptr()) && nb::hasattr(source, "__dlpack__"));
}

Tensor from_foreign(nb::handle source) { return on_memory_of(lent_by(source)); }

Tensor copy_of_foreign(nb::handle source, DType dtype) {
  Lent lent = lent_by(source);
  auto* const reader = lent.device.type == 2 || dtype_of_lent(lent) ? nullptr : reader_of(lent);
  if (!reader) {
    const Tensor seen = on_memory_of(std::move(lent));
    if (seen.dtype() != dtype) return cast(seen, dtype);
    return copied(seen);
  }
  const Shape shape(lent.shape);
  std::vector<double> values(static_cast<size_t>(shape.size()));
  for (size_t i = 0; i < values.size(); ++i) {
    const char* place = lent.data;
    int64_t rest = static_cast<int64_t>(i);
    for (int axis = shape.rank(); axis-- > 0; rest /= shape[axis])
      place += rest % shape[axis] * lent.strides[static_cast<size_t>(axis)];
    values[i] = reader(place);
  }
  const Tensor wide = Tensor::from(values, shape);
  return dtype == DType::f64 ? wide : cast(wide, dtype);
}

}  // namespace mollify::python
