// Python functions that C++ calls, and interrupts of what takes long.
#pragma once

#include "arguments.h"

#include <functional>
#include <memory>

namespace mollify::python {

// A function of Python, called with the interpreter's lock from wherever it is called. What it raises goes through C++
// as it is.
class Callback {
 public:
  explicit Callback(nb::handle function);

  const nb::object& function() const { return *function_; }

  // What it returns: a tensor, or what can stand for one; a number is of the first argument's dtype. Throws DTypeError,
  // beginning with `what`, for anything else.
  template <class... Arguments>
  Tensor tensor(const char* what, const Tensor& first, const Arguments&... rest) const {
    const nb::gil_scoped_acquire locked;
    if (PyErr_CheckSignals() != 0) throw nb::python_error();
    return read(what, (*function_)(first, rest...), first);
  }

 private:
  static Tensor read(const char* what, const nb::object& result, const Tensor& beside);
  std::shared_ptr<nb::object> function_;
};

// A function of one tensor; `what` begins errors.
std::function<Tensor(const Tensor&)> tensor_function(nb::handle function, const char* what);

// Raises what a signal's handler raises, such as KeyboardInterrupt, some 50 times a second at most: for loops of C++.
void check_interrupts();

// The same function; each call checks for interrupts first.
std::function<Tensor(const Tensor&)> interruptible(std::function<Tensor(const Tensor&)> f);

}  // namespace mollify::python
