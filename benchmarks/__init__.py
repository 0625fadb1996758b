"""Benchmarks, and the tasks that they share with the command line."""
