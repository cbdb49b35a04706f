"""The command line: `pongrad train`, `pongrad evaluate`, `pongrad record` and all the others."""

import argparse
import contextlib
import errno
import io
import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, NoReturn

import psutil
import tyro
from tyro.conf import FlagCreatePairsOff, Positional, UseAppendAction, arg, subcommand
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from pongrad.ground.arguments import flag, whole_number
from pongrad.ground.errors import UserError
from pongrad.ground.system import quiet_at_a_second_interrupt
from pongrad.learning.recipes import RECIPES, Fast, Recipe
from pongrad.network.finding import check_run, find_agent
from pongrad.playing.address import check_cluster
from pongrad.tuning.command import Tune
from pongrad.views.output import OUTPUT_ERRORS, forget_what_cannot_be_shown, show_what_can_be


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Play fresh games and report the score."""

    agent: Annotated[Positional[Path], arg(metavar="AGENT")] = Path("champion")
    """A run's folder (its best agent), a .safetensors file, or champion: the one that ships."""
    games: Annotated[int, arg(metavar="N")] = 100
    """How many games."""
    seed: Annotated[int, arg(metavar="N")] = 0
    """Seed of their random numbers, which training never uses."""
    workers: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: one a core)")] = None
    """Processes that play."""
    cluster: Annotated[str | None, arg(metavar="ADDRESS", help_behavior_hint="(default: none)")] = None
    """Play on a Ray cluster: see docs/cluster.md."""
    greedy: bool = False
    """Always play the likeliest action."""
    sample: bool = False
    """Draw every action by its probability, as in training."""
    json: bool = False
    """Print the result as JSON."""

    def run(self) -> None:
        """Print a line a game and the result."""
        from pongrad.games.scores import reference, result
        from pongrad.network.agent import Agent
        from pongrad.playing.evaluation import evaluate

        if self.greedy and self.sample:
            raise UserError("--greedy and --sample exclude each other: give one of them")
        _at_least("games", self.games, 1)
        _at_least("seed", self.seed, 0)
        _at_least("workers", 1 if self.workers is None else self.workers, 1)
        if self.cluster:
            check_cluster(self.cluster)
        agent = Agent.load(self.agent)
        if self.greedy or self.sample:
            agent = replace(agent, greedy=self.greedy)
        if not self.json:
            how = "the likeliest action" if agent.greedy else "an action drawn by its probability"
            print(f"{self.games} fresh games of {agent.game}, always playing {how}", flush=True)

        def show(game: Any) -> None:
            if not self.json:
                print(f"game {game.number + 1}: {result(game)}", flush=True)

        outcome = evaluate(agent, self.games, self.seed, self.workers, show, self.cluster)
        if self.json:
            print(json.dumps(outcome))
            return
        known, mean = reference(agent.game), outcome["mean_score"]
        counted = f": {outcome['wins']} won, {outcome['losses']} lost" if known.duel else ""
        error = f"{outcome['standard_error']:,.2f}"
        print(f"mean score {known.written(mean)} ± {error} in {outcome['games']} games{counted}")
        if known.duel:
            print(f"The agent {'beats' if mean > 0 else 'does not beat'} the computer.")
        if (share := outcome["human_normalised"]) is not None:
            print(
                f"Random play scores {known.random:,g}, a human tester {known.human:,g}; on that scale, "
                f"from 0 to 1, the agent has {share:.2f}."
            )


