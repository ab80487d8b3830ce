"""bin/_bootstrap decides rightly: when to build, with what, when to leave alone. No network, no real pip.

Commands that would install are recorded by a fake runner, which lays out what the real ones would.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = """\
[project]
dependencies = ["alpha==1.0", "beta==2.0"]
[project.optional-dependencies]
dev = ["gamma==3.0"]
[tool.signalbox]
constraints = ["delta==4.0"]
"""


def load_bootstrap() -> Any:
    spec = importlib.util.spec_from_file_location("_bootstrap", ROOT / "bin" / "_bootstrap.py")
    assert spec is not None
    assert spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


bootstrap = load_bootstrap()


class Clone:
    """A clone in a temporary directory, and a runner that records commands and fakes what they leave."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self.commands: list[list[str]] = []
        self.broken: set[str] = set()  # words; a command that has one of them fails
        root.mkdir(exist_ok=True)
        (root / "pyproject.toml").write_text(PYPROJECT)

    def run(self, command: list[str]) -> None:
        self.commands.append(command)
        if self.broken & set(command):
            raise bootstrap.Problem("it failed")
        if "venv" in command:
            self._fake_venv(with_pip="--without-pip" not in command)

    def _fake_venv(self, with_pip: bool) -> None:
        environment = Path(self.root, ".venv")
        packages = environment / "lib" / "python3.11" / "site-packages"
        (packages / "pip" if with_pip else packages).mkdir(parents=True)
        (environment / "bin").mkdir()
        (environment / "bin" / "python").symlink_to(sys.executable)

    def start(self, level: str = "runtime") -> list[list[str]]:
        """One start; returns the commands it ran."""
        before = len(self.commands)
        bootstrap.ready(self.root, level)
        return self.commands[before:]

    def edit_pyproject(self, old: str, new: str) -> None:
        path = Path(self.root, "pyproject.toml")
        path.write_text(path.read_text().replace(old, new))


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clone:
    made = Clone(tmp_path / "clone")
    monkeypatch.setattr(bootstrap, "run_quietly", made.run)
    monkeypatch.setattr(bootstrap, "abilities", lambda: (True, True, True))
    return made


def kinds(commands: list[list[str]]) -> list[str]:
    return ["venv" if "venv" in command else "pip" for command in commands]


def pins_of(command: list[str]) -> list[str]:
    return [word for word in command if "==" in word]


def test_the_first_start_builds_and_installs_and_the_second_does_nothing(clone: Clone) -> None:
    first = clone.start()
    assert kinds(first) == ["venv", "pip"]
    assert pins_of(first[1]) == ["alpha==1.0", "beta==2.0"]
    assert clone.start() == []


def test_what_the_pins_pull_in_is_pinned_as_well(clone: Clone) -> None:
    install = clone.start()[1]
    constraints = Path(install[install.index("--constraint") + 1])
    assert constraints.read_text() == "delta==4.0\n"


def test_tests_need_the_development_tools_on_top(clone: Clone) -> None:
    clone.start("runtime")
    assert [pins_of(command) for command in clone.start("dev")] == [["gamma==3.0"]]
    assert clone.start("runtime") == []
    assert clone.start("dev") == []


def test_a_changed_pin_is_installed_into_the_same_environment(clone: Clone) -> None:
    clone.start()
    clone.edit_pyproject("alpha==1.0", "alpha==1.1")
    assert [pins_of(command) for command in clone.start()] == [["alpha==1.1", "beta==2.0"]]


def test_a_changed_constraint_is_installed(clone: Clone) -> None:
    clone.start()
    clone.edit_pyproject("delta==4.0", "delta==4.1")
    assert kinds(clone.start()) == ["pip"]


def test_a_change_that_touches_no_pin_installs_nothing(clone: Clone) -> None:
    clone.start()
    clone.edit_pyproject("[tool.signalbox]", "# a comment\n[tool.signalbox]")
    assert clone.start() == []


def test_a_runtime_start_after_a_changed_tool_leaves_the_tools_for_the_next_test_run(clone: Clone) -> None:
    clone.start("dev")
    clone.edit_pyproject("gamma==3.0", "gamma==3.1")
    assert clone.start("runtime") == []
    assert [pins_of(command) for command in clone.start("dev")] == [["gamma==3.1"]]


