"""The one exception a user can cause: the command line prints it as one line and exits with code 2."""

LONGEST = 1000
"""Characters; what a damaged file is quoted with must not fill the screen."""


class UserError(Exception):
    """Something the user can put right; the message says in one line what is wrong and what to do."""

    def __init__(self, message: str) -> None:
        """Keep the message to one line without control characters, whatever a hostile file put into it."""
        super().__init__("".join(c if c.isprintable() else " " for c in message)[:LONGEST])
