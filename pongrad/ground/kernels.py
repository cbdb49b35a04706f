"""The compiled inner loops: plain functions on NumPy arrays, turned into machine code by Numba.

Every loop runs in one fixed order on one thread, and no kernel may reorder floating-point sums, so the
same numbers come out whatever the number of workers. float32 and float64 arrays both work: Numba
compiles one version for each and keeps it on disk (`python -m pongrad.runs.warm` compiles them ahead).

A batch of T sparse inputs is stored in compressed rows (CSR): input t has the non-zero pixels
`pixels[offsets[t]:offsets[t + 1]]` with the values at the same places of `values`; of one that is there
more than once the values add up.
"""

import numpy as np
from numba import njit

MOST_POINTS = 64
"""A screen's relative offsets are those of so many points at most, the upper ones."""


@njit(cache=True)
def look(eyes, room, out):
    """Write the pixels that are on to `out`, ascending; return how many they are.

    Args:
        eyes: what to look at and how, see `vision.Vision.eyes`:
            words: uint64 [height, width / 8], the screen, eight 8-bit colours a word (little-endian);
            is_on: bool [256], True for the colours that are not background;
            top, bottom, stride: rows top, top + stride, ... below bottom, and every stride-th column;
            only_outline: whether to keep only the ends of vertical runs, see `outline`.
        room: uint16 [at least the pixels of the processed screen], to write in; what it held is lost.
        out: uint16 [pixels of the processed screen].
    """
    words, is_on, top, bottom, stride, only_outline = eyes
    on = room if only_outline else out
    pixels_a_word = 8 // stride
    columns = words.shape[1]
    count = 0
    index = 0
    blank = np.uint64(0)  # the last word that had no pixel on, once there is one: nearly all repeat it
    known = False
    for row in range(top, bottom, stride):
        differs = np.uint64(0)  # most rows have only such words, and all of a row are compared at once
        for column in range(columns):
            differs |= words[row, column] ^ blank
        if known and differs == 0:
            index += columns * pixels_a_word
            continue
        for column in range(columns):
            word = words[row, column]
            if word != blank or not known:
                before = count
                for k in range(pixels_a_word):
                    if is_on[(word >> np.uint64(8 * stride * k)) & np.uint64(0xFF)]:
                        on[count] = index + k
                        count += 1
                if count == before:
                    blank, known = word, True
            index += pixels_a_word
    return outline(on[:count], columns * pixels_a_word, out) if only_outline else count


@njit(cache=True)
def outline(pixels, columns, out):
    """Write those that have a pixel that is off above or below to `out`; return how many they are.

    Args:
        pixels: uint16, ascending pixels that are on.
        columns: pixels a row of the screen.
        out: uint16, receives them, ascending.
    """
    count = above = below = 0
    for k in range(len(pixels)):
        pixel = np.int64(pixels[k])
        while pixels[above] + columns < pixel:
            above += 1
        while below < len(pixels) and pixels[below] < pixel + columns:
            below += 1
        inside = pixels[above] + columns == pixel and below < len(pixels) and pixels[below] == pixel + columns
        if not inside:
            out[count] = pixels[k]
            count += 1
    return count


@njit(cache=True)
def difference(before, now, pixels, values):
    """Write the sparse difference `now - before` of two pixel sets; return how many pixels it has.

    Args:
        before, now: uint16, ascending pixels that are on.
        pixels: uint16, receives the pixels that changed, ascending.
        values: int8, receives +1 where a pixel went on, -1 where it went off.
    """
    count = i = j = 0
    while i < len(before) or j < len(now):
        if j == len(now) or (i < len(before) and before[i] < now[j]):
            pixels[count] = before[i]
            values[count] = -1
            count += 1
            i += 1
        elif i == len(before) or now[j] < before[i]:
            pixels[count] = now[j]
            values[count] = 1
            count += 1
            j += 1
        else:  # on in both: no change
            i += 1
            j += 1
    return count


