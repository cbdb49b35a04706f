"""Forward and backward pass of DQN's network of 2015, beside PyTorch's on the same cores in the same run.

    python benchmarks/convolution.py             # 3 minutes; needs pip install '.[peers]'
    python benchmarks/convolution.py --training  # 6 minutes: steps a second while learning Pong

A batch of 256, float32, random frames: of the dense ones no patch is background, so nothing is saved. PyTorch
is given the pictures as float32, ours reads 8-bit frames. Each time is the median of many, in turns, in one
thread and in two. The matrix products of our layers alone are the peak that is left.

While learning: Stable-Baselines3's PPO with its published settings for Atari, ours with the same network,
batch and passes, and ours with its default networks, one after the other, each alone on the machine.

Results go to convolution.json, with tables in convolution.md beside it.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from common import FRAMES_A_STEP, progress

from pongrad.ground.parallel import blas_in_one_thread
from pongrad.network.network import Network
from pongrad.runs.folder import RunFolder
from pongrad.vision.frames import SIDE, STACK, Frames

RESULTS = Path(__file__).with_name("results") / "convolution.json"
BATCH, ACTIONS = 256, 6
NETWORKS: dict[str, dict[str, Any]] = {
    "DQN 2015": {"filters": (32, 64, 64), "kernels": (8, 4, 3), "strides": (4, 2, 1), "units": 512},
    "default": {"filters": (16, 32), "kernels": (8, 4), "strides": (4, 2), "units": 256},
}
SHARES = {"dense": 1.0, "1 pixel in 2,000 differs from the background": 0.0005}


def ours(network: Network, x: Frames, d: np.ndarray) -> Callable[[], None]:
    """A forward and a backward pass."""

    def run() -> None:
        network.forward(x)
        network.backward(d)
        network.zero_gradients()

    return run


def peer(
    filters: Any, kernels: Any, strides: Any, units: int, x: Frames, d: np.ndarray
) -> Callable[[], None]:
    """The same in PyTorch, without the gradient of its input, which ours has not either."""
    layers: list[torch.nn.Module] = []
    channels = STACK
    for count, kernel, stride in zip(filters, kernels, strides, strict=True):
        layers += [torch.nn.Conv2d(channels, count, kernel, stride), torch.nn.ReLU()]
        channels = count
    layers += [
        torch.nn.Flatten(),
        torch.nn.LazyLinear(units),
        torch.nn.ReLU(),
        torch.nn.Linear(units, ACTIONS),
    ]
    network = torch.nn.Sequential(*layers)
    pictures = torch.from_numpy(
        np.stack([x.frames[x.newest - STACK + 1 + i] for i in range(STACK)], axis=1).astype(np.float32) / 255
    )
    gradient = torch.from_numpy(d)

    def run() -> None:
        network(pictures).backward(gradient)
        network.zero_grad()

    run()
    return run


def products(network: Network) -> Callable[[], None]:
    """The matrix products of a forward and a backward pass, nothing else."""
    rng = np.random.default_rng(0)
    pairs = []
    for number, layer in enumerate(network.layers):
        if not layer.parameters:
            continue
        inputs, units = layer.parameters[0].value.shape
        patches = int(np.prod(getattr(layer, "out_shape", (1, 1))[:2]))
        steps = BATCH if patches == 1 else max(1, 2**20 // (4 * inputs * patches))
        x, d = (rng.random((steps * patches, n), np.float32) for n in (inputs, units))
        w = np.ascontiguousarray(layer.parameters[0].value)
        calls = [(x, w, np.empty_like(d)), (x.T, d, np.empty_like(w))]
        calls += [(d, w.T, np.empty_like(x))] if number else []
        pairs.append((round(BATCH / steps), calls))

    def run() -> None:
        with blas_in_one_thread():
            for times, calls in pairs:
                for _ in range(times):
                    for a, b, out in calls:
                        np.matmul(a, b, out=out)

    return run


def measure(runs: dict[str, Callable[[], None]], seconds: float) -> dict[str, float]:
    """Milliseconds of each, the median of runs in turns."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            times[name].append(1000 * (time.perf_counter() - start))
    return {name: round(statistics.median(each), 1) for name, each in times.items()}


