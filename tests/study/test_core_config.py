"""config.yaml: defaults, validation, and what cannot be read."""

from pathlib import Path

import pytest

from gradleak.documents import read_yaml
from gradleak.errors import UserError
from gradleak.study.config import Config, load_config

ROOT = Path(__file__).parents[2]


def test_the_repositorys_config_is_valid_and_an_empty_one_too():
    assert load_config(ROOT / "config.yaml").study == "quick"
    assert Config.parse({}, "here") == Config()


def test_what_is_not_set_is_not_in_a_plan():
    assert not {"reuse", "run", "minutes"} & Config().model_dump().keys()
    assert Config(run="mine", minutes=0).model_dump(include={"run", "minutes"}) == {"run": "mine", "minutes": 0}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"studi": "quick"}, "^here: studi: unknown key$"),
        ({"device": "gpu"}, "^here: device: .*'auto', 'cpu' or 'cuda' .found 'gpu'.$"),
        ({"threads": 0}, "^here: threads: .*greater than or equal to 1 .found 0.$"),
        ({"threads": "few"}, "^here: threads: .*integer.* .found 'few'.$"),
        ({"precision": "fp16"}, "^here: precision: .*'float32', 'tf32' or 'bf16' .found 'fp16'.$"),
        ({"tf32": True}, "^here: tf32: unknown key; write precision: tf32 for true, precision: float32 for false$"),
        ({"jobs": {"minutes": 0}}, "^here: jobs.minutes: .*greater than 0 .found 0.$"),
        ({"minutes": -1}, "^here: minutes: .*greater than or equal to 0 .found -1.$"),
        ({"run": "a/b"}, "^here: run.*'a/b': becomes the name of a file"),
        ({"run": "theory"}, "^here: run.*'theory': the pipeline has files of its own under this name; rename it"),
        ({"jobs": {"hours": 1}}, "^here: jobs.hours: unknown key$"),
        ({"data": {"x": {"source": "web"}}}, "^here: data.x.source: .*'embedded'.*'folder' .found 'web'.$"),
        ({"data": {"x": {"source": "folder", "dir": "/"}}}, "^here: data.x.dir: unknown key$"),
        ([], "^here: content: "),
    ],
)
def test_each_mistake_is_one_line(content, message):
    with pytest.raises(UserError, match=message) as caught:
        Config.parse(content, "here")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read .No such file or directory"),
        ("a: [1", "not valid YAML"),
        ("- 1\n- 2\n", "must hold a mapping of keys to values, found list"),
        ("", "is empty; must hold a mapping"),
    ],
)
def test_a_file_that_is_no_mapping_is_one_line_with_its_name(tmp_path, text, message):
    path = tmp_path / "config.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        read_yaml(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_text_is_a_user_error(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"config\.yaml"):
        read_yaml(path)
