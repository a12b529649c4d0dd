"""The notebooks: they run from top to bottom, show their figures, use only the public face, and are stored without outputs."""

import ast
import pathlib
import sys

import nbformat
import pytest
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient

import simsgd as sg

NOTEBOOKS = sorted((pathlib.Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path):
    return nbformat.read(path, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_the_notebooks_are_found():
    assert {"sync_versus_async", "write_your_own", "calibrate_a_cluster", "study_to_figure"} <= {
        path.stem for path in NOTEBOOKS
    }


@each_notebook
def test_is_stored_without_outputs(path):
    notebook = read(path)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert (notebook.metadata.kernelspec.name, notebook.metadata.kernelspec.language) == ("python3", "python")
    identities = [cell.id for cell in notebook.cells]
    assert len(set(identities)) == len(identities)
    for cell in code_cells(notebook):
        assert not cell.outputs, f"cell {cell.id} has outputs: clear them"
        assert cell.execution_count is None, f"cell {cell.id} has been counted: clear its outputs"


def private_uses(source):
    """Return what a cell uses of simsgd other than the names it exports, and every private attribute."""
    used = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            used += [a.name for a in node.names if a.name.startswith("simsgd") and (a.name, a.asname) != ("simsgd", "sg")]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("simsgd"):
            used.append(node.module)
        elif isinstance(node, ast.Attribute):
            of_package = isinstance(node.value, ast.Name) and node.value.id == "sg"
            private = node.attr.startswith("_") and not node.attr.endswith("__")
            if private or (of_package and node.attr not in sg.__all__):
                used.append(ast.unparse(node))
    return used


@each_notebook
def test_uses_only_the_public_face(path):
    for cell in code_cells(read(path)):
        assert private_uses(cell.source) == [], f"cell {cell.id}"


@pytest.mark.parametrize(
    "source",
    [
        "import simsgd",
        "import simsgd.replaying.player as sg",
        "from simsgd.recording.recorder import Recording",
        "sg.player",
        "tape._columns",
    ],
)
def test_private_uses_are_found(source):
    assert private_uses(source)


class ThisInterpreter(AsyncKernelManager):
    """A kernel of the interpreter that runs the tests, whatever kernels are installed."""

    def __init__(self, **options):
        super().__init__(kernel_spec_manager=KernelSpecManager(kernel_dirs=[]), **options)
        assert self.kernel_spec.argv[0] == sys.executable


@pytest.fixture
def own_settings(tmp_path, monkeypatch):
    """Keep the kernel from the settings, the history and the start-up files of whoever runs the tests."""
    for variable in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable.lower()))
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")  # draws the figures, as a reader's would


@each_notebook
@pytest.mark.usefixtures("own_settings")
def test_runs_and_shows_figures(path, tmp_path):
    notebook = read(path)
    client = NotebookClient(notebook, kernel_manager_class=ThisInterpreter, timeout=600)
    client.execute(cwd=str(tmp_path))  # raises if a cell fails
    figures = 0
    for cell in code_cells(notebook):
        for output in cell.outputs:
            assert output.output_type != "error", f"cell {cell.id}: {output.get('evalue')}"  # of a figure that cannot be drawn
            if output.output_type == "stream" and output.name == "stderr":
                assert "Warning" not in output.text, f"cell {cell.id}: {output.text}"
            figures += "image/png" in output.get("data", {})
    assert figures >= 3
