import struct
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from films import silence
from PIL import Image, ImageSequence

from ganvas.clips import MOVED, STILL, Clip, Smoother, UnreadableError, open_clip, save_clip
from ganvas.pictures import save_mp4, straight


def as_is(width: int, height: int) -> tuple[int, int]:
    return width, height


def halved(width: int, height: int) -> tuple[int, int]:
    return width // 2, height // 2


def squares(n: int = 4, channels: int = 3) -> np.ndarray:
    """Return frames [n, 10, 12, channels], straight, where a red square moves over blue, or over nothing."""
    frames = np.zeros((n, 10, 12, channels), np.uint8)
    if channels == 3:
        frames[..., 2] = 200
    for index, frame in enumerate(frames):
        frame[3:6, 2 * index : 2 * index + 3] = (250, 0, 0, 255)[:channels]
    return frames


def animated(path: Path, frames: np.ndarray, durations: list[int], **how) -> Path:
    how = {"loop": 3, "disposal": 2 if path.suffix == ".gif" else 0} | how
    first, *others = map(Image.fromarray, frames)
    first.save(path, save_all=True, append_images=others, duration=durations, **how)
    return path


def shown(path: Path) -> tuple[np.ndarray, list[int]]:
    with Image.open(path) as film:
        pairs = [(np.array(frame.convert("RGBA")), frame.info["duration"]) for frame in ImageSequence.Iterator(film)]
    pixels = np.stack([pixels for pixels, _ in pairs])
    pixels[pixels[..., 3] == 0] = 0
    return pixels, [duration for _, duration in pairs]


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize(("ending", "written"), [("gif", ".gif"), ("png", ".png")])
def test_an_animation_keeps_its_frames_alpha_durations_and_rounds(tmp_path, ending, written, channels):
    frames, durations = squares(channels=channels), [40, 100, 70, 250]
    clip = open_clip(animated(tmp_path / f"a.{ending}", frames, durations), as_is)
    assert (clip.ending, clip.size, clip.total) == (written, (12, 10), 4)
    save_clip(clip.frames, clip, tmp_path / f"b.{ending}")
    pixels, kept = shown(tmp_path / f"b.{ending}")
    assert kept == durations
    assert np.array_equal(pixels[..., :channels], frames)
    assert np.array_equal(pixels[..., 3], frames[..., 3] if channels == 4 else np.full((4, 10, 12), 255))
    with Image.open(tmp_path / f"b.{ending}") as film:
        assert film.info["loop"] == 3


@pytest.mark.parametrize("opaque", [0, 1])
def test_frames_need_not_all_have_alpha(tmp_path, opaque):
    frames = squares(channels=4)
    frames[opaque] = (0, 99, 0, 255)
    for ending in (".gif", ".png"):
        save_clip(((frame, 50) for frame in frames), Clip(ending, (12, 10), 4, iter(())), tmp_path / f"a{ending}")
        assert np.array_equal(shown(tmp_path / f"a{ending}")[0], frames)


def test_an_animated_webp_becomes_an_animated_png(tmp_path):
    path = animated(tmp_path / "a.webp", squares(channels=4), [40, 100, 70, 250], lossless=True)
    clip = open_clip(path, as_is)
    save_clip(clip.frames, clip, tmp_path / "b.png")
    pixels, durations = shown(tmp_path / "b.png")
    assert clip.ending == ".png"
    assert durations == [40, 100, 70, 250]
    assert np.array_equal(pixels, shown(path)[0])


def test_a_picture_beside_the_frames_stays(tmp_path):
    path = animated(tmp_path / "a.png", squares(), [50] * 4, default_image=True)
    clip = open_clip(path, as_is)
    save_clip(clip.frames, clip, tmp_path / "b.png")
    with Image.open(path) as before, Image.open(tmp_path / "b.png") as after:
        assert before.n_frames == after.n_frames == 4
        assert before.default_image
        assert after.default_image


