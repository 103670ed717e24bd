"""Which files make a clip, and how its frames are read."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from films import animate, greys, shoot, silence
from PIL import Image

from ganvas import UserError
from ganvas.data.decode import decode
from ganvas.data.moving import Clip, first_frame, gather, open_clip, rate, times
from ganvas.pictures import save_mp4


def clip_of(path: Path) -> Clip:
    return open_clip([path.name], lambda name: path if path.suffix in (".mp4", ".avi", ".mkv") else path.read_bytes())


def seen(clip: Clip) -> tuple[list[int], list[float]]:
    """Return the level of each frame, and when it begins."""
    pairs = [(int(decode(picture(), 8, 8, "crop").pixels[4, 4, 0]), start) for picture, start in clip.frames]
    return [level for level, _ in pairs], [start for _, start in pairs]


def found(names: list[str], moving: tuple[str, ...] = ()) -> tuple[dict[str, tuple[str, ...]], int]:
    """Gather files, of which all are stills but these."""
    still, animation = io.BytesIO(), io.BytesIO()
    first, *others = map(Image.fromarray, greys(3))
    first.save(still, "PNG")
    first.save(animation, "PNG", save_all=True, append_images=others)
    return gather(names, lambda name: io.BytesIO((animation if name in moving else still).getvalue()))


# ---------------------------------------------------------------------------------------------- which files


def test_numbered_pictures_are_in_the_order_of_their_numbers() -> None:
    clips, loose = found(["walk/a/10.png", "walk/a/9.jpg", "walk/a/0.png"])
    assert clips == {"walk/a": ("walk/a/0.png", "walk/a/9.jpg", "walk/a/10.png")}
    assert loose == 0


def test_beginnings_tell_clips_apart() -> None:
    clips, loose = found([f"walk/{name}_{i:04}.png" for name in ("a1", "b 2") for i in range(2)])
    assert clips == {f"walk/{name}": tuple(f"walk/{name}_{i:04}.png" for i in range(2)) for name in ("a1", "b 2")}
    assert loose == 0


@pytest.mark.parametrize("beginning", ["", "frame_", "img"])
def test_a_beginning_that_is_the_same_everywhere_tells_nothing(beginning: str) -> None:
    clips, _ = found([f"{folder}/{beginning}{i}.png" for folder in ("a", "b/c") for i in range(3)])
    assert list(clips) == ["a", "b/c"]


def test_frames_in_no_folder() -> None:
    assert list(found(["1.png", "2.png"])[0]) == ["frames"]
    assert list(found(["run-1.png", "run-2.png"])[0]) == ["run"]


def test_stills_are_of_no_clip() -> None:
    clips, loose = found(["a/cover.png", "a/photo_7.jpg", "b/01.png", "b/02.png"])
    assert (list(clips), loose) == (["b"], 2)


def test_what_moves_is_a_clip_of_its_own() -> None:
    names = ["w/0001.png", "w/0002.png", "w/x.MP4", "w/y.apng", "w/3.png", "w/4.png"]
    clips, loose = found(names, ("w/0001.png", "w/0002.png", "w/y.apng"))
    own = {name: (name,) for name in names[:4]}
    assert clips == own | {"w": ("w/3.png", "w/4.png")}
    assert loose == 0


def test_what_is_broken_is_told_and_not_left_out() -> None:
    clips, loose = gather(["a.gif", "b.webp", "c_1.png", "c_2.png"], lambda _: io.BytesIO(b"nothing"))
    assert (set(clips), loose) == ({"a.gif", "b.webp", "c"}, 0)


def test_films_need_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError, match=r"pip install 'ganvas\[video\]'"):
        found(["a.mp4"])
    assert found(["a/1.png", "a/2.png"])[1] == 0


# ---------------------------------------------------------------------------------------------- frames


@pytest.mark.parametrize("ending", ["gif", "png", "apng", "webp"])
def test_frames_of_an_animation(tmp_path: Path, ending: str) -> None:
    clip = clip_of(animate(tmp_path / f"a.{ending}", 4, [40, 100, 70, 250]))
    levels, starts = seen(clip)
    assert levels == [0, 10, 20, 30]
    assert np.allclose(starts, [0, 0.04, 0.14, 0.21])


def test_a_picture_beside_the_frames_is_none_of_them(tmp_path: Path) -> None:
    assert seen(clip_of(animate(tmp_path / "a.png", 4, default_image=True)))[0] == [10, 20, 30]


@pytest.mark.parametrize("ending", ["gif", "png", "webp"])
def test_frames_that_were_merged_are_taken_several_times(tmp_path: Path, ending: str) -> None:
    clip = clip_of(animate(tmp_path / f"a.{ending}", 4, [40, 80, 40, 120]))
    levels, starts = seen(clip)
    assert levels == [0, 10, 10, 20, 30, 30, 30]
    assert np.allclose(np.diff(starts), 0.04)
    assert rate(starts, clip.tick) == pytest.approx(25)


def test_merged_frames_behind_a_picture_that_is_none_of_them(tmp_path: Path) -> None:
    path = animate(tmp_path / "a.png", 4, [40, 80, 40], default_image=True)
    assert seen(clip_of(path))[0] == [10, 20, 20, 30]


def test_frames_of_numbered_pictures(tmp_path: Path) -> None:
    names = [f"{number}.png" for number in (3, 6, 9)]
    for name, pixels in zip(names, greys(3), strict=True):
        Image.fromarray(pixels).save(tmp_path / name)
    clip = open_clip(names, lambda name: (tmp_path / name).read_bytes())
    assert clip.tick is None
    assert seen(clip) == ([0, 10, 20], [3, 6, 9])


@pytest.mark.parametrize(
    ("ending", "codec"), [("mp4", "libx264"), ("avi", "mpeg4"), ("mkv", "libx264"), ("webm", "libvpx-vp9")]
)
@pytest.mark.parametrize("inside", [False, True])
def test_frames_of_a_film(tmp_path: Path, ending: str, codec: str, inside: bool) -> None:
    path = shoot(tmp_path / f"a.{ending}", 20, codec)
    clip = open_clip([path.name], lambda _: path.read_bytes() if inside else path)
    pictures, starts = zip(*((picture(), start) for picture, start in clip.frames), strict=True)
    assert np.stack(pictures).shape == (20, 16, 16, 3)
    assert np.allclose(np.diff(starts), 0.04, atol=0.001)
    assert rate(starts, clip.tick) == pytest.approx(25, rel=1e-3)


def test_the_first_frame(tmp_path: Path) -> None:
    frames = np.stack([np.full((16, 16, 3), level, np.uint8) for level in (200, 0, 0, 0)])
    save_mp4(frames, tmp_path / "a.mp4", 10)
    first = first_frame(["a.mp4"], lambda name: tmp_path / name)
    assert abs(float(np.mean(first)) - 200) < 5


FAST = {"movflags": "faststart"}


@pytest.mark.parametrize(
    ("name", "codec", "options", "share", "reason"),
    [
        ("a.mp4", "libx264", {}, 0.5, "Invalid data"),
        ("a.mp4", "libx264", FAST, 0.6, "breaks off|Invalid data"),
        ("a.avi", "mpeg4", {}, 0.5, "breaks off after"),
        ("a.mkv", "libx264", {}, 0.5, "breaks off after"),
        ("a.gif", None, {}, 0.5, "truncated"),
        ("a.png", None, {}, 0.5, "image file is truncated"),
        ("a.webp", None, {}, 0.5, "decoder"),
    ],
)
def test_a_clip_that_is_cut_short(tmp_path: Path, name: str, codec, options, share: float, reason: str) -> None:
    noise = [Image.fromarray(f) for f in np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), np.uint8)]
    path = tmp_path / name
    if codec:
        shoot(path, 40, codec, **options)
    else:
        noise[0].save(path, save_all=True, append_images=noise[1:], duration=40)
    assert len(seen(clip_of(path))[0]) == 40
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(Exception, match=reason):
        seen(clip_of(path))


@pytest.mark.parametrize(
    ("name", "mark", "reason"), [("a.gif", b"\x21\xf9", "its end is missing"), ("a.png", b"fcTL", "Truncated")]
)
def test_a_clip_that_ends_between_two_frames(tmp_path: Path, name: str, mark: bytes, reason: str) -> None:
    path = animate(tmp_path / name, 4)
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.rindex(mark) - (4 if name == "a.png" else 0)])  # where the last frame begins
    with pytest.raises((ValueError, OSError), match=reason):
        seen(clip_of(path))


def test_sound_alone_is_no_film(tmp_path: Path) -> None:
    silence(tmp_path / "a.mp4")
    with pytest.raises(ValueError, match="only sound"):
        first_frame(["a.mp4"], lambda name: tmp_path / name)


# ---------------------------------------------------------------------------------------------- rates


@pytest.mark.parametrize(
    ("gaps", "tick", "expected"),
    [
        ([0.1] * 5, 0.01, 10),
        ([0.06, 0.07, 0.07], 0.01, 15),  # as a GIF of 15 frames a second has them
        ([0.033, 0.033, 0.034], 0.001, 30),
        ([0.008, 0.009, 0.008], 0.001, 120),
        ([1, 1, 1], None, 0),
        ([0, 0], 0.01, 0),
        ([], 0.01, 0),
    ],
)
def test_rates(gaps: list[float], tick: float | None, expected: float) -> None:
    assert rate(np.cumsum([0, *gaps]).tolist(), tick) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("gaps", "tick", "reason"),
    [
        ([0.04, 0.04, 0.08], 0.001, "varies: a frame lasts from 40 to 80 ms"),
        ([0.1, 0.1, 0.12], 0.01, "varies: a frame lasts from 100 to 120 ms"),
        ([1, 1, 2], None, "have gaps"),
        ([1, 0, 1], None, "have gaps"),
    ],
)
def test_rates_that_vary(gaps: list[float], tick: float | None, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        rate(np.cumsum([0, *gaps]).tolist(), tick)


@pytest.mark.parametrize(
    ("durations", "expected"),
    [
        ([100, 100, 100], [1, 1, 1]),
        ([100, 200, 100, 300, 100], [1, 2, 1, 3, 1]),
        ([200, 100, 200], [2, 1, 2]),
        ([60, 130, 70, 70, 200, 130], [1, 2, 1, 1, 3, 2]),  # as a GIF of 15 frames a second has them
        ([40, 90, 40, 40, 80, 50], [1, 2, 1, 1, 2, 1]),  # of 24
        ([30, 30, 40, 70, 30, 100], [1, 1, 1, 2, 1, 3]),  # of 30
        ([100, 100, 400], [1, 1, 4]),
        ([100, 100, 500], [1, 1, 1]),  # a pause
        ([100, 100, 150], [1, 1, 1]),
        ([100, 100, 40], [1, 1, 1]),
        ([100, 150, 100, 100], [1, 1, 1, 1]),  # uneven, as are all from here on
        ([100, 1100, 100, 100], [1, 1, 1, 1]),  # it mostly stands still
        ([0, 100, 100], [1, 1, 1]),
        ([100], [1]),
        ([], []),
    ],
)
def test_how_often_a_frame_is_taken(durations: list[int], expected: list[int]) -> None:
    assert times([ms / 1000 for ms in durations], 0.01) == expected


def test_finer_times_are_taken_more_exactly() -> None:
    assert times([0.033, 0.067, 0.033, 0.1], 0.001) == [1, 2, 1, 3]
    assert times([0.02, 0.05, 0.02], 0.001) == [1, 1, 1]
    assert times([0.02, 0.05, 0.02], 0.01) == [1, 2, 1]


def test_a_film_tells_when_its_frames_are_shown(tmp_path: Path) -> None:
    times = [0, 10, 20, 40, 50, 60]
    clip = clip_of(shoot(tmp_path / "a.mp4", times, clock=250))
    _, starts = seen(clip)
    assert np.allclose(starts, np.array(times) / 250)
    with pytest.raises(ValueError, match="varies: a frame lasts from 40 to 80 ms"):
        rate(starts, clip.tick)
