#include "indexing.h"

#include "exchange.h"

#include <algorithm>

namespace mollify::python {
namespace {

struct Key {
  std::vector<Index> indices;
  std::vector<int> new_axes;  // of the result, rising
  bool chooses = false;       // by a list or a mask
};

int64_t integer(nb::handle item) {
  const Py_ssize_t value = PyNumber_AsSsize_t(item.ptr(), PyExc_IndexError);
  if (value == -1 && PyErr_Occurred()) throw nb::python_error();
  return value;
}

Slice slice_of(nb::handle item) {
  const auto part = [&](const char* name) -> std::optional<int64_t> {
    const nb::object value = item.attr(name);
    if (value.is_none()) return {};
    return integer(value);
  };
  return {part("start"), part("stop"), part("step").value_or(1)};
}

// Places as i32, masks as u8.
Tensor places_of(nb::handle item) {
  if (nb::isinstance<Tensor>(item)) return *nb::inst_ptr<Tensor>(item);
  if (nb::isinstance<nb::list>(item)) {
    std::vector<double> values;
    bool mask = nb::len(item) > 0;
    for (nb::handle one : item) {
      mask = mask && PyBool_Check(one.ptr());
      values.push_back(static_cast<double>(integer(one)));
    }
    return cast(Tensor::from(values, {static_cast<int64_t>(values.size())}), mask ? DType::u8 : DType::i32);
  }
  try {
    return from_foreign(item);
  } catch (const TypeError&) { return copy_of_foreign(item, DType::i32); }  // such as NumPy's 64-bit places
}

bool is_place(nb::handle item) {
  if (PyLong_Check(item.ptr())) return !PyBool_Check(item.ptr());
  return PyIndex_Check(item.ptr()) && !PySequence_Check(item.ptr()) && !nb::isinstance<Tensor>(item);
}

Key read(const Tensor& x, nb::handle key) {
  nb::tuple items = nb::isinstance<nb::tuple>(key) ? nb::borrow<nb::tuple>(key) : nb::make_tuple(key);
  int named = 0, ellipses = 0;
  for (nb::handle item : items) {
    if (item.ptr() == Py_Ellipsis)
      ++ellipses;
    else if (!item.is_none())
      ++named;
  }
  require(ellipses <= 1, "index: {} ellipses into {}; needs one at most", ellipses, x.shape());
  Key read;
  int axis = 0;
  for (nb::handle item : items) {
    if (item.is_none()) {
      read.new_axes.push_back(axis++);
    } else if (item.ptr() == Py_Ellipsis) {
      for (int whole = named; whole < x.rank(); ++whole, ++axis) read.indices.emplace_back(all);
    } else if (is_place(item)) {
      read.indices.emplace_back(integer(item));
    } else if (nb::isinstance<nb::slice>(item)) {
      read.indices.emplace_back(slice_of(item));
      ++axis;
    } else if (nb::isinstance<Tensor>(item) || nb::isinstance<nb::list>(item) || is_foreign(item)) {
      read.indices.emplace_back(places_of(item));
      read.chooses = true;
      ++axis;
    } else {
      const nb::str type = nb::str(item.type());
      throw TypeError(format("index: {} given; needs ints, slices, None, ..., or lists and masks", type.c_str()));
    }
  }
  return read;
}

void require_place(const Tensor& x, int64_t place) {
  const int64_t extent = x.rank() > 0 ? x.shape()[0] : 0;
  if (x.rank() == 0 || (place >= -extent && place < extent)) return;
  const std::string text =
      format("index: {} along axis 0 of {}; needs {} to {}", place, x.shape(), -extent, extent - 1);
  throw nb::index_error(text.c_str());
}

Tensor at(const Tensor& x, const Key& key) {
  const Tensor found = key.indices.empty() ? x : index(x, key.indices);
  if (key.new_axes.empty()) return found;
  // As views: new axes in front, and then to their places.
  Shape shape = found.shape();
  std::vector<int> order;
  for (size_t i = 0; i < key.new_axes.size(); ++i) shape.insert(0, 1);
  int fresh = 0, old = static_cast<int>(key.new_axes.size());
  for (int axis = 0; axis < shape.rank(); ++axis) {
    const bool is_new = std::find(key.new_axes.begin(), key.new_axes.end(), axis) != key.new_axes.end();
    order.push_back(is_new ? fresh++ : old++);
  }
  return permute(expand(found, shape), order);
}

}  // namespace

Tensor get_item(const Tensor& x, nb::handle key) {
  if (PyLong_CheckExact(key.ptr())) {
    const int64_t place = integer(key);
    require_place(x, place);
    return x[place];
  }
  return at(x, read(x, key));
}

void set_item(const Tensor& x, nb::handle key, const Operand& value) {
  const Key where_to = read(x, key);
  const auto overwrite = [&](const Tensor& target) {
    const Tensor values = value.like(x);
    compute(target.size(), [&] { assign(target, expand(values, target.shape())); });
  };
  if (!where_to.chooses) return overwrite(at(x, where_to));
  const auto* mask = where_to.indices.size() == 1 ? std::get_if<Tensor>(&where_to.indices[0].what) : nullptr;
  require<ValueError>(mask && mask->dtype() == DType::u8 && mask->shape() == x.shape(),
                      "index: places of {} by a list are to be overwritten; needs ints, slices or a mask of its shape, "
                      "or where(condition, values, x)",
                      x.shape());
  const Tensor values = value.like(x);
  compute(x.size(), [&] { assign(x, where(*mask, values, x)); });
}

}  // namespace mollify::python
