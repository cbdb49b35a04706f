"""Workers, one a core of this machine or of a cluster, that play pieces of games.

A worker keeps nothing of a game: it gets a game's value and sends back the rollout and the value after.
So a worker that dies loses nothing: its piece is played again, by any other.
"""

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pongrad.games.environment import Environment
from pongrad.games.game import Game
from pongrad.ground.system import cores
from pongrad.network.agent import Agent
from pongrad.playing.play import play, play_on, play_without_rollouts
from pongrad.playing.processes import Processes
from pongrad.playing.rollout import Rollout, Segment, SerialisedRollouts, next_game
from pongrad.playing.shared import SharedAgent
from pongrad.playing.team import Team, Worker, WorkerDied, WorkersDied

PIECE = 500
"""Steps a worker plays before it hands the game back: 0.1 s, or 2 s of eight games side by side."""

DEATHS = 3
"""So many workers may die of one task before it is given up."""


class Interrupted(Exception):
    """Play was broken off on request; the unfinished rollouts are gone, everything else is as it was."""


@dataclass
class _Task:
    """Something for a worker to do.

    Attributes:
        key: to know the answer by.
        weights: the number of the weights to play with.
        call: a function with its arguments.
        deaths: workers that have died of it.
    """

    key: Any
    weights: int
    call: tuple[Any, ...]
    deaths: int = 0