@dataclass(frozen=True, kw_only=True)
class _Page:
    """A command that serves a page."""

    host: Annotated[str, arg(metavar="ADDRESS")] = "127.0.0.1"
    """Address of the page; 0.0.0.0 lets other machines open it, a phone for example."""
    port: Annotated[int, arg(metavar="N")] = 8021
    """Port of the page; 0: any free port."""
    allow_host: UseAppendAction[Annotated[tuple[str, ...], arg(metavar="NAME")]] = ()
    """Answer under this name, too, as behind a proxy or with https; may be repeated."""

    def source(self) -> tuple[Any, str]:
        """What the page shows, a `web.PageSource`, and what to print before its address."""
        raise NotImplementedError

    def run(self) -> None:
        """Serve the page until a signal; before there is a page, and while it ends, one ends it at once."""
        import asyncio

        from pongrad.ground.system import STOP_SIGNALS, end_at_once
        from pongrad.views import web

        signals = [each for each in STOP_SIGNALS if signal.getsignal(each) != signal.SIG_IGN]  # by nohup
        stopped: list[int] = []

        async def serve() -> None:
            ended, loop = asyncio.Event(), asyncio.get_running_loop()

            def stop(number: int, _: Any) -> None:
                for each in signals:
                    signal.signal(each, end_at_once)
                stopped.append(number)
                loop.call_soon_threadsafe(ended.set)

            for each in signals:
                signal.signal(each, stop)
            await web.serve(source, listening, self.host, web.Broadcaster(), ended, self.allow_host)

        with contextlib.ExitStack() as handlers:
            for each in signals:
                handlers.callback(signal.signal, each, signal.signal(each, end_at_once))
            web.check_host_names(self.allow_host)
            source, says = self.source()
            listening = web.listen(self.host, self.port)
            print(f"{says} at {web.url(listening)} (Ctrl-C ends it)", flush=True)
            asyncio.run(serve())
            end_at_once(stopped[0])  # while Python ends, a signal would have its default effect again


@dataclass(frozen=True, kw_only=True)
class Play(_Page):
    """Play against an agent, on a page in the browser."""

    agent: Annotated[Positional[Path], arg(metavar="AGENT")] = Path("champion")
    """The first opponent, as for watch; the page lets you choose among all runs under runs/."""

    def source(self) -> tuple[Any, str]:
        """The table."""
        from pongrad.views import duel

        find_agent(self.agent)
        return duel.Play(duel.opponents(self.agent)), "Play"


@dataclass(frozen=True, kw_only=True)
class Record:
    """Make a video of a fresh game."""

    agent_and_out: Annotated[Positional[tuple[Path, ...]], arg(metavar="[AGENT] OUT", help_behavior_hint="")]
    """The agent, as for evaluate (champion unless given), and the video's name, in .mp4 or .gif."""
    inside: bool = False
    """Show what goes on inside the agent beside the game."""
    seed: Annotated[int, arg(metavar="N")] = 0
    """Which game: the first that evaluate plays with this seed."""
    seconds: Annotated[float | None, arg(metavar="S", help_behavior_hint="(default: all of the game)")] = None
    """Length of the video, in seconds of play."""

    def run(self) -> None:
        """Write the file and say what is on it."""
        from pongrad.games.scores import result
        from pongrad.network.agent import Agent
        from pongrad.views.video import check_name, record

        if not 1 <= len(self.agent_and_out) <= 2:
            raise UserError(
                "give the video's name, and before it the agent if you like: record champion a.mp4"
            )
        agent, out = (Path("champion"), *self.agent_and_out)[-2:]
        _at_least("seed", self.seed, 0)
        if self.seconds is not None:
            _above_zero("seconds", self.seconds)
        check_name(out)
        game = record(Agent.load(agent), out, self.seed, self.inside, self.seconds)
        print(f"{out}: {game.frames / 60:.0f} seconds of play, {result(game)}")


@dataclass(frozen=True, kw_only=True)
class Watch(_Page):
    """Watch an agent play, and look inside it, on a page in the browser."""

    agent: Annotated[Positional[Path], arg(metavar="AGENT")] = Path("champion")
    """A run's folder (its best agent), a .safetensors file, or champion: the one that ships."""
    seed: Annotated[int, arg(metavar="N")] = 0
    """Which games: those that evaluate plays with this seed."""

    def source(self) -> tuple[Any, str]:
        """The agent's games."""
        from pongrad.network.agent import Agent
        from pongrad.views.watch import Watch, folder_of

        _at_least("seed", self.seed, 0)
        agent = Agent.load(self.agent)
        return Watch(agent, str(self.agent), folder_of(self.agent), self.seed), f"{self.agent} plays"