def test_pictures_do_not_move_nor_do_pages(tmp_path):
    frames = squares()
    Image.fromarray(frames[0]).save(tmp_path / "a.gif")
    animated(tmp_path / "a.tif", frames, [50] * 4)
    for name in ("a.gif", "a.tif"):
        clip = open_clip(tmp_path / name, halved)
        assert (clip.ending, clip.size, clip.total) == (".png", (6, 5), 1)
        ((pixels, _),) = clip.frames
        assert pixels.shape == (5, 6, 4)


def film(path: Path, n: int = 6) -> Path:
    frames = np.full((n, 48, 64, 3), (20, 30, 200), np.uint8)
    frames[:, :24, :32] = (200, 30, 20)  # red above on the left
    save_mp4(frames, path, 12)
    return path


def test_a_film_stays_a_film_of_that_rate(tmp_path):
    clip = open_clip(film(tmp_path / "a.mp4"), halved)
    assert (clip.ending, clip.size, clip.total, clip.rate) == (".mp4", (32, 24), 6, 12)
    save_clip(clip.frames, clip, tmp_path / "b.mp4")
    with av.open(str(tmp_path / "b.mp4")) as made:
        frames = [frame.to_ndarray(format="rgb24") for frame in made.decode(video=0)]
        assert made.streams.video[0].average_rate == 12
    assert [frame.shape for frame in frames] == [(24, 32, 3)] * 6
    assert np.abs(frames[3][6, 8].astype(int) - (200, 30, 20)).max() < 12
    assert np.abs(frames[3][18, 24].astype(int) - (20, 30, 200)).max() < 12


def test_rates_need_not_be_whole_nor_lengths_be_known(tmp_path):
    with av.open(str(tmp_path / "a.mkv"), "w") as made:
        stream = made.add_stream("libx264", rate=Fraction(30000, 1001))
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
        for _ in range(9):
            made.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")))
        made.mux(stream.encode())
    clip = open_clip(tmp_path / "a.mkv", as_is)
    assert clip.rate == Fraction(30000, 1001)
    assert clip.total in (8, 9, 10)
    save_clip(clip.frames, clip, tmp_path / "b.mp4")
    with av.open(str(tmp_path / "b.mp4")) as made:
        assert made.streams.video[0].average_rate == Fraction(30000, 1001)
        assert made.streams.video[0].frames == 9


def test_a_film_that_was_held_upright_is_turned(tmp_path):
    data = bytearray(film(tmp_path / "a.mp4").read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # behind version, flags, times, track, duration, layer, group and volume
    assert data[at : at + 36] == struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    data[at : at + 36] = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 48 << 16, 0, 1 << 30)  # 90 degrees clockwise
    (tmp_path / "a.mp4").write_bytes(data)
    pixels, _ = next(open_clip(tmp_path / "a.mp4", as_is).frames)
    assert pixels.shape == (64, 48, 4)
    assert pixels[10, 40, 0] > 150 > pixels[10, 8, 0]  # red is now above on the right
    assert pixels[50, 40, 2] > 150


