"""A person against an agent: the two-player cartridge, the table's commands, who there is to play against."""

import asyncio
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from ale_py import Action
from conftest import FAST_VISION

from pongrad import Agent, Fast
from pongrad.cli import main
from pongrad.learning.learners import new_agent as agent_of
from pongrad.runs.checkpoint import Progress
from pongrad.runs.folder import RunFolder
from pongrad.runs.stages import Stages
from pongrad.views import web
from pongrad.views.duel import FRAME, POINTS, Duel, Opponent, Play, opponents

PERSON, AGENT = (213, 130, 74), (92, 186, 92)  # colours of the paddles


@pytest.fixture
def duel():
    return Duel(seed=1)


def height(duel, colour):
    """Where a paddle is: the mean row of its pixels; 0 is the top."""
    field = duel.picture()[34:194].astype(int)
    return (np.abs(field - colour).max(axis=2) < 20).nonzero()[0].mean()


def test_each_paddle_goes_where_it_is_told(duel):
    for _ in range(120):  # paddles appear
        duel.act(0, Action.NOOP, serve=False)
    for paddle, other, act in (
        (PERSON, AGENT, lambda where: duel.act(where, Action.NOOP, serve=False)),
        (AGENT, PERSON, lambda where: duel.act(0, Action.RIGHT if where > 0 else Action.LEFT, serve=False)),
    ):
        for _ in range(30):  # it comes to rest
            duel.act(0, Action.NOOP, serve=False)
        start, other_start = height(duel, paddle), height(duel, other)
        for _ in range(10):
            act(1)
        up = height(duel, paddle)
        for _ in range(20):
            act(-1)
        assert up < start - 10 and height(duel, paddle) > up + 10
        assert height(duel, other) == pytest.approx(other_start, abs=1)


def test_a_point_needs_a_serve_and_a_game_ends_at_21(duel):
    for _ in range(600):
        duel.act(0, Action.NOOP, serve=False)
    points = list(duel.points)
    assert sum(points) <= 1  # the cartridge itself serves the first ball
    for _ in range(600):
        duel.act(0, Action.NOOP, serve=False)
    assert duel.points == points
    for _ in range(20_000):
        if duel.over:
            break
        duel.act(1, Action.RIGHT, serve=True)
    assert duel.over and max(duel.points) == POINTS and min(duel.points) < POINTS
    duel.restart()
    assert not duel.over and duel.points == [0, 0]


def test_the_champion_beats_one_who_does_not_move(duel):
    champion = Opponent(Agent.load("champion"))
    action = Action.NOOP
    for frame in range(60_000):
        if duel.over:
            break
        if frame % 4 == 0:
            action = champion.decide(duel)
        duel.act(0, action, serve=frame % 60 < 8)
    assert duel.over and duel.points[1] == POINTS and duel.points[0] < 10


@pytest.fixture
def agent_file(new_agent, tmp_path):
    """An agent that always goes down."""
    agent = new_agent(hidden=(20,), critic=True, vision=FAST_VISION)
    agent.network.weights["W1"][:], agent.network.weights["W2"][:] = 1, 0
    agent.network.weights["W2"][:, agent.action_names.index("LEFT")] = 1
    agent.save(tmp_path / "agent.safetensors")
    return tmp_path / "agent.safetensors"


class Player(web.Viewer):
    """A viewer that draws everything at once."""

    def show(self, moment):
        super().show(moment)
        self.frames = getattr(self, "frames", 0) + 1
        assert moment[0] == FRAME
        self._moments.clear()


def test_the_table_obeys(agent_file):
    """Moves, serves, scores, pauses and ends; then a rematch, and another opponent."""

    async def sit_down():
        broadcaster, player = web.Broadcaster(), Player()
        show = Play([("down", agent_file), ("champion", "champion"), ("gone", agent_file.with_name("no"))])
        playing = asyncio.create_task(show.run(broadcaster))
        broadcaster.enter(player)

        async def until(condition):
            async with asyncio.timeout(60):
                while not condition():
                    await asyncio.sleep(0.005)

        await until(lambda: getattr(player, "frames", 0) > 60)
        before = height(show._duel, PERSON)
        show.handle({"move": 1})
        await until(lambda: height(show._duel, PERSON) < before - 10)
        show.handle({"move": 0})

        while sum(show._duel.points) == 0:
            show.handle({"serve": 1})
            await asyncio.sleep(0.05)
        show.handle({"pause": True})
        await asyncio.sleep(0.05)
        frames = player.frames
        await asyncio.sleep(0.2)
        assert player.frames == frames
        show.handle({"pause": False})
        await until(lambda: player.frames > frames)

        show._duel.points[:] = POINTS - 1, POINTS - 1
        while not show._duel.over:
            show.handle({"serve": 1})
            await asyncio.sleep(0.05)
        frames = player.frames
        await asyncio.sleep(0.2)
        assert player.frames == frames and '"over": true' in broadcaster._states["status"]
        show.handle({"rematch": 1})
        await until(lambda: player.frames > frames)
        assert show._duel.points == [0, 0]

        show.handle({"opponent": 1})
        assert '"opponent": 1' in broadcaster._states["status"]
        show.handle({"opponent": 2})
        assert (
            "no such file" in broadcaster._states["status"]
            and '"opponent": 1' in broadcaster._states["status"]
        )
        for nonsense in ({"opponent": 3}, {"opponent": -1}, {"opponent": "champion"}, {"move": 2}, {"x": 1}):
            with pytest.raises(ValueError):
                show.handle(nonsense)
        playing.cancel()

    asyncio.run(sit_down())


def test_opponents_are_the_champion_own_runs_and_their_stages(tmp_path, monkeypatch, duel):
    monkeypatch.chdir(tmp_path)
    config = Fast(num_hidden_layer_neurons=8)
    folder, agent = RunFolder.create(config), agent_of(config)
    folder.save_agent("best.safetensors", agent, {})
    Stages(folder, agent, Progress()).note(agent, Progress(frames=500_000))
    names = [name for name, _ in opponents("champion")]
    run = "runs/fast-seed1"
    assert names == ["champion", run, f"{run}, untrained", f"{run}, 0.5 million frames"]
    for _, source in opponents(folder.path):
        Opponent(Agent.load(source)).decide(duel)

    # A stage that is damaged, and a run of another version.
    stage = next((folder.path / "stages").glob("*5*.safetensors"))
    stage.write_bytes(stage.read_bytes()[:-1])
    settings = json.loads((folder.path / "config.json").read_text())
    Path("runs/other").mkdir()
    Path("runs/other/config.json").write_text(json.dumps(settings | {"telepathy": True}))
    assert [name for name, _ in opponents("champion")] == ["champion", run, f"{run}, untrained"]


def test_without_the_two_player_emulator_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "multi_agent_ale_py", None)
    with pytest.raises(SystemExit) as stop:
        main(["play"])
    assert stop.value.code == 2
    assert "pip install multi-agent-ale-py" in capsys.readouterr().err
