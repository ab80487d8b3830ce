"""What is shipped: a wheel that has all its files, and an image's recipe whose words are true.

The image itself is not built here: no engine runs where these tests do.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import urllib.request
import zipfile
from pathlib import Path

import pytest

from gateway.cli import VERSION
from tests.gateway.house import free_ports

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "ops" / "oci" / "Containerfile"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "-q", "--no-deps"]
    subprocess.run([*command, "-w", target, ROOT], check=True, capture_output=True, timeout=300)
    (made,) = target.glob("*.whl")
    return made


def test_the_wheel_has_every_file_that_is_not_python(wheel: Path) -> None:
    shipped = set(zipfile.ZipFile(wheel).namelist())
    tracked = subprocess.run(
        ["git", "ls-files", "config", "gateway", "router", "smpp", "store"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    needed = {one for one in tracked if not one.startswith("config/examples/")}
    assert needed - shipped - {"gateway/console/package-lock.json"} == set()
    assert "gateway/console/node_modules/htmx.org/dist/htmx.min.js" in shipped


def test_the_wheel_runs_by_itself_with_its_pages(wheel: Path, tmp_path: Path) -> None:
    """Unpacked where nothing else of ours is; its dependencies are those of this environment."""
    place = tmp_path / "installed"
    zipfile.ZipFile(wheel).extractall(place)
    paths = [str(place), sysconfig.get_paths()["purelib"], sysconfig.get_paths()["platlib"]]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1"}
    python = str(Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}")
    start = [python, "-c", "from gateway.cli import main; raise SystemExit(main())"]

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [*start, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout

    assert VERSION in run("--version")
    assert "fine" in run("check")  # the shipped configuration is there
    (http,) = free_ports(1)
    config = tmp_path / "gateway.toml"
    config.write_text(f'[gateway]\ndata_dir = "{tmp_path}/var"\n[http]\nlisten = ["127.0.0.1:{http}"]\n')
    process = subprocess.Popen(
        [*start, "run", "--config", str(config)],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert "is running" in process.stdout.readline()  # it listens by then

        def page(path: str) -> str:
            with urllib.request.urlopen(f"http://127.0.0.1:{http}{path}", timeout=30) as answer:
                return str(answer.read().decode())

        assert "<html" in page("/docs")
        console = page("/console/")
        for asset in re.findall(r'(?:src|href)="(/console/static/[^"]+)"', console):
            assert page(asset), asset
        assert "htmx" in console
    finally:
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode == 0


# the image's recipe


def lines() -> list[str]:
    return RECIPE.read_text().replace("\\\n", " ").splitlines()


def test_everything_that_the_recipe_copies_is_there_and_reaches_the_build() -> None:
    ignored = [
        one for one in (ROOT / ".containerignore").read_text().splitlines() if one[:1] not in ("", "#")
    ]
    copied = [line.split()[1:-1] for line in lines() if line.startswith("COPY ") and "--from" not in line]
    sources = [one for line in copied for one in line]
    assert {"pyproject.toml", "gateway", "config", "store", "router", "smpp"} <= set(sources)
    for one in sources:
        assert (ROOT / one).exists(), one
        assert one.split("/")[0] not in ignored, f"{one} is not sent to the build"
    packages = {file.parent.name for file in ROOT.glob("*/__init__.py")} - {"tests", "bench"}
    assert packages <= set(sources)


def test_the_recipe_runs_as_nobody_stops_politely_and_says_how_it_is() -> None:
    text = "\n".join(lines())
    (user,) = re.findall(r"^USER (\d+):\d+$", text, re.MULTILINE)
    assert int(user) > 0
    assert "STOPSIGNAL SIGTERM" in text
    assert re.search(r"HEALTHCHECK .*/healthz", text)
    assert "ADD " not in text
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    images = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert set(images) == {f"docker.io/library/python:{project['requires-python'].removeprefix('>=')}-slim"}


def test_the_recipe_installs_what_pyproject_pins() -> None:
    def pins(what: str) -> list[str]:
        command = [sys.executable, str(ROOT / "ops" / "oci" / "pins.py"), what]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    constraints = pins("constraints")
    assert set(project["project"]["dependencies"]) <= set(constraints)
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==\S+", one) for one in constraints)
    assert pins("npm") == [project["tool"]["signalbox"]["npm"]]
