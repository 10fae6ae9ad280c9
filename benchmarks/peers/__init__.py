"""The peers of docs/compare.md, each as the smallest application that its own pages describe, and how they compare."""