@njit(cache=True)
def side_by_side(before, now, size, pixels, values):
    """Write both pixel sets, those of `before` moved up by `size`; return how many pixels they are."""
    both = len(now) + len(before)
    pixels[: len(now)] = now
    for k in range(len(before)):
        pixels[len(now) + k] = before[k] + size
    values[:both] = 1
    return both


@njit(cache=True)
def points(pixels, columns, strip_width, rows, strips):
    """Write each point's row and strip of columns to `rows` and `strips`; return the number of points.

    Pixels of one row and one strip are one point. At most `MOST_POINTS` points are written, the upper ones.

    Args:
        pixels: uint16, ascending pixels that are on.
        columns: of the screen.
        strip_width: columns of a strip.
        rows, strips: int64 [MOST_POINTS], receive them.
    """
    count = 0
    for k in range(len(pixels)):
        row, strip = pixels[k] // columns, pixels[k] % columns // strip_width
        if count > 0 and row == rows[count - 1] and strip == strips[count - 1]:
            continue
        if count == MOST_POINTS:
            break
        rows[count], strips[count] = row, strip
        count += 1
    return count


@njit(cache=True)
def offsets_in_space(rows, strips, height, first, pixels, values):
    """Write the relative offsets of every two points of one screen; return how many inputs they are.

    An input stands for two strips of columns and a difference of rows: one point lies in the left strip,
    another in the right one and so many rows below it (PROS features; Liang et al. 2016, "State of the Art
    Control of Atari Games Using Shallow Reinforcement Learning").

    Args:
        rows, strips: int64, of each point; see `points`.
        height: rows of the screen.
        first: the number of the first such input; there are 2 height - 1 for any two strips.
        pixels: uint16, receives the inputs.
        values: int8, receives a 1 for each.
    """
    count = 0
    for j in range(len(rows)):
        for i in range(j):
            left, right, below = strips[i], strips[j], rows[j] - rows[i]
            if left > right:
                left, right, below = right, left, -below
            both = right * (right + 1) // 2 + left
            pixels[count] = first + both * (2 * height - 1) + below + height - 1
            values[count] = 1
            count += 1
    return count


@njit(cache=True)
def offsets_in_time(rows, strips, old_rows, old_strips, height, strip_count, first, pixels, values):
    """Write the relative offsets of each point to every point of the screen before; return their number.

    An input stands for the point's strip, the older point's strip and the difference of their rows (PROT
    features of Liang et al. 2016). Of the same object they tell its velocity, wherever it is.

    Args:
        rows, strips, old_rows, old_strips: int64, of each point of this screen and of the one before.
        height, strip_count: rows and strips of a screen.
        first: the number of the first such input; there are strip_count^2 (2 height - 1).
        pixels: uint16, receives the inputs.
        values: int8, receives a 1 for each.
    """
    count = 0
    for j in range(len(rows)):
        for i in range(len(old_rows)):
            both = strips[j] * strip_count + old_strips[i]
            pixels[count] = first + both * (2 * height - 1) + rows[j] - old_rows[i] + height - 1
            values[count] = 1
            count += 1
    return count


@njit(cache=True)
def first_outputs(pixels, values, weights, count):
    """The network's first `count` outputs for one sparse input: the same sums, in its layers' order.

    Args:
        pixels, values: the sparse input.
        weights: a tuple of [inputs, units] arrays, bottom first, with a ReLU between any two.
        count: how many outputs are needed.
    """
    out = np.zeros(weights[0].shape[1], weights[0].dtype)
    add_rows(pixels, values, weights[0], out)
    for layer in range(1, len(weights)):
        w, below = weights[layer], out
        out = np.zeros(w.shape[1] if layer < len(weights) - 1 else count, w.dtype)
        for i in range(len(below)):
            if below[i] > 0:  # the ReLU
                for unit in range(len(out)):
                    out[unit] += below[i] * w[i, unit]
    return out


