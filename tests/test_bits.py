"""Bits that were promised: the hashes of 42 configurations are those of the golden file."""

import json
import pathlib

import pytest
from bits import CONFIGURATIONS, hashes

GOLDEN = json.loads((pathlib.Path(__file__).parent / "golden" / "bits.json").read_text())


def test_every_configuration_is_promised():
    assert [", ".join(names) for names in CONFIGURATIONS] == list(GOLDEN)


@pytest.mark.parametrize("names", CONFIGURATIONS, ids=", ".join)
def test_bits(names):
    assert hashes(*names) == GOLDEN[", ".join(names)]
