"""Bounds in auto_LiRPA: prints versions, the median seconds of one case and the process's peak memory in MiB, or writes test fixtures.

usage: lirpa_side.py CASE THREADS              (case names are those of CASES below; `nothing` is the memory of the imports)
       lirpa_side.py --fixtures FILE.json      (bounds of two tiny networks, all weights included)

The interpreter needs PyTorch, auto_LiRPA 0.3 and numpy, appdirs, packaging, pyyaml, tqdm; auto_LiRPA's own pin is PyTorch < 1.13.
"""
import json
import resource
import statistics
import sys
import time
import types

import numpy
import torch
import torch.nn as nn
import torch.onnx.symbolic_helper
import torch.onnx.utils


def bridge_newer_torch():
    """Puts back the private names of PyTorch 1.x and numpy 1.x that auto_LiRPA 0.3 imports; none of them runs while bounds are computed."""
    if "numpy.lib.arraysetops" not in sys.modules:
        module = types.ModuleType("numpy.lib.arraysetops")
        module.isin = numpy.isin
        sys.modules["numpy.lib.arraysetops"] = module
    if not hasattr(torch.onnx.symbolic_helper, "_set_opset_version"):
        from torch.onnx._internal.torchscript_exporter import _globals, utils
        torch.onnx.utils._optimize_graph = utils._optimize_graph
        torch.onnx.symbolic_helper._set_opset_version = lambda version: setattr(_globals.GLOBALS, "export_onnx_opset_version", version)
        torch.onnx.OperatorExportTypes = torch._C._onnx.OperatorExportTypes
    if not hasattr(torch._C.Node, "__getitem__"):
        torch._C.Node.__getitem__ = lambda node, name: getattr(node, node.kindOf(name))(name)


bridge_newer_torch()
import auto_LiRPA  # noqa: E402  (only after the bridge)
from auto_LiRPA import BoundedModule, BoundedTensor, PerturbationLpNorm  # noqa: E402


def cnn3(filters1, filters2):
    return nn.Sequential(nn.Conv2d(1, filters1, 5, 2, 2), nn.ReLU(), nn.Conv2d(filters1, filters2, 4, 2, 1), nn.ReLU(),
                         nn.Flatten(), nn.Linear(49 * filters2, 10))


def margins(labels, classes):
    """Rows e_y - e_t of every t that is not y: [batch, classes - 1, classes]."""
    eye = torch.eye(classes)
    rows = eye[labels].unsqueeze(1) - eye.unsqueeze(0)
    return rows[labels.unsqueeze(1) != torch.arange(classes)].view(len(labels), classes - 1, classes)


def certified_step(network, method, batch, adam=False):
    """Lower bounds of the margins over the box |x' - x| <= 0.1 within [0, 1], mean log(1 + sum exp(-margin)), its gradient."""
    torch.manual_seed(1)
    images, labels = torch.rand(batch, 1, 28, 28), torch.arange(batch) % 10
    lower, upper, rows = (images - 0.1).clamp(0, 1), (images + 0.1).clamp(0, 1), margins(labels, 10)
    bounded = BoundedModule(network, torch.zeros_like(images))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    classes = torch.zeros(batch, dtype=torch.long)

    def step():
        optimizer.zero_grad()
        box = BoundedTensor(images, PerturbationLpNorm(norm=float("inf"), x_L=lower, x_U=upper))
        margin, _ = bounded.compute_bounds(x=(box,), C=rows, method=method, bound_upper=False)
        nn.functional.cross_entropy(torch.cat([torch.zeros(batch, 1), -margin], dim=1), classes).backward()
        if adam:
            optimizer.step()

    return step


CASES = {
    "nothing": lambda: lambda: time.sleep(0.01),
    "tiny_ibp": lambda: certified_step(cnn3(2, 2), "IBP", 64),
    "tiny_crown_ibp": lambda: certified_step(cnn3(2, 2), "CROWN-IBP", 64),
    "tiny_crown": lambda: certified_step(cnn3(2, 2), "CROWN", 64),
    "cnn3_ibp": lambda: certified_step(cnn3(16, 32), "IBP", 64),
    "cnn3_crown_ibp": lambda: certified_step(cnn3(16, 32), "CROWN-IBP", 64),
    "cnn3_crown_ibp_adam": lambda: certified_step(cnn3(16, 32), "CROWN-IBP", 64, adam=True),
    "cnn3_crown4": lambda: certified_step(cnn3(16, 32), "CROWN", 4),
}


def rounded(tensor):
    return (tensor * 1e4).round() / 1e4


