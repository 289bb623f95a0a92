"""Work on the cells of a sweep one by one: in a thread, or in a process of its own."""

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ..core import memory
from ..core.errors import UserError
from ..training import TrainingSettings, job, processes
from .cells import Bench
from .folder import SweepFolder


def is_active(folder: SweepFolder) -> bool:
    """Whether a thread or process works on the sweep."""
    state = folder.read_state()
    if not state.get("running"):
        return False
    if processes.is_this(state["process"]):
        return any(thread.name == _thread_name(folder) for thread in threading.enumerate())
    return processes.is_alive(state["process"], folder.state_file)


def _thread_name(folder: SweepFolder) -> str:
    return f"sweep {folder.path.resolve()}"


def start(folder: SweepFolder, detached: bool) -> None:
    """Start to work on the sweep, unless something already does."""
    with processes.start_lock():
        if is_active(folder):
            return
        _claim(folder, detached)
        if detached:
            folder.update_state(process=processes.identity(_spawn(folder)))
        else:
            threading.Thread(target=work, args=(folder,), name=_thread_name(folder)).start()


def _claim(folder: SweepFolder, detached: bool) -> None:
    """Record this process as the one that works on the sweep. The caller holds `processes.start_lock`."""
    folder.stop_file.unlink(missing_ok=True)
    state = {"running": True, "detached": detached, "error": None, "process": processes.identity()}
    folder.update_state(**state)


def sweep_here(path: Path) -> int:
    """Work on the sweep in the calling thread, print the log, and return the exit code of `main`.

    Raises UserError if something else works on it.
    """
    folder = SweepFolder(Path(path))
    with processes.start_lock():
        if is_active(folder):
            raise UserError(f"output_dir={str(path)!r} holds a sweep that is active; stop() it first.")
        _claim(folder, detached=False)
    return main(folder.path, echo=True)


def _spawn(folder: SweepFolder) -> int:
    """Start the process of a detached sweep; return its pid."""
    return processes.spawn("workbench.evidence", folder.path, folder.log_file)


def main(path: Path, echo: bool = False) -> int:
    """Call `work` in the main thread of a process of its own; SIGTERM and Ctrl-C stop it with a checkpoint.

    Returns the exit code: 0 if the sweep ended, 1 if it failed, 128 plus the signal number if it was stopped.
    """
    folder = SweepFolder(path, echo)
    with job.stop_signals() as caught:
        work(folder, should_stop=lambda: bool(caught))
    if folder.read_state()["error"]:
        return 1
    return 128 + caught[0] if caught else 0


def work(folder: SweepFolder, should_stop: Callable[[], bool] = lambda: False) -> None:
    """Train and measure the cells that are not finished, until all are or a stop is requested.

    Never raises: the error of a cell is written for that cell, and any other to state.json.
    """
    caller = threading.main_thread()

    def must_stop() -> bool:
        return should_stop() or folder.stop_file.exists() or not caller.is_alive()

    error = None
    with processes.heartbeat(folder.state_file):
        try:
            _work(folder, must_stop)
        except Exception as failure:
            error = f"{type(failure).__name__}: {failure}"
            folder.log(error)
        with suppress(FileNotFoundError):  # the folder was deleted
            folder.update_state(running=False, cell=None, error=error)
    folder.stop_file.unlink(missing_ok=True)


def _work(folder: SweepFolder, must_stop: Callable[[], bool]) -> None:
    bench = Bench.open(folder)
    _measure_bases(bench, must_stop)
    cells = {cell.key: cell for cell in bench.plan.cells}
    for i, (key, cell) in enumerate(cells.items(), 1):
        if must_stop():
            folder.log("stopped")
            return
        if folder.result_file(key).exists():
            bench.tidy(key)
            continue
        name = f"cell {i} of {len(cells)} ({cell.arm}, {cell.ratio:.0%}, seed {cell.seed}, {key})"
        folder.update_state(cell=key)
        folder.log(f"{name}: {cell.n_rows:,} rows, {cell.steps:,} steps")
        try:
            result = bench.run(cell, must_stop)
        except Exception as error:  # the next cell may fit into memory
            folder.write_error(key, str(error))
            folder.log(f"{name} failed: {error}")
            memory.release()
            continue
        if result is None:
            continue
        folder.write_result(key, result)
        folder.log(f"{name} done: loss {result['loss']:.4f}")
        bench.tidy(key)
    folder.update_state(cell=None)


def _measure_bases(bench: Bench, must_stop: Callable[[], bool]) -> None:
    """Measure each model before training."""
    first = {cell.model: cell.settings for cell in reversed(bench.plan.cells)}
    keys = {model: bench.base_key(model, settings) for model, settings in first.items()}
    bench.folder.update_state(bases=keys)
    for model, key in keys.items():
        if not bench.folder.result_file(key).exists() and not must_stop():
            result = bench.measure(model, model, TrainingSettings(**first[model]))
            bench.folder.write_result(key, result)
            bench.folder.log(f"{model} before training: loss {result['loss']:.4f}")
