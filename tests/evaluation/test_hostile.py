"""Programs written to cheat or to do harm: none passes, and none leaves anything behind."""

import os
import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import hostile
import psutil
import pytest

from workbench.evaluation import sandbox
from workbench.evaluation.benchmarks import Benchmark
from workbench.evaluation.judging import suites
from workbench.evaluation.samples import Sample

try:
    LEVEL = sandbox.level()
except sandbox.SandboxError as error:
    pytest.skip(str(error), allow_module_level=True)
pytestmark = [pytest.mark.usefixtures("evalplus"), pytest.mark.xdist_group("hostile")]

SECRET = "a-secret-of-the-caller"
TASK = {
    "task_id": "HumanEval/0",
    "prompt": "def add(a, b):\n",
    "entry_point": "add",
    "canonical_solution": "    return a + b\n",
    "base_input": [[1, 2], [3, 4]],
    "plus_input": [[5, 6.5]],
    "atol": 0,
}
RIGHT, WRONG = "def add(a, b):\n    return a + b\n", "def add(a, b):\n    return a - b\n"


class World:
    """The targets of the programs: a folder with a key, a listening port, and a process that must survive."""

    def __init__(self, home: Path):
        self.home = home
        (home / "key").write_text(SECRET)
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self.port = self.tcp.getsockname()[1]
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", self.port))
        for listening in (self.tcp, self.udp):
            listening.setblocking(False)
        self.parent = psutil.Popen([sys.executable, "-c", "input()"], stdin=-1)
        self.peak = 0
        self._done = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def _watch(self) -> None:
        """Record the peak memory of a worker process, in bytes."""
        while not self._done.wait(0.1):
            for process in psutil.Process().children():
                with suppress(psutil.Error):
                    if "workbench.evaluation.judging.worker" in process.cmdline():
                        self.peak = max(self.peak, process.memory_info().rss)

    def close(self) -> None:
        self._done.set()
        self.parent.kill()
        self.parent.wait()
        self.tcp.close()
        self.udp.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    targets = World(tmp_path_factory.mktemp("home"))
    yield targets
    targets.close()


@pytest.fixture(scope="module")
def judged(world, tmp_path_factory):
    """Name -> row of the table of verdicts, and the seconds of judging. Honest programs go first and last."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("WORKBENCH_TEST_SECRET", SECRET)
        programs = {"right, first": RIGHT, "wrong": WRONG}
        programs |= hostile.programs(str(world.home), world.port, world.parent.pid)
        programs |= {"right, last": f"{RIGHT}# last\n"}
        samples = [Sample(TASK["task_id"], code, line) for line, code in enumerate(programs.values())]
        benchmark = Benchmark("humaneval", "toy", "", {TASK["task_id"]: TASK})
        started = time.monotonic()
        # More workers than cores: some of the programs only sleep.
        verdicts = suites.judge_samples(benchmark, samples, workers=6)
        rows = dict(zip(programs, verdicts.tasks.to_dict("records"), strict=True))
        return rows, time.monotonic() - started


NAMES = [*hostile.HARM, *hostile.CHEATS]


def test_there_are_at_least_forty_programs():
    assert len(NAMES) == len(set(NAMES)) >= 40


@pytest.mark.parametrize("name", NAMES)
def test_no_hostile_program_passes(judged, name):
    row = judged[0][name]
    for suite in ("base", "plus"):
        assert row[suite] in ("fail", "timeout", "error", "blocked"), row
        assert not row[f"{suite}_compat"]


@pytest.mark.parametrize("name", hostile.HARM)
def test_harm_is_blocked_and_named(judged, name):
    row = judged[0][name]
    assert row["base"] == "blocked", row
    assert row["base_detail"]


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("never ends", "timeout"),
        ("never ends, deaf to signals", "timeout"),
        ("never starts", "timeout"),
        ("sleeps", "timeout"),
        ("answers without end", "timeout"),
        ("is equal to everything", "fail"),
        ("is a number equal to everything", "fail"),
        ("eats memory", "error"),
        ("crashes", "error"),
        ("contains itself", "error"),
        ("ends well at once", "error"),
    ],
)
def test_cheats_get_their_verdict(judged, name, verdict):
    assert judged[0][name]["base"] == verdict, judged[0][name]


def test_honest_programs_keep_their_verdicts(judged):
    rows, _ = judged
    for name in ("right, first", "right, last"):
        assert [rows[name][field] for field in ("base", "plus", "base_compat", "plus_compat")] == [
            "pass",
            "pass",
            True,
            True,
        ]
    assert rows["wrong"]["base"] == "fail"
    assert rows["wrong"]["base_input"] == "1, 2"
    assert rows["wrong"]["base_detail"] == "gave -1, expected 3"


def test_nothing_is_left_behind(judged, world):
    assert [path.name for path in world.home.iterdir()] == ["key"]
    assert (world.home / "key").read_text() == SECRET
    assert (world.home / "key").stat().st_mode & 0o777 != 0o777
    assert not Path(os.__file__ + ".left").exists()
    for receive in (world.tcp.accept, lambda: world.udp.recv(1)):
        with pytest.raises(BlockingIOError):
            receive()
    assert world.parent.is_running()
    processes = filter(_is_ours, psutil.process_iter())
    left = [process.cmdline() for process in processes if not _belongs_to_another_worker(process)]
    assert left == []


def _is_ours(process: psutil.Process) -> bool:
    """Whether the process is a worker or a sandbox of this checkout."""
    try:
        command = " ".join(process.cmdline())
        origin = process.environ().get("PYTHONPATH", "") if "workbench.evaluation" in command else command
    except psutil.Error:
        return False
    running = "evaluation/sandbox/inside/" in command or "workbench.evaluation.judging.worker" in command
    return running and str(Path(sandbox.__file__).parents[2]) in origin


def _belongs_to_another_worker(process: psutil.Process) -> bool:
    """Whether a test that runs beside this one, in another worker of pytest, has started the process."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return False
    workers = {child.pid for child in psutil.Process(os.getppid()).children()} - {os.getpid()}
    try:
        return bool(workers & {parent.pid for parent in process.parents()})
    except psutil.NoSuchProcess:  # it has ended meanwhile
        return True


def test_no_verdict_contains_the_secret(judged):
    if not LEVEL.landlock and not LEVEL.bubblewrap:
        pytest.skip(f"files can be read at this level ({LEVEL})")
    assert SECRET not in str(judged[0])


def test_workers_stay_within_their_limits(judged, world):
    assert 0 < world.peak < 2 * 2**30  # bytes
    assert judged[1] < 180  # seconds, most of them spent on programs that sleep
