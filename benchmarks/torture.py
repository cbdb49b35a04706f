"""Try to lose a run: `python benchmarks/torture.py`, or with the names of some of the trials below.

kills    a run is killed (-9) at random moments and resumed, again and again, until it is finished
stops    a run is stopped by Ctrl-C or SIGTERM at random moments and resumed, the same
workers  workers of a run are killed at random moments
files    checkpoints are damaged in many ways, half of them with a checksum made valid again, and resumed from
disk     a run saves on a disk that is full
saving   how long a save takes, and the checks before it

Prints what came out, and exits with code 1 if anything was lost.
"""

import argparse
import contextlib
import json
import mmap
import os
import random
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
from damage import damaged_bytes, damaged_values

from pongrad.cli import main as pongrad
from pongrad.ground import storage
from pongrad.ground.errors import UserError
from pongrad.learning.ppo import PPO
from pongrad.playing.workers import Workers
from pongrad.runs import training
from pongrad.runs.folder import CHECKPOINT_FORMAT, RunFolder
from pongrad.runs.training import Training

RUN = ["train", "--seed", "5", "--workers", "2", "--num-games", "8", "--frames", "60000"]
SMALL_RUN = [*RUN[:5], "--num-games", "4", "--frames", "20000", "--num-hidden-layer-neurons", "2"]
SECONDS_BETWEEN_CHECKPOINTS = 0.2

PHASES = ["starting", "playing", "learning", "writing"]
GROWTH = 10**9
PARTS = 4
SPARE_FILES = 10  # of the damaged ones of each part, so many go through the command line too


def check(holds: bool, what: str) -> None:
    """End the trial unless it holds."""
    if not holds:
        raise SystemExit(f"torture: {what}")


# --- A run that saves often and says what it is doing ------------------------------------------------------


def session(phase: str, args: list[str]) -> None:
    """`pongrad ARGS`, with its phase, and how many there have been, in a file that is mapped into memory."""
    with open(phase, "r+b") as file:
        shown = mmap.mmap(file.fileno(), 2)

    def showing(number: int, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any) -> Any:
            shown[0], shown[1] = number, (shown[1] + 1) % 256
            return function(*arguments)

        return wrapped

    training.SECONDS_BETWEEN_CHECKPOINTS = SECONDS_BETWEEN_CHECKPOINTS
    Training._one_update = showing(1, Training._one_update)
    PPO.update = showing(2, PPO.update)
    storage.save = showing(3, storage.save)
    pongrad(args)


