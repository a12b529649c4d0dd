"""Attacks on the whole public face: random configurations, damaged files, kills, signals. `python -m tests.attack --help`."""
