#!/usr/bin/env python3
"""Runs the same work in mollify and in PyTorch, or auto_LiRPA, by turns and prints one table of medians and ratios.

usage: compare.py [--bench build/bench/mollify_bench] [--peer torch|lirpa] [--python INTERPRETER_WITH_THE_PEER ...] [--threads 2] [--rounds 5]
       compare.py --peer openblas [--bench …] [--threads 2] [--rounds 5]
       compare.py --device cuda [--quick] [--minutes M] [--json FILE] [--bench …] [--python INTERPRETER_WITH_TORCH] [CASE …]

Debian's PyTorch is the package python3-torch (--python /usr/bin/python3); give --python again for a newer one beside it. What
auto_LiRPA needs is in lirpa_side.py. OpenBLAS is the library's other backend of products: GFLOP/s of both, shape by shape, on one
thread and on --threads. On a GPU the table takes 8 minutes, 3 with --quick, and holds captured, eager, compiled and graphed steps;
CASE: only cases whose name holds it.
"""
import argparse
import json
import os
import resource
import statistics
import subprocess
import sys

import compare_gpu

HERE = os.path.dirname(os.path.abspath(__file__))

# Of each peer: its name, its script, and rows of name, our benchmark, its cases (the fastest counts)
TORCH = [
    ("Table 3 CNN, SGD step, batch 16", "training_step/cnn/16/real_time", ["cnn16"]),
    ("Table 3 CNN, SGD step, batch 128", "training_step/cnn/128/real_time", ["cnn128"]),
    ("Table 3 CNN, SGD step captured, batch 16", "training_step/cnn_captured/16/real_time", ["cnn16"]),
    ("Table 3 CNN, SGD step captured, batch 128", "training_step/cnn_captured/128/real_time", ["cnn128"]),
    ("200 dependent products of 16 numbers, forward and backward", "chain_gradient/real_time", ["chain"]),
    ("200 dependent products of 16 numbers, captured", "captured_chain/real_time", ["chain_forward"]),
    ("ResNet-18 (CIFAR form), SGD step, batch 32", "training_step/resnet18/32/real_time", ["resnet32", "resnet32_channels_last"]),
    ("ResNet-18 (CIFAR form), SGD step captured, batch 32", "training_step/resnet18_captured/32/real_time", ["resnet32", "resnet32_channels_last"]),
    ("Table 3 CNN smoothed, Adam step, batch 16", "adam_step_smoothed/split/16/real_time", ["smoothed16"]),
    ("Table 3 CNN smoothed, Adam step, batch 128", "adam_step_smoothed/split/128/real_time", ["smoothed128"]),
    ("relu_s of 4,000,000 numbers, forward and backward", "relu_smoothed_gradient/4000000/real_time", ["relu_smoothed"]),
    ("LeNet-300-100, zeroth-order step, 10 pairs, batch 64", "szo_step/dense/real_time", ["szo"]),
    ("the same of 3,844 of its 266,610 weights", "szo_step/active3844/real_time", ["szo"]),
    ("CNN3, PGPE step on IBP's loss, 64 members, batch 64", "pgpe_step/real_time", ["pgpe"]),
    ("Table 3 CNN, 10,000 votes under noise on an image", "votes/cnn_captured/10000/real_time", ["votes250", "votes1000"]),
    ("ResNet-18 (CIFAR form), 250 votes under noise on an image", "votes/resnet18_captured/250/real_time", ["resnet_votes", "resnet_votes_channels_last"]),
    ("1,000,000 standard normal draws", "normal_draws/1000000/real_time", ["normal"]),
]
LIRPA = [
    ("CNN3-tiny, IBP training step, batch 64", "certified_step/cnn3_tiny/ibp/64/real_time", ["tiny_ibp"]),
    ("CNN3-tiny, CROWN-IBP, batch 64", "certified_step/cnn3_tiny/crown_ibp/64/real_time", ["tiny_crown_ibp"]),
    ("CNN3-tiny, CROWN, batch 64", "certified_step/cnn3_tiny/crown/64/real_time", ["tiny_crown"]),
    ("CNN3, IBP, batch 64", "certified_step/cnn3/ibp/64/real_time", ["cnn3_ibp"]),
    ("CNN3, CROWN-IBP, batch 64", "certified_step/cnn3/crown_ibp/64/real_time", ["cnn3_crown_ibp"]),
    ("CNN3, CROWN, batch 4", "certified_step/cnn3/crown/4/real_time", ["cnn3_crown4"]),
]
PEERS = {"torch": ("PyTorch", "torch_side.py", TORCH, TORCH[1][0]), "lirpa": ("", "lirpa_side.py", LIRPA, LIRPA[5][0])}


def results(bench, pattern, threads):
    """What our benchmarks report, and the process's peak memory in MiB."""
    command = [bench, f"--benchmark_filter={pattern}", "--benchmark_format=json", "--benchmark_min_time=1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={**os.environ, "MOLLIFY_NUM_THREADS": str(threads)})
    text = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"{' '.join(command)} failed")
    return json.loads(text)["benchmarks"], usage.ru_maxrss / 1024


