"""Shared fixtures: small clusters, and problems that are quick to compile."""

import matplotlib
import pytest

import simsgd as sg

matplotlib.use("Agg")


@pytest.fixture(scope="session")
def noisy():
    """A quadratic in three dimensions with gradient noise."""
    return sg.problems.quadratic(noise=0.3, samples=64, batch_size=2)


@pytest.fixture
def cluster():
    """Five workers of different speeds behind links that take time."""
    return sg.Cluster(
        workers=5,
        compute=sg.times.Speeds(sg.times.Exponential(mean=1.0), speeds=(1.0, 2.0, 0.5, 1.0, 1.5)),
        network=sg.networks.Link(latency=0.1),
    )
