"""`python -m benchmarks.peers` is the comparison."""

import sys

from benchmarks.peers.compare import main

if __name__ == "__main__":
    sys.exit(main())