def fixture_networks():
    """Name, network, input shape, radii: as small as they can be with neurons stable and unstable in every hidden layer."""
    dense = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    conv = nn.Sequential(nn.Conv2d(1, 2, 3, 1, 1), nn.ReLU(), nn.Conv2d(2, 3, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(27, 4))
    return [("dense", dense, (3,), 1, 0.4), ("conv", conv, (1, 6, 6), 2, 0.2)]


def fixture_methods():
    """Name, method, options. `all neurons`: CROWN for every hidden neuron; else neurons that IBP finds stable in the whole batch keep IBP's
    bounds. alpha-CROWN optimises hidden bounds too unless they are given. Sparse alpha stays off: with most neurons unstable its shapes
    disagree in 0.3."""
    methods = [("IBP", "IBP", {}), ("CROWN-IBP", "CROWN-IBP", {})]
    for line in ("adaptive", "zero-lb", "one-lb", "same-slope"):
        methods.append((f"CROWN {line}", "CROWN", {"relu": line}))
        methods.append((f"CROWN {line}, all neurons", "CROWN", {"relu": line, "sparse_intermediate_bounds": False}))
    alpha = {"sparse_features_alpha": False, "sparse_spec_alpha": False, "optimize_bound_args": {"iteration": 20}}
    return methods + [("alpha-CROWN", "CROWN-Optimized", alpha), ("alpha-CROWN, hidden bounds of CROWN", "CROWN-Optimized", alpha)]


def fixture(network, shape, seed, radius):
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            scale = (2 / parameter[0].numel()) ** 0.5 if parameter.ndim > 1 else 0.3
            parameter.copy_(rounded(scale * torch.randn_like(parameter)))
    center, radii = torch.rand(2, *shape), radius * torch.rand(2, *shape)
    radii[torch.rand(2, *shape) < 0.2] = 0
    radii[1] *= 0.25
    lower, upper = rounded(center - radii), rounded(center + radii)
    outputs = network(lower).shape[1]
    identity = torch.eye(outputs).expand(2, outputs, outputs)
    bounds, hidden = {}, {}
    for name, method, options in fixture_methods():
        bounded = BoundedModule(network, torch.zeros_like(center), bound_opts=options)
        box = BoundedTensor((lower + upper) / 2, PerturbationLpNorm(norm=float("inf"), x_L=lower, x_U=upper))
        fixed = None
        if "hidden" in name:
            bounded.compute_bounds(x=(box,), C=identity, method="CROWN")
            fixed = {relu.inputs[0].name: (relu.inputs[0].lower.detach(), relu.inputs[0].upper.detach()) for relu in bounded.relus}
        low, high = bounded.compute_bounds(x=(box,), C=identity, method=method, intermediate_layer_bounds=fixed)
        bounds[name] = {"lower": low.tolist(), "upper": high.tolist()}
        if method == "CROWN":
            hidden[name] = [{"lower": relu.inputs[0].lower.flatten(1).tolist(), "upper": relu.inputs[0].upper.flatten(1).tolist()}
                            for relu in bounded.relus]
    weights = {name: {"shape": list(values.shape), "data": values.flatten().tolist()} for name, values in network.named_parameters()}
    return {"seed": seed, "layers": [str(layer) for layer in network], "weights": weights, "input_shape": [2, *shape],
            "input_lower": lower.flatten().tolist(), "input_upper": upper.flatten().tolist(), "bounds": bounds,
            "hidden_bounds": {name: hidden[name] for name in ("CROWN adaptive", "CROWN one-lb")}}


def clamp_keeps_gradient():
    """Whether clamp has a gradient at its bounds: alpha-CROWN starts at slopes 0 and 1 and stays there where it has none (PyTorch 2.15)."""
    slope = torch.ones(1, requires_grad=True)
    slope.clamp(0, 1).backward()
    return slope.grad.item() == 1


def versions():
    return f"auto_LiRPA-{auto_LiRPA.__version__},PyTorch-{torch.__version__}"


def main():
    if sys.argv[1] == "--fixtures":
        if not clamp_keeps_gradient():
            sys.exit(f"fixtures: PyTorch {torch.__version__}, whose clamp has no gradient at its bounds; needs one that has, as 1.13")
        torch.set_default_dtype(torch.float64)
        content = {"versions": versions(), "networks": {name: fixture(network, *rest) for name, network, *rest in fixture_networks()}}
        with open(sys.argv[2], "w", encoding="utf-8") as file:
            json.dump(content, file)
        return
    case, threads = sys.argv[1], int(sys.argv[2])
    torch.set_num_threads(threads)
    step = CASES[case]()
    for _ in range(3):
        step()
    times, end = [], time.perf_counter() + 4.0
    while time.perf_counter() < end or len(times) < 5:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    print(versions(), statistics.median(times), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


if __name__ == "__main__":
    main()