@njit(cache=True)
def add_rows(pixels, values, weights, out):
    """out += sum_k values[k] weights[pixels[k]], one by one; weights [inputs, units], out [units]."""
    fours = len(pixels) // 4 * 4
    for k in range(0, fours, 4):  # four rows each time that `out` is gone through
        i0, i1, i2, i3 = pixels[k], pixels[k + 1], pixels[k + 2], pixels[k + 3]
        x0, x1, x2, x3 = values[k], values[k + 1], values[k + 2], values[k + 3]
        for unit in range(len(out)):
            two = (out[unit] + x0 * weights[i0, unit]) + x1 * weights[i1, unit]
            out[unit] = (two + x2 * weights[i2, unit]) + x3 * weights[i3, unit]
    for k in range(fours, len(pixels)):
        pixel, value = pixels[k], values[k]
        for unit in range(len(out)):
            out[unit] += value * weights[pixel, unit]


@njit(cache=True)
def uniform(key, step):
    """The `step`-th number in [0, 1) of the random stream `key` (both uint64).

    SplitMix64 (Steele, Lea and Flood 2014) read at any position: a random stream without a state, so a
    game taken up again at step t draws what it would have drawn had it never stopped.
    """
    z = key + (step + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)) * 2.0**-53  # the top 53 bits


@njit(cache=True)
def choose(logits, draw, greedy):
    """Choose an action by its probability, or greedily the likeliest one.

    Args:
        logits: one for each action, their softmax are the probabilities; or a single one z of two actions,
            sigmoid(z) is the probability of the first.
        draw: uniform in [0, 1).
        greedy: whether to choose the likeliest action, the first of several.

    Returns:
        The action's place, and the logarithm of its probability.
    """
    if len(logits) == 1:  # sigmoid is written with tanh so that it never overflows
        z = logits[0]
        threshold = 0.5 if greedy else draw
        action = 0 if threshold < 0.5 * (1 + np.tanh(0.5 * z)) else 1
        z = float(z if action == 0 else -z)
        return action, min(z, 0.0) - np.log1p(np.exp(-abs(z)))
    action = int(np.argmax(logits))
    largest = logits[action]
    total = 0.0
    for logit in logits:
        total += np.exp(float(logit - largest))
    if not greedy:
        left = draw * total
        for action in range(len(logits)):
            left -= np.exp(float(logits[action] - largest))
            if left < 0:
                break
    return action, float(logits[action] - largest) - np.log(total)


@njit(cache=True)
def observe(view, sight, step, pixels, values):
    """Write the network's sparse input at a game's step; return how many inputs are not zero.

    Args:
        view: what the network is given of two screens, see `vision.Vision.view`:
            pair: whether it is both side by side, or their difference;
            strip_width: columns of a strip, see `points`; 0: no relative offsets;
            in_time: whether relative offsets to the screen before are among them;
            rows, columns: of a screen.
        sight, step: see `decide`; `sight` holds the screen of this step and the one before.
        pixels: uint16, receives them.
        values: int8, receives their values.
    """
    pair, strip_width, in_time, rows, columns = view
    seen, counts = sight
    now = seen[step % 2, : counts[step % 2]]
    before = seen[1 - step % 2, : counts[1 - step % 2]]
    count = 0  # on a game's first step nothing has moved yet
    if pair:
        count = side_by_side(before if step > 0 else before[:0], now, rows * columns, pixels, values)
    elif step > 0:
        count = difference(before, now, pixels, values)
    if strip_width == 0:
        return count
    first, strips = (1 + pair) * rows * columns, (columns - 1) // strip_width + 1
    places = np.empty((4, MOST_POINTS), np.int64)
    points_now = points(now, columns, strip_width, places[0], places[1])
    new = places[:2, :points_now]
    count += offsets_in_space(new[0], new[1], rows, first, pixels[count:], values[count:])
    if in_time and step > 0:
        first += strips * (strips + 1) // 2 * (2 * rows - 1)
        points_before = points(before, columns, strip_width, places[2], places[3])
        old = places[2:, :points_before]
        count += offsets_in_time(
            new[0], new[1], old[0], old[1], rows, strips, first, pixels[count:], values[count:]
        )
    return count


