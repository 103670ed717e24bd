"""The page in a browser, used as a person would."""

import io
import signal
import zipfile
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
from conftest import Person, Studio, until, wait_for
from PIL import Image

from ganvas.following import follow

GRID = ".grid .thumbnail-item img"
LARGE = "[role=tabpanel] .image-frame img"


def png(path: Path, side: int = 40) -> Path:
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (side, side, 3), np.uint8)).save(path)
    return path


# ---------------------------------------------------------------------------------------------------------- train


def test_a_training_is_begun_and_outlives_the_page(person: Person, studio: Studio) -> None:
    person.open("Train")
    person.press("Start")
    person.reads("choose pictures first")
    person.choose("Pictures", "colours")
    person.press("Look at them")
    person.reads("green")
    person.picture(LARGE)
    person.choose("For how long", "600kimg")  # of more, part goes into trying out settings first
    person.page.get_by_label("Name").fill("mine")
    person.press("Start")
    person.reads("has begun")
    person.shoot("train")
    person.page.goto("about:blank")  # the page is closed

    folder = studio.runs / "mine"
    wait_for(folder, lambda run: run.step > 0)
    person.open("Watch")
    person.choose("Run", "mine")
    person.reads("left")
    person.shoot("watch-training")
    person.press("Stop and save")
    person.press("Go on")
    step = follow(folder).step
    wait_for(folder, lambda run: run.state == "training" and run.step > step)
    person.reads("Stop and save")


def test_own_pictures_are_uploaded_and_trained_on(person: Person, studio: Studio, tmp_path: Path) -> None:
    person.open("Train")
    mine = [png(tmp_path / f"{i}.png", 8 + i) for i in range(12)]
    person.drop(0, *mine, Path(__file__))
    person.reads(Path(__file__).stem)
    person.press("Look at them")
    person.reads("12")
    person.page.get_by_label("Remove this file").first.wait_for()
    with zipfile.ZipFile(tmp_path / "my own.zip", "w") as zipped:
        for path in mine:
            zipped.write(path, path.name)
    person.page.get_by_label("Clear").locator("visible=true").first.click()
    person.drop(0, tmp_path / "my own.zip")
    person.reads("my own")
    person.choose("For how long", "1steps")
    person.press("Start")
    person.reads("has begun")
    [name] = [path.name for path in studio.runs.iterdir() if "my_own" in path.name]
    wait_for(studio.runs / name, lambda run: run.state == "finished")


# ---------------------------------------------------------------------------------------------------------- watch


def test_runs_are_watched_over_time_and_side_by_side(person: Person) -> None:
    person.open("Watch")
    person.choose("Run", "colours")
    person.reads("after 120")
    newest = person.picture(".live.samples img")
    person.slide("Samples over time", 0)
    person.reads("before any training")
    assert not np.array_equal(person.picture(".live.samples img"), newest)
    person.choose("Beside it", "first")
    person.reads("after 40")
    person.shoot("watch-two")
    assert "<html" in person.save("Download the report").read_text()


# -------------------------------------------------------------------------------------------------------- explore


def test_a_model_is_explored(person: Person) -> None:
    person.open("Explore")
    person.choose("Model", "colours")
    person.page.get_by_label("Class").wait_for()
    person.page.locator(GRID).nth(2).click()
    seed = person.page.get_by_label("Its seed")
    person.page.wait_for_function("() => [...document.querySelectorAll('input')].some(i => i.value === '2')")
    before = person.picture(LARGE)
    assert len(set(map(tuple, before.reshape(-1, 3)))) > 8
    person.press("More")
    person.reads("47")
    person.choose("Class", "green")
    person.slide("Variety", 0)
    person.page.wait_for_timeout(1500)
    images = [person.fetched(image.get_attribute("src")).read() for image in person.page.locator(GRID).all()]
    assert len(set(images)) == 1
    assert seed.input_value() == "2"
    person.shoot("explore")


def test_a_path_becomes_a_film(person: Person) -> None:
    explore(person, "colours")
    person.unfold("A path through pictures")
    person.page.get_by_label("Seeds, in order").fill("1")
    person.press("Add to the path")
    person.slide("Frames from one picture to the next", 2)
    person.press("Make the film")
    path = person.save("Download the film")
    with Image.open(path) as film:
        assert (film.format, film.n_frames) == ("GIF", 4)
    assert person.picture(".image-frame img[src$=gif]").any()
    person.page.get_by_label("Begin at the picture that was found").check()
    person.press("Make the film")
    person.reads("no picture was found yet")
    person.shoot("path")


def test_ones_own_picture_is_found_and_walked_from(person: Person, tmp_path: Path) -> None:
    explore(person, "colours")
    person.unfold("Find your picture")
    person.press("Find it")
    person.reads("drop a picture of yours first")
    find(person, png(tmp_path / "mine.png"))
    person.reads("of the range from black to white")
    person.shoot("found")
    person.unfold("A path through pictures")
    person.slide("Frames from one picture to the next", 2)
    person.page.get_by_label("Seeds, in order").fill("1,2")
    assert person.page.get_by_label("Begin at the picture that was found").is_checked()
    person.press("Make the film")
    with Image.open(person.save("Download the film")) as film:
        assert film.n_frames == 6  # from what was found by two seeds and back


def test_directions_move_a_picture(person: Person) -> None:
    explore(person, "first")
    before = person.picture(LARGE)
    person.unfold("Directions")
    person.slide("Direction 1", 3)
    until(lambda: not np.array_equal(person.picture(LARGE), before))
    person.shoot("directions")
    person.press("Back to the middle")
    until(lambda: np.array_equal(person.picture(LARGE), before))


