// Networks, layers, losses and weights' files.
#include "bindings.h"

#include <mollify/nn/formats/npy.h>
#include <mollify/nn/layers.h>
#include <mollify/nn/losses.h>
#include <mollify/nn/models.h>
#include <mollify/nn/network.h>
#include <mollify/nn/own_activation.h>
#include <mollify/nn/per_sample.h>
#include <mollify/nn/weights_file.h>

#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/vector.h>

#include "schedules.h"

using mollify::nn::Initialization, mollify::nn::Mode, mollify::nn::Role;
MOLLIFY_CHOICES(Initialization, "initialization",
                "'fan_in_uniform', 'kaiming_uniform', 'kaiming_normal', 'xavier_uniform', 'xavier_normal', 'ibp'",
                {"fan_in_uniform", Initialization::fan_in_uniform},
                {"kaiming_uniform", Initialization::kaiming_uniform},
                {"kaiming_normal", Initialization::kaiming_normal}, {"xavier_uniform", Initialization::xavier_uniform},
                {"xavier_normal", Initialization::xavier_normal}, {"ibp", Initialization::ibp});
MOLLIFY_CHOICES(Mode, "mode", "'train', 'frozen', 'evaluate'", {"train", Mode::train}, {"frozen", Mode::frozen},
                {"evaluate", Mode::evaluate});
MOLLIFY_CHOICES(Role, "role", "'weight', 'bias', 'scale', 'shift', 'statistic'", {"weight", Role::weight},
                {"bias", Role::bias}, {"scale", Role::scale}, {"shift", Role::shift}, {"statistic", Role::statistic});

