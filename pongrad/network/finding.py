"""Which file a user means by an agent or a run, and what to give instead of one that is none."""

import difflib
import os
from pathlib import Path

from pongrad.ground.arguments import plain
from pongrad.ground.errors import UserError

CHAMPION = Path(__file__).parents[1] / "champion.safetensors"
_BEST, _CONFIG = "best.safetensors", "config.json"
_ANYTHING = "give a run's folder, an agent's .safetensors file, or champion"


def find_agent(source: str | os.PathLike[str]) -> Path:
    """The agent's file that is meant: itself, the best one of a run's folder, or the champion.

    Raises:
        UserError: there is none; says what to give instead.
    """
    path: Path = plain("agent", source, Path)
    if path == Path("champion"):
        return CHAMPION
    try:
        names = _names(path)
    except FileNotFoundError as error:
        raise UserError(f"no such file: {path}{_alike(path)}") from error
    except NotADirectoryError:
        if path.suffix != ".safetensors" and (run := _run_of(path)):
            raise UserError(
                f"{path} belongs to a run and is no agent: give the run's folder, {run}"
            ) from None
        return path
    if _BEST in names:
        return path / _BEST
    if _CONFIG in names:
        stages = sorted(path.glob("stages/*.safetensors"))
        raise UserError(
            f"the run in {path} has no agent yet: it has one within a minute of training"
            + (f"; until then give one of its stages, such as {stages[-1]}" if stages else "")
        )
    raise UserError(f"there is no run in {path}: {instead_of(path)}")


def check_run(folder: Path) -> None:
    """Check that there is a run in a folder.

    Raises:
        UserError: there is none; says what to give instead.
    """
    try:
        names = _names(folder)
    except (FileNotFoundError, NotADirectoryError):
        names = []
    if _CONFIG not in names:
        raise UserError(f"there is no run in {folder}: {instead_of(folder, 'give the folder of one')}")


def _names(folder: Path) -> list[str]:
    """What is in a folder.

    Raises:
        FileNotFoundError, NotADirectoryError: there is none.
        UserError: this user may not look.
    """
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        raise
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"cannot read {folder}: {why}; give another one, or make it readable") from error


def instead_of(path: Path, otherwise: str = _ANYTHING) -> str:
    """What to give instead of a path that is no agent and no run."""
    if run := _run_of(path):
        return f"give the run's folder, {run}"
    for runs in (f"*/{_BEST}", f"runs/*/{_BEST}", f"*/{_CONFIG}"):
        if found := sorted(path.glob(runs), key=os.path.getmtime):
            return f"give one of the folders in it that hold one, such as {found[-1].parent}"
    return otherwise


def _run_of(path: Path) -> Path | None:
    """The folder of the run that a file or folder is part of."""
    runs = (each for each in path.parents[:2] if os.path.isdir(each / "checkpoints"))
    return next((each for each in runs if os.path.isfile(each / _CONFIG)), None)


def _alike(path: Path) -> str:
    """What a path that does not exist may have been meant to be."""
    near = [*path.parent.glob("*"), *Path("runs").glob("*")]
    fits = {".safetensors": os.path.isfile}
    there = [each for each in near if fits.get(each.suffix, os.path.isdir)(each)]
    known = {name.lower(): str(each) for each in there for name in (each.name, each.stem)}
    known["champion"] = "champion"
    meant = difflib.get_close_matches(path.name.removesuffix(".safetensors").lower(), known, 1, 0.7)
    return f"; did you mean {known[meant[0]]}?" if meant else f": {instead_of(path)}"