@njit(cache=True)
def decide(eyes, view, is_new, sight, mind, step, record, t):
    """One step of an agent, from the screen to the action: all that it costs beside the emulator.

    Args:
        eyes: the screen, see `look`.
        view: what the network is given of two screens, see `observe`.
        is_new: whether the screen has still to be looked at; if not, `sight` already holds it.
        sight: pixels, uint16 [2, size], and counts, int64 [2]: in row `step % 2` the pixels that are on
            in the screen of this step, in the other row those of the step before.
        mind: weights, number of logits, stream and greedy, see `first_outputs`, `uniform` and `choose`.
        step: counts the game's steps.
        record: offsets, pixels, values (see the header), actions (uint8) and the logarithms of their
            probabilities (float64), all written at place `t`.

    Returns:
        The place of the chosen action.
    """
    seen, counts = sight
    weights, logit_count, stream, greedy = mind
    offsets, pixels, values, actions, log_probabilities = record
    start = offsets[t]
    if is_new:
        counts[step % 2] = look(eyes, pixels[start:], seen[step % 2])
    end = start + observe(view, sight, step, pixels[start:], values[start:])
    offsets[t + 1] = end
    logits = first_outputs(pixels[start:end], values[start:end], weights, logit_count)
    actions[t], log_probabilities[t] = choose(logits, uniform(stream, np.uint64(step)), greedy)
    return actions[t]


@njit(cache=True)
def decisions(eyes, view, is_new, sight, mind, step, record, t, until, is_over):
    """An agent that plays on: a generator that is asked for the next action as soon as the screen shows it.

    A generator unpacks its arguments once; unpacking all that `decide` is given takes half as long as the
    network. Run it to its end, or it never lets go of its arrays.

    Args:
        eyes, view, sight, mind, record: see `decide`.
        is_new, step, t: see `decide`, of the first step.
        until: steps to play, at least 1.
        is_over: bool [1], to be set by who plays when the game has ended.

    Yields:
        The place of each step's action. After the last one it sees what comes next, and that is all.
    """
    for _ in range(until):
        yield decide(eyes, view, is_new, sight, mind, step, record, t)
        is_new = True
        step += 1
        t += 1
        if is_over[0]:
            break
    decide(eyes, view, is_new, sight, mind, step, record, t)


@njit(cache=True)
def take(offsets, pixels, values, steps, taken_offsets, taken_pixels, taken_values):
    """Copy the sparse inputs of these steps to `taken_pixels` and `taken_values`, one after the other."""
    for i in range(len(steps)):
        start, place = offsets[steps[i]], taken_offsets[i]
        for k in range(taken_offsets[i + 1] - place):
            taken_pixels[place + k] = pixels[start + k]
            taken_values[place + k] = values[start + k]


@njit(cache=True)
def sparse_linear(offsets, pixels, values, weights, out):
    """out[t] = x_t W for sparse x_t: add up the few rows of W whose pixel is not zero.

    Args:
        offsets, pixels, values: the sparse inputs x, see the module's header.
        weights: [inputs, units].
        out: [T, units], overwritten.
    """
    out[:] = 0
    for t in range(len(out)):
        start, end = offsets[t], offsets[t + 1]
        add_rows(pixels[start:end], values[start:end], weights, out[t])


@njit(cache=True)
def sparse_linear_backward(offsets, pixels, values, d_out, gradient, touched):
    """gradient += sum_t x_t^T d_out[t], only in the rows whose pixel is not zero; marks them in `touched`."""
    for t in range(len(d_out)):
        for k in range(offsets[t], offsets[t + 1]):
            value = values[k]
            pixel = pixels[k]
            touched[pixel] = True
            for unit in range(d_out.shape[1]):
                gradient[pixel, unit] += value * d_out[t, unit]


