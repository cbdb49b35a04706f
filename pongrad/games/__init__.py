"""What is played: the emulator, games as values, random streams."""
