"""Make lesson.ipynb from lesson.py: python docs/notebook/pair.py."""

import hashlib
from pathlib import Path

import jupytext
import nbformat

LESSON = Path(__file__).with_name("lesson.py")


def notebook(text: str) -> str:
    """The notebook that jupytext makes of a text in the percent format, the same bytes each time.

    Jupytext gives cells random ids. Here a cell's id is made from what it holds.
    """
    made = jupytext.reads(text, fmt="py:percent")
    made.metadata.jupytext.pop("text_representation", None)  # it holds the version of jupytext
    for cell in made.cells:
        cell.id = hashlib.sha256(cell.source.encode()).hexdigest()[:8]
    nbformat.validate(made)  # refuses two cells with one id
    return nbformat.writes(made) + "\n"


if __name__ == "__main__":
    out = LESSON.with_suffix(".ipynb")
    out.write_text(notebook(LESSON.read_text(encoding="utf-8")), encoding="utf-8", newline="\n")
