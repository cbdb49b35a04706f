"""What a game's scores mean: the reference that an agent is measured by.

`reference_scores.csv` holds the scores of random play and of a professional human tester as DQN Zoo's table
publishes them (Mnih et al. 2015 and later), and which games are duels: the score is what one side has won
from the other, so that 0 is a draw.
"""

import csv
import functools
from importlib.resources import files
from typing import NamedTuple

from pongrad.games import environment
from pongrad.games.game import Game


class Reference(NamedTuple):
    """What is known of a game's scores.

    Attributes:
        random, human: mean scores; None where none is published.
        duel: whether the score is what one side has won from the other.
    """

    random: float | None = None
    human: float | None = None
    duel: bool = False

    @property
    def beaten_above(self) -> float | None:
        """The score to pass: a draw in a duel, else the human one; None where none is known."""
        return 0.0 if self.duel else self.human

    @property
    def beaten(self) -> str:
        """What an agent does that passes it: "beats the computer"."""
        return "beats the computer" if self.duel else f"passes the human score of {self.human:,g}"

    def human_normalised(self, score: float) -> float | None:
        """The score on a scale where random play has 0 and the human tester 1 (Mnih et al. 2015)."""
        if self.random is None or self.human is None:
            return None
        return (score - self.random) / (self.human - self.random)

    def written(self, score: float | None) -> str:
        """A score for people: with its sign in a duel; a dash for none."""
        if score is None:
            return "-"
        return f"{score:+.2f}" if self.duel else f"{score:,.2f}"


def result(game: Game) -> str:
    """A game's score for people: the points of both sides in a duel."""
    duel = reference(game.id).duel
    return f"{game.won:g}-{game.lost:g}" if duel else f"{game.score:,.10g}"


@functools.cache
def reference(game: str) -> Reference:
    """What is known of a game's scores; of games that have no Atari cartridge: nothing.

    The published scores are of a cartridge's default mode and difficulty. Where others are asked for, only
    whether the game is a duel is known.

    Raises:
        UserError: Gymnasium knows no such environment.
    """
    known = _table().get(environment.rom(game) or "", Reference())
    _, options = environment.parse(game)
    return known._replace(random=None, human=None) if {"mode", "difficulty"} & options.keys() else known


@functools.cache
def _table() -> dict[str, Reference]:
    lines = (files("pongrad.games") / "reference_scores.csv").read_text().splitlines()
    return {
        row["game"]: Reference(
            float(row["random"]) if row["random"] else None,
            float(row["human"]) if row["human"] else None,
            row["duel"] == "yes",
        )
        for row in csv.DictReader(lines)
    }
