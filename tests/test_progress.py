"""Bars are for terminals."""

from modeling_comicseq.progress import progress_bar, track


def test_a_pipe_gets_no_bar(capsys):
    with progress_bar("Reading pages", 3) as advance:
        advance(3)
    assert list(track(range(3), "Asking")) == [0, 1, 2]
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_one(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with progress_bar("Reading pages", 3) as advance:
        advance(3)
    assert "Reading pages" in capsys.readouterr().err
