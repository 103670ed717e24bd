"""The verdict cannot be fooled: four sources that are no GANs, and what must be said of each."""

import dataclasses
import json

import numpy as np
import pytest
from pretenders import Pretender

from ganvas.augmentation import classifier
from ganvas.augmentation.page import write_proof
from ganvas.augmentation.prove import RESULTS, _facts, prove, split
from ganvas.augmentation.trial import Trial
from ganvas.errors import UserError


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    """A narrower classifier, for speed."""
    monkeypatch.setattr(classifier, "WIDEST", 32)


@pytest.fixture
def tiny():
    return Trial(updates=10, batch=4, shares=(), pool=20)


def test_noise_never_helps(few, noise, quick):
    proof = prove(few(2), [noise], dataclasses.replace(quick, share=0.75))
    assert proof.verdict.word in ("does not help", "hurts")
    alone = next(one for one in proof.arms if one.arm.name == "GAN only")
    assert alone.balanced.mean < 0.25


def test_new_real_pictures_help(few, pretend, quick, out, capsys):
    proof = prove(few(2), [pretend("train", after=2)], quick, folder=out)
    assert proof.verdict.word == "helps"
    assert "one generator" in proof.verdict.reach
    names = [one.arm.name for one in proof.arms]
    assert names == ["real", "real + classical", "real + GAN", "real + GAN + classical", "GAN only"]
    proof.show()
    told = capsys.readouterr().err
    assert "helps: The GAN's pictures help." in told
    assert "real + GAN + classical" in told
    write_proof(proof, out)
    kept = json.loads((out / "proof.json").read_text())
    assert kept["verdict"]["difference"]["low"] > 0
    assert kept["about"]["pictures"]["3"] == {"train": 2, "test": sum(few(2).labels[few(2).rows["test"]] == 3)}


def test_test_pictures_are_refused(few, pretend, quick):
    with pytest.raises(UserError, match=r"a GAN are test pictures: nothing is proved"):
        prove(few(2), [pretend("test")], quick)


def test_pictures_made_after_the_test_part_are_refused(few, pretend, quick):
    with pytest.raises(UserError, match="nearly as they are"):
        prove(few(6), [pretend("test", noise=8)], quick)


def test_shuffled_labels_give_a_plain_warning(few, pretend, quick):
    plain = few(12)
    shuffled = np.random.default_rng(0).permutation(plain.labels)
    data = dataclasses.replace(plain, labels=shuffled)
    gan = pretend("train", after=12)
    gan = dataclasses.replace(gan, labels=np.random.default_rng(1).permutation(gan.labels))
    proof = prove(data, [gan], quick)
    assert any("cannot be told from one that guesses" in warning for warning in proof.warnings)
    assert proof.verdict.word != "helps"


def test_several_gans_speak_of_the_recipe(few, pretend, noise):
    rules = Trial(updates=10, batch=4, shares=(0.25,), pool=50)
    proof = prove(few(2, 80), [noise, pretend("train", after=2)], rules)
    assert "the recipe" in proof.verdict.reach
    assert proof.verdict.difference.sources > 0
    assert [one.arm.name for one in proof.sweep] == ["real + 25 % GAN + classical"]


def test_it_goes_on_where_it_was_killed(few, noise, tiny, out, capsys):
    whole = prove(few(2, 80), [noise], tiny, folder=out)
    path = out / RESULTS
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) == 5 * tiny.seeds
    path.write_bytes(b"".join(lines[:7]) + lines[7][:30])
    again = prove(few(2, 80), [noise], tiny, folder=out)
    assert "7 of 25 trainings are done already" in capsys.readouterr().err
    assert again.as_dict() == whole.as_dict()
    prove(few(2, 80), [noise], tiny, folder=out)
    assert "25 of 25 trainings" in capsys.readouterr().err


def test_results_of_other_rules_or_pictures_do_not_count(few, noise, tiny, out, capsys):
    prove(few(2, 80), [noise], tiny, folder=out)
    prove(few(3, 80), [noise], tiny, folder=out)
    assert "done already" not in capsys.readouterr().err
    prove(few(2, 80), [noise], dataclasses.replace(tiny, seeds=6), folder=out)
    assert "25 of 30 trainings are done already" in capsys.readouterr().err