class Workers:
    """A team of workers that play one agent; use it in a `with` statement."""

    def __init__(self, shared: SharedAgent, count: int | None, cluster: str | None = None) -> None:
        """Start the workers.

        Args:
            shared: who is to play, with weights that may be published meanwhile.
            count: how many; None: one a core.
            cluster: address of the Ray cluster where they are, which `check_cluster` has passed; None: here.

        Raises:
            UserError: they cannot be started.
        """
        self._shared = shared
        self._team: Team = (
            _cluster(cluster, shared, count) if cluster else Processes(shared, count or cores())
        )

    def __repr__(self) -> str:
        return f"Workers({len(self)} of {self._shared})"

    def __len__(self) -> int:
        return len(self._team.workers)

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        self._team.close()

    def collect_episodes(
        self, games: Sequence[Game], stopping: Callable[[], bool] = lambda: False
    ) -> Iterator[list[Segment]]:
        """Play whole games to their ends with the newest weights.

        Args:
            games: games that are not over.
            stopping: polled ten times a second; true cancels.

        Yields:
            Each game's one segment, in the order given, as soon as it can be had.

        Raises:
            Interrupted: `stopping` said so.
            WorkersDied: the same task crashed three workers.
        """
        pieces: list[list[Rollout]] = [[] for _ in games]

        def take(i: int, rollout: Rollout, game: Game) -> None:
            if game.step == len(rollout):  # its first piece, or it has been restarted
                pieces[i].clear()
            pieces[i].append(rollout)

        for i, game in self._play_to_the_end(games, play, take, stopping):
            yield [(Rollout.join(pieces[i]), game)]
            pieces[i] = []

    def finish_games(self, games: Sequence[Game]) -> Iterator[Game]:
        """What becomes of games that are not over, in the order given; see `collect_episodes`."""
        for _, game in self._play_to_the_end(games, play_without_rollouts, lambda i, rollout, game: None):
            yield game

    def _play_to_the_end(
        self,
        games: Sequence[Game],
        function: Callable[..., Any],
        take_piece: Callable[[int, Any, Game], None],
        stopping: Callable[[], bool] = lambda: False,
    ) -> Iterator[tuple[int, Game]]:
        """Play whole games to their ends with the newest weights, sharing them out in pieces.

        Two games a worker are under way, or two groups of them where games are played side by side, and the
        next piece is always of the one furthest from its end, so that at last all workers finish at nearly
        the same time, while the games before come out early enough to be learned from meanwhile. What comes
        out does not depend on it.

        Args:
            games: games that are not over.
            function: plays pieces, as `play` does.
            take_piece: is called with each game's slot and what the function gives of a piece.
            stopping: polled ten times a second; true cancels.

        Yields:
            Each game's slot and its end, in the order given, as soon as it can be had.
        """
        size = self._shared.games_side_by_side or 1
        groups = [range(i, min(i + size, len(games))) for i in range(0, len(games), size)]
        waiting = dict(enumerate(games))  # no worker is playing these
        done: dict[int, Game] = {}
        weights = self._shared.version

        def next_piece() -> _Task | None:
            begun = [group for group in groups if not all(i in done for i in group)][: 2 * max(1, len(self))]
            ready = [slots for group in begun if (slots := [i for i in group if i in waiting])]
            if not ready:
                return None
            slots = min(ready, key=lambda slots: (min(waiting[i].step for i in slots), slots))
            return _Task(slots, weights, (function, [waiting.pop(i) for i in slots], PIECE))

        def take(slots: list[int], answer: tuple[Sequence[Any], list[Game]]) -> None:
            for i, rollout, game in zip(slots, *answer, strict=True):
                take_piece(i, rollout, game)
                (done if game.over else waiting)[i] = game

        next_out = 0
        for _ in self._deal(next_piece, take, stopping):
            while next_out in done:
                yield next_out, done[next_out]
                next_out += 1

    def collect_steps(
        self,
        games: Sequence[Game],
        steps: int,
        times: int | None = None,
        stopping: Callable[[], bool] = lambda: False,
        hold_probability: float = 0.0,
    ) -> Iterator[list[list[Segment]]]:
        """Play all games on for exactly so many steps, and again, and again; see `play.play_on`.

        While the learner works on what is yielded the workers play on, so they are one set of weights
        behind: what is yielded was played with the weights published before the newest. The
        version must not depend on timing: publish exactly one set before asking for more, or never any.

        A game that ends is followed by the one numbered `len(games)` after it. Workers are dealt many games
        at once, because each answer interrupts the learner.

        Args:
            games: games that are not over.
            steps: to play in each at a time.
            times: how often; None: until the iterator is closed.
            stopping: polled ten times a second; true cancels.
            hold_probability: how the agent explores, see `exploration.held_action`.

        Yields:
            The segments played in the slot of each game.

        Raises:
            Interrupted: `stopping` said so.
            WorkersDied: the same task crashed three workers.
        """
        games = list(games)
        behind = self._shared.version - 1
        dealt = out = 0  # slots dealt, and times yielded
        played: dict[int, list[Segment]] = {}
        side_by_side = self._shared.games_side_by_side

        def next_batch() -> _Task | None:
            nonlocal dealt
            time, first = divmod(dealt, len(games))
            if time == times or time > out + 1:
                return None
            most = side_by_side or max(1, len(games) // (2 * max(1, len(self))))
            slots = range(dealt, dealt + min(most, len(games) - first))
            if time > out:  # these have still to be played on from
                ready = len(list(itertools.takewhile(lambda slot: slot - len(games) in played, slots)))
                slots = slots[: ready if ready == len(slots) or not side_by_side else 0]
            if not slots:
                return None
            dealt = slots.stop
            batch = [games[slot % len(games)] for slot in slots]
            return _Task(slots, behind + time, (play_on, batch, steps, len(games), hold_probability))

        def take(slots: range, answer: SerialisedRollouts) -> None:
            for slot, segments in zip(slots, answer.segments(), strict=True):
                played[slot] = segments
                games[slot % len(games)] = next_game(segments[-1][1], len(games))

        for _ in self._deal(next_batch, take, stopping, ahead=1):
            slots = range(out * len(games), (out + 1) * len(games))
            if all(slot in played for slot in slots):
                yield [played.pop(slot) for slot in slots]
                out += 1
                published = self._shared.version - 1 - behind
                assert published in (0, out), f"{published} publications after {out} rollouts"

    def _deal(
        self,
        next_task: Callable[[], _Task | None],
        take: Callable[[Any, Any], None],
        stopping: Callable[[], bool] = lambda: False,
        ahead: int = 0,
    ) -> Iterator[None]:
        """Keep all workers busy until there is no task left and all are done.

        Args:
            next_task: gives the next task, or None if there is none now.
            take: is called with each key and answer.
            stopping: polled ten times a second; true cancels.
            ahead: how many tasks more a worker is given, so that it need not wait for the next.

        Yields:
            Whenever answers have been taken and new tasks given.
        """
        playing: dict[Worker, deque[_Task]] = {}
        lost: deque[_Task] = deque()  # tasks of workers that have died: they are dealt first
        try:
            while True:
                workers = self._team.workers
                for most in range(ahead + 1):
                    for worker in workers:
                        tasks = playing.setdefault(worker, deque())
                        if len(tasks) == most and (task := lost.popleft() if lost else next_task()):
                            tasks.append(task)
                            worker.give(task.weights, *task.call)
                yield
                busy = [worker for worker, tasks in playing.items() if tasks]
                if workers and not busy:
                    return
                for worker in self._team.wait(busy, 0.1):
                    try:
                        answer = worker.answer()
                    except WorkerDied as death:
                        tasks = playing.pop(worker)
                        self._team.replace(worker)
                        _count_death(tasks[0], death)
                        lost.extend(tasks)
                    else:
                        take(playing[worker].popleft().key, _result(answer))
                if stopping():
                    raise Interrupted
        finally:
            for worker, tasks in playing.items():
                if tasks:  # their answers are no longer wanted
                    self._team.replace(worker)

    def validate_states(self, games: Sequence[Game]) -> None:
        """Let a worker restore games that come from a file.

        Raises:
            ValueError: the emulator cannot take them up.
            WorkersDied: of taking them up.
        """
        self.ask(_validate_states, [games])

    def ask(self, function: Callable[..., Any], *shares: Sequence[Any]) -> list[Any]:
        """What `function(agent, *args, emulator)` gives, in as many workers at once as there are shares.

        As `map` does, it takes one of `args` from each of `shares`: the first worker gets their first items.
        """
        everything = list(zip(*shares, strict=True)) or [()]
        weights = self._shared.version
        tasks = iter([_Task(i, weights, (function, *args)) for i, args in enumerate(everything)])
        answers: dict[int, Any] = {}
        for _ in self._deal(lambda: next(tasks, None), answers.__setitem__):
            pass
        return [answers[i] for i in range(len(everything))]


def _cluster(address: str, shared: SharedAgent, count: int | None) -> Team:
    from pongrad.playing.cluster import Cluster  # only here: Ray is an extra, and slow to import

    return Cluster(shared, address, count)


def _count_death(task: _Task, death: WorkerDied) -> None:
    task.deaths += 1
    if task.deaths == DEATHS:
        raise WorkersDied(
            f"{DEATHS} workers died of the same games, the last with {death}: free memory or "
            "use fewer --workers; a training run is saved, resume it with --resume (if they die again, "
            "delete its newest checkpoint)"
        )


def _result(answer: Any) -> Any:
    """What a task gave, or raises what it raised."""
    if isinstance(answer, BaseException):
        raise answer
    return answer


def _validate_states(agent: Agent, games: Sequence[Game], emulator: Environment) -> None:
    for game in games:
        emulator.check(game)
