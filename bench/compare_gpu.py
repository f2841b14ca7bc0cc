"""The table of compare.py for a GPU: both sides by turns, each case eager, captured, compiled, within a number of minutes.

Groups of cases go in order. In each round mollify_bench runs a group's cases in one process, then torch_side.py, which stays, measures
them. What compiles comes last, the most telling cases first, until the time is up. What fails is named and does no harm to the rest.
"""
import json
import os
import select
import signal
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))

PRECISIONS = ["fp32", "tf32", "bf16"]
SHAPES = ["32_3_64_3_1", "32_64_64_3_1", "32_64_128_3_2", "16_128_128_3_1", "16_128_256_1_2", "8_256_256_3_1", "4_512_512_3_1"]
OPERATIONS = ["add", "copy", "transpose", "sum", "softmax", "cross_entropy_gradient", "batch_norm_gradient", "average_pool", "relu_smoothed",
              "relu_smoothed_gradient"]
SMALL = ["step/chain", "step/cnn_16", "step/smoothed_16", "step/cnn_1024", "step/smoothed_1024"]


def resnet(name, precisions=PRECISIONS):
    return [f"step/{name}/{precision}" for precision in precisions]


class Group:
    """Cases that are measured together; rounds in full and quick, 0: left out."""

    def __init__(self, cases, rounds, quick, modes=("eager", "graphs")):
        self.cases, self.rounds, self.quick, self.modes = cases, rounds, quick, modes


GROUPS = [
    Group(SMALL, 3, 2),
    Group(resnet("resnet18_128"), 3, 2),
    Group(["step/cnn3_deeppoly_64"], 2, 1, ("eager",)),  # of auto_LiRPA, which reads numbers on the host: no graph
    Group(resnet("resnet18_512"), 2, 1),
    Group(resnet("wrn_28_10_128"), 2, 1),
    Group([f"product/{precision}" for precision in ["fp64"] + PRECISIONS], 2, 1, ("eager",)),
    Group([f"operation/{name}" for name in OPERATIONS], 2, 1, ("eager",)),
    Group([f"convolution/{shape}/{kind}/{precision}" for precision in PRECISIONS for shape in SHAPES
           for kind in ("forward", "input_gradient", "weight_gradient")], 1, 0, ("eager",)),
]
COMPILED = ["compiled", "compiled, reduce-overhead"]
COMPILE = ([(case, COMPILED) for case in resnet("resnet18_128") + SMALL]
           + [(f"operation/{name}", COMPILED[:1]) for name in ("relu_smoothed", "relu_smoothed_gradient", "cross_entropy_gradient", "softmax",
                                                               "batch_norm_gradient")]
           + [(case, COMPILED) for case in resnet("resnet18_512", ["bf16", "tf32", "fp32"]) + resnet("wrn_28_10_128", ["bf16", "tf32", "fp32"])])
OURS = ["captured", "eager"]
THEIRS = ["eager"] + COMPILED + ["graphs"]


class Torch:
    """torch_side.py --serve, started again when it dies or does not answer."""

    def __init__(self, python, device, tiny):
        self.command = [python, os.path.join(HERE, "torch_side.py"), "--serve", device] + (["--tiny"] if tiny else [])
        self.process, self.version = None, "?"

    def ask(self, request, limit):
        if self.process is None:
            self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            limit += 60  # its start
        try:
            self.process.stdin.write((json.dumps(request) + "\n").encode())
            self.process.stdin.flush()
            ready, _, _ = select.select([self.process.stdout], [], [], limit)
            line = self.process.stdout.readline() if ready else b""
        except BrokenPipeError:
            line, ready = b"", True
        if line:
            return json.loads(line)
        self.stop()
        return {"error": "died" if ready else "no answer in time"}

    def measure(self, case, mode, limit):
        return self.ask({"case": case, "mode": mode, "limit": limit}, limit + 20)

    def forget(self):
        if self.process is not None:
            self.version = self.ask({"forget": True}, 30).get("version", self.version)

    def stop(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def split_name(name):
    """'cuda/step/cnn_16/captured/iterations:1/manual_time' is the case step/cnn_16 captured; what is not executed in two ways is eager."""
    case = name.split("/", 1)[1].rsplit("/iterations", 1)[0]
    head, _, last = case.rpartition("/")
    return (head, last) if last in OURS else (case, "eager")


def ours(bench, cases, limit, tiny):
    """{(case, execution): {"seconds", counters…} or {"error"}}"""
    command = [bench, f"--benchmark_filter=^cuda/({'|'.join(cases)})(/captured|/eager)?/iterations", "--benchmark_format=json"]
    environment = {**os.environ, **({"MOLLIFY_BENCH_TINY": "1"} if tiny else {})}
    try:
        process = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, timeout=limit, check=False)
        failure = f"mollify_bench ended with {process.returncode}: {process.stderr.decode(errors='replace').strip()[-150:]}"
        rows = json.loads(process.stdout)["benchmarks"] if process.returncode == 0 else None
    except subprocess.TimeoutExpired:
        rows, failure = None, "mollify_bench: no end in time"
    except OSError as error:
        rows, failure = None, f"mollify_bench: {error}"
    except (ValueError, KeyError):
        rows, failure = None, "mollify_bench: no benchmark of that name on this machine"
    if rows is None:
        return {(case, "eager"): {"error": failure} for case in cases}
    results = {}
    for row in rows:
        seconds = row["real_time"] * {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1}[row["time_unit"]]
        counters = {key: row[key] for key in ("B/s", "FLOP/s", "share_of_peak", "peak_MiB", "arena_MiB", "launches", "label") if key in row}
        results[split_name(row["name"])] = {"error": row["error_message"]} if row.get("error_occurred") else {"seconds": seconds, **counters}
    return results


