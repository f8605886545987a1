"""Who may import whom, read from the syntax trees: rooms are one-way and files form no circle."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

from rooms import ROOMS

import thex_hf
from thex_hf.tasks import TASKS

PACKAGE = Path(thex_hf.__file__).parent
TORCH_ROOMS = {
    "modeling",
    "conversion",
    "pipelines",
    "endpoint",
    "evaluation",
    "reports",
    "cli",
    "demo",
    "",
}
PICKLES = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
BY_NAME = ("require", "import_module", "__import__")
MOST_LINES = 400


def module_of(path: Path) -> str:
    """Dotted name inside the package, the empty string for ``thex_hf`` itself."""
    parts = list(path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def room_of(module: str) -> str:
    """The longest name in the table that is the module's or stands above it; else its first."""
    rooms = [name for name in ROOMS if name and f"{module}.".startswith(f"{name}.")]
    return max(rooms, key=len, default=module.partition(".")[0])


def allowed(room: str, target: str) -> bool:
    """Whether a row of the table names the target, or a package above it."""
    return any(target == name or (name and target.startswith(f"{name}.")) for name in ROOMS[room])


@cache
def imports(module: str) -> frozenset[str]:
    """Full dotted names that a module imports, anywhere in its file.

    ``from a.b import c`` counts as ``a.b.c`` where that is a file of ours, else as ``a.b``.
    """
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are absolute in this package"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                ours = whole.removeprefix("thex_hf.") in MODULES
                found.add(whole if ours else str(node.module))
    return frozenset(found)


def own(module: str) -> set[str]:
    """The modules of ours that a module imports."""
    names = {name for name in imports(module) if name.partition(".")[0] == "thex_hf"}
    return {name.removeprefix("thex_hf").removeprefix(".") for name in names}


def foreign(module: str) -> set[str]:
    """Top-level names of everything else that a module imports."""
    return {name.partition(".")[0] for name in imports(module)} - {"thex_hf"}


def reached(module: str) -> set[str]:
    """Every module of ours that importing ``module`` runs, packages' ``__init__`` included."""
    seen: set[str] = set()
    todo = [module]
    while todo:
        name = todo.pop()
        if name in seen or name == "":  # thex_hf/__init__ loads by name, when asked
            continue
        seen.add(name)
        todo += [*own(name), name.rpartition(".")[0]]
    return seen


def test_every_room_is_in_the_table():
    assert {room_of(module) for module in MODULES} == set(ROOMS)


def test_a_room_imports_only_what_its_row_allows():
    wrong = [
        f"{module or 'thex_hf'} imports {target}"
        for module in MODULES
        for target in own(module)
        if room_of(target) != room_of(module) and not allowed(room_of(module), target)
    ]
    assert not wrong


def test_the_table_itself_goes_one_way():
    above: dict[str, set[str]] = {
        room: {room_of(name) for name in row} - {room} for room, row in ROOMS.items() if room
    }
    while above:
        ground = {room for room, row in above.items() if not row & set(above)}
        assert ground, f"the rooms {sorted(above)} import each other in a circle"
        above = {room: row for room, row in above.items() if room not in ground}


def test_no_file_imports_itself_by_a_detour():
    waiting = {module: own(module) - {""} for module in MODULES if module}
    while waiting:
        done = {name for name, needs in waiting.items() if not needs & set(waiting)}
        assert done, f"import circle among {sorted(waiting)}"
        waiting = {name: needs for name, needs in waiting.items() if name not in done}


def test_libraries_stay_where_they_belong():
    wrong = []
    for module in MODULES:
        names = foreign(module)
        refused = set(PICKLES)
        if room_of(module) not in TORCH_ROOMS:
            refused |= {"torch", "transformers"}
        if not module.startswith("backends.seal"):
            refused |= {"tenseal"}
        if module != "conversion.training.trainer":
            refused |= {"accelerate"}
        if not module.startswith("reports.plots"):
            refused |= {"matplotlib"}
        if room_of(module) != "serving.http":
            refused |= {"fastapi", "starlette", "uvicorn", "prometheus_client"}
        if module != "demo.page":
            refused |= {"gradio"}
        wrong += [f"{module or 'thex_hf'} imports {name}" for name in names & refused]
    assert not wrong


