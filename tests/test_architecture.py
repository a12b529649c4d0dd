"""The shape of the library: who may import whom, what is public, and that everything public explains itself."""

import ast
import graphlib
import importlib
import inspect
import pathlib
import re
import subprocess
import sys
import tomllib

import pytest

import simsgd as sg

PACKAGE = pathlib.Path(sg.__file__).parent

# Each side of the house, a module or a package, with the sides that it may import. Imports go down this table only: a side
# stands below all those that it imports. recording (SimPy) and replaying (JAX) never meet; both stand on the tape. Within a
# package, too, imports go one way (`test_no_files_import_each_other`).
MAY_IMPORT = {
    "support": set(),
    "provenance": {"support"},
    "executing": {"support"},
    "plots": {"support"},
    "stopping": {"support"},
    "times": {"support"},
    "networks": {"support", "times"},
    "faults": {"support", "times"},
    "cluster": {"faults", "networks", "support", "times"},
    "tape": {"plots", "provenance", "support"},
    "protocols": {"support", "tape"},
    "optimizers": {"support"},
    "work": {"support"},
    "compression": {"support", "work"},
    "compressions": {"compression", "optimizers", "support", "work"},
    "works": {"compression", "optimizers", "support", "work"},
    "method": {"compression", "optimizers", "protocols", "provenance", "support", "times", "work"},
    "methods": {"compression", "compressions", "method", "optimizers", "protocols", "support", "work", "works"},
    "costs": {"compression", "method", "protocols", "support", "times", "work"},
    "recording": {
        *("cluster", "costs", "faults", "method", "networks", "protocols", "provenance", "stopping", "support", "tape"),
        *("times", "work"),
    },
    "problems": {"stopping", "support"},
    "measures": {"tape"},
    "run_rules": {"support", "tape"},
    "run": {"measures", "plots", "provenance", "run_rules", "stopping", "support", "tape"},
    "replaying": {
        *("compression", "measures", "method", "optimizers", "problems", "provenance", "run", "stopping", "support", "tape"),
        "work",
    },
    "compatible": {"cluster", "method", "optimizers", "problems", "protocols", "replaying", "stopping", "support"},
    "simulation": {
        *(
            "cluster",
            "compatible",
            "costs",
            "method",
            "optimizers",
            "problems",
            "protocols",
            "recording",
            "replaying",
            "run",
            "stopping",
        ),
        "support",
    },
    "identifying": {
        *("cluster", "compatible", "costs", "method", "optimizers", "problems", "protocols", "provenance", "replaying"),
        "stopping",
        "support",
    },
    "studies": {
        *(
            "cluster",
            "compatible",
            "costs",
            "costs",
            "executing",
            "identifying",
            "measures",
            "method",
            "optimizers",
            "plots",
            "problems",
            "protocols",
            "provenance",
            "recording",
            "replaying",
            "run",
            "simulation",
            "stopping",
        ),
        *("support", "tape"),
    },
    "testing": {
        *("cluster", "compression", "compressions", "costs", "faults", "method", "networks", "optimizers", "problems"),
        *("protocols", "recording", "replaying", "run", "simulation", "stopping", "support", "tape", "times", "work"),
    },
    "pytest_plugin": {"studies"},
    "__init__": set(),
}
ONLY_USERS = {
    "simpy": {"recording"},
    "jax": {"compressions", "optimizers", "problems", "replaying", "testing", "works"},
    "flax": {"problems"},
    "equinox": {"problems"},
    "optax": {"compressions", "methods", "optimizers", "problems", "replaying", "testing", "works"},
    "matplotlib": {"plots"},
    "sklearn": {"problems"},
    "tqdm": {"support"},
    "xarray": {"run", "studies", "support", "tape"},
    "scipy": {"studies", "times"},
    "pandas": {"support"},
    "pyarrow": {"support", "times"},
    "tomli_w": {"cluster"},
    "h5netcdf": set(),
    "h5py": {"support"},
    "pickle": {"executing", "testing"},  # to send work to processes; to ask whether methods can be
    "pytest": {"pytest_plugin"},
    "cloudpickle": {"executing"},
    "loky": {"executing"},
    "tyro": set(),
}
FILES = {".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in sorted(PACKAGE.rglob("*.py"))}
MODULES = sorted({name if name == "__init__" else name.split(".")[0] for name in FILES})


def files_of(module):
    """The files of a module: one, or those of a package of modules that stands in the table as one."""
    return {name: path for name, path in FILES.items() if name.split(".")[0] == module}


def imported(path):
    """Return what a file imports at run time: (modules of simsgd, dotted; other top-level packages)."""
    own, others = set(), set()
    pending = [ast.parse(path.read_text())]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.ImportFrom) and node.module == "simsgd":
            own |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = (node.module or "").split(".")
            if names[0] == "simsgd":
                package = ".".join(names[1:])
                inside = [f"{package}.{alias.name}" for alias in node.names]  # files, packages, or names of the package
                own |= {name if {name, f"{name}.__init__"} & set(FILES) else package for name in inside}
            else:
                others.add(names[0])
        elif isinstance(node, ast.Import):
            others |= {alias.name.split(".")[0] for alias in node.names}
        pending.extend(ast.iter_child_nodes(node))
    return own, others