class Comparison:
    def __init__(self, options):
        self.options = options
        self.end = time.monotonic() + (options.minutes or (3 if options.quick else 8)) * 60 - 5
        self.torch = Torch((options.python or ["python3"])[0], "cpu" if options.device == "emulated" else options.device, options.tiny)
        self.results = {}  # case: {"mollify captured": {"seconds": [one a round], …}, "PyTorch eager": …}

    def left(self):
        return self.end - time.monotonic()

    def note(self, case, column, result):
        entry = self.results.setdefault(case, {}).setdefault(column, {"seconds": []})
        entry.update({key: value for key, value in result.items() if key != "seconds"})
        if "seconds" in result:
            entry["seconds"].append(result["seconds"])

    def run_ours(self, cases):
        results = ours(self.options.bench, cases, min(150, max(5, self.left())), self.options.tiny)
        if len(cases) > 1 and any("error" in result and "mollify_bench" in result["error"] for result in results.values()) and self.left() > 60:
            results = {}
            for case in cases:  # each by itself, as one brought the others down
                if self.left() < 5:
                    break
                results.update(ours(self.options.bench, [case], min(60, max(5, self.left())), self.options.tiny))
        for (case, execution), result in results.items():
            self.note(case, f"mollify {execution}", result)

    def run_theirs(self, case, mode, limit):
        column = f"PyTorch {mode}"
        if self.left() < 1:
            return self.note(case, column, {"error": "out of time"})
        if "error" not in self.results.get(case, {}).get(column, {}):
            self.note(case, column, self.torch.measure(case, mode, min(limit, self.left())))

    def run(self):
        wanted = [case for group in GROUPS for case in group.cases if not self.options.cases or any(part in case for part in self.options.cases)]
        for group in GROUPS:
            cases = [case for case in group.cases if case in wanted]
            for _ in range((group.quick if self.options.quick else group.rounds) if cases else 0):
                if self.left() < 15:
                    break
                self.run_ours(cases)
                for case in cases:
                    for mode in group.modes:
                        self.run_theirs(case, mode, 30)
            if cases:
                self.torch.forget()
                self.save(f"{cases[0]} and others" if len(cases) > 1 else cases[0])
        for case, modes in COMPILE:
            if case in wanted and case in self.results and self.left() > 20:
                for mode in modes:
                    self.run_theirs(case, mode, 90)
                self.torch.forget()
                self.save(f"{case} compiled")
        self.torch.stop()

    def save(self, done):
        print(f"{done}: done, {self.left():.0f} s left", file=sys.stderr)
        if self.options.json:
            with open(self.options.json, "w", encoding="utf-8") as file:
                json.dump({"PyTorch": self.torch.version, "tiny": self.options.tiny, "cases": self.results}, file, indent=1)

    def median(self, case, column):
        seconds = self.results[case].get(column, {}).get("seconds")
        return statistics.median(seconds) if seconds else None


def duration(seconds):
    return f"{seconds * 1e6:.1f} µs" if seconds < 1e-4 else f"{seconds * 1e6:.0f} µs" if seconds < 1e-3 else f"{seconds * 1e3:.2f} ms"


def print_table(comparison):
    columns = [f"mollify {execution}" for execution in OURS] + [f"PyTorch {mode}" for mode in THEIRS]
    titles = columns[:2] + [f"PyTorch {comparison.torch.version} eager"] + [column.removeprefix("PyTorch ") for column in columns[3:]]
    rows, failures = [["median time"] + titles + ["ratio", "launches", "peak MiB, PyTorch's", "share of peak"]], []
    rows.append(["---"] * len(rows[0]))
    for case, entries in comparison.results.items():
        medians = [comparison.median(case, column) for column in columns]
        mine, theirs = next((m for m in medians[:2] if m), None), min((m for m in medians[2:] if m), default=None)
        best = entries.get("mollify captured", entries.get("mollify eager", {}))
        memory = [entry.get("peak_MiB") for entry in (best, entries.get("PyTorch eager", {}))]
        share = f"{best['share_of_peak'] * 100:.0f} %" if "share_of_peak" in best else ""
        share += f" ({best['label']})" if "label" in best else ""
        rows.append([case] + [duration(m) if m else "" for m in medians] + [f"{theirs / mine:.2f}" if mine and theirs else "",
                     f"{best['launches']:.0f}" if "launches" in best else "",
                     ", ".join(f"{mib:.0f}" for mib in memory if mib is not None) if memory[0] is not None else "", share.strip()])
        failures += [f"{case}, {column}: {entry['error']}" for column, entry in entries.items() if "error" in entry]
    if comparison.options.tiny:
        print("Tiny sizes: a smoke run, whose times mean nothing.")
    print("The ratio is PyTorch's fastest time to mollify's captured one, or eager where nothing is captured.")
    for row in rows:
        print("| " + " | ".join(row) + " |")
    for failure in failures:
        print(f"failed: {failure}")


def compare(options):
    comparison = Comparison(options)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # with what there is by then
    try:
        comparison.run()
    finally:
        comparison.torch.stop()
        print_table(comparison)
    return 0 if comparison.results else 1