def ours(bench, name, threads):
    """Seconds an iteration, and the process's peak memory in MiB."""
    [result], memory = results(bench, f"^{name}$", threads)
    return result["real_time"] * {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1}[result["time_unit"]], memory


def peer(python, script, case, threads):
    output = subprocess.run([python, os.path.join(HERE, script), case, str(threads)], check=True, capture_output=True, text=True).stdout
    version, seconds, memory = output.split()
    return version, float(seconds), float(memory)


def duration(seconds):
    return f"{seconds * 1e6:.0f} µs" if seconds < 1e-3 else f"{seconds * 1e3:.2f} ms" if seconds < 0.1 else f"{seconds * 1e3:.0f} ms"


def print_table(lines):
    for cells in [lines[0], ["---"] * len(lines[0])] + lines[1:]:
        print("| " + " | ".join(cells) + " |")


def compare_products(options):
    """GFLOP/s of the own kernel and of OpenBLAS, and the ratio of their times in the same run: medians over the rounds."""
    columns = [(dtype, threads) for dtype in ("f32", "f64") for threads in sorted({1, options.threads})]
    rounds = {}  # by shape, then by column
    for _ in range(options.rounds):
        for threads in sorted({1, options.threads}):
            for result in results(options.bench, "^product/", threads)[0]:
                if "OpenBLAS" not in result:
                    sys.exit(f"{options.bench} was built without OpenBLAS")
                _, dtype, kind, sizes = result["name"].split("/")[:4]
                numbers = (result["FLOP/s"] / 1e9, result["OpenBLAS"] / 1e9, result["ratio"])
                rounds.setdefault(f"{kind} {sizes.replace('x', '×')}", {}).setdefault((dtype, threads), []).append(numbers)
        print("a round is done", file=sys.stderr)
    lines = [["GFLOP/s own / OpenBLAS (ratio)"] + [f"{dtype}, {threads} thread{'s' * (threads > 1)}" for dtype, threads in columns]]
    for shape, cells in rounds.items():
        medians = [[statistics.median(values) for values in zip(*cells[column])] for column in columns]
        lines.append([shape] + [f"{own:.{own < 10:d}f} / {other:.{other < 10:d}f} ({ratio:.2f})" for own, other, ratio in medians])
    print_table(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", default="build/bench/mollify_bench")
    parser.add_argument("--peer", choices=[*PEERS, "openblas"], default="torch")
    parser.add_argument("--python", action="append", default=None)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", choices=["cpu", "cuda", "emulated"], default="cpu", help="cuda: the table of a GPU")
    parser.add_argument("--quick", action="store_true", help="of a GPU: in 3 minutes")
    parser.add_argument("--minutes", type=float, help="of a GPU: to be done in")
    parser.add_argument("--json", help="of a GPU: the file that all figures are written to")
    parser.add_argument("--tiny", action="store_true", help="of a GPU: a smoke run, for --device emulated, where PyTorch is on the CPU")
    parser.add_argument("cases", nargs="*", metavar="CASE", help="parts of names")
    options = parser.parse_args()
    if options.device != "cpu":
        sys.exit(compare_gpu.compare(options))
    if options.peer == "openblas":
        return compare_products(options)
    pythons = options.python or ["/usr/bin/python3"]

    peer_name, script, rows, memory_row = PEERS[options.peer]
    if options.cases:
        rows = [row for row in rows if any(case in row[0] for case in options.cases)]
        memory_row = rows[0][0]

    versions, lines, memory = {}, [], {}
    for title, name, cases in rows:
        mine, theirs = [], {(python, case): [] for python in pythons for case in cases}
        for _ in range(options.rounds):
            seconds, peak = ours(options.bench, name, options.threads)
            mine.append(seconds)
            memory.setdefault(title, {})["mollify"] = peak
            for python, case in theirs:
                versions[python], seconds, peak = peer(python, script, case, options.threads)
                theirs[python, case].append(seconds)
                memory[title][python] = peak
        me = statistics.median(mine)
        cells = [title, duration(me)]
        for python in pythons:
            other = min(statistics.median(theirs[python, case]) for case in cases)
            cells += [duration(other), f"{other / me:.2f}"]
        lines.append(cells)
        print(f"{title}: done", file=sys.stderr)
    header = ["median time", "mollify"]
    for python in pythons:
        header += [f"{peer_name} {versions[python]}".strip(), "ratio"]
    peak = memory[memory_row]
    lines.append([f"peak memory: {memory_row}", f"{peak['mollify']:.0f} MiB"]
                 + [cell for python in pythons for cell in (f"{peak[python]:.0f} MiB", f"{peak[python] / peak['mollify']:.1f}")])
    print_table([header] + lines)


if __name__ == "__main__":
    main()