def test_clips_move_and_are_not_searched(person: Person, tmp_path: Path) -> None:
    explore(person, "clips")
    for place in (GRID, LARGE):
        moving = person.page.locator(f"{place}[src$='.gif']")  # of which there is none until the model is open
        with Image.open(person.fetched(moving.locator("visible=true").first.get_attribute("src"))) as clip:
            assert (clip.format, clip.n_frames) == ("GIF", 4)
    person.unfold("Find your picture")
    find(person, png(tmp_path / "mine.png"))
    person.reads("makes clips; ganvas continue looks for a clip in it")
    person.shoot("clips")


# ------------------------------------------------------------------------------------------------------ translate


def test_a_drawing_and_a_picture_are_translated(person: Person, tmp_path: Path) -> None:
    person.open("Translate")
    person.press("Translate")
    person.reads("draw something")
    person.page.get_by_label("Brush", exact=True).click()
    taken = person.page.get_by_text("Download the translation", exact=True)

    def stroke() -> bool:
        canvas = person.page.locator(".pixi-target, canvas").locator("visible=true").first.bounding_box()
        x, y = canvas["x"] + canvas["width"] / 2, canvas["y"] + canvas["height"] / 2
        person.page.mouse.move(x - 60, y - 60)
        person.page.mouse.down()
        person.page.mouse.move(x + 60, y + 60, steps=8)
        person.page.mouse.up()
        person.page.wait_for_timeout(2000)
        return bool(taken.is_visible())

    until(stroke)  # the editor drops a stroke that comes before it is ready, and does not say when it is
    drawn = Image.open(person.save("Download the translation"))
    assert drawn.size == (16, 16)
    assert person.picture(".slider-wrap img, [data-testid=imageslider] img, .pixels img").any()
    person.shoot("translate")
    person.drop(0, png(tmp_path / "mine.png", 16))
    until(lambda: Image.open(person.save("Download the translation")).tobytes() != drawn.tobytes())


# -------------------------------------------------------------------------------------------------------- augment


def test_a_labelled_set_is_made_and_taken_along(person: Person) -> None:
    person.open("Augment")
    person.choose("Model", "colours")
    person.page.get_by_label("Pictures of each class").fill("7000")
    person.press("Make the set")
    person.reads("that would be 21,000 pictures")
    person.page.get_by_label("Pictures of each class").fill("4")
    person.press("Make the set")
    person.reads("4 pictures of each of 3 classes")
    until(lambda: person.page.locator(f"{GRID} >> visible=true").count() == 12)  # which are those of the set
    person.shoot("augment")
    with zipfile.ZipFile(person.save("Download the set as a zip")) as zipped:
        names = [name for name in zipped.namelist() if name.endswith(".png")]
        assert sorted({name.split("/")[0] for name in names}) == ["blue", "green", "red"]
        assert len(names) == 12
        assert Image.open(io.BytesIO(zipped.read(names[0]))).size == (8, 8)
        assert any(name.endswith("provenance.json") for name in zipped.namelist())


# ----------------------------------------------------------------------------------------------------------- all


def explore(person: Person, name: str) -> None:
    """Open a model, and wait until it is seen."""
    person.open("Explore")
    person.picture(GRID)
    model = person.page.get_by_label("Model", exact=True).locator("visible=true")
    person.picture(LARGE)  # so that it is not that of the first model that comes last
    if model.input_value() != name:
        places = [person.page.locator(place).locator("visible=true").first for place in (GRID, LARGE)]
        shown = [place.get_attribute("src") for place in places]
        person.choose("Model", name)
        until(lambda: all(place.get_attribute("src") != old for place, old in zip(places, shown, strict=True)))
    person.picture(LARGE)


def test_a_second_page_asks_for_a_password_and_finds_the_trainings_of_the_first(
    visit: Callable[[Studio], Person], studio: Studio, locked: Studio
) -> None:
    person = visit(locked)
    person.page.goto(locked.url)
    person.page.get_by_label("username").fill("me")
    person.page.get_by_label("password").fill("wrong")
    person.page.get_by_role("button", name="Login").click()
    person.reads("Incorrect")
    person.shoot("login")
    assert all("400" in wrong or "401" in wrong for wrong in person.wrong)
    person.wrong.clear()
    for path in ("/config", "/gradio_api/file=/etc/passwd", f"/gradio_api/file={studio.runs}/first/config.json"):
        assert httpx.get(locked.url + path).status_code == 401
    for path in ("/gradio_api/queue/join", "/gradio_api/upload"):
        assert httpx.post(locked.url + path, json={}).status_code == 401
    person.page.get_by_label("username").fill("me")
    person.page.get_by_label("password").fill("secret")
    person.page.get_by_role("button", name="Login").click()
    person.reads("Look at them")
    person.choose("Pictures", "colours")
    person.choose("For how long", "600kimg")
    person.page.get_by_label("Name").fill("kept")
    person.press("Start")
    person.reads("has begun")
    person.leave()
    locked.process.send_signal(signal.SIGINT)
    assert locked.process.wait(20) == 0
    step = wait_for(studio.runs / "kept", lambda run: run.step > 0).step
    wait_for(studio.runs / "kept", lambda run: run.step > step)
    other = visit(studio)
    other.open("Watch")
    other.choose("Run", "kept")
    other.press("Stop and save")
    wait_for(studio.runs / "kept", lambda run: run.state == "stopped")


def find(person: Person, path: Path) -> None:
    """Have a picture looked for in the model."""
    person.drop(0, path)
    person.page.get_by_label("Remove Image").wait_for()
    person.press("Find it")