def test_all_that_a_training_depends_on_is_in_its_key(few, tiny):
    parts = split(few(2, 80))
    turned = dataclasses.replace(parts, train_labels=parts.train_labels[::-1].copy())
    keys = [
        _facts(parts, tiny, False, "cpu"),
        _facts(parts, tiny, True, "cpu"),
        _facts(parts, dataclasses.replace(tiny, updates=11), False, "cpu"),
        _facts(parts, dataclasses.replace(tiny, batch=5), False, "cpu"),
        _facts(turned, tiny, False, "cpu"),
    ]
    assert len(set(keys)) == len(keys)
    assert keys[0] == _facts(parts, dataclasses.replace(tiny, seeds=9), False, "cpu")


def test_uneven_classes_get_an_arm_of_their_own(few, noise, tiny):
    data = few(4, 80)
    rows = data.rows["train"]
    data = dataclasses.replace(data, rows=data.rows | {"train": rows[3:]})
    proof = prove(data, [noise], tiny)
    names = [one.arm.name for one in proof.arms]
    assert names == [
        "real",
        "real + classical",
        "real + oversampling",
        "real + GAN",
        "real + GAN + classical",
        "real + GAN for the rare",
        "GAN only",
    ]
    assert proof.about["pictures"]["0"]["train"] == 1


def test_test_pictures_that_are_training_pictures_do_not_judge(few, tiny, capsys):
    data = few(3, 80)
    rows = np.concatenate([data.rows["train"], data.rows["test"][:4]])
    data = dataclasses.replace(data, rows=data.rows | {"train": rows})
    learned = Pretender(data.images[rows], data.labels[rows])  # all that it was given, innocently
    proof = prove(data, [learned], tiny)
    assert proof.about["duplicates"] == 4
    counts = [[counts[part] for counts in proof.about["pictures"].values()] for part in ("train", "test")]
    assert list(map(sum, counts)) == [34, 76]
    assert "left out 4 of 80 test pictures" in capsys.readouterr().err
    assert any("4 test pictures were left out" in warning for warning in proof.warnings)
    seen = dataclasses.replace(data, rows=data.rows | {"test": rows[-3:]})
    with pytest.raises(UserError, match="all 3 test pictures are training pictures too"):
        prove(seen, [learned], tiny)
    assert not {hash_.tobytes() for hash_ in split(data).test} & {image.tobytes() for image in data.images[rows]}


def test_a_folder_that_cannot_be_written_to_is_noticed_first(few, tiny, out):
    class Never(Pretender):
        def draw(self, labels, seed):
            raise AssertionError

    out.write_text("a file")
    with pytest.raises(UserError, match="out"):
        prove(few(2, 80), [Never(few(2).images, few(2).labels)], tiny, folder=out)


def test_what_nothing_can_be_proved_with(few, digits, noise, tiny):
    data = few(2, 80)
    cases = {
        "needs labels": dataclasses.replace(data, labels=None),
        "needs a test part": dataclasses.replace(data, rows=data.rows | {"test": np.empty(0, np.int64)}),
        "class '0' has no training picture": dataclasses.replace(
            data, rows=data.rows | {"train": data.rows["train"][2:]}
        ),
    }
    for words, broken in cases.items():
        with pytest.raises(UserError, match=words):
            prove(broken, [noise], tiny)
    for sources in ([], [noise, noise]):
        with pytest.raises(UserError, match="at least one GAN, and a different name"):
            prove(data, sources, tiny)
    with pytest.raises(UserError, match="another shape than the data's 8x8x1"):
        prove(data, [dataclasses.replace(noise, shape=(4, 4, 1))], tiny)


def test_a_class_without_test_pictures_is_named(few, noise, tiny):
    data = few(2, 80)
    rows = data.rows["test"]
    data = dataclasses.replace(data, rows=data.rows | {"test": rows[data.labels[rows] != 7]})
    proof = prove(data, [noise], tiny)
    assert any("No test picture shows 7" in warning for warning in proof.warnings)
    assert "7" not in proof.arms[0].recall
