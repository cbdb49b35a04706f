"""What happens to the pages while the site is built.

LaTeX between dollars becomes MathML, which browsers draw by themselves: no script and no font is loaded.
Links that leave docs/ are for readers on GitHub; the site shows their text, once it is sure that what they
point to exists. MkDocs calls the functions whose names begin with `on_`; a warning fails the build.
"""

import html
import logging
import posixpath
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert

LOG = logging.getLogger("mkdocs.hooks")
ROOT = Path(__file__).resolve().parents[1]

LINK = re.compile(r"(?<!!)\[([^\]]*)\]\((\.\./[^)#\s]*)[^)]*\)")
INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.DOTALL)
DISPLAY = re.compile(r'<div class="arithmatex">\s*\\\[(.*?)\\\]\s*</div>', re.DOTALL)
LETTERS = re.compile('(?:<mi mathvariant="normal">[^<]</mi>){2,}')
FUNCTION = re.compile(r"(</\w+>)?(<m[io]>(?:log|exp|max|min|clip)</m[io]>)(?!</m(?:sub|under)>)(<mo)?")
BASE = re.compile(r"<msub><mi>(.*?)</mi>")
GAP = '<mspace width="0.17em"/>'
STRUT = (
    '<mspace width="0" depth="0.2em"/>'  # where no mathematical font is installed, it lowers the subscript
)


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Replace each link to a file outside docs/ by its text; warn if there is no such file."""

    def unlinked(link: re.Match[str]) -> str:
        text, target = link.groups()
        path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page.file.src_uri), target))
        if path.startswith("docs/"):
            return link[0]
        if path.startswith("..") or not (ROOT / path).exists():
            LOG.warning("%s links to %s, which does not exist", page.file.src_uri, path)
        return text

    return LINK.sub(unlinked, markdown)


def on_page_content(content: str, page: Any, **_: Any) -> str:
    """Replace each formula by MathML; warn about one that cannot be read."""

    def formula(display: str) -> Any:
        def replaced(match: re.Match[str]) -> str:
            latex = html.unescape(match[1]).strip()
            try:
                math = mathml(latex, display)
            except ValueError as error:
                LOG.warning("%s has the formula %s: %s", page.file.src_uri, " ".join(latex.split()), error)
                math = html.escape(latex)
            return f'<div class="formula">{math}</div>' if display == "block" else math

        return replaced

    return INLINE.sub(formula("inline"), DISPLAY.sub(formula("block"), content))


def mathml(latex: str, display: str) -> str:
    """Return the MathML of a formula, "inline" or "block"; raise ValueError if it cannot be read."""
    try:
        math = convert(latex, display=display)
    except Exception as error:  # latex2mathml's have no common class
        raise ValueError(f"it cannot be read ({type(error).__name__})") from None
    if unknown := re.search(r"\\\w*", math):
        raise ValueError(f"{unknown[0]} is not known")
    math = LETTERS.sub(lambda word: f'<mi mathvariant="normal">{re.sub("<.*?>", "", word[0])}</mi>', math)
    math = BASE.sub(rf"<msub><mrow><mi>\1</mi>{STRUT}</mrow>", math)
    return FUNCTION.sub(
        lambda found: f"{found[1] + GAP if found[1] else ''}{found[2]}{found[3] or GAP}",
        math,
    )