def start(folder: Path, flags: list[str], **how: Any) -> subprocess.Popen[str]:
    """Start the run in this folder, or resume it."""
    phase = folder.with_name("phase")
    phase.write_bytes(b"\0\0")
    args = ["train", "--resume"] if (folder / "config.json").exists() else flags
    return subprocess.Popen(
        [sys.executable, __file__, "--session", str(phase), *args, "--run", str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        **how,
    )


def finish(folder: Path, flags: list[str]) -> None:
    """Run or resume to the end, undisturbed."""
    process = start(folder, flags)
    _, errors = process.communicate()
    check(process.returncode == 0, f"exit code {process.returncode}: {errors}")


def content(folder: Path) -> dict[str, bytes]:
    """What must come out the same whatever happened on the way."""
    checkpoint = RunFolder(folder).load_checkpoint()
    assert checkpoint is not None
    arrays = dict(checkpoint.weights)
    arrays |= {f"before.{name}": array for name, array in checkpoint.weights_before.items()}
    arrays |= {f"learner.{name}": array for name, array in checkpoint.learner.items()}
    for game in checkpoint.games:
        arrays |= {f"{game.number}.{name}": array for name, array in game.arrays().items()}
    result = {name: array.tobytes() for name, array in arrays.items()}
    updates = [line["update"] for line in RunFolder(folder).metrics()]
    check(updates == list(range(1, checkpoint.progress.update + 1)), f"metrics of updates {updates}")
    return {**result, "best": (folder / "best.safetensors").read_bytes()}


# --- The trials --------------------------------------------------------------------------------------------


def kills(place: Path, wanted: int, _: int) -> dict[str, Any]:
    """Kill the process that learns."""

    def kill(process: subprocess.Popen[str], _: Path) -> None:
        process.kill()
        process.wait()

    return interrupted(place, wanted, kill)


def stops(place: Path, wanted: int, _: int) -> dict[str, Any]:
    """Ask it to stop; how long it takes until it has saved and ended."""
    seconds: dict[str, list[float]] = {"saved": [], "ended": []}

    def stop(process: subprocess.Popen[str], folder: Path) -> None:
        number = random.choice([signal.SIGINT, signal.SIGTERM])
        summary = folder / "summary.json"  # is written once everything is saved
        before = summary.stat() if summary.exists() else None
        begun = time.monotonic()
        process.send_signal(number)
        while process.poll() is None and (summary.stat() if summary.exists() else None) == before:
            time.sleep(0.005)
        seconds["saved"].append(time.monotonic() - begun)
        process.wait()
        seconds["ended"].append(time.monotonic() - begun)
        check(process.returncode in (128 + number, -number, 0), f"it stopped with {process.returncode}")
        if summary.exists():
            checkpoint = RunFolder(folder).load_checkpoint()
            check(
                checkpoint is not None and checkpoint.progress.update == updates(folder),
                "an update was not saved",
            )

    result = interrupted(place, wanted, stop)
    for name, each in seconds.items():
        result[f"{name}_seconds_median_and_slowest"] = round(statistics.median(each), 2), round(max(each), 2)
    return result


def interrupted(
    place: Path, wanted: int, interrupt: Callable[[subprocess.Popen[str], Path], None]
) -> dict[str, Any]:
    """Interrupt a run at random moments until it is finished, and another, until it was often enough."""
    finish(place / "whole" / "run", RUN)
    want = content(place / "whole" / "run")
    moments: Counter[str] = Counter()
    rng, finished = random.Random(1), 0
    while moments.total() < wanted:
        folder = place / f"interrupted{finished}" / "run"
        folder.parent.mkdir()
        phase = folder.with_name("phase")
        process = start(folder, RUN)
        while True:
            phases = rng.randrange(40)  # as many later, and a bit, whatever the machine's speed
            while process.poll() is None and phase.read_bytes()[1] < phases:
                time.sleep(0.002)
            time.sleep(rng.uniform(0, 0.1 if phases else 3))
            if process.poll() is not None:
                break
            moments[PHASES[phase.read_bytes()[0]]] += 1
            interrupt(process, folder)
            process = start(folder, RUN)
        errors = process.stderr.read()
        finished_before = process.returncode == 2 and "is finished" in errors
        check(process.returncode == 0 or finished_before, f"exit code {process.returncode}: {errors}")
        check(content(folder) == want, f"{folder} differs from the run that was left alone")
        finished += 1
        shutil.rmtree(folder.parent)
        print(f"  {moments.total()} interruptions, {finished} runs finished", flush=True)
    return {"interruptions": moments.total(), **moments, "runs_finished_with_the_same_bytes": finished}


def updates(folder: Path) -> int:
    """How many the run has written down."""
    metrics = folder / "metrics.jsonl"
    return metrics.read_bytes().count(b"\n") if metrics.exists() else 0


def workers(place: Path, wanted: int, _: int) -> dict[str, Any]:
    """Kill the processes that play."""
    finish(place / "whole" / "run", RUN)
    want = content(place / "whole" / "run")
    rng, killed, finished = random.Random(2), 0, 0
    while killed < wanted:
        folder = place / f"killed{finished}" / "run"
        folder.parent.mkdir()
        process = start(folder, RUN)
        while process.poll() is None:
            for _ in range(rng.choice([1, 1, 2])):  # three times is too often, if it is for the same games
                time.sleep(rng.uniform(0, 0.5))
                with contextlib.suppress(psutil.NoSuchProcess):
                    children = psutil.Process(process.pid).children()
                    victims = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
                    if victims:
                        rng.choice(victims).kill()
                        killed += 1
            # What was being played then has been played at the latest when two more updates are done.
            wanted_updates = updates(folder) + 2
            while updates(folder) < wanted_updates and process.poll() is None:
                time.sleep(0.002)
        errors = process.stderr.read()
        check(process.returncode == 0, f"exit code {process.returncode}: {errors}")
        check(content(folder) == want, f"{folder} differs from the run that was left alone")
        finished += 1
        shutil.rmtree(folder.parent)
        print(f"  {killed} workers killed, {finished} runs finished", flush=True)
    return {"workers_killed": killed, "runs_finished_with_the_same_bytes": finished}


def disk(place: Path, _: int, __: int) -> dict[str, Any]:
    """Save until there is no room: on a small disk of its own, or under a limit of the size of files."""
    finish(place / "whole" / "run", RUN)
    small, limit = place / "small", "a tmpfs of 50 MB"
    small.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=50m", "tmpfs", str(small)], stderr=-3)
    how: dict[str, Any] = {}
    if mount.returncode:
        limit = "files of 20 MB at most"
        how["preexec_fn"] = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000_000,) * 2)
    try:
        process = start(small / "run", RUN, **how)
        _, errors = process.communicate()
        check(process.returncode == 2 and errors.count("\n") == 1, f"{process.returncode}: {errors}")
        print(f"  {errors.strip()}")
        checkpoint = RunFolder(small / "run").load_checkpoint()
        shutil.copytree(small / "run", place / "large" / "run")
    finally:
        if not mount.returncode:
            subprocess.run(["umount", str(small)], check=True)
    finish(place / "large" / "run", RUN)
    check(content(place / "large" / "run") == content(place / "whole" / "run"), "another run came of it")
    kept = checkpoint.progress.update if checkpoint else 0
    return {"full": limit, "exit_code": 2, "update_kept": kept, "resumed_with_more_room": "the same bytes"}


