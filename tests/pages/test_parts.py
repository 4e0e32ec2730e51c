"""A run that broke off goes on with what is not finished, and makes what it would have made."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time

import psutil
import pytest
from datasets import load_from_disk

from modeling_comicseq.errors import ComicSeqDataError, Terminated
from modeling_comicseq.pages import parts
from modeling_comicseq.pages.ingest import ingest
from modeling_comicseq.pages.processes import in_processes

from .made_pages import annotation, content, write_pages

NAMES = [f"{book}/{number}.png" for book in "ab" for number in range(6)]


@pytest.fixture
def comics(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "_LENGTH", 2)
    (tmp_path / "panels.json").write_text(json.dumps([annotation(name) for name in NAMES]))
    return write_pages(tmp_path / "comics", NAMES)


def make(comics, output="out", **options):
    annotations = comics.parent / "panels.json"
    ingest([comics], comics.parent / output, annotations=annotations, progress=False, **options)
    return load_from_disk(str(comics.parent / output)).with_format("arrow")[:]


def work(comics):
    return sorted((comics.parent / ".out.partial").glob("*.arrow"))


def broken_off(monkeypatch, after, error):
    """Reading breaks off after some parts; returns what is read."""
    read, done = parts.read_part, []

    def read_some(part, *arguments):
        if len(done) == after:
            raise error
        read(part, *arguments)
        done.append(part)

    monkeypatch.setattr(parts, "read_part", read_some)
    return done


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), Terminated(), ComicSeqDataError("a fault"), OSError(28, "full")]
)
def test_finished_parts_are_not_read_again(comics, monkeypatch, error):
    expected = make(comics, "reference")
    with monkeypatch.context() as patch, pytest.raises((type(error), ComicSeqDataError)):
        broken_off(patch, 2, error)
        make(comics)
    assert len(work(comics)) == 2 and not (comics.parent / "out").exists()
    done = broken_off(monkeypatch, 99, None)
    assert make(comics).equals(expected) and len(done) == 4
    assert not (comics.parent / ".out.partial").exists()


def test_parts_of_changed_pages_or_options_are_read_again(comics, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        broken_off(patch, 4, KeyboardInterrupt())
        make(comics)
    (comics / "a" / "0.png").write_bytes(content(quality=1))
    os.utime(comics / "a" / "0.png", (1, 1))
    done = broken_off(monkeypatch, 99, None)
    with pytest.raises(KeyboardInterrupt), monkeypatch.context() as patch:
        patch.setattr(
            "modeling_comicseq.pages.ingest.write_dataset", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        make(comics)
    assert len(done) == 3 and len(work(comics)) == 6
    make(comics, images="paths")
    assert len(done) == 9


def test_nothing_stays_of_a_run_without_a_finished_part(comics, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        broken_off(monkeypatch, 0, KeyboardInterrupt())
        make(comics)
    assert sorted(path.name for path in comics.parent.iterdir()) == ["comics", "panels.json"]


def test_pages_that_were_skipped_stop_a_run_that_skips_none(comics, monkeypatch):
    (comics / "a" / "0.png").write_bytes(b"")
    with pytest.raises(KeyboardInterrupt), monkeypatch.context() as patch:
        broken_off(patch, 3, KeyboardInterrupt())
        make(comics, on_error="skip")
    with pytest.raises(ComicSeqDataError, match="0.png"):
        make(comics)
    make(comics, on_error="skip")
    (skipped,) = json.loads((comics.parent / "out" / "skipped.json").read_text())
    assert skipped["page"] == "0.png"


def slowly(part, *arguments, read=parts.read_part):
    time.sleep(0.2)
    read(part, *arguments)


@pytest.mark.slow
@pytest.mark.parametrize("finished", [1, 3])
def test_killed_in_two_processes(comics, monkeypatch, finished):
    """Workers end with the process that started them, and the next run completes the output."""
    expected = make(comics, "reference")
    with monkeypatch.context() as patch:
        patch.setattr(parts, "read_part", slowly)
        process = multiprocessing.get_context("fork").Process(target=make, args=(comics,), kwargs={"num_proc": 2})
        process.start()
        while len(work(comics)) < finished:
            assert process.is_alive()
            time.sleep(0.01)
        workers = psutil.Process(process.pid).children()
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    assert len(workers) == 2 and not psutil.wait_procs(workers, timeout=20)[1]
    assert len(work(comics)) >= finished and not (comics.parent / "out").exists()
    assert make(comics, num_proc=2).equals(expected)
    assert sorted(path.name for path in comics.parent.iterdir()) == ["comics", "out", "panels.json", "reference"]


def killed(part, *arguments):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_a_worker_that_is_killed_is_told_of(comics, monkeypatch):
    others = psutil.Process().children()  # such as a helper of the library that another test has started
    monkeypatch.setattr(parts, "read_part", killed)
    with pytest.raises(ComicSeqDataError, match="a worker process was ended from outside"):
        make(comics, num_proc=2)
    assert not set(psutil.Process().children()) - set(others)


def fails(item):
    raise ComicSeqDataError("a fault")


def test_other_processes_of_the_caller_are_left_alone():
    other = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    before = psutil.Process().children()
    other.start()
    with pytest.raises(ComicSeqDataError):
        list(in_processes(fails, range(4), 2))
    assert other.is_alive() and set(psutil.Process().children()) - set(before) == {psutil.Process(other.pid)}
    other.kill()
    other.join()
