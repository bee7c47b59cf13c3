"""Operators that are compiled where they run, each with a plain PyTorch reference beside it."""
