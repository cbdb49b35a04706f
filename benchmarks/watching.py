"""What watching costs: `python benchmarks/watching.py`, on a machine that does nothing else.

cost     a training run with nobody, one viewer, fifty, and one that never reads, in turns: its frames a
         second beside those while nobody looked just before and after, and the memory of all its processes
latency  from a key to the changed picture, in a headless Chromium that plays against the champion
"""

import argparse
import asyncio
import contextlib
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psutil
from playwright.sync_api import sync_playwright
from websockets.asyncio.client import connect

from pongrad.runs.folder import RunFolder
from pongrad.views.watch import MOMENT

TURN_SECONDS = 4.0
AUDIENCES = {"one": 1, "fifty": 50, "never_reads": 1}
PRESSES = 200

LATENCY = """async presses => {
    const context = game.getContext("2d"), delays = [], put = context.putImageData;
    const pause = ms => new Promise(go => setTimeout(go, ms));
    function paddle() {
        const data = context.getImageData(17, 34, 1, 160).data;
        for (let row = 0; row < 160; row++)
            if (Math.abs(data[4 * row] - 213) < 9 && Math.abs(data[4 * row + 1] - 130) < 9) return row;
    }
    for (let i = 0; i < presses; i++) {
        const event = {code: i % 2 ? "ArrowUp" : "ArrowDown", bubbles: true}, before = paddle();
        const start = performance.now();
        const moved = new Promise(go => context.putImageData = function (...picture) {
            put.apply(context, picture);
            if (paddle() !== before) go(performance.now() - start);
        });
        document.body.dispatchEvent(new KeyboardEvent("keydown", event));
        delays.push(await moved);
        delete context.putImageData;
        await pause(60);
        document.body.dispatchEvent(new KeyboardEvent("keyup", event));
        await pause(200 + 50 * Math.random());
    }
    return delays;
}"""


@contextlib.contextmanager
def served(*args: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A command that serves a page: its process and the address."""
    line = [sys.executable, "-u", "-m", "pongrad", *args]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout
    try:
        for text in process.stdout:
            if found := re.search(r"http://([^/]+)/", text):
                yield process, found[1]
                return
        raise SystemExit("it serves no page")
    finally:
        process.kill()
        process.wait()


@contextlib.asynccontextmanager
async def audience(address: str, kind: str) -> AsyncIterator[None]:
    """Viewers that draw everything at once, or one that never reads."""
    async with contextlib.AsyncExitStack() as stack:
        tasks = []
        for _ in range(AUDIENCES[kind]):
            socket = await stack.enter_async_context(connect(f"ws://{address}/socket", max_queue=1))
            if kind != "never_reads":
                tasks.append(asyncio.create_task(draw(socket)))
        yield
        for task in tasks:
            task.cancel()


async def draw(socket: Any) -> None:
    """Take every message and say so."""
    async for message in socket:
        if isinstance(message, bytes) and message[0] == MOMENT:
            await socket.send('{"drew": 1}')


def memory(process: subprocess.Popen[str]) -> int:
    """Bytes of the process and all below it."""
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    return sum(member.memory_info().rss for member in family)


async def cost(seconds: float) -> dict[str, Any]:
    """Let viewers come and go while a run trains."""
    with (
        tempfile.TemporaryDirectory() as place,
        served("train", "--live", "--seed", "9", "--run", f"{place}/run") as (process, address),
    ):
        drain = asyncio.create_task(asyncio.to_thread(process.stdout.read))  # type: ignore[union-attr]
        folder = RunFolder(Path(place, "run"))

        async def turn(kind: str | None) -> float:
            """Frames a second over a turn."""
            async with audience(address, kind) if kind else contextlib.nullcontext():
                await asyncio.sleep(1.0)  # the page's process wakes up
                first = folder.metrics()[-1]
                await asyncio.sleep(TURN_SECONDS)
                last = folder.metrics()[-1]
            return (last["frames"] - first["frames"]) / (last["seconds"] - first["seconds"])

        await asyncio.sleep(20)
        sizes = [memory(process)]
        shares: dict[str, list[float]] = {kind: [] for kind in AUDIENCES}
        start, alone = time.monotonic(), await turn(None)
        while time.monotonic() - start < seconds:
            for kind in AUDIENCES:
                watched, after = await turn(kind), await turn(None)
                shares[kind].append(watched / statistics.fmean([alone, after]))
                alone = after
            sizes.append(memory(process))
        process.kill()
        await drain
    return {
        "share_of_frames_per_second": {
            kind: {
                "mean": round(statistics.fmean(each), 3),
                "standard_error": round(statistics.stdev(each) / len(each) ** 0.5, 3),
                "median": round(statistics.median(each), 3),
                "turns": len(each),
            }
            for kind, each in shares.items()
        },
        "memory_MB": [size // 10**6 for size in sizes],
    }


def latency() -> dict[str, Any]:
    """Press keys in a browser."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with served("play", "--port", "0") as (_, address), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(f"http://{address}/")
        page.wait_for_timeout(2000)
        delays = sorted(page.evaluate(LATENCY, PRESSES))
        browser.close()
    return {
        "presses": len(delays),
        "median_ms": round(statistics.median(delays), 1),
        "p95_ms": round(delays[int(0.95 * len(delays))], 1),
        "slowest_ms": round(delays[-1], 1),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", nargs="*", default=["latency", "cost"], help="cost or latency")
    parser.add_argument("--seconds", type=float, default=600.0, help="of training, for the cost")
    options = parser.parse_args()
    for what in options.what:
        result = latency() if what == "latency" else asyncio.run(cost(options.seconds))
        print(json.dumps({what: result}), flush=True)


if __name__ == "__main__":
    main()