namespace mollify::python {
namespace {

// Python's Layer: a plan of one, so that it may stand in any number of networks and places.
struct LayerRecipe {
  std::function<nn::LayerPointer()> make;
};
using Layer = LayerRecipe;

Layer sequence_of(const nb::args& layers) {
  std::vector<Layer> parts;
  for (nb::handle part : layers) parts.push_back(nb::cast<Layer>(part));
  return {[parts] {
    std::vector<nn::LayerPointer> made;
    for (const Layer& part : parts) made.push_back(part.make());
    return nn::sequential(std::move(made));
  }};
}

void bind_layers(nb::module_& m) {
  nb::class_<Layer>(m, "Layer", "A part of a network; may stand in several.");
  m.def(
      "dense", [](int64_t outputs, bool bias) { return Layer{[=] { return nn::dense(outputs, bias); }}; }, "outputs"_a,
      "bias"_a = true, "y = x·Wᵀ + b, W [outputs, inputs]");
  m.def(
      "conv2d",
      [](int64_t filters, int64_t kernel, int64_t stride, int64_t padding, int64_t groups, bool bias) {
        return Layer{[=] { return nn::conv2d({filters, kernel, stride, padding, groups, bias}); }};
      },
      "filters"_a, "kernel"_a, "stride"_a = 1, "padding"_a = 0, "groups"_a = 1, "bias"_a = true,
      "Of images [N, H, W, C].");
  m.def(
      "batch_norm",
      [](bool affine, double epsilon, double momentum) {
        return Layer{[=] { return nn::batch_norm({affine, epsilon, momentum}); }};
      },
      "affine"_a = true, "epsilon"_a = 1e-5, "momentum"_a = 0.1, "Over all axes but the last.");
  m.def(
      "average_pool", [](int64_t k, int64_t s, int64_t p) { return Layer{[=] { return nn::average_pool(k, s, p); }}; },
      "kernel"_a, "stride"_a, "padding"_a = 0);
  m.def(
      "max_pool", [](int64_t k, int64_t s, int64_t p) { return Layer{[=] { return nn::max_pool(k, s, p); }}; },
      "kernel"_a, "stride"_a, "padding"_a = 0);
  m.def(
      "global_average_pool", [] { return Layer{nn::global_average_pool}; }, "[N, H, W, C] to [N, C]");
  m.def(
      "flatten", [] { return Layer{nn::flatten}; }, "[N, …] to [N, rest]");
  m.def(
      "dropout", [](double rate) { return Layer{[=] { return nn::dropout(rate); }}; }, "rate"_a, "In training mode.");
  m.def(
      "activation",
      [](const std::string& name) {
        (void)nn::activation(name);  // a wrong name is an error here
        return Layer{[=] { return nn::activation(name); }};
      },
      "name"_a, "An elementwise function by its name, such as 'relu', or one of register_activation.");
  m.def("relu", [] { return Layer{nn::relu}; });
  m.def("sequential", sequence_of, "layers"_a, nb::sig("def sequential(*layers: Layer) -> Layer"));
  m.def(
      "residual",
      [](const Layer& body, const Layer* shortcut, const Layer* before) {
        const auto kept = [](const Layer* layer) { return layer ? *layer : Layer{[] { return nn::LayerPointer(); }}; };
        return Layer{[b = body, s = kept(shortcut), first = kept(before)] {
          return nn::residual(b.make(), s.make(), first.make());
        }};
      },
      "body"_a, "shortcut"_a = nb::none(), "before"_a = nb::none(), "body(before(x)) + shortcut(before(x))");
}

void bind_network(nb::module_& m) {
  nb::class_<nn::Piece>(m, "Piece", "A named piece of the flat vector of weights.")
      .def_ro("name", &nn::Piece::name)
      .def_prop_ro("shape", [](const nn::Piece& p) { return p.shape; })
      .def_prop_ro("role", [](const nn::Piece& p) { return p.role; })
      .def_ro("offset", &nn::Piece::offset);
  nb::class_<nn::Network>(m, "Network", "A pure function of (weights, state, input). All weights are one flat vector.")
      .def(
          "__init__",
          [](nn::Network* self, const std::string& name, const Shape& input, const Layer& root) {
            new (self) nn::Network(name, input, root.make());
          },
          "name"_a, "input"_a, "layers"_a, "`input` is the shape without the batch axis.")
      .def_prop_ro("name", &nn::Network::name)
      .def_prop_ro("input", [](const nn::Network& n) { return n.input(); })
      .def_prop_ro("output", [](const nn::Network& n) { return n.output(); })
      .def_prop_ro(
          "weights", [](const nn::Network& n) { return n.weights(); }, "The pieces of the flat vector.")
      .def_prop_ro(
          "statistics", [](const nn::Network& n) { return n.statistics(); }, "The pieces of the state.")
      .def_prop_ro("weight_count", &nn::Network::weight_count)
      .def("initial_weights", &nn::Network::initial_weights, "how"_a = Initialization::fan_in_uniform, "seed"_a = 0,
           "dtype"_a = DType::f32, "One flat vector.")
      .def("initial_state", &nn::Network::initial_state, "dtype"_a = DType::f32, "Batch norm's statistics.")
      .def(
          "weight",
          [](const nn::Network& n, const Operand& weights, const std::string& piece) {
            return n.weight(weights.tensor(), piece);
          },
          "weights"_a, "piece"_a, "View of a piece of the flat vector by its name.")
      .def(
          "__call__",
          [](const nn::Network& n, const Operand& weights, const Operand& x) {
            return compute([&, w = weights.tensor(), t = x.tensor()] { return n(w, t); });
          },
          "weights"_a, "x"_a, "The outputs of rows [N, …] in evaluation mode, of a network without state.")
      .def(
          "__call__",
          [](const nn::Network& n, const Operand& weights, const OptionalOperand& state, const Operand& x, Mode mode,
             uint64_t seed, uint64_t stream, const Operand& step) {
            const nn::Network::Result found =
                compute([&, w = weights.tensor(), s = state.tensor(), t = x.tensor(), at = step.of(DType::i32)] {
                  return n(w, s, t, mode, {seed, stream}, at);
                });
            return nb::make_tuple(found.output, found.state.defined() ? nb::cast(found.state) : nb::none());
          },
          "weights"_a, "state"_a.none(), "x"_a, "mode"_a = Mode::evaluate, "seed"_a = 0, "stream"_a = 0, "step"_a = 0,
          "(outputs, new state); seed, stream and step are dropout's.",
          nb::sig("def __call__(self, weights: mollify.typing.TensorLike, state: mollify.typing.TensorLike | None, x: "
                  "mollify.typing.TensorLike, mode: typing.Literal['train', 'frozen', 'evaluate'] = 'evaluate', seed: "
                  "int = 0, stream: int = 0, step: mollify.typing.TensorLike = 0) -> tuple[mollify._core.Tensor, "
                  "mollify._core.Tensor | None]"))
      .def("__repr__", [](const nn::Network& n) {
        return format("<mollify.nn.Network {} {} to {}, {} weights>", n.name(), n.input(), n.output(),
                      n.weight_count());
      });
  m.def("make", nn::make, "name"_a, "input"_a, "classes"_a,
        "A network of the papers; `input` is (height, width, channels).");
  m.def("model_names", nn::model_names);
}

void bind_losses(nb::module_& m) {
  m.def(
      "mean_cross_entropy",
      [](const Operand& logits, const Operand& labels) {
        return compute([&, x = logits.tensor(), y = labels.tensor()] { return nn::mean_cross_entropy(x, y); });
      },
      "logits"_a, "labels"_a, "Of logits [B, classes] and labels i32 [B].");
  m.def(
      "mean_squared_error",
      [](const Operand& outputs, const Operand& targets) {
        return compute([&, x = outputs.tensor(), y = targets.tensor()] { return nn::mean_squared_error(x, y); });
      },
      "outputs"_a, "labels_or_targets"_a, "Mean over the batch of ‖output − one_hot(label)‖², or ‖output − target‖².");
  m.def(
      "accuracy",
      [](const Operand& outputs, const Operand& labels) { return nn::accuracy(outputs.tensor(), labels.tensor()); },
      "outputs"_a, "labels"_a, "Share of rows whose largest output is the label's.");
  m.def(
      "per_sample_gradients",
      [](const nn::Network& network, const Operand& weights, const OptionalOperand& state, const Operand& x,
         nb::callable loss) {
        const nn::PerSample found =
            compute([&, w = weights.tensor(), s = state.tensor(), t = x.tensor(), f = tensor_function(loss, "loss")] {
              return nn::per_sample_gradients(network, w, s, t, f);
            });
        return nb::make_tuple(found.losses, found.gradients);
      },
      "network"_a, "weights"_a, "state"_a.none(), "x"_a, "loss"_a,
      "(losses [N], gradients [N, d]); `loss` takes outputs [N, …] to N losses.",
      nb::sig("def per_sample_gradients(network: Network, weights: mollify.typing.TensorLike, state: "
              "mollify.typing.TensorLike | None, x: mollify.typing.TensorLike, loss: "
              "collections.abc.Callable[[mollify._core.Tensor], mollify._core.Tensor]) -> tuple[mollify._core.Tensor, "
              "mollify._core.Tensor]"));
  m.def(
      "register_activation",
      [](const std::string& name, nb::callable function, nb::object derivative) {
        nn::OwnActivation own{.name = name, .function = tensor_function(function, "activation")};
        if (!derivative.is_none()) own.derivative = tensor_function(derivative, "activation");
        const nn::Function made = nn::register_activation(std::move(own));
        return nb::cpp_function([made](const Operand& x) { return compute([&, t = x.tensor()] { return made(t); }); },
                                "x"_a);
      },
      "name"_a, "function"_a, "derivative"_a = nb::none(),
      "An activation of one's own, made of operations: from then on activation(name) is a layer, smoothed by "
      "quadrature. Returns it as a function.",
      nb::sig(
          "def register_activation(name: str, function: collections.abc.Callable[[mollify._core.Tensor], "
          "mollify._core.Tensor], derivative: collections.abc.Callable[[mollify._core.Tensor], mollify._core.Tensor] | "
          "None = None) -> collections.abc.Callable[[mollify.typing.TensorLike], mollify._core.Tensor]"));
}

void bind_files(nb::module_& m) {
  using Path = std::filesystem::path;
  using Metadata = std::map<std::string, std::string>;
  m.def(
      "save",
      [](const Path& path, const nn::Network& network, const Operand& weights, const OptionalOperand& state,
         const Metadata& metadata) {
        compute([&, w = weights.tensor(), s = state.tensor()] { return nn::save(path, network, w, s, metadata), 0; });
      },
      "path"_a, "network"_a, "weights"_a, "state"_a = nb::none(), "metadata"_a = Metadata(),
      "A safetensors file of the pieces by name.");
  m.def(
      "load",
      [](const Path& path, const nn::Network& network) {
        nn::Loaded found = compute([&] { return nn::load(path, network); });
        return nb::make_tuple(found.weights, found.state.defined() ? nb::cast(found.state) : nb::none(),
                              found.metadata);
      },
      "path"_a, "network"_a, "(weights, state, metadata) of exactly this network's pieces.",
      nb::sig("def load(path: str | os.PathLike[str], network: Network) -> tuple[mollify._core.Tensor, "
              "mollify._core.Tensor | None, dict[str, str]]"));
  m.def("described_network", nn::described_network, "file"_a, "metadata"_a,
        "The network that a file's metadata describes, among those that make knows.");
  m.def(
      "read_safetensors",
      [](const Path& path) {
        const nn::SafeTensors found = compute([&] { return nn::read_safetensors(path); });
        return nb::make_tuple(dict_of(found.tensors), found.metadata);
      },
      "path"_a, "(tensors by name, metadata)",
      nb::sig("def read_safetensors(path: str | os.PathLike[str]) -> tuple[dict[str, mollify._core.Tensor], dict[str, "
              "str]]"));
  m.def(
      "write_safetensors",
      [](const Path& path, const nb::dict& tensors, const Metadata& metadata) {
        compute([&, all = map_of(tensors)] { return nn::write_safetensors(path, {all, metadata}), 0; });
      },
      "path"_a, "tensors"_a, "metadata"_a = Metadata());
  m.def(
      "read_npy", [](const Path& path) { return compute([&] { return nn::formats::read_npy(path); }); }, "path"_a);
  m.def(
      "read_npz", [](const Path& path) { return dict_of(compute([&] { return nn::formats::read_npz(path); })); },
      "path"_a);
  m.def(
      "write_npy", [](const Path& path, const Operand& x) { nn::formats::write_npy(path, x.tensor()); }, "path"_a,
      "x"_a);
  m.def(
      "write_npz", [](const Path& path, const nb::dict& arrays) { nn::formats::write_npz(path, map_of(arrays)); },
      "path"_a, "arrays"_a);
}

}  // namespace

void bind_nn(nb::module_& m) {
  bind_layers(m);
  bind_network(m);
  bind_losses(m);
  bind_files(m);
}

}  // namespace mollify::python