def test_imports_by_name_are_few():
    """``require("...")`` imports by name, which the syntax of imports does not show."""
    calls = {
        (module, node.args[0].value)
        for module, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and (getattr(node.func, "id", "") or getattr(node.func, "attr", "")) in BY_NAME
        and getattr(getattr(node.func, "value", None), "id", "importlib") == "importlib"
        and node.args
        and isinstance(node.args[0], ast.Constant)
    }
    assert calls == {
        ("backends.seal.context", "tenseal.sealapi"),
        ("client.connection", "httpx"),
        ("demo.view", "PIL.Image"),
        ("reports.plots.canvas", "matplotlib.figure"),
        ("serving.keys.sql", "sqlalchemy"),
        ("serving.ticket_places", "sqlalchemy"),
        ("tables.sets", "datasets"),
        ("tables.parquet", "datasets"),
        ("tables.parquet", "pyarrow"),
        ("tables.parquet", "pyarrow.parquet"),
        ("conversion.sources.adapter", "peft"),
        ("evaluation.base", "datasets"),
        ("evaluation.base", "evaluate"),
        ("evaluation.base", "evaluate.evaluator"),
        ("evaluation.base", "scipy.stats"),
        ("evaluation.base", "seqeval.metrics"),
        ("evaluation.base", "seqeval.scheme"),
        ("evaluation.base", "sklearn.metrics"),
        ("conversion.digests", "thex_hf"),  # for its __version__, when a report is written
    }


def test_transformers_comes_before_the_modules_that_are_registered_with_it():
    """What runs when transformers was imported must not need a module that is half imported.

    So each package that it reaches and that uses transformers imports it before all else, and no
    module takes a name from such a package itself.
    """
    starts = ("pipelines.register", *(f"pipelines.{task.pipeline_module}" for task in TASKS))
    modules = {module for start in starts for module in reached(start)}
    using = {name for name in modules if "transformers" in foreign(name)}
    packages = {name.partition(".")[0] for name in using}
    assert packages == {"modeling", "pipelines"}
    for package in packages:
        body = ast.parse(MODULES[package].read_text(encoding="utf-8")).body
        first = next(node for node in body if isinstance(node, ast.Import | ast.ImportFrom))
        assert [alias.name for alias in first.names] == ["transformers"]
    for name in modules - packages:
        assert not {f"thex_hf.{package}" for package in packages} & imports(name), name


def test_files_are_short():
    lines = {
        module: len(path.read_text(encoding="utf-8").splitlines())
        for module, path in MODULES.items()
    }
    assert not {module: count for module, count in lines.items() if count > MOST_LINES}


def test_the_server_reaches_nothing_that_holds_a_secret_key():
    names = reached("protocol.server")
    assert not names & {
        "protocol.client",
        "protocol.keys",
        "protocol.keyfile",
        "protocol.result",
        "backends.base",
    }
    assert not {name for name in names if room_of(name) in {"backends", "modeling", "pipelines"}}


def test_the_server_of_a_preparation_reaches_nothing_that_holds_a_secret_key():
    names = reached("prepared.bfv.server")
    assert not names & {"prepared.bfv.client", "backends.seal.client", "backends.seal.backend"}
    assert not {name for name in names if room_of(name) in {"protocol", "client", "modeling"}}


def test_what_serves_clients_reaches_no_secret_key():
    """A worker can neither make keys nor decrypt by anything that it imports by itself."""
    for module in ("serving.fork_server", "serving.http.app"):
        names = reached(module)
        assert not names & {
            "protocol.client",
            "protocol.keys",
            "protocol.prepared_client",
            "prepared.bfv.client",
            "client.ticket_folder",
            "client.tickets",
            "local.session",
        }
        assert not {name for name in names if room_of(name) in {"client", "modeling", "pipelines"}}


def test_the_encrypted_path_reaches_no_torch():
    served = ("serving.fork_server", "serving.http.app", "protocol.server", "circuits.planning")
    for module in (*served, "client.http", "client.client", "protocol.client", "local.session"):
        for name in reached(module):
            assert not foreign(name) & {"torch", "transformers", "tenseal"}


def test_client_and_server_meet_in_the_transport_within_one_process_only():
    for module in MODULES:
        if room_of(module) == "client" or module in ("protocol.client", "protocol.keys"):
            assert not {name for name in reached(module) if name.startswith("serving")}
            assert "protocol.server" not in reached(module)
        if module.startswith("serving"):
            assert not {name for name in reached(module) if name.startswith("client")}
    both = {
        module
        for module in MODULES
        if any(name.startswith("client.") for name in own(module))
        and any(name.startswith("serving.") for name in own(module))
    }
    assert both <= {"local.session", "local.transport", "demo.sessions"}