def test_an_interrupted_installation_is_repeated(clone: Clone) -> None:
    clone.broken = {"pip"}
    with pytest.raises(bootstrap.Problem):
        clone.start()
    clone.broken = set()
    assert "pip" in kinds(clone.start())
    assert clone.start() == []


def test_an_environment_whose_python_is_gone_is_built_anew(clone: Clone) -> None:
    clone.start()
    python = Path(bootstrap.venv_python(clone.root))
    python.unlink()
    python.symlink_to("/nowhere/python3.11")
    assert kinds(clone.start()) == ["venv", "pip"]


def test_an_environment_that_was_moved_is_built_anew(clone: Clone, tmp_path: Path) -> None:
    clone.start()
    os.rename(clone.root, tmp_path / "moved")
    clone.root = str(tmp_path / "moved")
    assert kinds(clone.start()) == ["venv", "pip"]


def test_the_environment_finds_the_project_from_any_directory(clone: Clone) -> None:
    clone.start()
    (path_file,) = Path(clone.root).glob(".venv/lib/*/site-packages/signalbox.pth")
    assert path_file.read_text() == clone.root + "\n"


def test_without_ensurepip_the_systems_pip_installs(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "abilities", lambda: (True, False, True))
    make, install = clone.start()
    assert "--without-pip" in make
    assert install[:5] == [sys.executable, "-m", "pip", "--python", bootstrap.venv_python(clone.root)]


def test_with_ensurepip_the_environments_own_pip_installs(clone: Clone) -> None:
    _, install = clone.start()
    assert install[0] == bootstrap.venv_python(clone.root)


