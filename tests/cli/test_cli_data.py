import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from gradleak.cli.data import data
from gradleak.errors import UserError


def invoke(*arguments):
    return CliRunner().invoke(data, [str(argument) for argument in arguments])


def test_list_names_every_data_set():
    result = invoke("list")
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert [line.split() for line in lines if "photos10" in line] == [["photos10", "10", "32", "embedded"]]
    assert any("imagenet1k" in line and "1000" in line and "torchvision" in line for line in lines)


def test_show_writes_a_contact_sheet(tmp_path):
    out = tmp_path / "sheet.png"
    result = invoke("show", "photos10", "--out", out, "--count", 12, "--resolution", 32)
    assert result.exit_code == 0, result.exception
    with Image.open(out) as sheet:
        assert sheet.size == (10 * 100 + 4, 2 * 114 + 4)
        assert np.asarray(sheet).std() > 20


def test_show_takes_sources_from_the_config(tmp_path):
    for number in range(10):
        (tmp_path / "images" / "a").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / "images" / "a" / f"{number}.png")
    config = tmp_path / "config.yaml"
    config.write_text(f"data: {{mine: {{source: folder, path: {tmp_path / 'images'}}}}}\ncache: {tmp_path}\n")
    result = invoke("show", "mine", "--out", tmp_path / "sheet.png", "--config", config)
    assert result.exit_code == 0, result.exception
    assert (tmp_path / "sheet.png").exists()


def test_show_errors(tmp_path):
    (tmp_path / "file").touch()
    result = invoke("show", "photos10", "--out", tmp_path / "file" / "sheet.png")
    assert isinstance(result.exception, UserError)
    assert "sheet.png: cannot be written" in str(result.exception)
    assert isinstance(invoke("show", "none", "--out", tmp_path / "sheet.png").exception, UserError)


def test_fetch_of_the_embedded_set_needs_nothing():
    result = invoke("fetch", "photos10")
    assert result.exit_code == 0
    assert result.stdout == ""


def test_fetch_of_imagenet_says_why_not(tmp_path):
    result = invoke("fetch", "imagenet1k", "--cache", tmp_path)
    assert isinstance(result.exception, UserError)


def test_fetch_lpips_keeps_what_is_there(cache):
    result = invoke("fetch", "lpips", "--cache", cache)
    assert result.exit_code == 0, result.exception


@pytest.mark.parametrize("command", ["list", "show", "fetch"])
def test_help_has_an_example(command):
    assert "Example: gradleak data" in invoke(command, "--help").output