def saving(place: Path, _: int, __: int) -> dict[str, Any]:
    """Time the saves of a run's own last checkpoint, and what is checked before."""
    folder = place / "run"
    finish(folder, RUN)
    config = replace(RunFolder(folder).config(), resume=True, frames=10**9)
    trained = Training(config, time.monotonic())
    seconds: dict[str, list[float]] = {"save": [], "check": []}
    for _ in range(30):
        trained._saved = None
        for name, call in (("save", trained._save), ("check", trained._check_finite)):
            begun = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - begun)
    newest = trained.folder.newest_checkpoint()
    assert newest is not None
    save = statistics.median(seconds["save"])
    return {
        "bytes": newest.stat().st_size + (folder / "best.safetensors").stat().st_size,
        "milliseconds": round(1000 * save, 1),
        "slowest_milliseconds": round(1000 * max(seconds["save"]), 1),
        "of_it_checking_for_NaN": round(1000 * statistics.median(seconds["check"]), 1),
        "share_of_run_time": f"{save / 60:.3%}",
    }


# --- Damaged files -----------------------------------------------------------------------------------------


def files(place: Path, _: int, wanted: int) -> dict[str, Any]:
    """Resume from damaged checkpoints, in child processes whose memory is limited."""
    finish(place / "run", SMALL_RUN)
    begun = time.monotonic()
    parts = [place / f"part{number}" for number in range(PARTS)]
    children = []
    for part in parts:
        shutil.copytree(place / "run", part / "run")
        command = [sys.executable, __file__, "--files-in", str(part), "--files", str(wanted // PARTS)]
        children.append(subprocess.Popen(command))
    codes = [child.wait() for child in children]
    check(not any(codes), f"the children that load damaged files ended with {codes}")
    results = [json.loads((part / "result.json").read_text()) for part in parts]
    result = dict(sum(map(Counter, (each["outcomes"] for each in results)), Counter()))
    result |= {key: max(each[key] for each in results) for key in ("peak_MB", "slowest_seconds")}
    result["seconds"] = round(time.monotonic() - begun)
    commands: Counter[str] = Counter()
    for number, bad in enumerate(sorted(place.glob("part*/spare/*"))):
        folder = place / "spared" / "run"
        shutil.copytree(place / "run", folder, dirs_exist_ok=True)
        newest = RunFolder(folder).newest_checkpoint()
        assert newest is not None
        shutil.copy(bad, newest)
        command = [sys.executable, "-m", "pongrad", "train", "--resume", "--frames", "30000"]
        done = subprocess.run([*command, "--run", str(folder)], capture_output=True, text=True)
        refused = done.returncode == 2 and done.stderr.count("\n") == 1
        loaded = done.returncode == 0 and not done.stderr
        check(refused or loaded, f"{bad.name}: exit code {done.returncode}: {done.stderr}")
        commands["command_refused" if refused else "command_loaded"] += 1
        shutil.rmtree(folder.parent)
        if number % 10 == 0:
            print(f"  {number} through the command line", flush=True)
    return result | commands


def files_here(place: Path, wanted: int) -> None:
    """Resume from so many damaged checkpoints in this process, as `pongrad train --resume` does."""
    folder = place / "run"
    config = replace(RunFolder(folder).config(), resume=True, frames=10**9, workers=1)
    path = RunFolder(folder).newest_checkpoint()
    assert path is not None
    good = path.read_bytes()
    tensors, metadata = storage.load(path, CHECKPOINT_FORMAT)
    intact = Training(config, time.monotonic())
    want = content(folder)
    intact.folder.close()
    (place / "spare").mkdir()
    rng = random.Random(place.name)
    outcomes: Counter[str] = Counter()
    slowest = 0.0
    with Workers(intact.shared, 1) as team:
        list(team.collect_steps(intact.games, 1, times=1))
        most = psutil.Process().memory_info().vms + GROWTH
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))
        for number in range(wanted):
            signed = number % 2 == 1
            if signed:
                storage.save(path, *damaged_values(tensors, metadata, rng))
            else:
                path.write_bytes(damaged_bytes(good, rng))
            if number % (2 * wanted // SPARE_FILES) == signed:
                shutil.copy(path, place / "spare" / f"{number:05d}")
            signal.alarm(600)  # a hang ends the child
            begun = time.monotonic()
            outcome = resume(config, team)
            slowest = max(slowest, time.monotonic() - begun)
            if outcome == "loaded" and not signed:
                check(content(folder) == want, f"file {number} was loaded as something else")
            outcomes[f"{'signed' if signed else 'damaged'}_{outcome}"] += 1
            if number % 500 == 499:
                print(f"  {place.name}: {dict(outcomes)}", flush=True)
    grown = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    check(1024 * grown < GROWTH, f"{grown:,} kB of memory")
    result = {"outcomes": outcomes, "peak_MB": grown // 1000, "slowest_seconds": round(slowest, 1)}
    (place / "result.json").write_text(json.dumps(result))


def resume(config: Any, team: Workers) -> str:
    """What comes of resuming: refused, by whom, or loaded."""
    try:
        taken_up = Training(config, time.monotonic())
    except UserError as error:
        check("\n" not in str(error), f"not one line: {error}")
        return "refused"
    try:
        taken_up._validate_states(team)
        list(team.collect_steps(taken_up.games, 8, times=1))
    except UserError as error:
        check("\n" not in str(error), f"not one line: {error}")
        return "refused_by_worker"
    finally:
        taken_up.folder.close()
    return "loaded"


TRIALS = {"kills": kills, "stops": stops, "workers": workers, "files": files, "disk": disk, "saving": saving}


@contextlib.contextmanager
def scratch(fast: bool) -> Iterator[Path]:
    """A folder to work in; in memory where no disk is measured."""
    memory = "/dev/shm" if fast and os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


def main() -> None:
    """Run the trials asked for, all by default."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "trials", nargs="*", metavar="TRIAL", help="kills, stops, workers, files, disk or saving"
    )
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--files-in", type=Path, help=argparse.SUPPRESS)
    if sys.argv[1:2] == ["--session"]:
        return session(sys.argv[2], sys.argv[3:])
    options = parser.parse_args()
    if options.files_in:
        return files_here(options.files_in, options.files)
    for name in options.trials or TRIALS:
        print(f"{name}:", flush=True)
        with scratch(fast=name == "files") as place:
            (place / "whole").mkdir()
            print(json.dumps({name: TRIALS[name](place, options.kills, options.files)}), flush=True)


if __name__ == "__main__":
    main()