@dataclass(frozen=True, kw_only=True)
class Timelapse:
    """Make a video of a run's agent at every stage of its life, playing the same opening side by side."""

    agent_run: Annotated[Positional[Path], arg(metavar="RUN")]
    """The run's folder."""
    out: Annotated[Positional[Path], arg(metavar="OUT")]
    """The video's name, in .mp4 or .gif."""
    seed: Annotated[int, arg(metavar="N")] = 0
    """Which opening: that of the first game that evaluate plays with this seed."""
    seconds: Annotated[float, arg(metavar="S")] = 20.0
    """Length of the video, in seconds of play."""

    def run(self) -> None:
        """Write the file and say what is on it."""
        from pongrad.runs.folder import RunFolder
        from pongrad.views.video import check_name, timelapse

        _at_least("seed", self.seed, 0)
        _above_zero("seconds", self.seconds)
        check_name(self.out)
        check_run(self.agent_run)
        count = timelapse(RunFolder(self.agent_run), self.out, self.seed, self.seconds)
        print(f"{self.out}: {count} stages of {self.agent_run} side by side")


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """Draw the lesson with a real run: preprocessing, network, weights before and after, returns."""

    agent_run: Annotated[Positional[Path], arg(metavar="RUN")]
    """The run's folder."""
    out: Annotated[Positional[Path], arg(metavar="FOLDER")]
    """Where to put the pictures."""

    def run(self) -> None:
        """Write the pictures and name them."""
        from pongrad.runs.folder import RunFolder
        from pongrad.views.lesson import draw

        check_run(self.agent_run)
        for file in draw(RunFolder(self.agent_run), self.out):
            print(file)


@dataclass(frozen=True, kw_only=True)
class Exercise:
    """Solve the lesson's exercises: list them, write one's file into this folder, check it."""

    number: Annotated[Positional[int], arg(metavar="[N]", help_behavior_hint="")] = 0
    """Its number: writes the exercise's file if there is none here, else checks it. Without it: the list."""

    def run(self) -> None:
        """Print the list or what is right or wrong; exit with code 1 while the exercise is not right."""
        from pongrad.exercises.command import run

        if not run(self.number):
            sys.exit(1)


@dataclass(frozen=True, kw_only=True)
class Plot:
    """Compare the learning curves of runs."""

    runs: Annotated[Positional[tuple[Path, ...]], arg(metavar="RUN...", help_behavior_hint="")]
    """The runs' folders."""
    out: Annotated[Path, arg(metavar="OUT", aliases=("-o",))]
    """The picture's name, in .png, .pdf or .svg."""

    def run(self) -> None:
        """Write the picture."""
        from pongrad.runs.folder import RunFolder
        from pongrad.views.plots import learning_curve

        if not self.runs:
            raise UserError("give at least one run's folder: pongrad plot runs/fast-seed1 -o curve.png")
        if self.out.suffix.lower() not in (".png", ".pdf", ".svg"):
            raise UserError(
                f"cannot make a picture named {self.out}: its name must end in .png, .pdf or .svg"
            )
        for run in self.runs:
            check_run(run)
        learning_curve([RunFolder(run) for run in self.runs], self.out)
        print(self.out)


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Measure how fast pongrad plays and learns, beside the emulator alone and beside classic.py."""

    seconds: Annotated[float, arg(metavar="S")] = 120.0
    """About how long to measure."""
    workers: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: one a core)")] = None
    """Processes that play."""
    json: bool = False
    """Print the result as JSON."""

    def run(self) -> None:
        """Print the figures."""
        from pongrad.ground.system import cores
        from pongrad.runs.bench import bench, table

        _above_zero("seconds", self.seconds)
        _at_least("workers", 1 if self.workers is None else self.workers, 1)
        result = bench(self.seconds, self.workers or cores())
        print(json.dumps(result) if self.json else table(result))


def main(args: Sequence[str] | None = None) -> None:
    """Run the command; exits with code 2 and one line on stderr if the user can put it right."""
    show_what_can_be()
    try:
        with quiet_at_a_second_interrupt():
            _run(list(sys.argv[1:] if args is None else args))
    except UserError as error:
        _fail(str(error))
    except MemoryError as error:
        _fail(f"not enough memory ({error}): use fewer neurons, games or steps")
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        if error.errno not in OUTPUT_ERRORS:
            raise
        if error.errno != errno.EPIPE:
            _fail(f"cannot write the output: {error.strerror}")
        sys.exit(1)
    finally:
        forget_what_cannot_be_shown()


def _run(args: list[str]) -> None:
    command = _command(args)
    if isinstance(command, Recipe):
        from pongrad.views.training_view import train

        age = time.time() - psutil.Process().create_time()  # the clock runs from the process's start,
        train(command, time.monotonic() - (age if 0 < age < 60 else 0.0))  # unless it has been set anew
    else:
        command.run()
    if sys.stdout:
        sys.stdout.flush()


def _fail(why: str) -> NoReturn:
    with contextlib.suppress(OSError, ValueError):
        print(f"pongrad: {why}", file=sys.stderr, flush=True)
    sys.exit(2)


def _command(args: list[str]) -> Any:
    """What the arguments ask for; a recipe's flags can be read only when it is known which recipe."""
    recipe: type[Recipe] = Fast
    resumed: Recipe | None = None
    if args[:1] == ["train"]:
        first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        first.add_argument("--recipe", nargs="?")
        first.add_argument("--run", nargs="?", type=_path)
        first.add_argument("--resume", action="store_true")
        known, _ = first.parse_known_args(args[1:])
        recipe = RECIPES.get(known.recipe, Fast)
        if known.resume and not {"-h", "--help"} & set(args):
            from pongrad.runs.folder import RunFolder

            resumed = RunFolder.open(known.run).config()
    if resumed:  # the run's own configuration, changed only by the flags that were given
        command = _parse(type(resumed), args[1:], "pongrad train", resumed)
        return replace(command, run=resumed.run, resume=True)
    Command = (
        Annotated[recipe, subcommand("train", description="Train an agent.")]  # type: ignore[valid-type]
        | Annotated[Evaluate, subcommand("evaluate")]
        | Annotated[Watch, subcommand("watch")]
        | Annotated[Play, subcommand("play")]
        | Annotated[Record, subcommand("record")]
        | Annotated[Timelapse, subcommand("timelapse")]
        | Annotated[Lesson, subcommand("lesson")]
        | Annotated[Exercise, subcommand("exercise")]
        | Annotated[Plot, subcommand("plot")]
        | Annotated[Bench, subcommand("bench")]
        | Annotated[Tune, subcommand("tune")]
    )
    if args[:1] == ["tune"] and not {"-h", "--help"} & set(args):
        return _tune(args[1:])
    return _parse(Command, args)


