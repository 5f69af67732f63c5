"""The house rules, read from the source: imports go downward, no cycles, no isinstance on scenes, no print in the library."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FLOOR = {"recon": 0, "render": 1, "viewer": 2}
ROOF = "recon.cli"
PRINTING = {"recon.cli", "recon.commands", "recon.doctor", "recon.__main__"}


def modules() -> dict[str, ast.Module]:
    found = {}
    for room in FLOOR:
        for path in sorted((ROOT / room).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            found[name] = ast.parse(path.read_text())
    return found


def imports(name: str, tree: ast.AST) -> set[str]:
    """Modules named by import statements anywhere in the tree, but for those under TYPE_CHECKING."""
    named = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            named |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}:{node.lineno}: relative import"
            named |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return named


def upward(name: str, named: set[str]) -> list[str]:
    """Imports of a higher floor, or of the roof."""
    mine = FLOOR[name.split(".")[0]]
    return [
        m
        for m in named
        if FLOOR.get(m.split(".")[0], -1) > mine or (m.startswith(ROOF) and name not in (ROOF, "recon.__main__"))
    ]


def cycle(graph: dict[str, set[str]]) -> list[str]:
    """A cycle of module-level imports, or []."""
    done: set[str] = set()

    def visit(node: str, path: list[str]) -> list[str]:
        if node in path:
            return [*path[path.index(node) :], node]
        if node in done:
            return []
        for child in sorted(graph.get(node, ())):
            if found := visit(child, [*path, node]):
                return found
        done.add(node)
        return []

    return next((found for node in sorted(graph) if (found := visit(node, []))), [])


def test_imports_go_downward():
    wrong = {name: found for name, tree in modules().items() if (found := upward(name, imports(name, tree)))}
    assert not wrong


def test_the_check_sees_an_upward_import():
    assert upward("recon.geometry", imports("recon.geometry", ast.parse("from render.splats import Splats")))
    assert upward("render.train", imports("render.train", ast.parse("def f():\n    import viewer.server")))
    assert upward("render.train", imports("render.train", ast.parse("from recon import cli")))


def test_no_cycles():
    trees = modules()
    graph = {}
    for name, tree in trees.items():
        level = ast.Module([n for n in tree.body if not isinstance(n, (ast.FunctionDef, ast.ClassDef))], [])
        named = imports(name, level)
        graph[name] = {m for m in named if m in trees and m != name and not name.startswith(m + ".")}
    assert cycle(graph) == []
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == ["a", "b", "c", "a"]


def test_library_code_does_not_print_or_ask_scenes_their_class():
    wrong = []
    for name, tree in modules().items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            function = getattr(node.func, "id", "")
            if function in ("print", "input") and name not in PRINTING:
                wrong.append(f"{name}:{node.lineno}: {function}()")
            if function == "isinstance" and "scene" in ast.unparse(node.args[0]).lower():
                wrong.append(f"{name}:{node.lineno}: isinstance on a scene")
    assert not wrong


def test_text_files_are_utf8_on_every_system():
    """Without an encoding Windows reads and writes them in its own code page, and photos have names."""
    bare = [
        f"{name}:{node.lineno}"
        for name, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and opens_text(node)
        and "encoding" not in {keyword.arg for keyword in node.keywords}
    ]
    assert not bare


def opens_text(call: ast.Call) -> bool:
    """Whether a call opens a file as text: read_text, write_text, and open without a "b" in its mode."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name in ("read_text", "write_text"):
        return True
    modes = [ast.literal_eval(word) for word in call.args if isinstance(word, ast.Constant)]
    return isinstance(call.func, ast.Name) and name == "open" and not any("b" in str(mode) for mode in modes)


def test_nothing_is_unpickled():
    wrong = []
    for name, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("torch.load", "np.load", "numpy.load"):
                words = {k.arg: ast.unparse(k.value) for k in node.keywords}
                if words.get("weights_only") != "True" and words.get("allow_pickle", "False") != "False":
                    wrong.append(f"{name}:{node.lineno}")
        assert "pickle" not in imports(name, tree), name
    assert not wrong


def test_help_imports_no_heavy_module():
    code = "import sys; from recon.cli import main; main(['--help']); print(*sorted(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert "recon run INPUT" in done.stdout
    heavy = {"numpy", "torch", "numba", "pycolmap", "cv2", "viser", "tyro", "rich", "PIL", "scipy"}
    assert not heavy & set(done.stderr.split())


def test_the_projects_text_names_no_path_of_a_machine():
    listed = subprocess.run(["git", "ls-files"], capture_output=True, text=True, cwd=ROOT)
    names = listed.stdout.split("\n") if listed.returncode == 0 else []
    wrong = []
    for name in filter(None, names):
        path = ROOT / name
        if path.suffix in (".py", ".md", ".toml", ".txt", "") and path.is_file() and path.stat().st_size < 10**6:
            text = path.read_bytes().decode(errors="replace")
            if any(f"/{word}/" in text for word in ("wo" + "rk", "ro" + "ot")):
                wrong.append(name)
    assert not wrong


def test_the_numbers_in_the_readme_are_those_of_the_records() -> None:
    command = [sys.executable, str(ROOT / "tests" / "bench" / "readme_numbers.py"), "--check"]
    assert subprocess.run(command, check=False).returncode == 0, "run python tests/bench/readme_numbers.py"