@njit(cache=True)
def linear(x, weights, out):
    """out[t] = x[t] W; x [T, inputs], weights [inputs, units], out [T, units] overwritten."""
    # With the steps side by side the inner loop is a long one, and no sum waits for the one before it.
    by_input = x.T.copy()
    by_unit = np.zeros((out.shape[1], len(x)), out.dtype)
    for i in range(len(by_input)):
        for unit in range(len(by_unit)):
            for t in range(len(x)):
                by_unit[unit, t] += by_input[i, t] * weights[i, unit]
    out[:] = by_unit.T


@njit(cache=True)
def linear_backward(x, weights, d_out, gradient, d_x):
    """gradient += sum_t x[t]^T d_out[t] and d_x[t] = W d_out[t] (overwritten)."""
    # A layer has many inputs and few units: with the inputs side by side the inner loop is a long one.
    by_unit = weights.T.copy()
    gradient_by_unit = gradient.T.copy()
    for t in range(len(x)):
        for i in range(x.shape[1]):
            d_x[t, i] = 0
        for unit in range(d_out.shape[1]):
            d = d_out[t, unit]
            for i in range(x.shape[1]):
                gradient_by_unit[unit, i] += x[t, i] * d
                d_x[t, i] += by_unit[unit, i] * d
    gradient[:] = gradient_by_unit.T


@njit(cache=True)
def discount(rewards, gamma, returns):
    """The loop of `returns.discount`; `gamma` in the precision of `rewards`."""
    running = gamma - gamma  # 0 in that precision
    for t in range(len(rewards) - 1, -1, -1):
        running = rewards[t] if rewards[t] != 0 else gamma * running
        returns[t] = running


@njit(cache=True)
def generalised_advantages(rewards, values, last_value, gamma, lambda_, advantages):
    """The loop of `returns.generalised_advantages`."""
    following, running = last_value, 0.0
    for t in range(len(rewards) - 1, -1, -1):
        if rewards[t] != 0:  # a point is over: nothing after it counts
            following = running = 0.0
        running = rewards[t] + gamma * following - values[t] + gamma * lambda_ * running
        advantages[t] = running
        following = values[t]


# Where Numba checked for divisions by zero it could not compute several quotients at once.
@njit(cache=True, error_model="numpy")
def rmsprop(weights, gradient, mean_square, learning_rate, decay_rate, epsilon):
    """One RMSProp step of gradient *ascent* on flat arrays, in place; see `optimisers.RMSProp`."""
    for i in range(len(weights)):
        g = gradient[i]
        mean_square[i] = decay_rate * mean_square[i] + (1 - decay_rate) * g * g
        weights[i] += learning_rate * g / (np.sqrt(mean_square[i]) + epsilon)


@njit(cache=True, error_model="numpy")
def lazy_rmsprop(weights, gradient, mean_square, touched, rate, keep, correction, epsilon):
    """One step of gradient *ascent* on the touched rows, in place; see `optimisers.LazyRMSProp`.

    Args:
        weights, gradient, mean_square: [rows, units].
        touched: bool [rows].
        rate: learning rate.
        keep: 1 - decay rate.
        correction: corrects sqrt(mean_square) for its bias.
        epsilon: keeps the division finite.
    """
    for row in range(len(weights)):
        if touched[row]:
            for unit in range(weights.shape[1]):
                g = gradient[row, unit]
                c = mean_square[row, unit] + keep * (g * g - mean_square[row, unit])
                mean_square[row, unit] = c
                weights[row, unit] += rate * g / (correction * np.sqrt(c) + epsilon)


@njit(cache=True)
def zero_rows(gradient, touched):
    """Set the touched rows of `gradient` [rows, units] to 0, and no row is touched any more."""
    for row in range(len(gradient)):
        if touched[row]:
            touched[row] = False
            for unit in range(gradient.shape[1]):
                gradient[row, unit] = 0
