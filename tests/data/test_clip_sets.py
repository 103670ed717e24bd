"""Clips as data, from folders and zips to rows of the cache."""

import io
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from films import animate, greys, shoot
from PIL import Image

from ganvas import UserError, open_dataset
from ganvas.data import build, contact_sheet, rows, show
from ganvas.pictures import GAP, save_mp4


def video(place: Path, **options):
    return open_dataset(str(place), task="video", **({"frames": 4} | options))


def levels(data) -> list[list[int]]:
    """Return the level of each frame of each clip, of pictures that have only one."""
    return data.images[:, :, 0, 0, 0].tolist()


def numbered(folder: Path, n: int, side: int = 16, first: int = 1, step: int = 1) -> None:
    """Write numbered pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, pixels in enumerate(greys(n, side)):
        Image.fromarray(pixels).save(folder / f"{first + step * i:04}.png")


@pytest.fixture
def moves(tmp_path: Path) -> Path:
    """24 clips of 4 frames in two classes, run and walk, of all kinds."""
    for kind in ("run", "walk"):
        for i in range(9):
            animate(tmp_path / "moves" / kind / f"{i}{('.gif', '.png', '.webp')[i % 3]}")
        for i in range(2):
            numbered(tmp_path / "moves" / kind / f"frames{i}", 4)
        save_mp4(greys(4), tmp_path / "moves" / kind / "film.mp4", 10)
    return tmp_path / "moves"


def test_all_kinds_of_clips(moves: Path) -> None:
    data = video(moves)
    assert data.images.shape == (24, 4, 16, 16, 1)
    assert isinstance(data.images, np.memmap)
    assert data.images.dtype == np.uint8
    assert (data.frames, data.rate, data.classes) == (4, 10, ("run", "walk"))
    assert data.names[:2] == ["run/0.gif", "run/1.png"]
    assert {"run/frames0", "walk/film.mp4"} <= set(data.names)
    for name, label, seen in zip(data.names, data.labels, levels(data), strict=True):
        assert name.split("/")[0] == data.classes[label]
        assert np.abs(np.array(seen) - [0, 10, 20, 30]).max() <= (4 if name.endswith("mp4") else 0)
    assert data.why["channels"] == "no clip has colour"
    assert data.why["size"] == "the size of every clip"
    assert all(len(data.rows[part]) for part in ("train", "val", "test"))


@pytest.mark.parametrize("inside", ["", "moves/"])
def test_a_zip_of_clips_equals_the_folder(moves: Path, tmp_path: Path, inside: str) -> None:
    with zipfile.ZipFile(tmp_path / "moves.zip", "w") as out:
        for path in moves.rglob("*.*"):
            out.write(path, inside + path.relative_to(moves).as_posix())
    a, b = video(moves), video(tmp_path / "moves.zip")
    assert (a.images == b.images).all()
    assert (a.labels == b.labels).all()
    assert (a.names, a.classes, a.rate) == (b.names, b.classes, b.rate)
    assert all((a.rows[part] == b.rows[part]).all() for part in a.rows)


def test_batches_and_stills(moves: Path) -> None:
    data = video(moves)
    batch = data.batch(np.array([5, 2]))
    assert batch.shape == (2, 4, 1, 16, 16)
    assert batch.dtype == torch.float32
    assert torch.equal(batch[0, 2], torch.full((1, 16, 16), 20 / 127.5 - 1))
    stills = data.stills
    assert stills.images.shape == (24, 16, 16, 1)
    assert np.shares_memory(stills.images, data.images)
    assert (stills.images == data.images[:, 2]).all()
    assert (stills.frames, stills.rate, stills.names) == (1, 0, data.names)
    assert stills.stills is stills


def test_folders_of_frames_alone_have_no_classes(tmp_path: Path) -> None:
    for i in range(3):
        numbered(tmp_path / f"clip{i}", 5)
    data = video(tmp_path)
    assert data.classes == ()
    assert (data.names, data.rate) == (["clip0", "clip1", "clip2"], 0)


def test_a_table_labels_clips(tmp_path: Path) -> None:
    numbered(tmp_path / "a", 4)
    animate(tmp_path / "b.gif")
    (tmp_path / "dataset.json").write_text('{"labels": [["a", 3], ["b.gif", 5]]}')
    data = video(tmp_path)
    assert [data.classes[label] for label in data.labels] == ["3", "5"]


def test_parts_by_folders(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for kind in ("run", "walk"):
            numbered(tmp_path / part / kind / "a", 4)
    data = video(tmp_path)
    assert data.classes == ("run", "walk")
    assert [data.names[row] for row in data.rows["test"]] == ["test/run/a", "test/walk/a"]


# ---------------------------------------------------------------------------------------------- windows


@pytest.mark.parametrize(
    ("n", "frames", "stride", "expected"),
    [
        (4, 4, 1, [[0, 1, 2, 3]]),
        (11, 4, 1, [[0, 1, 2, 3], [4, 5, 6, 7]]),
        (7, 4, 2, [[0, 2, 4, 6]]),
        (14, 4, 2, [[0, 2, 4, 6], [7, 9, 11, 13]]),
        (8, 2, 3, [[0, 3], [4, 7]]),
    ],
)
def test_windows_do_not_overlap(tmp_path: Path, n: int, frames: int, stride: int, expected: list[list[int]]) -> None:
    numbered(tmp_path / "a", n)
    animate(tmp_path / "b.gif", n)
    data = video(tmp_path, frames=frames, stride=stride)
    assert (np.array(levels(data)) // 10).tolist() == expected * 2
    assert data.names == ["a"] * len(expected) + ["b.gif"] * len(expected)
    assert data.rate == 10 / stride


def test_windows_of_a_film_are_in_one_part(tmp_path: Path) -> None:
    for i in range(5):
        numbered(tmp_path / f"clip{i}", 40)
    data = video(tmp_path)
    assert len(data) == 50
    names = {part: {data.names[row] for row in found} for part, found in data.rows.items()}
    assert [len(names[part]) for part in ("train", "val", "test")] == [3, 1, 1]
    assert len(set.union(*names.values())) == 5


def test_one_film_is_data_of_which_nothing_is_held_out(tmp_path: Path) -> None:
    data = video(shoot(tmp_path / "a.mp4", 100))
    assert [len(found) for found in data.rows.values()] == [25, 0, 0]
    assert "with fewer than 3 different names or groups all are trained on" in data.summary.notes[0]
    assert data.name == "a"


def test_other_frames_are_another_set(tmp_path: Path) -> None:
    animate(tmp_path / "a.gif", 12)
    digests = {video(tmp_path, frames=n, stride=m).digest for n in (2, 3) for m in (1, 2)}
    assert len(digests) == 4
    assert video(tmp_path, frames=3, stride=2).digest in digests
    assert open_dataset(str(tmp_path)).digest not in digests  # its first frame, as a picture
    assert open_dataset(str(tmp_path), task="video").frames == 8


def test_memory_does_not_grow_with_a_film(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "_KEPT", 1 << 16)
    for room in (rows, build):
        monkeypatch.setattr(room, "_BLOCK", 1 << 16)
    numbered(tmp_path / "warm", 8, side=8)
    video(tmp_path / "warm")
    peaks = []
    for n in (100, 500):
        numbered(tmp_path / str(n), n, side=64)
        tracemalloc.start()
        data = video(tmp_path / str(n), workers=1)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert data.images.nbytes == n * 64 * 64
        assert [frame for clip in levels(data) for frame in clip] == [10 * (i % 26) for i in range(n)]
    assert peaks[1] - peaks[0] < 400 * 64 * 64  # where the cache has four times as much on its way


def test_colour_and_size_are_those_of_pictures(tmp_path: Path) -> None:
    frames = np.zeros((4, 10, 20, 4), np.uint8)
    frames[1, :, 5:15] = (200, 0, 0, 128)
    frames[2, :, 5:10] = frames[3, :, 10:15] = (0, 0, 0, 255)  # as equal ones would become one
    first, *others = map(Image.fromarray, frames)
    first.save(tmp_path / "a.png", save_all=True, append_images=others, duration=100)
    data = video(tmp_path, size="20x10")
    assert data.images.shape == (1, 4, 10, 20, 4)
    assert data.images[0, 1, 5, 10].tolist() == [100, 0, 0, 128]  # premultiplied
    assert not data.images[0, 0].any()
    assert data.why["channels"] == "1 of 1 clips have transparency"
    squares = video(tmp_path, size="10", channels="3")
    assert squares.images[0, 1, 5, 5].tolist() == [227, 127, 127]
    assert squares.why["fit"].startswith("crop: 50% of the clips' area")


# ---------------------------------------------------------------------------------------------- bad ones


def test_bad_clips_are_named_counted_and_skipped(moves: Path, capsys: pytest.CaptureFixture[str]) -> None:
    film = moves / "run" / "half.mp4"
    save_mp4(greys(40), film, 10)
    film.write_bytes(film.read_bytes()[: film.stat().st_size // 2])
    animate(moves / "run" / "short.gif", 3)
    animate(moves / "run" / "uneven.gif", 6, [40, 40, 100, 40, 40, 40])
    numbered(moves / "run" / "gaps", 8)
    (moves / "run" / "gaps" / "0004.png").unlink()
    numbered(moves / "run" / "broken", 4)
    (moves / "run" / "broken" / "0003.png").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"^1 of 29 clips cannot be read: 'run/half.mp4' \(Invalid data.*--skip-bad$"):
        video(moves)
    data = video(moves, skip_bad=True)
    assert len(data) == 24
    assert data.summary.unreadable == 5
    assert data.summary.bad == {
        "run/broken": "not a picture",
        "run/gaps": "the numbers of its frames have gaps",
        "run/half.mp4": "Invalid data found when processing input",
        "run/short.gif": "it has 3 of the 4 frames that are needed",
        "run/uneven.gif": "its frame rate varies: a frame lasts from 40 to 100 ms",
    }
    assert "skipped 5 unreadable of 29 clips" in capsys.readouterr().err


def test_a_film_that_breaks_off_gives_none_of_its_windows(tmp_path: Path) -> None:
    for i in range(4):
        shoot(tmp_path / f"{i}.mkv", 40)
    whole = tmp_path / "3.mkv"
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(UserError, match=r"1 of 4 clips cannot be read: '3.mkv' \(it breaks off after 0\.\d+ of 1.60 s"):
        video(tmp_path)
    data = video(tmp_path, skip_bad=True)
    assert data.names == [f"{i}.mkv" for i in range(3) for _ in range(10)]
    assert len(data.images) == 30


def test_the_last_frame_may_stay_longer(tmp_path: Path) -> None:
    animate(tmp_path / "a.gif", 5, [50, 50, 50, 50, 2000])
    assert video(tmp_path).rate == 20


def test_equal_frames_that_a_writer_merged_come_back(tmp_path: Path) -> None:
    frames = greys(8)[[0, 1, 1, 1, 4, 5, 7, 7]]
    first, *others = map(Image.fromarray, frames)
    for ending in ("gif", "png", "webp"):
        path = tmp_path / f"a.{ending}"
        first.save(
            path, save_all=True, append_images=others, duration=60, **({"lossless": True} if ending == "webp" else {})
        )
        with Image.open(path) as image:
            assert image.n_frames == 5
    data = video(tmp_path, frames=8)
    assert levels(data) == [frames[:, 0, 0, 0].tolist()] * 3
    assert data.summary.unreadable == 0
    assert data.rate == pytest.approx(1000 / 60, abs=0.01)


def test_a_full_disk_is_no_fault_of_a_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.BytesIO):
        def __init__(self, *_: object, **__: object) -> None:
            super().__init__()

        def write(self, _: object) -> int:
            raise OSError(28, "No space left on device")

    animate(tmp_path / "a.gif")
    monkeypatch.setattr(rows, "SpooledTemporaryFile", Full)
    with pytest.raises(UserError, match=r"cannot write prepared pictures into .* \(No space left on device\)"):
        video(tmp_path, skip_bad=True)


def test_stills_among_clips_are_counted(moves: Path, paint: Callable[..., Path]) -> None:
    paint(moves / "run" / "cover.png")
    paint(moves / "photo12.jpg")
    (moves / "notes.txt").write_text("x")
    assert video(moves).summary.skipped == {"pictures of no clip": 2, ".txt": 1}


def test_speeds_that_differ_are_told(tmp_path: Path) -> None:
    animate(tmp_path / "a.gif", 4, 100)
    (note,) = video(tmp_path).summary.notes
    assert note == "with fewer than 20 clips all are trained on: nothing is held out for val and test"
    animate(tmp_path / "b.gif", 4, 50)
    data = video(tmp_path)
    assert "they have from 10 to 20 frames a second" in data.summary.notes[-1]
    assert data.rate == 15


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"frames": 1}, "--frames 1 is not possible; a clip has 2 or more"),
        ({"stride": 0}, "--stride 0 is not possible"),
        ({"task": "generate"}, "--frames and --stride are about clips; add --task video"),
        ({"task": "generate", "frames": None, "stride": 2}, "--frames and --stride are about clips"),
        ({"task": "paired"}, "--frames and --stride are about clips"),
        ({"target": "other"}, "one place of clips"),
        ({"direction": "BtoA"}, "--direction BtoA is for a task that translates"),
        ({"data": "digits"}, "digits has pictures, and --task video is about clips"),
        ({"task": "vidoe"}, "there is no task 'vidoe'; did you mean 'video'"),
    ],
)
def test_options_that_do_not_fit(tmp_path: Path, options, reason: str) -> None:
    animate(tmp_path / "a.gif")
    with pytest.raises(UserError, match=reason):
        open_dataset(**({"data": str(tmp_path), "task": "video", "frames": 4} | options))


def test_no_clips(folder: Path, tmp_path: Path, paint: Callable[..., Path]) -> None:
    only = paint(tmp_path / "only" / "still.png")
    (tmp_path / "empty").mkdir()
    for place, reason in (
        (tmp_path / "only", "has no clips in it, only other files .1 pictures of no clip"),
        (only, "has no clips in it"),
        (tmp_path / "empty", "has no clips in it$"),
        (tmp_path / "none", "there is no file, folder or named set"),
    ):
        with pytest.raises(UserError, match=reason):
            video(place)
    other = tmp_path / "a.txt"
    other.write_text("x")
    with pytest.raises(UserError, match="neither a folder, a zip nor a clip"):
        video(other)


# ---------------------------------------------------------------------------------------------- cache, limits, sheet


def test_clips_are_neither_read_nor_looked_at_again(moves: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = video(moves)

    def never(*_: object, **__: object) -> None:
        raise AssertionError("it was read")

    for name in ("moving.gather", "sources.read_file", "sources._file_hash"):
        monkeypatch.setattr(f"ganvas.data.{name}", never)
    again = video(moves)
    assert (again.digest, again.rate, again.summary) == (data.digest, data.rate, data.summary)


def test_a_changed_frame_is_seen(tmp_path: Path) -> None:
    numbered(tmp_path / "a", 4)
    before = video(tmp_path)
    Image.new("RGB", (16, 16), (99, 99, 99)).save(tmp_path / "a" / "0003.png")
    after = video(tmp_path)
    assert levels(after) == [[0, 10, 99, 30]]
    assert after.digest != before.digest


def test_limits(moves: Path) -> None:
    data = video(moves, limit_per_class="run=3")
    assert data.counts("train")[0] == 3
    assert data.images.shape[1] == 4


def test_show_clips(moves: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = video(moves, stride=1)
    show(data, tmp_path / "sheet.png")
    words = " ".join(capsys.readouterr().out.split())
    assert "clips 24, from 24 that were found" in words
    assert "frames 4 of each, 10 a second (every frame)" in words
    assert "pictures" not in words
    sheet = np.asarray(contact_sheet(data, 8))  # two strips
    assert sheet.shape == (2 * 64 + GAP, 4 * 64)
    first = data.images[data.rows["train"][0]][..., 0]
    assert (sheet[:64] == np.concatenate(list(first), axis=1).repeat(4, 0).repeat(4, 1)).all()
