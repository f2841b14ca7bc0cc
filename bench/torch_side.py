"""The same work in PyTorch.

usage: torch_side.py CASE THREADS            prints the version, the median seconds of one case and the process's peak memory in MiB
                                             (on the CPU; case names are those of CPU_CASES below)
       torch_side.py --serve DEVICE [--tiny] measures cases of a GPU as compare.py asks for them, a line of JSON each:
                                             {"case", "mode", "limit"} is answered by {"seconds", "peak_MiB"} or {"error"}, and
                                             {"forget"} frees what was made. Case names are those of mollify_bench without its
                                             cuda/ and execution; modes are those of MODES below. --tiny: sizes of a smoke run.
"""
import contextlib
import gc
import json
import os
import resource
import signal
import statistics
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

from torch_models import cnn, cnn3, lenet_300_100, resnet18, wrn_28_10


class How:
    """What a case is measured in: precision of products, compilation, and whether its step is to be captured."""

    def __init__(self, precision="fp32", mode="eager"):
        self.precision, self.mode = precision, mode

    def compiled(self, function):
        return torch.compile(function, **COMPILED[self.mode]) if self.mode in COMPILED else function

    def autocast(self, device):
        return torch.autocast(device.type, torch.bfloat16) if self.precision == "bf16" else contextlib.nullcontext()

    def optimizer(self, kind, parameters, **options):
        parameters = list(parameters)
        if parameters[0].is_cuda:
            options["fused"] = True
            if kind is torch.optim.Adam:
                options["capturable"] = self.mode == "graphs"
        return kind(parameters, **options)


COMPILED = {"compiled": {}, "compiled, reduce-overhead": {"mode": "reduce-overhead"}}
MODES = ["eager", *COMPILED, "graphs"]


def stepper(optimizer, loss):
    def step():
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    return step


def training_step(network, batch, shape, channels_last=False, how=How()):
    images, labels = torch.randn(batch, *shape), torch.arange(batch) % 10
    if channels_last:
        network, images = network.to(memory_format=torch.channels_last), images.to(memory_format=torch.channels_last)
    optimizer = how.optimizer(torch.optim.SGD, network.parameters(), lr=0.01, momentum=0.9)
    forward = how.compiled(lambda: F.cross_entropy(network(images), labels))

    def loss():
        with how.autocast(images.device):
            return forward()

    return stepper(optimizer, loss)


def relu_smoothed(x, s):
    a = x / s
    return x * (0.5 * torch.erfc(-a * 0.7071067811865476)) + s * torch.exp(-0.5 * a * a) * 0.3989422804014327


def relu_square_smoothed(x, s):
    a = x / s
    return (x * x + s * s) * (0.5 * torch.erfc(-a * 0.7071067811865476)) + x * s * torch.exp(-0.5 * a * a) * 0.3989422804014327


def smoothed_step(batch, how=How()):
    """The Table 3 CNN smoothed with paper sigma 0.1, penalties of the split form, Adam: what the closed forms say, written in PyTorch."""
    network, s = cnn(), 0.1 * 0.7071067811865476
    conv, _, pool, flatten, dense1, _, dense2 = network
    images, targets = torch.randn(batch, 1, 28, 28), F.one_hot(torch.arange(batch) % 10, 10).float()

    def variance(x, mean):
        return (relu_square_smoothed(x, s) - mean * mean).sum() / batch

    def weighted(layer, x):
        return s * s * ((layer.weight ** 2).sum() + layer.out_features * (x * x).sum() / batch)

    def loss():
        x1 = conv(images)
        h1 = relu_smoothed(x1, s)
        z1 = flatten(pool(h1))
        x2 = dense1(z1)
        h2 = relu_smoothed(x2, s)
        output = dense2(h2)
        penalty = 1e-7 * variance(x1, h1) + 1e-7 * weighted(dense1, z1) + 1e-5 * variance(x2, h2) + 1e-5 * weighted(dense2, h2)
        return ((output - targets) ** 2).sum() / batch + penalty

    return stepper(how.optimizer(torch.optim.Adam, network.parameters(), lr=1e-3), how.compiled(loss))


def gradient_step(function, x, seed):
    """function(x) and the gradient in x, of seed where there is one."""
    x.requires_grad_()

    def step():
        x.grad = None
        function(x).backward(seed)

    return step


def chain(x):
    y = x
    for _ in range(200):
        y = y * x
    return y


