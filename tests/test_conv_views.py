"""Looking inside a convolutional network: the game that `play` plays, its filters and its feature maps."""

import itertools
import struct
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from pongrad import Fast
from pongrad.cli import main
from pongrad.games import environment
from pongrad.games.colours import grey
from pongrad.games.game import Game
from pongrad.games.randomness import Purpose
from pongrad.learning import learners
from pongrad.learning.recipes import Classic
from pongrad.network.batch_acting import ROWS
from pongrad.playing.play import play
from pongrad.runs.folder import RunFolder
from pongrad.views.duel import Duel, Opponent
from pongrad.views.lesson import convolutions, filters, stacking
from pongrad.views.moments import moments
from pongrad.views.pictures import BLUE, ORANGE, Inside, faded, neurons, seen
from pongrad.views.watch import NEURONS, encode, network_news, neurons_message

STEPS = 150
SMALL = {
    "conv_filters": (4, 8),
    "conv_kernels": (8, 4),
    "conv_strides": (4, 2),
    "num_hidden_layer_neurons": 16,
}


def conv_agent(recipe=Fast, greedy=False, **how):
    """An agent with random weights and, if it has biases, random ones too."""
    agent = learners.new_agent(recipe(network="conv", **SMALL | how))
    rng = np.random.default_rng(1)
    for name, array in agent.network.weights.items():
        if name.startswith("b"):
            array[:] = rng.normal(0, 0.1, array.shape)
    *_, last = (array for name, array in agent.network.weights.items() if name.startswith("W"))
    last *= 20  # so that actions are not all as likely
    agent.greedy = greedy
    return agent


def first_moments(agent, count, number=0):
    game = Game(agent.game, 7, Purpose.EVALUATION, number)
    return list(itertools.islice(moments(agent, game, environment.make(agent.game)), count))


def convolve(x, layer, bias):
    """ReLU(convolution), the long way: x [rows, columns, channels] -> [filters, rows, columns]."""
    kernel, stride = layer.kernel, layer.stride
    windows = np.lib.stride_tricks.sliding_window_view(x, (kernel, kernel), axis=(0, 1))
    weights = layer.weights.reshape(kernel, kernel, x.shape[2], -1)
    out = np.einsum("rckij,ijkf->frc", windows[::stride, ::stride], weights)
    return np.maximum(out + bias.reshape(-1, 1, 1), 0)


@pytest.mark.parametrize(
    ("recipe", "biases", "greedy"), [(Fast, False, True), (Fast, True, False), (Classic, True, False)]
)
def test_a_game_looked_at_is_the_game_that_is_played(recipe, biases, greedy):
    """Alone or beside others, to the same score; and what it makes of a screen is the network's."""
    agent = conv_agent(recipe, greedy, biases=biases)
    games = [Game(agent.game, 7, Purpose.EVALUATION, ROWS + row) for row in range(3)]
    rollouts, ends = play(agent, games, STEPS, environment.make(agent.game))
    looked = first_moments(agent, STEPS, number=ROWS + 2)
    assert [moment.action for moment in looked] == rollouts[2].actions.tolist()
    assert len({moment.action for moment in looked}) > 1
    assert (looked[-1].won, looked[-1].lost) == (ends[2].won, ends[2].lost) != (0, 0)
    taken = [moment.probabilities[moment.action] for moment in looked]
    if not greedy:
        np.testing.assert_allclose(np.log(taken), rollouts[2].log_probabilities, rtol=1e-4, atol=1e-6)
    outputs = agent.network.forward(rollouts[2].inputs).copy()

    arrays, layers = agent.network.weights, agent.network.layers[:2]
    for t in (0, 1, 70, STEPS - 1):
        moment, inputs = looked[t], rollouts[2].inputs
        stack = inputs.frames[inputs.newest[t] - 3 : inputs.newest[t] + 1]
        given = (stack - agent.vision.background_frame.astype(np.float32)) / np.float32(255)
        np.testing.assert_array_equal(moment.inputs, given[::-1])
        x = given.transpose(1, 2, 0)
        for i, layer in enumerate(layers):
            maps = convolve(x, layer, arrays.get(f"b{i + 1}", np.zeros(layer.out_shape[2])))
            np.testing.assert_allclose(moment.maps[i], maps, rtol=1e-3, atol=1e-4)
            x = maps.transpose(1, 2, 0)
        hidden = np.maximum(x.ravel() @ arrays["W3"] + arrays.get("b3", 0), 0).ravel()
        np.testing.assert_allclose(moment.hidden, hidden, rtol=1e-3, atol=1e-4)
        if recipe is Classic:
            assert moment.value is None
            assert moment.probabilities[0] == pytest.approx(1 / (1 + np.exp(-outputs[t, 0])), rel=1e-3)
        else:
            assert moment.value == pytest.approx(outputs[t, -1], rel=1e-3, abs=1e-5)