def steps_a_second(command: list[str], seconds: float) -> float:
    """Of a program that prints what `common.progress` reads, or of `pongrad train`, warmed up."""
    with TemporaryDirectory() as folder:
        if command[0] == "train":
            run = Path(folder) / "run"
            subprocess.run(
                [
                    sys.executable,
                    "-m",
                    "pongrad",
                    *command,
                    "--run",
                    str(run),
                    "--minutes",
                    str(seconds / 60),
                ],
                check=True,
                stdout=subprocess.DEVNULL,
            )
            lines = RunFolder(run).metrics()
        else:
            start = time.monotonic()
            one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}  # twice as fast as with PyTorch's default
            process = subprocess.Popen(
                [sys.executable, *command], stdout=subprocess.PIPE, text=True, env=one_thread
            )
            assert process.stdout
            lines = list(
                itertools.takewhile(lambda line: line["seconds"] < seconds, progress(process.stdout, start))
            )
            process.kill()
    first = next(line for line in lines if line["seconds"] > seconds / 4)
    frames = lines[-1]["frames"] - first["frames"]
    return frames / FRAMES_A_STEP / (lines[-1]["seconds"] - first["seconds"])


def training(seconds: float) -> list[dict[str, Any]]:
    """Steps a second of each while it learns Pong."""
    same = [
        "--conv-filters",
        "32",
        "64",
        "64",
        "--conv-kernels",
        "8",
        "4",
        "3",
        "--conv-strides",
        "4",
        "2",
        "1",
    ]
    same += ["--num-hidden-layer-neurons", "512", "--biases", "--num-games", "8", "--rollout-steps", "128"]
    same += ["--epochs", "4", "--minibatches", "4"]
    programs = {
        "Stable-Baselines3's PPO": [str(Path(__file__).with_name("sb3_atari.py"))],
        "--network conv, its network, batch and passes": ["train", "--network", "conv", *same],
        "--network conv": ["train", "--network", "conv"],
        "--network sparse": ["train"],
    }
    results: list[dict[str, Any]] = []
    for name, command in programs.items():
        speed = round(steps_a_second(command, seconds))
        results.append({"who": name, "steps_a_second": speed})
        results[-1]["ratio"] = round(speed / results[0]["steps_a_second"], 2)
        print(results[-1], flush=True)
    return results


def passes(seconds: float) -> list[dict[str, Any]]:
    """Milliseconds of forward and backward passes."""
    rng = np.random.default_rng(0)
    background = np.zeros((SIDE, SIDE), np.uint8)
    results = []
    for (name, sizes), (what, share), threads in itertools.product(NETWORKS.items(), SHARES.items(), (1, 2)):
        frames = rng.integers(1, 256, (BATCH + STACK - 1, SIDE, SIDE)).astype(np.uint8)
        frames[rng.random(frames.shape) >= share] = 0
        x = Frames(frames, np.arange(STACK - 1, len(frames)))
        shapes = sizes["filters"], sizes["kernels"], sizes["strides"]
        units = sizes["units"], ACTIONS
        network = Network.random_convolutional(*shapes, units, rng, True, background)
        network.use_threads(threads)
        torch.set_num_threads(threads)
        d = rng.standard_normal((BATCH, ACTIONS)).astype(np.float32)
        runs = {"ours": ours(network, x, d), "PyTorch": peer(**sizes, x=x, d=d)}
        if threads == 1:
            runs["products"] = products(network)
        for run in runs.values():
            run()
        line = {"network": name, "frames": what, "threads": threads, **measure(runs, seconds)}
        line["ratio"] = round(line["PyTorch"] / line["ours"], 2)
        print(line, flush=True)
        results.append(line)
    return results


def main() -> None:
    """Measure, and write down the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=20, help="for each line; training: 4 times as many")
    parser.add_argument("--training", action="store_true", help="measure steps a second while learning")
    parser.add_argument("--out", type=Path, default=RESULTS, help="results, as JSON")
    options = parser.parse_args()
    known = json.loads(options.out.read_text()) if options.out.exists() else {}
    if options.training:
        known["training"] = training(4 * options.seconds)
    else:
        known["torch"], known["passes"] = torch.__version__, passes(options.seconds)
    options.out.write_text(json.dumps(known, indent=1) + "\n")
    options.out.with_suffix(".md").write_text(table(known))


def table(known: dict[str, Any]) -> str:
    """Markdown."""
    lines = [
        "| network | frames | threads | PyTorch, ms | ours, ms | PyTorch / ours | products alone, ms |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {line['network']} | {line['frames']} | {line['threads']} | {line['PyTorch']} | {line['ours']} "
        f"| {line['ratio']} | {line.get('products', '')} |"
        for line in known.get("passes", [])
    ]
    lines += ["", "| who learns Pong | steps a second | beside the first |", "|---|---|---|"]
    lines += [
        f"| {line['who']} | {line['steps_a_second']:,} | {line['ratio']} |"
        for line in known.get("training", [])
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