def chain_step(how=How()):
    x, function = torch.full((16,), 0.99), how.compiled(chain)
    return lambda: function(x)


def szo_step(pairs=10, scale=0.05, rate=1e-4):
    """Two-sided zeroth-order estimate and SGD step of LeNet-300-100, batch 64; the flat vector is what the parameters are views of."""
    network, images, labels = lenet_300_100(), torch.randn(64, 1, 28, 28), torch.arange(64) % 10
    weights = flattened(network)

    @torch.no_grad()
    def step():
        start, gradient = weights.clone(), torch.zeros_like(weights)
        F.cross_entropy(network(images), labels)
        for _ in range(pairs):
            z = torch.randn_like(weights)
            torch.add(start, z, alpha=scale, out=weights)
            above = F.cross_entropy(network(images), labels)
            torch.add(start, z, alpha=-scale, out=weights)
            below = F.cross_entropy(network(images), labels)
            gradient.add_(z, alpha=float(above - below) / (2 * scale * pairs))
        torch.add(start, gradient, alpha=-rate, out=weights)

    return step


def flattened(network):
    weights = torch.cat([p.detach().reshape(-1) for p in network.parameters()])
    first = 0
    for p in network.parameters():
        p.data = weights[first:first + p.numel()].view_as(p)
        first += p.numel()
    return weights


def ibp_loss(network, lower, upper, rows):
    """log(1 + sum exp(-margin)) by interval arithmetic, the rows e_y - e_t folded into the last layer."""
    centre, radius = (lower + upper) / 2, (upper - lower) / 2
    for layer in network[:-1]:
        if isinstance(layer, nn.Conv2d):
            centre, radius = layer(centre), F.conv2d(radius, layer.weight.abs(), None, layer.stride, layer.padding)
        elif isinstance(layer, nn.ReLU):
            low, high = torch.relu(centre - radius), torch.relu(centre + radius)
            centre, radius = (low + high) / 2, (high - low) / 2
        else:
            centre, radius = layer(centre), layer(radius)
    weight, bias = rows @ network[-1].weight, rows @ network[-1].bias
    margins = torch.einsum("bri,bi->br", weight, centre) + bias - torch.einsum("bri,bi->br", weight.abs(), radius)
    return torch.log1p(torch.exp(-margins).sum(1)).mean()


