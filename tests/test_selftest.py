"""A jaxlib that sums wrongly, or is too old, is refused loudly before anything is computed with it."""

import jax
import jax.numpy as jnp
import pytest

import simsgd as sg
from simsgd.replaying import selftest


def test_this_installation_passes():
    selftest.run_once.__wrapped__()


def test_wrong_sums_are_refused():
    with pytest.raises(selftest.BrokenInstallationError, match=r"returns wrong sums .* 2097152 ones gave \[2097153\.0\]"):
        selftest.check_sums(lambda ones: jnp.sum(jnp.broadcast_to(ones, (2, 1024, 1024))) + 1)


def test_old_versions_are_refused(monkeypatch):
    monkeypatch.setattr(jax, "__version_info__", (0, 10, 2))
    with pytest.raises(selftest.BrokenInstallationError, match=r"is too old, at least 0\.12 is needed"):
        selftest.run_once.__wrapped__()


def test_simulating_runs_the_self_test(monkeypatch):
    def refuse():
        raise selftest.BrokenInstallationError("broken")

    monkeypatch.setattr(selftest, "run_once", refuse)
    cluster = sg.Cluster(1, sg.times.Constant(1.0))
    with pytest.raises(selftest.BrokenInstallationError):
        sg.simulate(sg.AsyncSGD(), sg.problems.quadratic(), cluster, sg.optimizers.sgd(0.1), sg.Updates(1))
