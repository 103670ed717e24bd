"""Names of classes become names of files."""

import pytest

from ganvas.draw import file_names


@pytest.mark.parametrize(
    ("classes", "names"),
    [
        (("daisy", "gänse blümchen", "雏菊", "0"), ("daisy", "gänse blümchen", "雏菊", "0")),
        (("a/b", "a_b", "a\\b", "A_b"), ("a_b_0", "a_b", "a_b_2", "A_b_3")),
        (("", ".", "..", ".git", "end. ", "x\ny", "\udcff"), ("_", "__1", "__", "_git", "end_", "x_y", "__6")),
        (("con", "Nul.txt", "com1", "console"), ("_con", "_Nul.txt", "_com1", "console")),
        (("e\u0301", "é"), ("é_0", "é")),
    ],
)
def test_file_names_can_be_written_everywhere_and_differ(classes, names, tmp_path):
    assert file_names(classes) == names
    assert len({name.casefold() for name in names}) == len(names)
    for name in names:
        (tmp_path / name).mkdir()


def test_long_class_names_make_files(tmp_path):
    long = ["字" * 80 + "a", "字" * 80 + "b", *(f"{'x' * 300}{k}" for k in range(3))]
    names = file_names(long)
    assert len(set(names)) == 5
    for name in names:
        (tmp_path / f"{name}-seed{2**62:06d}.png").touch()