def pgpe_step(members=64, scale=0.01):
    """PGPE and an Adam step on IBP's certified loss of CNN3, batch 64."""
    network, images, labels = cnn3(), torch.rand(64, 1, 28, 28), torch.arange(64) % 10
    weights = flattened(network)
    lower, upper = (images - 0.1).clamp(0, 1), (images + 0.1).clamp(0, 1)
    eye = torch.eye(10)
    rows = (eye[labels].unsqueeze(1) - eye.unsqueeze(0))[labels.unsqueeze(1) != torch.arange(10)].view(64, 9, 10)
    point = weights.clone()
    optimizer = torch.optim.Adam([point], lr=1e-3)

    @torch.no_grad()
    def step():
        point.grad = torch.zeros_like(point)
        weights.copy_(point)
        ibp_loss(network, lower, upper, rows)
        for _ in range(members // 2):
            z = torch.randn_like(point)
            torch.add(point, z, alpha=scale, out=weights)
            above = ibp_loss(network, lower, upper, rows)
            torch.add(point, z, alpha=-scale, out=weights)
            below = ibp_loss(network, lower, upper, rows)
            point.grad.add_(z, alpha=float(above - below) / (scale * members))
        optimizer.step()

    return step


def votes(network, draws, batch, shape, channels_last=False):
    """As certify of locuslab/smoothing counts them: copies of an image under noise, a batch at a time."""
    image = torch.rand(1, *shape)
    if channels_last:
        network, image = network.to(memory_format=torch.channels_last), image.to(memory_format=torch.channels_last)
    network.eval()

    @torch.inference_mode()
    def step():
        counts = torch.zeros(10, dtype=torch.int64)
        for first in range(0, draws, batch):
            rows = image.repeat(min(batch, draws - first), 1, 1, 1)
            counts += torch.bincount(network(rows + torch.randn_like(rows) * 0.25).argmax(1), minlength=10)
        return counts

    return step


CPU_CASES = {
    "szo": szo_step,
    "pgpe": pgpe_step,
    "cnn16": lambda: training_step(cnn(), 16, (1, 28, 28)),
    "cnn128": lambda: training_step(cnn(), 128, (1, 28, 28)),
    "chain": lambda: gradient_step(lambda x: chain(x).sum(), torch.full((16,), 0.99), None),
    "chain_forward": chain_step,
    "resnet32": lambda: training_step(resnet18(), 32, (3, 32, 32)),
    "resnet32_channels_last": lambda: training_step(resnet18(), 32, (3, 32, 32), True),
    "smoothed16": lambda: smoothed_step(16),
    "smoothed128": lambda: smoothed_step(128),
    "relu_smoothed": lambda: gradient_step(lambda x: relu_smoothed(x, 0.1), torch.randn(4_000_000), torch.ones(4_000_000)),
    "votes250": lambda: votes(cnn(), 10_000, 250, (1, 28, 28)),
    "votes1000": lambda: votes(cnn(), 10_000, 1000, (1, 28, 28)),
    "resnet_votes": lambda: votes(resnet18(), 250, 250, (3, 32, 32)),
    "resnet_votes_channels_last": lambda: votes(resnet18(), 250, 250, (3, 32, 32), True),
    "normal": lambda: lambda: torch.randn(1_000_000),
}


def channels_last(*shape):
    return torch.randn(*shape).contiguous(memory_format=torch.channels_last)


def batch_norm_step(images, how):
    channels = images[1]
    scale, shift = torch.randn(channels, requires_grad=True), torch.randn(channels, requires_grad=True)
    function = how.compiled(lambda x: F.batch_norm(x, None, None, scale, shift, training=True))
    return gradient_step(function, channels_last(*images), channels_last(*images))


def operation(name, tiny, how):
    flat, square, rows = ((1 << 10,), (32, 48), (8, 1000)) if tiny else ((1 << 26,), (8192, 8192), (1 << 16, 1024))
    images = (2, 8, 4, 4) if tiny else (128, 512, 32, 32)

    def of(function, *inputs):
        function = how.compiled(function)
        return lambda: function(*inputs)

    if name == "add":
        return of(torch.add, torch.randn(flat), torch.randn(flat))
    if name == "copy":
        return of(torch.Tensor.copy_, torch.empty(flat), torch.randn(flat))
    if name == "transpose":
        return of(lambda x: x.t().contiguous(), torch.randn(square))
    if name == "sum":
        return of(torch.sum, torch.randn(flat))
    if name == "softmax":
        return of(lambda x: torch.softmax(x, 1), torch.randn(rows))
    if name == "cross_entropy_gradient":
        labels, function = torch.randn(rows).argmax(1), how.compiled(F.cross_entropy)
        return gradient_step(lambda x: function(x, labels), torch.randn(rows), None)
    if name == "batch_norm_gradient":
        return batch_norm_step(images, how)
    if name == "average_pool":
        return of(lambda x: F.avg_pool2d(x, 2), channels_last(*images))
    if name == "relu_smoothed":
        return of(lambda x: relu_smoothed(x, 0.1), torch.randn(flat))
    if name == "relu_smoothed_gradient":
        return gradient_step(how.compiled(lambda x: relu_smoothed(x, 0.1)), torch.randn(flat), torch.randn(flat))
    raise ValueError(f"no operation {name}")


def product(precision, tiny):
    """Operands of bf16 are bf16 already."""
    dtype = {"fp64": torch.float64, "bf16": torch.bfloat16}.get(precision, torch.float32)
    extent = 48 if tiny else 4096
    a, b = torch.randn(extent, extent).to(dtype), torch.randn(extent, extent).to(dtype)
    return lambda: a @ b


def convolution(sizes, kind, precision, tiny):
    """Operands of bf16 are bf16 already."""
    extent, channels, filters, kernel, stride = map(int, sizes.split("_"))
    dtype, padding = torch.bfloat16 if precision == "bf16" else torch.float32, kernel // 2
    x = channels_last(1 if tiny else 128, channels, extent, extent).to(dtype)
    w = channels_last(filters, channels, kernel, kernel).to(dtype)
    g = F.conv2d(x, w, None, stride, padding)
    if kind == "forward":
        return lambda: F.conv2d(x, w, None, stride, padding)
    wanted = [kind == "input_gradient", kind == "weight_gradient", False]
    return lambda: torch.ops.aten.convolution_backward(g, x, w, None, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], 1, wanted)