def imports(module):
    """Return what a module, or package, imports at run time: (others of the table, other top-level packages)."""
    found = [imported(path) for path in files_of(module).values()]
    own, others = (set().union(*sets) for sets in zip(*found, strict=True))
    return {name.split(".")[0] for name in own} - {module}, others


def test_the_table_names_every_module():
    assert set(MAY_IMPORT) == set(MODULES)


def test_the_table_goes_one_way():
    order = list(MAY_IMPORT)
    for module, allowed in MAY_IMPORT.items():
        for other in allowed:
            assert order.index(other) < order.index(module), f"{module} stands above {other}, which it imports"


def test_no_files_import_each_other():
    """Within packages too: a topological order exists."""
    graph = {name.removesuffix(".__init__"): imported(path)[0] for name, path in FILES.items() if name != "__init__"}
    assert list(graphlib.TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("module", MODULES)
def test_imports_are_those_of_the_table(module):
    assert imports(module)[0] == MAY_IMPORT[module]


@pytest.mark.parametrize("package", ONLY_USERS)
def test_heavy_packages_have_few_users(package):
    assert {module for module in MODULES if package in imports(module)[1]} == ONLY_USERS[package]


def test_scenarios_use_the_public_face():
    """They import simsgd as a whole and use the names that it offers (the notebooks' own test says the same of them)."""
    for path in PACKAGE.parent.glob("scenarios/**/*.py"):
        tree = ast.parse(path.read_text())
        lines = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)}
        assert {line for line in lines if "simsgd" in line} <= {"import simsgd as sg"}
        used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "sg"}
        assert used <= {*sg.__all__, "__version__"}


def public_objects():
    """Yield (qualified name, object) for everything public: modules, functions, classes and their methods."""
    for module_name in FILES:
        module = importlib.import_module(
            "simsgd" if module_name == "__init__" else f"simsgd.{module_name.removesuffix('.__init__')}"
        )
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


@pytest.mark.parametrize("name", ["simsgd", *(f"simsgd.{module}" for module in sg._MODULES)])
def test_tab_completion_offers_public_names_only(name):
    module = importlib.import_module(name)
    assert dir(module) == sorted(set(module.__all__))
    assert all(hasattr(module, public) and not public.startswith("_") for public in module.__all__)


def test_everything_public_in_a_module_of_its_own_is_offered():
    """`faults` is one file, so what it defines without an underscore is public; the rest is a constant."""
    defined = {name for name, value in vars(sg.faults).items() if getattr(value, "__module__", "") == "simsgd.faults"}
    assert {name for name in defined if not name.startswith("_")} == set(sg.faults.__all__)


def test_the_types_of_the_public_face_are_those_of_its_names():
    """Names are loaded when first used, so editors and type checkers read a stub: it says where each one lives."""
    stub = ast.parse((PACKAGE / "__init__.pyi").read_text())
    lines = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    assert all(alias.asname == alias.name for node in lines for alias in node.names)  # or it is not exported
    said = {alias.name: node.module for node in lines for alias in node.names}
    assert said == {name: f"simsgd.{home}" for name, home in sg._HOME.items()} | dict.fromkeys(sg._MODULES, "simsgd")


def test_types_travel_with_the_package_and_its_version_stands_in_one_place():
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())
    assert (PACKAGE / "py.typed").exists()
    assert project["tool"]["setuptools"]["package-data"] == {"simsgd": ["py.typed", "*.pyi"]}
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "simsgd.__version__"}
    assert "version" not in project["project"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", sg.__version__)


def test_import_costs_little():
    """`import simsgd` alone loads nothing heavy, not even NumPy; heavy packages come with the first name that needs them."""
    code = "import sys, simsgd; print(sorted({'jax', 'numpy', 'simpy', 'matplotlib', 'sklearn', 'xarray'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