def test_an_ensurepip_that_does_not_work_falls_back_to_the_systems_pip(
    clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(command: list[str]) -> None:
        if "venv" in command and "--without-pip" not in command:
            clone.commands.append(command)
            raise bootstrap.Problem("no wheels")
        clone.run(command)

    monkeypatch.setattr(bootstrap, "run_quietly", run)
    first, second, install = clone.start()
    assert "--without-pip" not in first
    assert "--without-pip" in second
    assert "--python" in install


@pytest.mark.parametrize("abilities", [(True, False, False), (False, True, True), (False, False, False)])
def test_without_any_way_to_pip_the_missing_package_is_named(
    clone: Clone, monkeypatch: pytest.MonkeyPatch, abilities: tuple[bool, bool, bool]
) -> None:
    monkeypatch.setattr(bootstrap, "abilities", lambda: abilities)
    with pytest.raises(bootstrap.Problem, match="Install"):
        clone.start()
    assert clone.commands == []


@pytest.mark.parametrize(
    ("os_release", "package"),
    [
        ("ID=debian\n", "python3-venv"),
        ("ID=mint\nID_LIKE=ubuntu\n", "python3-venv"),
        ("ID=alpine\n", "py3-pip"),
    ],
)
def test_the_missing_package_has_the_name_it_has_here(tmp_path: Path, os_release: str, package: str) -> None:
    path = tmp_path / "os-release"
    path.write_text(os_release)
    assert package in bootstrap.missing_package(str(path))


def test_a_system_that_tells_nothing_gets_a_general_answer(tmp_path: Path) -> None:
    assert "pip" in bootstrap.missing_package(str(tmp_path / "none"))


def test_a_pin_that_is_not_exact_is_refused(clone: Clone) -> None:
    clone.edit_pyproject("alpha==1.0", "alpha>=1.0")
    with pytest.raises(bootstrap.Problem, match=r"alpha>=1\.0"):
        clone.start()


def test_only_one_start_installs_at_a_time(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second start, let in when the first is done, finds the work done."""
    Path(clone.root, ".venv").mkdir()

    def locked(root: str) -> Iterator[None]:
        monkeypatch.undo()
        monkeypatch.setattr(bootstrap, "run_quietly", clone.run)
        bootstrap.ready(root, "runtime")  # the other start
        clone.commands.clear()
        yield

    monkeypatch.setattr(bootstrap, "locked", locked)
    assert clone.start() == []


def test_the_lock_is_held_until_the_work_is_done(clone: Clone) -> None:
    """Another process cannot take the lock inside, and can after it."""
    probe = "import fcntl, sys; fcntl.flock(open(sys.argv[1]), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    take = [sys.executable, "-c", probe, os.path.join(clone.root, ".venv", ".lock")]
    for _ in bootstrap.locked(clone.root):
        assert subprocess.run(take, capture_output=True, check=False).returncode != 0
    assert subprocess.run(take, capture_output=True, check=False).returncode == 0


def test_building_anew_keeps_the_lock_file(clone: Clone) -> None:
    for _ in bootstrap.locked(clone.root):
        Path(clone.root, ".venv", "old").mkdir()
        bootstrap.clear(os.path.join(clone.root, ".venv"))
    assert os.listdir(os.path.join(clone.root, ".venv")) == [".lock"]


def test_a_directory_that_cannot_be_written_says_so(clone: Clone) -> None:
    Path(clone.root, ".venv").write_text("in the way")
    with pytest.raises(bootstrap.Problem, match="cannot write"):
        clone.start()


def test_a_command_that_fails_shows_the_end_of_what_it_said() -> None:
    complaint = [sys.executable, "-c", "import sys; sys.exit('no matching distribution')"]
    with pytest.raises(bootstrap.Problem, match="no matching distribution"):
        bootstrap.run_quietly(complaint)


def test_a_python_that_is_too_old_hands_over_to_a_newer_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = tmp_path / "python3.12"
    newer.write_text("#!/bin/sh\n")
    newer.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    started: list[str] = []
    monkeypatch.setattr(bootstrap.os, "execv", lambda path, arguments: started.append(path))
    monkeypatch.setattr(bootstrap, "NEWEST_TRIED", 12)
    with pytest.raises(bootstrap.Problem):  # the real execv would not have returned
        bootstrap.restart_on_newer_python()
    assert started == [str(newer)]


def test_a_python_that_is_too_old_alone_says_what_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(bootstrap.Problem, match=r"Python 3\.11 or newer"):
        bootstrap.restart_on_newer_python()


def test_a_fast_start_imports_nothing_slow(clone: Clone) -> None:
    """What decides that nothing is to be done stays far away from tomllib, subprocess and typing."""
    clone.start()
    script = (
        "import sys; before = set(sys.modules); sys.path.insert(0, sys.argv[1]); import _bootstrap;"
        "_bootstrap.ready(sys.argv[2], 'runtime');"
        "print(*sorted({'tomllib', 'subprocess', 'typing', 'shutil', 'fcntl'} & (set(sys.modules) - before)))"
    )
    command = [sys.executable, "-I", "-S", "-c", script, str(ROOT / "bin"), clone.root]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.fixture
def with_console(clone: Clone) -> Clone:
    """A clone whose console has a lock file."""
    console = Path(clone.root, "gateway", "console")
    console.mkdir(parents=True)
    (console / "package-lock.json").write_text("{}")
    return clone


def npm_of(commands: list[list[str]]) -> list[list[str]]:
    return [command for command in commands if "ci" in command]


def test_what_the_consoles_pages_load_is_installed_by_its_lock_file(
    with_console: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    (command,) = npm_of(with_console.start())
    assert command[:2] == ["npm", "ci"]
    assert "--ignore-scripts" in command
    console = Path(with_console.root, "gateway", "console")
    (console / "node_modules").mkdir()
    assert with_console.start() == []
    with_console.edit_pyproject("alpha==1.0", "alpha==1.1")
    assert npm_of(with_console.start()) == []
    (console / "package-lock.json").write_text('{"other": 1}')
    assert len(npm_of(with_console.start())) == 1


def test_where_there_is_no_npm_one_is_borrowed(with_console: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    with_console.edit_pyproject("[tool.signalbox]", '[tool.signalbox]\nnpm = "nodes==1.0"')
    commands = with_console.start()
    assert pins_of(commands[-2]) == ["nodes==1.0"]
    assert commands[-1][0].endswith("bin/node")
    assert not Path(with_console.root, ".venv", "npm").exists()


def test_a_gateway_whose_console_cannot_be_equipped_starts_and_says_so(
    with_console: Clone, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    with_console.broken = {"ci"}
    with_console.start()
    assert "will not move by themselves: it failed" in capsys.readouterr().err
    assert with_console.start() == []


def test_the_projects_own_pins_are_exact_and_explained() -> None:
    wanted, constraints = bootstrap.read_pins(str(ROOT / "pyproject.toml"))
    text = (ROOT / "pyproject.toml").read_text()
    for pin in [*wanted["runtime"], *wanted["dev"]]:
        assert f'"{pin}", # ' in text, f"say in one line why {pin} is here"
    assert constraints
