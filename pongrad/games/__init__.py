"""What is played: the emulator, and games as values."""
