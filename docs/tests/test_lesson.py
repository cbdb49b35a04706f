"""What the chapters promise: commands that work as written, measured numbers, tested formulas, all parts."""

import doctest
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jinja2
import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs"))

import macros  # noqa: E402

CHAPTERS = sorted((ROOT / "docs" / "lesson").glob("*.md"))
NUMBER = r"[-+−]?\d[\d.,_]*"
MEASURED = [
    rf"{NUMBER}\s*(?:[kM]|thousand|million|billion)?\s*(?:frames|steps|games|updates)\s*(?:/|a|per)\s*(?:s\b|sec|min|hour)",
    rf"{NUMBER}\s*(?:[kM]|thousand|million|billion)\s*(?:frames|steps|games|updates)",
    rf"{NUMBER}\s*(?:ms|s|seconds?|minutes?|hours?|days?)\b",
    r"(?:scores?|mean|average|wins by|loses by)(?: of| is| was| at| about| around|:)*\s*[-+−]?\d+\.\d",
]
DEFINITIONS = "60 frames a second", "60 frames per second"  # the console's
BANNER = re.compile(r"^(A\.L\.E: .*|\[Powered by Stella\])\n", re.MULTILINE)  # the emulator's own
PATIENCE = 600  # seconds; a busy machine is no fault of the chapter's


def chapter(test):
    return pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)(test)


