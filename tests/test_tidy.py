"""What a machine can check of how this repository is kept."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINES_MAX, FUNCTION_LINES_MAX, ASSET_LINES_MAX = 400, 70, 25
FILE_BYTES_MAX = 1_048_576

# The customer's layout. What a later workflow brings is named here until it is there: a folder in
# the second set that exists must move to the first.
LAYOUT = {
    "orchestration", "assets", "dbt", "ml", "execution", "io_managers", "sensors", "tests",
    "workspace.yaml", "pyproject.toml",
}  # fmt: skip
LATER: set[str] = set()
OWN = {
    "contracts", "domain", "ops_store", "sources", "cli", "docs", "benchmarks", ".ci", "Makefile",
    "README.md", "ARCHITECTURE.md", "CHANGELOG.md", "LICENSE", "uv.lock", ".gitignore",
    "quantivista", "deploy",
}  # fmt: skip
LATER_OWN = {"ui"}


def tracked():
    listed = subprocess.run(
        ["git", "ls-files", "-z"],  # noqa: S607
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listed.returncode:
        pytest.skip("not a git checkout: what is tracked is unknown")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).exists()]


def python_files():
    return [path for path in tracked() if path.suffix == ".py"]


def text_files():
    binary = {".png", ".gz", ".ico", ".woff2"}
    return [path for path in tracked() if path.suffix not in binary and path.name != "uv.lock"]


def where(path, line=None):
    return f"{path.relative_to(ROOT)}" + (f":{line}" if line else "")


def functions_of(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def makefile_targets():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z][a-z-]*):", text, flags=re.MULTILINE))


def test_the_layout_is_the_customers():
    found = {path.relative_to(ROOT).parts[0] for path in tracked()}
    assert found >= LAYOUT
    arrived = found & (LATER | LATER_OWN)
    assert not arrived, f"{sorted(arrived)} arrived: move it to the folders that must exist"
    assert found <= LAYOUT | OWN, "every folder and file at the root has one clear reason"


def test_no_module_is_a_drawer():
    drawers = {"utils", "util", "common", "helpers", "helper", "misc", "shared"}
    names = {part for path in python_files() for part in (path.stem, path.parent.name)}
    assert not names & drawers


def test_no_module_is_long():
    lengths = {where(p): len(p.read_text(encoding="utf-8").splitlines()) for p in python_files()}
    assert {name: lines for name, lines in lengths.items() if lines > LINES_MAX} == {}


def test_no_function_is_long():
    # A function that binds assets to an environment is as long as its assets; they are measured.
    long = {
        f"{where(path, node.lineno)} {node.name}": node.end_lineno - node.lineno + 1
        for path in python_files()
        if path.parent.name != "assets"
        for node in functions_of(path)
        if node.end_lineno - node.lineno >= FUNCTION_LINES_MAX
    }
    assert long == {}


def is_asset(node):
    names = {
        getattr(d.func, "attr", getattr(d.func, "id", ""))
        for d in node.decorator_list
        if isinstance(d, ast.Call)
    }
    assets = {"asset", "multi_asset", "graph_asset", "lake_asset", "lake_assets", "dbt_assets"}
    return bool(names & assets)


def test_an_asset_reads_calls_and_returns():
    bodies = {
        f"{where(path, node.lineno)} {node.name}": node.end_lineno - node.body[0].lineno + 1
        for path in (ROOT / "assets").glob("*.py")
        for node in functions_of(path)
        if is_asset(node)
    }
    assert len(bodies) >= 10
    assert {name: lines for name, lines in bodies.items() if lines > ASSET_LINES_MAX} == {}


def test_no_marker_is_left_for_later():
    words = "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"))
    marker = re.compile(rf"(?<![A-Za-z_])(?:{words})(?![A-Za-z_])")
    found = [
        where(path, number)
        for path in text_files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if marker.search(line)
    ]
    assert found == []


def test_no_file_names_a_machine():
    # Where someone's checkout, home or scratch directory lies is nobody else's business.
    places = "|".join(("home", "root", "Users", "work", "tmp"))
    paths = re.compile(rf"(?<![\w.:/}}$)])/(?:{places})/")
    found = [
        where(path, number)
        for path in text_files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if paths.search(line)
    ]
    assert found == []


def test_no_file_is_large():
    sizes = {where(path): path.stat().st_size for path in tracked()}
    assert {name: size for name, size in sizes.items() if size > FILE_BYTES_MAX} == {}


def test_every_command_of_the_readme_exists():
    named = set(re.findall(r"\bmake ([a-z][a-z-]*)", (ROOT / "README.md").read_text("utf-8")))
    assert {"demo", "test"} <= named
    assert named <= makefile_targets()


def test_every_described_target_is_reachable_from_the_readme():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    described = set(re.findall(r"^([a-z][a-z-]*):.*##", makefile, flags=re.MULTILINE))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    # These serve the others; `make help` shows them.
    serving = {"help", "setup", "lint"}
    assert {name for name in described - serving if f"make {name}" not in readme} == set()


def test_every_file_that_the_readme_names_exists():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:docs|benchmarks)/[\w/.-]*|[A-Z]+\.md)`", readme)
    named += re.findall(r"\]\(([\w/.-]+)\)", readme)
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_changelog_tells_what_is_new():
    lines = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "# Changelog"
    assert any(line.startswith("- ") for line in lines)


def test_dbt_has_no_python():
    # The root folder joins dbt's package path: a module here would shadow dbt's own.
    assert not list((ROOT / "dbt").rglob("*.py"))


def test_the_wiring_package_is_empty():
    # Importing one job must not assemble the platform.
    assert (ROOT / "orchestration" / "__init__.py").read_text(encoding="utf-8") == ""


def test_every_package_is_under_the_import_contracts():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    roots = set(settings["tool"]["importlinter"]["root_packages"])
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages - roots == {"benchmarks", "tests"}
    ready = {name for name in packages - {"benchmarks", "tests"} if name != "orchestration"}
    top = settings["tool"]["importlinter"]["contracts"][0]
    layered = {word.strip("()") for layer in top["layers"] for word in re.split(r" [|:] ", layer)}
    assert ready <= layered


def test_the_import_contracts_hold():
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()",
         "--no-cache"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout
