// The reader of ONNX files: a module of its own, which alone loads protobuf.
#include "arguments.h"

#include <mollify/nn/formats/onnx.h>

#include <nanobind/stl/filesystem.h>

NB_MODULE(_onnx, m) {
  using namespace mollify;
  using namespace mollify::python;
  nb::set_leak_warnings(false);
  nb::module_::import_("mollify._core");  // which knows networks and exceptions
  m.def(
      "read_onnx",
      [](const std::filesystem::path& path) {
        nn::formats::OnnxModel model = compute([&] { return nn::formats::read_onnx(path); });
        return nb::make_tuple(std::move(model.network), std::move(model.weights));
      },
      "path"_a, "(network, weights) of an ONNX file; inputs and outputs are in the file's order of axes, rows first.",
      nb::sig("def read_onnx(path: str | os.PathLike[str]) -> tuple[mollify._core.nn.Network, mollify._core.Tensor]"));
}