def rendered(path):
    """A chapter with what its macros give."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    environment.globals.update({macro.__name__: macro for macro in macros.MACROS})
    return environment.from_string(path.read_text()).render()


def section(title, text):
    """The text below the heading, to the next one of its level."""
    return re.split(r"^## ", text.split(f"\n## {title}\n")[1], maxsplit=1, flags=re.MULTILINE)[0]


def tries(text):
    """What is tried: triples of language, code and expected output (None where it does not matter)."""
    blocks = re.findall(r"^```(\w+)[^\n]*\n(.*?)^```$", section("Try it", text), re.MULTILINE | re.DOTALL)
    for (language, code), (following, output) in zip(blocks, [*blocks[1:], ("", "")], strict=True):
        if language != "text":
            yield language, code, output if following == "text" else None


def same(expected, shown):
    """Compare as doctest does: ... stands for anything, and any white space is like any other."""
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    return doctest.OutputChecker().check_output(expected, shown, flags)


def test_there_are_fifteen_chapters_in_a_row():
    assert [path.name[:2] for path in CHAPTERS] == [f"{number:02}" for number in range(1, 16)]


@chapter
def test_what_is_tried_works_as_written(path, tmp_path):
    """All commands and scripts, in their order, in an empty folder; `pongrad exercise` may find a mistake."""
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "COLUMNS": "100",
        "PYTHONUNBUFFERED": "1",
    }
    tried = list(tries(rendered(path)))
    assert tried, "nothing to try"
    for language, code, expected in tried:
        assert language in ("sh", "python"), f"a block of class {language} in Try it: {code}"
        command = ["bash", "-ec", code] if language == "sh" else [sys.executable, "-c", code]
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
        )
        shown = BANNER.sub("", done.stdout)
        message = f"{code}\nexits with {done.returncode} and shows\n\n{shown}"
        assert done.returncode in ((0, 1) if "pongrad exercise" in code else (0,)), message
        assert "Traceback" not in shown, message
        assert expected is None or same(expected, shown), f"{message}\nand not\n\n{expected}"


@chapter
def test_measured_numbers_come_from_macros(path):
    """So that they cannot drift from what was measured."""
    text = re.sub(r"^( *)```.*?^\1```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"\{\{.*?\}\}", "", text, flags=re.DOTALL)
    text = " ".join(re.sub(r"\$\$?.*?\$\$?|`[^`\n]*`", "", text, flags=re.DOTALL).split())
    for definition in DEFINITIONS:
        text = text.replace(definition, "")
    typed = [match[0] for pattern in MEASURED for match in re.finditer(pattern, text)]
    assert not typed, f"typed by hand: {typed}; use result(), noted() or another macro"


@chapter
def test_each_displayed_formula_names_its_test(path):
    """Directly below it."""
    parts = re.split(r"^ *\$\$(.*?)\$\$ *$", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    untested = [
        formula.strip()
        for formula, below in zip(parts[1::2], parts[2::2], strict=True)
        if not re.match(r"\s*\{\{ *tested_by\(", below)
    ]
    assert not untested, f"without tested_by directly below: {untested}"


@chapter
def test_a_chapter_has_all_its_parts(path):
    """In this order; it ends with a link to the next chapter."""
    text = path.read_text()
    wanted = [r"\A# ", r"^\*\*After this chapter you can\*\*", r"^## Try it$", r"^## Exercises$"]
    places = [re.search(pattern, text, re.MULTILINE) for pattern in wanted]
    missing = [pattern for pattern, place in zip(wanted, places, strict=True) if not place]
    assert not missing and places == sorted(places, key=lambda place: place.start()), missing
    assert re.search(r"\.\./figures/[\w-]+\.png", text), "no figure"
    for alt in re.findall(r"!\[(.*?)\]\(", text, re.DOTALL):
        assert len(alt) > 15, f"the alt text {alt!r} does not say what is to be seen"
    exercises = section("Exercises", text)
    assert "pongrad exercise" in exercises or "exercise(" in exercises or '??? success "Answer"' in exercises
    if path != CHAPTERS[-1]:
        following = CHAPTERS[CHAPTERS.index(path) + 1].name
        assert f"({following})" in text.strip().splitlines()[-1], (
            f"its last line does not link to {following}"
        )


@pytest.mark.parametrize(
    ("macro", "args", "options", "says"),
    [
        (macros.code, ("pongrad/classic.py", "backwards"), {}, "classic.py has no backwards"),
        (macros.code, ("pongrad/classic.py", "forward"), {"first": "h @ W3"}, "no line of forward"),
        (macros.code, ("pongrad/clasic.py", "forward"), {}, "no file pongrad/clasic.py"),
        (macros.result, ("benchmarks/results/peers.json", 0, "frame"), {}, "no number at 0 / frame"),
        (macros.result, ("benchmarks/results/peers.json", 0, "name"), {}, "no number at 0 / name"),
        (macros.noted, ("No such heading", "1"), {}, "no section"),
        (macros.noted, ("Throughput", "no such words"), {}, "does not say"),
        (macros.constant, ("pongrad/classic.py", "delta"), {}, "no module-level assignment to delta"),
        (macros.constant, ("pongrad/learning/recipes.py", "RECIPES"), {}, "no plain value"),
        (macros.default, ("fast", "speed"), {}, "no default for speed"),
        (macros.default, ("slow", "gamma"), {}, "no recipe slow"),
        (macros.tested_by, ("tests/test_ppo.py::test_nothing",), {}, "has no test_nothing"),
        (macros.tested_by, ("tests/test_ppo.py::objective",), {}, "names no test"),
        (macros.exercise, (99,), {}, "no exercise 99"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(macro, args, options, says):
    with pytest.raises(macros.MacroError, match=re.escape(says)) as error:
        macro(*args, **options)
    assert "\n" not in str(error.value)


def test_macros_quote_what_is_there():
    shown = macros.code("pongrad/classic.py", "discount", first="running = 0.0", last="return returns")
    assert shown.startswith('```python title="pongrad/classic.py"\nrunning = 0.0\nfor t')
    assert shown.endswith("\nreturn returns\n```")
    assert "gamma = 0.99  #" in macros.code("pongrad/classic.py", "gamma")
    assert "@property\ndef rate" in macros.code("pongrad/learning/recipes.py", "Fast.rate")
    assert macros.constant("pongrad/classic.py", "input_dimensions") == "6,400"
    assert macros.constant("pongrad/classic.py", "DOWN") == "3"
    assert macros.constant("pongrad/classic.py", "epsilon") == "1e-5"
    assert macros.default("fast", "rate") == "0.0015" and macros.default("fast", "units") == "200"
    path = "benchmarks/results/fast_learning.json"
    frames = [run["frames_to_0"] for run in json.loads((ROOT / path).read_text())]
    assert macros.result(path, 0, "frames_to_0", format=",") == f"{frames[0]:,}"
    assert macros.result(path, "*", "frames_to_0", format="M") == f"{sorted(frames)[2] / 1e6:.1f}"
    assert macros.noted("Throughput (`pongrad bench", "pongrad bench --workers 2")