def _tune(args: list[str]) -> Tune:
    """`tune` with its own flags, and with those of the recipe that it does not search."""
    tune, rest = _parse(Tune, args, "pongrad tune", return_unknown_args=True)
    base = _parse(RECIPES[tune.recipe], [*rest, "--recipe", tune.recipe, "--game", tune.game], "pongrad tune")
    given = {arg.partition("=")[0] for arg in rest if arg.startswith("--")}
    fixed = tuple(field.name for field in fields(base) if flag(field.name) in given)
    return replace(tune, base=base, fixed=fixed)


def _parse(kind: Any, args: list[str], prog: str = "pongrad", default: Any = None, **more: Any) -> Any:
    with _one_line_errors(prog):
        about = {
            "description": "Learn games from their pixels. `pongrad --version` says which version this is."
        }
        options = more | (about if default is None else {"default": default})
        return tyro.cli(
            kind, prog=prog, args=args, config=(FlagCreatePairsOff,), registry=_REGISTRY, **options
        )


_REGISTRY = ConstructorRegistry()
"""How tyro reads whole numbers (`arguments.whole_number`) and paths: a shell leaves the ~ of --run=~/x."""


@_REGISTRY.primitive_rule
def _read(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    read: Callable[[str], Any] | None = {int: whole_number, Path: _path}.get(info.type)
    if not read:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="N" if info.type is int else "PATH",
        instance_from_str=lambda texts: read(texts[0]),
        is_instance=lambda value: isinstance(value, info.type),
        str_from_instance=lambda value: [str(value)],
    )


def _path(text: str) -> Path:
    return Path(os.path.expanduser(text))  # the ~ of an unknown user stays as it is


@contextlib.contextmanager
def _one_line_errors(prog: str) -> Iterator[None]:
    """Turn tyro's boxed error message into a UserError of one line."""
    box = io.StringIO()
    try:
        with contextlib.redirect_stderr(box):
            yield
    except SystemExit as stop:
        if stop.code != 2:
            raise
        lines = [line.strip("│ \n") for line in box.getvalue().splitlines()[1:]]
        rule = next((i for i, line in enumerate(lines) if set(line) <= set("─╰╯")), len(lines))
        message = re.sub(r"\s+", " ", " ".join(lines[:rule]))
        raise UserError(f"{message}; see {prog} --help") from None


def _above_zero(name: str, value: float) -> None:
    if not 0 < value < float("inf"):
        raise UserError(f"--{name} must be above 0, not {value}")


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise UserError(f"--{name} must be {least} or more, not {value}")
