// The library's exceptions as the classes of mollify/errors.py, with the same texts.
#include "bindings.h"

#include <mollify/datasets/load.h>

#include <new>

namespace mollify::python {
namespace {

void raise(const char* name, const char* text) {
  const nb::object type = nb::module_::import_("mollify.errors").attr(name);
  PyErr_SetString(type.ptr(), text);
}

}  // namespace

void bind_errors(nb::module_&) {
  nb::register_exception_translator([](const std::exception_ptr& thrown, void*) {
    try {
      std::rethrow_exception(thrown);
    } catch (const ShapeError& error) { raise("ShapeError", error.what()); } catch (const TypeError& error) {
      raise("DTypeError", error.what());
    } catch (const DeviceError& error) { raise("DeviceError", error.what()); } catch (const GraphError& error) {
      raise("GraphError", error.what());
    } catch (const ValueError& error) { raise("ArgumentError", error.what()); } catch (const MemoryError& error) {
      raise("OutOfMemoryError", error.what());
    } catch (const FormatError& error) {
      raise("FormatError", error.what());
    } catch (const datasets::MissingData& error) {
      raise("MissingDataError", error.what());
    } catch (const Error& error) { raise("Error", error.what()); }
  });
}

}  // namespace mollify::python
