"""Training in a process of its own, which lives on when whoever began it ends; what it does, following.py tells."""

import getpass
import hashlib
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import filelock

from ganvas import recipe
from ganvas.config import Budget, build
from ganvas.console import say
from ganvas.data import named
from ganvas.data.prepared import find_source
from ganvas.errors import UserError
from ganvas.files import find_path, refuse_inside, tell_unwritable
from ganvas.following import PROMPT, Progress, follow, log, runs, trainer
from ganvas.options import TrainOptions, command, takes
from ganvas.presets import find_preset
from ganvas.processes import command_of
from ganvas.run import Run, identity, identity_of, meant, new_folder, open_run, runs_in, write_sign

LOOK_SECONDS = 0.1
"""From one look at whether a process has ended to the next."""


@takes(TrainOptions)
def start(options: TrainOptions) -> Path:
    """Begin what `ganvas.train` does in a process of its own, or go on so with the unfinished run of equal options.

    Takes the same options: `ganvas.start("photos/", budget="10m")`. `ganvas.follow` tells how far it is, and whether it
    failed, as on pictures that cannot be used; what it says is in log.txt.

    Returns:
        The run's folder, at once; of a finished run of equal options too, which is left alone.

    Raises:
        UserError: options that do not fit or find no run, data that is not there, or a run that is already trained.
    """
    recipe.check(options)
    find_preset(options.preset)
    if options.dry_run:
        raise UserError("a dry run trains nothing, so it needs no process of its own; leave out --dry-run")
    label = _label(options)
    out = Path(options.out).expanduser()
    with _alone(out):
        return _begin(options, out, label)


def _begin(options: TrainOptions, out: Path, label: str) -> Path:
    equal = [] if options.new else _equal(options, out)
    unfinished = [run for run in equal if not (run.finished and run.reported)]
    if options.resume and not unfinished:
        raise UserError(f"there is no unfinished run of these options in {options.out}")
    if options.extend and not equal:
        raise UserError(f"there is no run of these options in {options.out} to extend")
    if equal:
        run = (unfinished or equal)[-1]
        if not unfinished and not options.extend:
            say(f"{run.folder} is finished; give extend='10m' to go on with it, or new=True to start another")
            return run.folder
        return _go_on(run, replace(options, name=run.plan.options.get("name")))
    refuse_inside(out, options.data, options.target)
    _refuse_twin(options, out)
    folder = new_folder(out, options.name, f"{label}-{options.preset.replace(':', '.')}")
    return _launch(folder, replace(options, name=folder.name))


def resume(
    folder: str | Path,
    *,
    extend: str | None = None,
    data: str | Path | None = None,
    target: str | Path | None = None,
    skip_bad: bool = False,
) -> Path:
    """Go on with a run by its own options, in a process of its own.

    Args:
        folder: the run's.
        extend: how much longer a finished run is to be trained: 10m, 100kimg, 5000steps.
        data: where its pictures are now, if not where they were.
        target: of a translation, where the second place is now.
        skip_bad: go on without the unreadable files, as the run did.

    Returns:
        The folder, as an absolute path.

    Raises:
        UserError: it is no run, is trained already, is finished and not to be extended, or its data is not there.
    """
    if extend is not None:
        Budget.parse(extend)
    run = open_run(Path(folder).expanduser().absolute())
    if run.finished and run.reported and extend is None:
        raise UserError(f"{run.folder} is finished; give extend='10m' to go on with it")
    theirs = {name: value for name, value in run.plan.options.items() if name != "digest"}
    source, target = data or run.plan.data.get("source"), target or run.plan.data.get("target")
    if not source:
        raise UserError(f"{run.folder} does not know where its pictures are; name them as data")
    places = {"data": str(source), "target": None if target is None else str(target), "out": str(run.folder.parent)}
    options = build(TrainOptions, theirs | places | {"extend": extend, "skip_bad": skip_bad}, "")
    recipe.check(options)
    _label(options)
    with _alone(run.folder.parent):
        return _go_on(run, options)


