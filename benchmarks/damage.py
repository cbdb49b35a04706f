"""Files that are not what was written: bytes changed at random, or values with a checksum that is valid."""

import copy
import random
from typing import Any

import numpy as np

from pongrad.ground import storage
from pongrad.runs.folder import CHECKPOINT_FORMAT

NASTY = [None, True, -1, 0, 1, 2**31, 2**63, 10**30, -0.5, 1e308, float("nan"), float("inf"), "", "\x1b[2J\n",
         "ALE/Pong-v5", [], [1], {}, {"a": 1}, [[[[]]]]]  # fmt: skip


def damaged_bytes(good: bytes, rng: random.Random) -> bytes:
    """A file that is not what was written."""
    bad = bytearray(good)
    header = 8 + int.from_bytes(good[:8], "little")
    match rng.randrange(9):
        case 0:  # bits flip, anywhere or in the header
            for _ in range(rng.choice([1, 1, 1, 10])):
                bad[rng.randrange(rng.choice([8, header, len(bad)]))] ^= 1 << rng.randrange(8)
        case 1:
            del bad[rng.randrange(len(bad)) :]
        case 2:
            bad += rng.randbytes(rng.choice([1, 1000]))
        case 3:  # a block is lost, or repeated, or zero
            at, size = rng.randrange(len(bad)), rng.choice([1, 512, 4096])
            bad[at : at + size] = rng.choice([b"", bad[at : at + size] * 2, bytes(size)])
        case 4:
            bad[:8] = rng.choice([0, 1, 7, header, len(bad), 2**31, 2**62, 2**64 - 1]).to_bytes(8, "little")
        case 5:  # numbers in the header: shapes, offsets, metadata
            digits = [i for i in range(8, header) if 48 <= bad[i] < 58]
            for _ in range(rng.choice([1, 1, 5])):
                bad[rng.choice(digits)] = rng.randrange(48, 58)
        case 6:
            bad[8:header] = bytes(rng.randbytes(header - 8))
        case 7:  # a file of another kind
            return rng.choice(
                [b"", b"\x80\x04cos\nsystem\n.", b"PK\x03\x04" + rng.randbytes(99), bytes(10**6)]
            )
        case 8:  # of another version or format
            old = CHECKPOINT_FORMAT.encode()
            bad = bad.replace(
                old, rng.choice([old[:-1] + b"2", old[:-1] + b"9", old[:-1] + b"x", b"x" * len(old)])
            )
    return bytes(bad)


def damaged_values(
    tensors: storage.Tensors, metadata: dict[str, Any], rng: random.Random
) -> tuple[storage.Tensors, dict[str, Any]]:
    """Other arrays and metadata, to be written with a checksum that is valid."""
    tensors, metadata = dict(tensors), copy.deepcopy(metadata)
    name = rng.choice(list(tensors))
    match rng.randrange(8):
        case 0 | 1 | 2:  # emulator states, the raw bytes: some places, or a number such as a length
            name = rng.choice([name for name in tensors if name.endswith(".state") and tensors[name].size])
            state = tensors[name].copy()
            for _ in range(rng.choice([1, 1, 10, 1000])):
                at = rng.randrange(len(state) - 4)
                number = rng.choice([rng.randrange(256), rng.randrange(2**32), 2**31 - 1, 2**32 - 1])
                state[at : at + 4] = np.frombuffer(number.to_bytes(4, "little"), np.uint8)
            tensors[name] = rng.choice([state, state, state[: rng.randrange(len(state))], np.tile(state, 2)])
        case 3:  # numbers of any array
            array = np.array(tensors[name])
            if array.size:
                raw = array.reshape(-1).view(np.uint8)
                for _ in range(rng.choice([1, 100])):
                    raw[rng.randrange(len(raw))] = rng.randrange(256)
            tensors[name] = array
        case 4:  # shapes and types
            array = tensors[name]
            types = [np.float64, np.int8, np.uint16, np.bool_, np.float16]
            with np.errstate(all="ignore"):
                tensors[name] = rng.choice(
                    [array.T, array.reshape(-1), array[..., None], array[:0] if array.ndim else array]
                    + [array.astype(each) for each in types]
                )
        case 5:  # names
            array = tensors.pop(name)
            if rng.random() < 0.7:
                tensors[rng.choice([*tensors, "x", name + "x", "games.99.now", "weights.\x1b\nW9"])] = array
        case _:  # the metadata, at any depth
            place: Any = metadata
            while True:
                key = rng.choice(list(place) if isinstance(place, dict) else range(len(place)))
                if not place[key] or not isinstance(place[key], dict | list) or rng.random() < 0.1:
                    break
                place = place[key]
            if isinstance(place, dict) and rng.random() < 0.2:
                place[rng.choice(["x", "update", key + "x"])] = place.pop(key)
            else:
                place[key] = rng.choice(NASTY)
    return tensors, metadata