def deeppoly_step(batch, tiny):
    """Of auto_LiRPA, which makes tensors in every step."""
    import lirpa_side
    device = torch.empty(0).device
    whole = lirpa_side.certified_step(lirpa_side.cnn3(2, 2) if tiny else lirpa_side.cnn3(16, 32), "CROWN", batch, adam=True)

    def step():
        with device:
            whole()

    return step


def whole_step(name, tiny, how):
    if name == "chain":
        return chain_step(how)
    model, batch = name.rsplit("_", 1)
    batch, extent = (2, 8) if tiny else (int(batch), 32)
    if model == "cnn":
        return training_step(cnn(), batch, (1, 28, 28), how=how)
    if model == "smoothed":
        return smoothed_step(batch, how)
    if model == "cnn3_deeppoly":
        return deeppoly_step(batch, tiny)
    network = {"resnet18": resnet18, "wrn_28_10": wrn_28_10}[model]()
    return training_step(network, batch, (3, extent, extent), True, how)


def captured(step):
    """One CUDA graph of the step, whose inputs stay where they are."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()

    def replay(keep=step):
        graph.replay()

    return replay


class Server:
    def __init__(self, device, tiny):
        self.device, self.tiny, self.steps = torch.device(device), tiny, {}
        torch.backends.cudnn.benchmark = True

    def answer(self, request):
        if request.get("forget"):
            self.steps.clear()
            if "torch._dynamo" in sys.modules:
                torch._dynamo.reset()
            gc.collect()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            return {"version": torch.__version__}
        start = time.monotonic()
        try:
            signal.setitimer(signal.ITIMER_REAL, request["limit"])
            return self.measure(request["case"], request["mode"])
        except Exception as error:  # of any kind: it is reported, and the other cases go on
            if time.monotonic() - start >= request["limit"]:
                return {"error": f"not done in {request['limit']:.0f} s"}
            return {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]}
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def measure(self, case, mode):
        precision = case.rsplit("/", 1)[1] if case.rsplit("/", 1)[1] in ("tf32", "bf16") else "fp32"
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
        if (case, mode) not in self.steps:
            with self.device:  # where new tensors are; left before the step runs, as each call in it costs time
                step = self.make(case, mode, precision)
            self.steps[case, mode] = captured(step) if mode == "graphs" else step
        step = self.steps[case, mode]
        for _ in range(2):
            step()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        seconds = self.median_seconds(step)
        peak = torch.cuda.max_memory_allocated() if self.device.type == "cuda" else 0
        return {"seconds": seconds, "peak_MiB": peak / (1 << 20)}

    def make(self, case, mode, precision):
        kind, name, *rest = case.split("/")
        how = How(precision, mode)
        if kind == "operation":
            return operation(name, self.tiny, how)
        if kind == "product":
            return product(name, self.tiny)
        if kind == "convolution":
            return convolution(name, rest[0], precision, self.tiny)
        return whole_step(name, self.tiny, how)

    def seconds_of(self, count, step):
        if self.device.type != "cuda":
            start = time.perf_counter()
            for _ in range(count):
                step()
            return time.perf_counter() - start
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        for _ in range(count):
            step()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) * 1e-3

    def median_seconds(self, step):
        """Median over runs of at least 10 ms, as measure.cc does it."""
        first = self.seconds_of(1, step)
        if first > 0.1:
            return min(first, self.seconds_of(1, step))
        count = max(1, min(4096, round(0.01 / max(self.seconds_of(4, step) / 4, 1e-7) + 0.5)))
        runs = []
        while sum(runs) * count < 0.1 or len(runs) < 5:
            runs.append(self.seconds_of(count, step) / count)
        return statistics.median(runs)


def serve(device, tiny):
    def out_of_time(*_):
        raise TimeoutError("its time limit")

    signal.signal(signal.SIGALRM, out_of_time)
    server = Server(device, tiny)
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)  # what libraries print is no answer
        for line in sys.stdin:
            print(json.dumps(server.answer(json.loads(line))), file=answers, flush=True)


def main():
    if sys.argv[1] == "--serve":
        return serve(sys.argv[2], "--tiny" in sys.argv)
    case, threads = sys.argv[1], int(sys.argv[2])
    torch.set_num_threads(threads)
    step = CPU_CASES[case]()
    step()
    times, end = [], time.perf_counter() + 2.0
    while time.perf_counter() < end or len(times) < 5:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    print(torch.__version__, statistics.median(times), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


if __name__ == "__main__":
    main()