def test_biases_of_sparse_networks_are_thought_with():
    agent = learners.new_agent(Fast(biases=True, num_hidden_layer_neurons=8))
    agent.network.weights["b1"][:], agent.network.weights["b2"][:] = 0.5, np.arange(7)
    game = Game(agent.game, 7, Purpose.EVALUATION, 0)
    (rollout,), _ = play(agent, [game], 30, environment.make(agent.game))
    looked = first_moments(agent, 30)
    outputs = agent.network.forward(rollout.inputs)
    np.testing.assert_allclose([moment.value for moment in looked], outputs[:, -1], rtol=1e-4)
    assert [moment.action for moment in looked] == rollout.actions.tolist()


@pytest.mark.parametrize(
    ("game", "shape"),
    [
        ("ALE/Pong-v5", {"conv_filters": (16, 32), "conv_kernels": (8, 4), "conv_strides": (4, 2)}),
        (
            "ALE/Boxing-v5",
            {"conv_filters": (32, 64, 64), "conv_kernels": (8, 4, 3), "conv_strides": (4, 2, 1)},
        ),
        ("CartPole-v1", {"conv_filters": (100,), "conv_kernels": (12,), "conv_strides": (6,)}),
    ],
)
def test_the_inside_of_any_network_is_drawn(game, shape):
    """Nothing goes over the panel's edge, and what fires is lit."""
    agent = conv_agent(game=game, **shape)
    moment = first_moments(agent, 10)[-1]
    dark = Inside(agent).draw(replace(moment, maps=tuple(map(np.zeros_like, moment.maps)))).astype(int)
    lit = Inside(agent).draw(replace(moment, maps=tuple(map(np.ones_like, moment.maps)))).astype(int)
    assert dark.shape == lit.shape == (630, 480, 3)
    brighter = (lit - dark).max(axis=2) > 100
    assert not brighter[:402].any() and brighter[402:].mean() > 0.3
    assert not brighter[:, 465:].any() and not brighter[628:].any() and brighter[590:].any()


def test_colours_say_what_frames_and_weights_do():
    frames = np.zeros((4, 84, 84), np.float32)
    frames[0, 1, 1], frames[0, 2, 2], frames[3, 3, 3] = 1, -1, 1
    picture = seen(frames).astype(int)
    assert tuple(picture[1, 1]) == ORANGE and tuple(picture[2, 2]) == BLUE and not picture[9, 9].any()
    assert 0 < picture[3, 3].sum() < picture[1, 1].sum()  # the oldest frame is fainter

    agent = conv_agent()
    weights = agent.network.weights["W1"].reshape(8, 8, 4, 4)
    weights[:] = 0
    weights[:, 2, 3, 1] = 3.0  # of the newest frame, the third column
    small = neurons(agent, 20)
    assert small.shape == (4, 8, 32) and not small[[0, 2, 3]].any()
    assert (small[1, :, 24 + 2] == 1).all() and np.count_nonzero(small[1]) == 8


