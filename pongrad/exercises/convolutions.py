"""Exercises about convolutions: filters moved over images, and their gradient."""

import numpy as np

from pongrad import classic_conv
from pongrad.classic_conv import Weights, cut_patches
from pongrad.exercises.exercise import Array, Case, Exercise, Mistake

# --- 13. A convolution ----------------------------------------------------------------------------------


def _convolve(images: Array, W1: Array) -> Array:
    """The first line of `classic_conv.forward`, from images."""
    return cut_patches(images) @ W1.T


def _convolve_cases(rng: np.random.Generator) -> list[Case]:
    def random(steps: int, rows: int, columns: int, filters: int) -> Case:
        return rng.integers(-1, 2, (steps, rows, columns)), rng.standard_normal((filters, 64))

    return [random(1, 12, 16, 1), random(3, 16, 20, 2), random(2, 24, 24, 5)]


def _places(images: Array, W1: Array) -> Array:
    """What the filters give, by rows and columns of places: [T, down, across, K]."""
    T, rows, columns = images.shape
    return _convolve(images, W1).reshape(T, (rows - 4) // 4, (columns - 4) // 4, -1)


def _no_last_places(images: Array, W1: Array) -> Array:
    out = _places(images, W1)
    return out[:, :-1, :-1].reshape(len(images), -1, len(W1))


def _column_by_column(images: Array, W1: Array) -> Array:
    return _places(images, W1).swapaxes(1, 2).reshape(len(images), -1, len(W1))


def _at(images: Array, W1: Array, stride: int) -> Array:
    """The convolution with another stride."""
    T, rows, columns = images.shape
    patches = [
        images[:, top : top + 8, left : left + 8].reshape(T, 64)
        for top in range(0, rows - 7, stride)
        for left in range(0, columns - 7, stride)
    ]
    return np.stack(patches, axis=1) @ W1.T


def _transposed(images: Array, W1: Array) -> Array:
    return _convolve(images, W1.reshape(-1, 8, 8).swapaxes(1, 2).reshape(-1, 64))


CONVOLVE = Exercise(
    number=13,
    title="A convolution",
    chapter=13,
    code='''
import numpy as np

filter_size = 8  # rows and columns of a filter
stride = 4  # pixels from one place to the next


def convolve(images, W1):
    """Move filters over images: what each filter gives in each place.

    Args:
        images: those of T steps, [T, rows, columns].
        W1: K filters, [K, 64]; a row holds the 8 x 8 weights of a filter, row by row.

    Returns:
        [T, P, K], for each of the P places the sum of the 64 pixels there, each times the filter's weight.
        Places go from left to right, and from top to bottom; the last ones still lie in the image as a whole.

    Example:
        >>> convolve(np.ones((1, 8, 12)), np.ones((1, 64))).tolist()
        [[[64.0], [64.0]]]
    """
    T, rows, columns = images.shape
    places = []
    for top in range(0, rows - filter_size + 1, stride):
        for left in ...:
            patch = ...  # [T, 64], the pixels of this place
            places.append(...)  # [T, K], what the filters give here
    return np.stack(places, axis=1)
''',
    reference=_convolve,
    cases=_convolve_cases,
    mistakes=(
        Mistake("the last place of each row is missing: left may be as large as columns - filter_size",
                lambda images, W1: _places(images, W1)[:, :, :-1].reshape(len(images), -1, len(W1))),
        Mistake("the last places, at the right and at the bottom, are missing: range needs + 1",
                _no_last_places),
        Mistake("the places go from top to bottom first; they must go from left to right first",
                _column_by_column),
        Mistake("the filters move by one pixel at a time; they must move by stride, 4",
                lambda images, W1: _at(images, W1, 1)),
        Mistake("the places do not overlap: the filters must move by stride, 4, not by filter_size",
                lambda images, W1: _at(images, W1, 8)),
        Mistake("the filters are turned round: pixel i belongs to weight i",
                lambda images, W1: _convolve(images, W1[:, ::-1])),
        Mistake("rows and columns of the patches are exchanged: they are flattened row by row", _transposed),
        Mistake("it has a ReLU already; here only what the filters give is asked for",
                lambda images, W1: np.maximum(_convolve(images, W1), 0)),
        Mistake("it gives means; it must give sums", lambda images, W1: _convolve(images, W1) / 64),
    ),
    formula="in place p of step t filter k gives sum_s W1_ks x_tps",
    where="cut_patches and forward in pongrad/classic_conv.py",
    tested_by="tests/test_classic_conv.py::test_forward_is_the_convolution_as_it_is_defined",
)  # fmt: skip


# --- 14. The gradient of a convolution ------------------------------------------------------------------


def _backward_cases(rng: np.random.Generator) -> list[Case]:
    def random(T: int, P: int, K: int, S: int) -> Case:
        weights = {"W1": rng.standard_normal((K, S)), "W2": rng.standard_normal(P * K)}
        patches = rng.integers(-1, 2, (T, P, S)).astype(float)
        h, _ = classic_conv.forward(patches, weights)
        return patches, h, rng.standard_normal(T), weights

    patches = np.array([[[1.0, 0.0], [0.0, 1.0]]])
    weights = {"W1": np.array([[1.0, -1.0]]), "W2": np.array([2.0, 3.0])}
    return [(patches, np.array([[1.0, 0.0]]), np.array([0.5]), weights), random(3, 4, 2, 6)]


def _with_dh(patches: Array, h: Array, d_logit: Array, dh: Array) -> Weights:
    """The gradients from that at the neurons, [T, P, K]."""
    return {"W1": np.einsum("tpk,tps->ks", dh, patches), "W2": d_logit @ h}


def _no_mask(patches: Array, h: Array, d_logit: Array, weights: Weights) -> Weights:
    dh = np.outer(d_logit, weights["W2"])
    return _with_dh(patches, h, d_logit, dh.reshape(*patches.shape[:2], -1))


def _mask_of_dh(patches: Array, h: Array, d_logit: Array, weights: Weights) -> Weights:
    dh = np.maximum(np.outer(d_logit, weights["W2"]), 0)
    return _with_dh(patches, h, d_logit, dh.reshape(*patches.shape[:2], -1))


def _by_filters_first(patches: Array, h: Array, d_logit: Array, weights: Weights) -> Weights:
    dh = np.outer(d_logit, weights["W2"])
    dh[h <= 0] = 0
    T, P, _ = patches.shape
    return _with_dh(patches, h, d_logit, dh.reshape(T, -1, P).swapaxes(1, 2))


def _scaled(case: Case, W1: float, W2: float = 1) -> Weights:
    gradient = classic_conv.backward(*case)
    return {"W1": W1 * gradient["W1"], "W2": W2 * gradient["W2"]}


def _one_place(case: Case, place: int) -> Weights:
    """The gradient in one place only."""
    patches, h, d_logit, weights = case
    K = len(weights["W1"])
    mine = slice(place * K, (place + 1) * K)
    only = {"W1": weights["W1"], "W2": weights["W2"][mine]}
    first = classic_conv.backward(patches[:, [place]], h[:, mine], d_logit, only)
    return {"W1": first["W1"], "W2": d_logit @ h}


CONVOLVE_BACKWARD = Exercise(
    number=14,
    title="The gradient of a convolution",
    chapter=13,
    code='''
import numpy as np


def convolve_backward(patches, h, d_logit, weights):
    """From the gradient at the logit to that of every weight of a network with one convolution.

    A filter is used in P places on each of T steps, and each use adds to its gradient.

    Args:
        patches: what the filters saw in each place, [T, P, S].
        h: what they gave after ReLU, [T, P * K]: the K filters in the first place, then in the second ...
        d_logit: dz, the gradient at the logit, [T].
        weights: a dictionary of W1 [K, S], a row for each filter, and W2 [P * K].

    Returns:
        A dictionary of the gradients, with the same keys and shapes as the weights.

    Example:
        >>> patches = np.array([[[1.0, 0.0], [0.0, 1.0]]])
        >>> weights = {"W1": np.array([[1.0, -1.0]]), "W2": np.array([2.0, 3.0])}
        >>> gradient = convolve_backward(patches, np.array([[1.0, 0.0]]), np.array([0.5]), weights)
        >>> gradient["W1"].tolist(), gradient["W2"].tolist()
        ([[1.0, 0.0]], [0.5, 0.0])
    """
    K, S = weights["W1"].shape
    dW2 = ...  # [P * K], sum_t dz_t h_t
    dh = ...  # [T, P * K], dh_t = dz_t W2
    ...  # ReLU: dh is 0 where the neuron was off
    dh = ...  # [T * P, K], a row for each place of each step
    dW1 = ...  # [K, S], sum_tp dh_tp x_tp^T
    return {"W1": dW1, "W2": dW2}
''',
    reference=classic_conv.backward,
    cases=_backward_cases,
    results=("gradient",),
    mistakes=(
        Mistake("the ReLU is missing: dh must be 0 where the neuron was off, that is where h is 0 (the test"
                " is h <= 0)", _no_mask),
        Mistake("the ReLU looks at dh; h tells whether a neuron was on", _mask_of_dh),
        Mistake("places and filters are exchanged: h holds all filters of the first place first, so dh is"
                " reshaped to (-1, K)", _by_filters_first),
        Mistake("dW1 is a mean over the places; each use of a filter adds to its gradient",
                lambda *case: _scaled(case, W1=1 / case[0].shape[1])),
        Mistake("dW1 is a mean over places and steps; each use of a filter adds to its gradient",
                lambda *case: _scaled(case, W1=1 / (case[0].shape[0] * case[0].shape[1]))),
        Mistake("the gradients are means over the steps; they must be sums",
                lambda *case: _scaled(case, W1=1 / len(case[0]), W2=1 / len(case[0]))),
        Mistake("dW1 counts only the first place: sum over all of them", lambda *case: _one_place(case, 0)),
        Mistake("dW1 counts only the last place: sum over all of them",
                lambda *case: _one_place(case, case[0].shape[1] - 1)),
        Mistake("the sign is wrong: we climb, there is no minus", lambda *case: _scaled(case, W1=-1, W2=-1)),
    ),
    formula="dW1 = sum_tp dh_tp x_tp^T: every use of a filter adds to its gradient",
    where="backward in pongrad/classic_conv.py",
    tested_by="tests/test_classic_conv.py::test_the_gradient_is_autograds",
)  # fmt: skip
