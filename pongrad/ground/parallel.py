"""Threads for work that NumPy and compiled functions do without Python's lock."""

import functools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from threadpoolctl import ThreadpoolController


class Threads:
    """A number of threads that share out the parts of a task, and memory for each to work in."""

    def __init__(self) -> None:
        """Start none: the thread that calls `each` does the work."""
        self._pool: ThreadPoolExecutor | None = None
        self._kept = threading.local()

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process starts without threads, and without what was written here."""
        return Threads, ()

    def use(self, count: int) -> None:
        """Share out the work among so many threads from now on."""
        self._pool = ThreadPoolExecutor(count, "pongrad-product") if count > 1 else None

    def each(self, do: Callable[[int], None], parts: int) -> None:
        """Call `do` with each of 0, 1, ..., parts - 1, in any order; none may depend on another."""
        if self._pool is None:
            for part in range(parts):
                do(part)
        else:
            for _ in self._pool.map(do, range(parts)):
                pass

    def scratch(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """An array of this thread's to write in; it holds anything, until the next call with this name."""
        self._kept.__dict__[name] = array = room(self._kept.__dict__.get(name), shape, dtype)
        return array


def blas_in_one_thread() -> AbstractContextManager[Any]:
    """In the `with` block every product of BLAS's is the work of the thread that asks for it.

    Its own threads would wait for each other wherever other processes keep the cores busy.
    """
    return _blas().limit(limits=1, user_api="blas")


@functools.cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()


def room(before: NDArray[Any] | None, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """An array of this shape to write in, in the memory of an earlier one where that is large enough.

    Memory that has just been got from the system takes as long to write to as to fill with a product.
    """
    size = int(np.prod(shape))
    flat = None if before is None else before.base
    if not isinstance(flat, np.ndarray) or flat.dtype != dtype or flat.size < size:
        flat = np.empty(size, dtype)
    return flat[:size].reshape(shape)
