"""`python -m pongrad` is the command `pongrad`."""

from pongrad.cli import main

main()
