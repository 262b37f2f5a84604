"""The example of docs/audit.md runs as it is printed, and makes the page that the text describes."""

import re
import runpy
import sys
from pathlib import Path

import pandas as pd
from core_cases import gradleak

GUIDE = (Path(__file__).parents[2] / "docs" / "audit.md").read_text(encoding="utf-8")


def test_the_example_of_the_guide_makes_the_page_that_it_describes(folder, config, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "my_model", raising=False)
    model, training = re.findall(r"```python\n(.*?)```", GUIDE, re.S)
    Path("my_model.py").write_text(model)
    Path("train.py").write_text(training.replace("range(20)", "range(1)"))
    train, example, command = re.search(r"```\n(python train.py\n.*?)```", GUIDE, re.S)[1].strip().splitlines()
    runpy.run_path(train.removeprefix("python "))
    del sys.modules["my_model"]
    words, target = example.split(" > ")
    text = gradleak(*words.split()[1:]).out
    assert "iterations: 400" in text
    Path(target).write_text(text.replace("iterations: 400", "iterations: 2").replace("trials: 8", "trials: 2"))
    ran = gradleak(*command.split()[1:], "--config", config)
    sys.modules.pop("my_model", None)
    assert ran.code == 0, ran.err
    rows = pd.read_parquet("audit/audit.parquet")
    assert len(rows) == 2 * (3 + 3 + 4 + 4) * 2  # rounds, attacks by defense, clients
    page = Path("audit/audit.html").read_text(encoding="utf-8")
    for section in ("Verdict and cost", "Risk by round", "Closest reconstructions", "What each number assumes"):
        assert f"<h2>{section}" in page
    assert page.count("data:image/png;base64,") == 4 * 2 * 2  # defenses, images, original and reconstruction
    assert "http" not in page  # self-contained
    printed = re.findall(r"^(?:none|Quantization 2-bit|Sparsification 0.9|Clipping 1 .*?): .*", GUIDE, re.M)
    assert [line.split(":")[0] for line in printed] == [line.split(":")[0] for line in ran.out.splitlines()[:4]]
    assert ran.out.splitlines()[4] == "-> audit/audit.html"
