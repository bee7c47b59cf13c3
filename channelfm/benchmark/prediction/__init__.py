"""Channel prediction over time as a benchmark: classical rows, networks, and networks tuned on shares of the data."""
