"""The shape of the library: who may import whom, what is public, and that everything public explains itself."""

import ast
import importlib
import inspect
import pathlib
import subprocess
import sys

import pytest

import simsgd as sg

PACKAGE = pathlib.Path(sg.__file__).parent

# Each module with the modules of simsgd that it may import. Imports go down this table only: a module stands below all those
# that it imports. recorder (SimPy) and player (JAX) are siblings that never meet; both stand on the tape.
MAY_IMPORT = {
    "checks": set(),
    "rng": {"checks"},
    "stopping": {"checks"},
    "files": set(),
    "progress": set(),
    "plots": {"checks"},
    "times": {"checks"},
    "networks": {"checks"},
    "cluster": {"checks", "networks", "times"},
    "protocols": {"checks"},
    "laws": set(),
    "tape": {"files", "laws", "plots"},
    "server": {"laws", "protocols"},
    "recorder": {"checks", "cluster", "laws", "progress", "protocols", "rng", "server", "stopping", "tape"},
    "problems": {"checks", "rng", "stopping"},
    "optimizers": {"checks"},
    "selftest": set(),
    "slots": set(),
    "player": {"checks", "optimizers", "problems", "rng", "selftest", "slots", "tape"},
    "run": {"checks", "files", "plots", "stopping", "tape"},
    "reading": {"checks", "laws", "optimizers", "player", "problems", "progress", "run", "stopping", "tape"},
    "simulation": {
        "checks",
        "cluster",
        "optimizers",
        "player",
        "problems",
        "protocols",
        "reading",
        "recorder",
        "run",
        "stopping",
    },
    "study": {"checks", "cluster", "optimizers", "problems", "progress", "protocols", "reading", "recorder", "run", "stopping"},
    "__init__": set(),
}
ONLY_USERS = {
    "simpy": {"recorder", "server"},
    "jax": {"optimizers", "player", "problems", "selftest"},
    "optax": {"optimizers", "player", "problems"},
    "matplotlib": {"plots"},
    "sklearn": {"problems"},
    "tqdm": {"progress"},
    "xarray": {"files", "run", "tape"},
    "h5netcdf": set(),
    "h5py": set(),
    "pickle": set(),
    "scipy": set(),
    "tyro": set(),
}
MODULES = sorted(path.stem for path in PACKAGE.glob("*.py"))


def imports(module):
    """Return what a module imports at run time: (modules of simsgd, other top-level packages)."""
    own, others = set(), set()
    pending = [ast.parse((PACKAGE / f"{module}.py").read_text())]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.ImportFrom) and node.module == "simsgd":
            own |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = (node.module or "").split(".")
            (own if names[0] == "simsgd" else others).add(names[1] if names[0] == "simsgd" else names[0])
        elif isinstance(node, ast.Import):
            others |= {alias.name.split(".")[0] for alias in node.names}
        pending.extend(ast.iter_child_nodes(node))
    return own, others


def test_the_table_names_every_module():
    assert set(MAY_IMPORT) == set(MODULES)


def test_the_table_goes_one_way():
    order = list(MAY_IMPORT)
    for module, allowed in MAY_IMPORT.items():
        for other in allowed:
            assert order.index(other) < order.index(module), f"{module} stands above {other}, which it imports"


@pytest.mark.parametrize("module", MODULES)
def test_imports_are_those_of_the_table(module):
    assert imports(module)[0] == MAY_IMPORT[module]


@pytest.mark.parametrize("package", ONLY_USERS)
def test_heavy_packages_have_few_users(package):
    assert {module for module in MODULES if package in imports(module)[1]} == ONLY_USERS[package]


def test_scenarios_use_the_public_face():
    """They import simsgd as a whole and use the names that it offers (the notebooks' own test says the same of them)."""
    for path in PACKAGE.parent.glob("scenarios/*.py"):
        tree = ast.parse(path.read_text())
        imported = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)}
        assert {line for line in imported if "simsgd" in line} == {"import simsgd as sg"}
        used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "sg"}
        assert used <= {*sg.__all__, "__version__"}


def public_objects():
    """Yield (qualified name, object) for everything public: modules, functions, classes and their methods."""
    for module_name in MODULES:
        module = importlib.import_module("simsgd" if module_name == "__init__" else f"simsgd.{module_name}")
        yield module.__name__, module
        for name, value in vars(module).items():
            if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
                continue
            if inspect.isclass(value) or inspect.isfunction(value):
                yield f"{module_name}.{name}", value
            if inspect.isclass(value):
                for attribute, member in vars(value).items():
                    function = member.fget if isinstance(member, property) else getattr(member, "func", member)
                    function = getattr(function, "__func__", function)
                    if not attribute.startswith("_") and inspect.isfunction(function):
                        yield f"{module_name}.{name}.{attribute}", function


def test_everything_public_is_documented_and_annotated():
    missing = []
    for name, value in public_objects():
        text = inspect.getdoc(value) or ""
        if not text.strip() or text.startswith(f"{getattr(value, '__name__', '')}("):  # a dataclass's automatic docstring
            missing.append(f"{name}: no docstring")
        if inspect.isfunction(value):
            hints = set(value.__annotations__)
            wanted = {p for p in inspect.signature(value).parameters if p not in ("self", "cls")} | {"return"}
            if wanted - hints:
                missing.append(f"{name}: {sorted(wanted - hints)} not annotated")
    assert not missing, "\n".join(missing)


@pytest.mark.parametrize("name", sg.__all__)
def test_the_public_face_shows_by_example(name):
    """Every name that `import simsgd` offers has a docstring; those to be called have an example that runs as a doctest."""
    value = getattr(sg, name)
    text = inspect.getdoc(value) or ""
    is_error = inspect.isclass(value) and issubclass(value, Exception)
    if not inspect.ismodule(value) and not is_error:
        assert ">>>" in text, f"sg.{name} has no example"
    assert text


def test_import_costs_little():
    """`import simsgd` alone loads nothing heavy, not even NumPy; heavy packages come with the first name that needs them."""
    code = "import sys, simsgd; print(sorted({'jax', 'numpy', 'simpy', 'matplotlib', 'sklearn', 'xarray'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
