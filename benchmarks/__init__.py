"""Speed and accuracy against rivals, one script each: ``python -m benchmarks.NAME``; threads are set as the command
line sets them."""

from channelfm.processes import share_cores

share_cores()  # before NumPy and PyTorch load
