#include "callbacks.h"

#include <chrono>

namespace mollify::python {

Callback::Callback(nb::handle function)
    : function_(new nb::object(nb::borrow(function)), [](nb::object* held) {
        // The last holder may be any thread, and may outlive the interpreter.
        if (nb::detail::cleanup_guard guard{}) delete held;
      }) {
  if (!PyCallable_Check(function.ptr())) {
    const nb::str type = nb::str(function.type());
    throw TypeError(format("callback: {} given; needs a function", type.c_str()));
  }
}

Tensor Callback::read(const char* what, const nb::object& result, const Tensor& beside) {
  Operand operand;
  if (!operand.read(result)) {
    const nb::str type = nb::str(result.type());
    throw TypeError(format("{}: the function returned {}; needs a tensor", what, type.c_str()));
  }
  return operand.like(beside);
}

std::function<Tensor(const Tensor&)> tensor_function(nb::handle function, const char* what) {
  return [callback = Callback(function), what](const Tensor& x) { return callback.tensor(what, x); };
}

void check_interrupts() {
  using Clock = std::chrono::steady_clock;
  thread_local Clock::time_point last = Clock::now();
  const Clock::time_point now = Clock::now();
  if (now - last < std::chrono::milliseconds(20)) return;
  last = now;
  const nb::gil_scoped_acquire locked;
  if (PyErr_CheckSignals() != 0) throw nb::python_error();
}

std::function<Tensor(const Tensor&)> interruptible(std::function<Tensor(const Tensor&)> f) {
  return [f = std::move(f)](const Tensor& x) {
    check_interrupts();
    return f(x);
  };
}

}  // namespace mollify::python