def test_what_is_no_whole_clip_is_told(tmp_path, monkeypatch):
    whole = animated(tmp_path / "a.gif", np.random.default_rng(0).integers(0, 256, (4, 60, 60, 3), np.uint8), [50] * 4)
    (tmp_path / "half.gif").write_bytes(whole.read_bytes()[:-4000])
    data = film(tmp_path / "a.mp4").read_bytes()
    (tmp_path / "half.mp4").write_bytes(data[: len(data) // 2])
    (tmp_path / "no.mp4").write_bytes(b"nothing")
    (tmp_path / "no.webp").write_bytes(b"nothing")
    silence(tmp_path / "sound.mp4")
    reasons = {
        "half.gif": "truncated",
        "half.mp4": "Invalid data",
        "no.mp4": "Invalid data",
        "no.webp": "not a picture",
        "sound.mp4": "only sound",
        "missing.png": "No such file",
    }
    for name, reason in reasons.items():
        with pytest.raises(UnreadableError, match=reason):
            list(open_clip(tmp_path / name, as_is).frames)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UnreadableError, match=r"pip install 'ganvas\[video\]'"):
        open_clip(tmp_path / "a.mp4", as_is)


def test_a_clip_that_breaks_off_leaves_the_old_file(tmp_path):
    clip = open_clip(animated(tmp_path / "a.gif", squares(), [50] * 4), as_is)

    def broken():
        yield next(clip.frames)
        raise UnreadableError("cut short")

    (tmp_path / "b.gif").write_bytes(b"old")
    with pytest.raises(UnreadableError, match="cut short"):
        save_clip(broken(), clip, tmp_path / "b.gif")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.gif", "b.gif"]
    assert (tmp_path / "b.gif").read_bytes() == b"old"


def test_half_transparency_is_straight_in_a_png(tmp_path):
    frames = squares(channels=4)
    frames[..., 3] //= 2
    path = animated(tmp_path / "a.png", frames, [50] * 4)
    pixels, _ = next(open_clip(path, as_is).frames)
    assert pixels[4, 1].tolist() == [125, 0, 0, 127]
    assert straight(pixels)[4, 1].tolist() == [251, 0, 0, 127]


# ------------------------------------------------------------------------------------------------ flickering


def test_what_stands_still_is_averaged_and_what_moves_is_not():
    source = np.zeros((3, 2, 2, 3), np.uint8)
    source[1:, 0, 0, 1] = MOVED  # moves once
    source[1:, 0, 1, 2] = MOVED // 2
    made = np.zeros((3, 2, 2, 1), np.uint8)
    made[1:] = 100
    smoother = Smoother(0.8)
    shown = [smoother(*pair)[..., 0] for pair in zip(source, made, strict=True)]
    assert shown[0].max() == 0
    assert shown[1].tolist() == [[100, 60], [20, 20]]
    assert shown[2].tolist() == [[100, 68], [36, 36]]


def test_nothing_of_the_past_stays_for_ever():
    smoother = Smoother(0.95)
    source, dark, light = (np.full((1, 1, 3), level, np.uint8) for level in (7, 0, 255))
    smoother(source, dark)
    for _ in range(150):
        shown = smoother(source, light)
    assert shown.min() == 255


def test_flicker_is_measured_where_the_source_stands_still():
    rng = np.random.default_rng(0)
    source = np.full((40, 30, 30, 3), 90, np.uint8)
    source[::2, :, :15] += STILL - 1  # still enough
    source[::2, :, 25:, 0] += STILL + 1  # not
    made = rng.choice(np.array([100, 120], np.uint8), (40, 30, 30, 1))  # 10 on average from frame to frame
    made[::2, :, 25:] = 255
    plain, smoother = Smoother(0), Smoother(0.9)
    for pair in zip(source, made, strict=True):
        assert plain(*pair) is pair[1]
        smoother(*pair)
    flicker = 10 - (STILL - 1) * 15 / 25
    raw = (plain.raw - plain.source) / plain.still
    assert raw == pytest.approx(flicker, abs=0.3)
    assert (plain.raw, plain.source) == (smoother.raw, smoother.source)
    assert plain.still / plain.pixels == pytest.approx(25 / 30)
    assert smoother.smooth < 0.5 * smoother.raw
    assert plain.words() == f"flicker {raw:.2f} of 255 levels, where it stands still (83% of it)"
    smooth = (smoother.smooth - smoother.source) / smoother.still
    assert smoother.words().startswith(f"flicker {raw:.2f} of 255 levels, smoothed {smooth:.2f}, where")


def test_without_a_still_place_there_is_no_flicker_to_measure():
    smoother = Smoother(0)
    for level in (0, 100):
        smoother(np.full((2, 2, 1), level, np.uint8), np.full((2, 2, 1), level, np.uint8))
    assert smoother.words() == ""