def stop(folder: str | Path, *, seconds: float = 120.0) -> Progress:
    """Ask the process that trains a run to save it and to end, and wait until it has.

    Args:
        folder: the run's.
        seconds: to wait at most; what is asked once is done, so one may ask and wait again.

    Returns:
        How far the run is then: `stopped`, or still `training` if the time was not enough.

    Raises:
        UserError: nobody trains it, or somebody who must not be stopped from here.
    """
    run = follow(folder)
    who = run.trainer
    if who is None:
        raise UserError(f"{run.folder} is not being trained, so there is nothing to stop")
    if not who.here:
        raise UserError(f"{run.folder} is being trained by process {who.pid} on {who.host}; it must be stopped there")
    command = command_of(who.pid)  # empty for a moment where it begins or ends
    if command and "ganvas train " not in command:  # a notebook, say, which would lose more than this run
        raise UserError(f"{run.folder} is being trained by process {who.pid}, which is no `ganvas train`; end it there")
    try:
        os.kill(who.pid, signal.SIGTERM)
    except ProcessLookupError:
        pass  # it has just ended
    except OSError as error:
        raise UserError(f"process {who.pid} cannot be stopped: {error.strerror}") from error
    end = time.monotonic() + seconds
    while (now := trainer(run.folder)) and now.pid == who.pid and time.monotonic() < end:
        time.sleep(LOOK_SECONDS)
    return follow(run.folder)


def _label(options: TrainOptions) -> str:
    """Return the data's name, having heard the complaints that come early; no named set is fetched for that.

    Raises:
        UserError: there is no such data, or nothing usable in it.
    """
    places = [options.data] if options.target is None else [options.data, options.target]
    there = [data for data in places if find_path(Path(data)) is not None or data not in named.SETS]
    names = {data: find_source(data, clips=options.task == "video").name for data in there}
    return names.get(options.data, options.data)


def _equal(options: TrainOptions, out: Path) -> list[Run]:
    """Return the runs that a command may mean, oldest first: of its options, and of data in the same place.

    Without a name they may have any. Whether the data is still the same is found when it is opened.

    Raises:
        UserError: the run of that name is another one.
    """
    free = {"digest": ""} if options.name else {"digest": "", "name": None}
    wanted = identity(options, "") | free
    places = [_place(options.data), _place(options.target)]
    found = []
    for run in runs_in(out):
        theirs = [_place(run.plan.data.get(name)) for name in ("source", "target")]
        if identity_of(run) | free == wanted and theirs == places:
            found.append(run)
    if options.name and not found and (out / options.name / "config.json").exists():
        raise UserError(f"the run {options.name} has other options, or other data; choose another --name")
    return found


def _alone(out: Path) -> filelock.BaseFileLock:
    """Keep others from beginning a run in the same folder between a look at what is there and the beginning."""
    mark = hashlib.sha256(f"{getpass.getuser()} {out.resolve()}".encode()).hexdigest()[:16]
    return filelock.FileLock(Path(tempfile.gettempdir()) / f"ganvas-{mark}.lock")


def _place(data: str | None) -> Path | None:
    return None if data is None else Path(data).expanduser().resolve()


def _refuse_twin(options: TrainOptions, out: Path) -> None:
    """See to it that the same command, begun a moment ago, is not begun again beside itself.

    Raises:
        UserError: it is, and has no plan yet by which it could be gone on with.
    """
    for run in runs(out):
        if run.state == "starting":
            same = options.name == run.name
            if options.name is None and not options.new:
                same = _line(command(replace(options, name=run.name))) in log(run.folder).splitlines()
            if same:
                _refuse_trained(run.folder)


def _refuse_trained(folder: Path) -> None:
    if who := trainer(folder):
        raise UserError(f"{folder} is being trained by process {who.pid} on {who.host}; wait for it, or stop it")


def _go_on(run: Run, options: TrainOptions) -> Path:
    """Let a process go on with a run.

    Raises:
        UserError: one does already, or the command would mean a newer run.
    """
    _refuse_trained(run.folder)
    theirs = identity_of(run)
    first = meant([other for other in runs_in(run.folder.parent) if identity_of(other) == theirs])
    if first and first.folder.name != run.folder.name:
        raise UserError(f"{first.folder} has the same options as {run.folder.name}, and comes first: go on with that")
    return _launch(run.folder, replace(options, new=False, resume=not run.finished and options.extend is None))


def _launch(folder: Path, options: TrainOptions) -> Path:
    """Begin a training in a session of its own, which no Ctrl-C or closed terminal of ours reaches.

    Raises:
        UserError: the log cannot be written, or there can be no more processes.
    """
    if os.name == "nt":
        raise UserError("Windows cannot ask a process to save and end; train in a terminal with `ganvas train`")
    words = command(options)
    with tell_unwritable(folder), (folder / "log.txt").open("ab") as log:
        log.write(f"{_line(words)}\n".encode())
        log.flush()
        process = subprocess.Popen(
            [sys.executable, "-m", "ganvas", *words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    write_sign(folder, process.pid)  # long before its own, for reading the pictures may take minutes
    threading.Thread(target=process.wait, daemon=True).start()  # or it would stay a zombie as long as we live
    return folder


def _line(words: list[str]) -> str:
    return f"{PROMPT}{shlex.join(['ganvas', *words])}"
