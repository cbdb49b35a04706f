"""The command `pongrad exercise`: list the exercises, write one's file, check it."""

from pathlib import Path

from pongrad.exercises import EXERCISES
from pongrad.exercises.checking import NotRight, check
from pongrad.exercises.exercise import Exercise
from pongrad.ground.errors import UserError


def run(number: int) -> bool:
    """Do what the command does in the current folder, and print it.

    Args:
        number: of the exercise; 0 lists them all.

    Returns:
        False if the learner's file was checked and is not right yet.

    Raises:
        UserError: there is no such exercise, or its file cannot be written or read.
    """
    if number == 0:
        _list()
        return True
    exercise = next((each for each in EXERCISES if each.number == number), None)
    if exercise is None:
        raise UserError(f"there is no exercise {number}: they are 1 to {len(EXERCISES)}")
    path = Path(exercise.file)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(exercise.skeleton)
    except FileExistsError:
        return _check(exercise, path)
    except OSError as error:
        raise UserError(f"cannot write {path} into this folder: {error.strerror}") from error
    print(f"{path} has been written: {exercise.title} (chapter {exercise.chapter}).")
    print(f"Replace each ... in it by code, then check it: pongrad exercise {number}")
    return True


def _list() -> None:
    for each in EXERCISES:
        print(f"{each.number:2}  {each.title} (chapter {each.chapter})")
    print("pongrad exercise 1 writes the first one's file; given again, it checks it.")


def _check(exercise: Exercise, path: Path) -> bool:
    try:
        check(exercise, path)
    except NotRight as error:
        print(error)
        return False
    print(f"{path} is right: {exercise.formula}.")
    print(f"The program's own: {exercise.where}.")
    print(f"The test that checks it: {exercise.tested_by}")
    following = next((each for each in EXERCISES if each.number == exercise.number + 1), None)
    if following:
        print(f"Next: pongrad exercise {following.number}, {following.title} (chapter {following.chapter})")
    else:
        print("This was the last exercise.")
    return True
