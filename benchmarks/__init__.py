"""What authapp costs, measured: each module is a part, `python -m benchmarks` all of those that have goals."""