def test_a_moment_comes_across_whole():
    agent = conv_agent()
    moment = first_moments(agent, 60)[-1]
    message = encode(3, moment, whole=False)
    _, _, frames, actions, units, inputs, *_ = struct.unpack_from("<4BHHII3f", message)
    assert (frames, actions, units) == (1, 6, 16)
    at = struct.calcsize("<4BHHII3f")

    def take(dtype, count):
        nonlocal at
        part = np.frombuffer(message, dtype, count, at)
        at += part.nbytes
        return part

    shown = np.zeros(84 * 84)
    places, values = take("<u2", inputs), take("i1", inputs)
    shown[places] = values
    np.testing.assert_allclose(shown / 127, faded(moment.inputs).ravel(), atol=0.004)
    at += moment.probabilities.size * 4 + moment.hidden.size * 4
    news = network_news(agent)
    assert news == {"network": "conv", "shape": (84, 84), "channels": 4, "units": 16,
                    "maps": [(4, 20, 20), (8, 9, 9)]}  # fmt: skip
    for shape, maps in zip(news["maps"], moment.maps, strict=True):
        (strongest,), lit = take("<f4", 1), take("u1", maps.size).reshape(shape)
        np.testing.assert_allclose(lit * strongest / 255, maps, atol=strongest / 200)
        np.testing.assert_array_equal(lit > 0, maps > 0)
    (count,) = take("<u4", 1)
    assert at + 7 * count == len(message) < 20_000

    message = neurons_message(agent)
    assert tuple(message[:4]) == (NEURONS, 8, 32, 0) and len(message) == 4 + 4 * 8 * 32


def test_the_lesson_is_drawn_from_a_run(tmp_path, capsys):
    config = Fast(run=tmp_path / "run", network="conv", biases=True, **SMALL)
    folder, agent = RunFolder.create(config), learners.new_agent(config)
    (folder.path / "stages").mkdir()
    agent.save(folder.path / "stages" / "000000000000.safetensors")
    folder.save_agent("best.safetensors", agent, {})
    main(["lesson", str(folder.path), str(tmp_path / "pictures")])
    names = [line.rpartition("/")[2] for line in capsys.readouterr().out.split()]
    assert names == ["preprocessing.png", "network.png", "weights.png", "returns.png"]
    for name in names:
        picture = np.asarray(Image.open(tmp_path / "pictures" / name).convert("RGB"))
        assert picture.shape[1] > 600 and len(np.unique(picture.reshape(-1, 3), axis=0)) > 20


def test_the_lesson_says_what_the_agent_does():
    """The frame drawn from the RGB screens is the one that the network was given."""
    agent = conv_agent(biases=True)
    looked = first_moments(agent, 60)
    panels = stacking(agent.vision, looked[-2].frames[-2:], looked[-1]).axes
    small, given = (np.asarray(panels[i].get_images()[0].get_array()) for i in (3, 4))
    less = small[..., 0].astype(int) - agent.vision.background_frame
    np.testing.assert_array_equal(less, np.rint(255 * looked[-1].inputs[0]))
    np.testing.assert_array_equal(given.any(axis=2), less != 0)

    text = " ".join(each.get_text() for each in convolutions(agent).axes[0].texts)
    for said in ("84 x 84 x 4", "W1: 1,024 weights\nb1: 4 biases\n8 x 8, every 4", "20 x 20 x 4", "9 x 9 x 8",
                 "W3: 10,368 weights", "16 neurons, ReLU", "each action,\nvalue"):  # fmt: skip
        assert said in text
    before, after = conv_agent(), conv_agent()
    after.network.weights["W1"][:, 2] *= 5
    assert len(filters(before, after).axes) == 2 * 4


def test_it_can_be_played_against():
    """On the cartridge for two it sees the last two frames in grey, as it has learned to."""
    duel, agent = Duel(seed=1), conv_agent()
    opponent = Opponent(agent)
    for _ in range(100):
        before = duel.greys[1].copy()
        action = opponent.decide(duel)
        assert action.name in agent.action_names
        duel.act(1, action, serve=True)
        np.testing.assert_array_equal(duel.greys, [before, grey(duel.picture())])
    frame = np.empty((84, 84), np.uint8)
    agent.vision.frame(duel.greys, frame)
    opponent.decide(duel)
    np.testing.assert_array_equal(agent._buffer.frames[0, -1], frame)
