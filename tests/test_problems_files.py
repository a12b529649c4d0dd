"""Data from a folder of .npz files: how arrays get their names, and what is refused, with file and key."""

import jax.numpy as jnp
import numpy as np
import pytest

import simsgd as sg

arrays_from_npz = sg.problems.arrays_from_npz


def loss(parameters, batch):
    return jnp.mean((batch["x"] @ parameters - batch["y"]) ** 2)


def init(key):
    return jnp.zeros(3)


@pytest.fixture
def table():
    x = np.random.default_rng(0).normal(size=(90, 3))
    return {"x": x, "y": x @ [1.0, 2.0, 3.0]}


def same(found, wanted):
    assert set(found) == set(wanted)
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array)


def test_one_array_for_each_key_of_one_file(tmp_path, table):
    np.savez_compressed(tmp_path / "all.npz", **table)
    same(arrays_from_npz(tmp_path), table)


def test_one_array_for_each_file_named_or_not(tmp_path, table):
    np.savez(tmp_path / "x.npz", table["x"])
    np.savez(tmp_path / "targets.npz", y=table["y"])
    same(arrays_from_npz(tmp_path), table)


def test_parts_are_put_together_in_the_order_of_the_names_of_files(tmp_path, table):
    for number in (2, 0, 1):
        part = slice(30 * number, 30 * number + 30)
        np.savez(tmp_path / f"train-{number}.npz", **{name: array[part] for name, array in table.items()})
    same(arrays_from_npz(tmp_path), table)
    same(arrays_from_npz(str(tmp_path), but="*-0.npz"), {name: array[30:] for name, array in table.items()})


def test_held_out_files_are_no_training_samples(tmp_path, table):
    np.savez(tmp_path / "train.npz", **{name: array[:60] for name, array in table.items()})
    np.savez(tmp_path / "test.npz", **{name: array[60:] for name, array in table.items()})
    problem = sg.problems.from_npz(tmp_path, init, loss, test="test*.npz", batch_size=8)
    assert (problem.name, problem.samples, len(problem.test_data["x"])) == (tmp_path.name, 60, 30)
    same(problem.data, {name: array[:60] for name, array in table.items()})
    same(problem.test_data, {name: array[60:] for name, array in table.items()})
    assert problem.metric_names == ("loss", "test_loss")


def written(tmp_path, **files):
    for name, arrays in files.items():
        np.savez(tmp_path / f"{name}.npz", **arrays)


@pytest.mark.parametrize(
    ("write", "error", "message"),
    [
        (lambda path: None, FileNotFoundError, r"folder '.*' must hold files such as '\*.npz', and has none"),
        (lambda path: written(path, a={"x": np.array([{}])}), ValueError, r"a.npz, 'x': cannot be read .*no Python objects"),
        (lambda path: written(path, a={"x": np.array(["b"])}), ValueError, r"a.npz, 'x': must hold numbers, got <U1"),
        (
            lambda path: written(path, a={"x": np.zeros((0, 3))}),
            ValueError,
            r"a.npz, 'x': must have samples .* got shape \(0, 3\)",
        ),
        (lambda path: written(path, a={"x": np.float64(1)}), ValueError, r"a.npz, 'x': must have samples .* got shape \(\)"),
        (
            lambda path: written(path, a={"x": np.zeros((2, 3))}, b={"x": np.zeros((2, 4))}),
            ValueError,
            r"b.npz, 'x': parts of one array must have the same form .* \(3,\) of float64, got \(4,\) of float64",
        ),
        (
            lambda path: written(path, a={"x": np.zeros(2, "f4")}, b={"x": np.zeros(2)}),
            ValueError,
            r"b.npz, 'x': parts of one array .* \(\) of float32, got \(\) of float64",
        ),
        (lambda path: (path / "a.npz").write_bytes(b"no archive"), ValueError, r"a.npz must be a .npz file such as np.savez"),
        (lambda path: (path / "a.npz").write_bytes(b""), ValueError, r"a.npz must be a .npz file such as np.savez"),
        (
            lambda path: (written(path, a={"x": np.zeros(900)}), cut(path / "a.npz")),
            ValueError,
            "a.npz must be a .npz file such as np.savez",
        ),
        (lambda path: one_array(path / "a.npz"), ValueError, "a.npz must .*: it is one array"),
    ],
)
def test_what_cannot_be_read_is_refused(write, error, message, tmp_path):
    write(tmp_path)
    with pytest.raises(error, match=message):
        arrays_from_npz(tmp_path)


def one_array(path):
    np.save(path.with_suffix(".npy"), np.zeros(3))
    path.with_suffix(".npy").rename(path)


def cut(path):
    path.write_bytes(path.read_bytes()[:-200])


def test_a_damaged_array_is_refused_by_name(tmp_path):
    written(tmp_path, a={"x": np.arange(900.0)})
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[2000] ^= 255
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"a.npz, 'x': cannot be read \(Bad CRC-32"):
        arrays_from_npz(tmp_path)


def test_arrays_of_different_lengths_are_refused_by_name(tmp_path):
    written(tmp_path, a={"x": np.zeros((5, 3)), "y": np.zeros(4)})
    with pytest.raises(ValueError, match=r"all arrays must have as many samples, but have 'x' 5, 'y' 4"):
        sg.problems.from_npz(tmp_path, init, loss)
