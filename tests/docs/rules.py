"""How each command of README and docs is run, in one table, `RULES`.

A command is run as it is typed, on small files in the places that it names; or in a smaller form, where it would take
hours or needs a cluster; or CI runs it. A rule gets the place and the command's words after the program.
"""

import contextlib
import io
import os
import re
import runpy
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from core_cases import gradleak
from pages import ROOT, Command, pages, words
from place import Place, printed

from gradleak.engine.device import check_precision, prepare_device
from gradleak.errors import UserError
from gradleak.study.config import Config

CI = (ROOT / ".ci/run").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
#: Targets that CI runs: a line of .ci/run, and where the command stands that it leads to.
CI_TARGETS = {
    "study": ("make twice", "tests/workflow/test_quick_twice.py", '["make", '),
    "test": ("make test", "Makefile", "python -m pytest"),
    "check": ("make check", "Makefile", "snakemake --lint"),
    "figures": ("make figures", "Makefile", "gradleak figures"),
    "report": ("make twice", "tests/workflow/test_quick_twice.py", '"report"'),
    "twice": ("make twice", "Makefile", "python -m pytest -m twice"),
    "clean": ("make test", "tests/test_make.py", 'make("clean")'),
}
TINY_MODEL = """--model convnet --width 1 --options '{"channels": 2, "stages": 1, "layers": 1}'"""


def as_typed(place: Place, *arguments: str) -> None:
    """A command of gradleak, on the files of the place."""
    place.gradleak(*arguments)


def parsed(place: Place, *arguments: str) -> None:
    """A command of gradleak of which a page names options without all that it needs: they exist."""
    name, *rest = arguments
    known = place.gradleak(name, *rest[:1] if rest and not rest[0].startswith("-") else [], "--help").out
    assert set(re.findall(r"--[a-z-]+", " ".join(rest))) <= set(re.findall(r"--[a-z-]+", known))


def one_cell(place: Place, *arguments: str) -> None:
    """`gradleak attack`: as typed, on the printed cell with a small model and few iterations."""
    cell = yaml.safe_load(gradleak("attack", "--example").out)
    cell |= {"model": {"name": "convnet", "options": {"channels": 2, "stages": 1, "layers": 1}}}
    cell["attack"]["descent"]["iterations"] = 3
    (place.folder / "cell.yaml").write_text(yaml.safe_dump(cell))
    place.gradleak(*arguments)
    assert {path.suffix for path in (place.folder / arguments[-1]).iterdir()} >= {".parquet", ".png"}


def one_audit(place: Place, *arguments: str) -> None:
    """`gradleak audit`: as typed, on a small model of this package; tests/audit runs the page's own example."""
    audit = {
        "model": {"name": "convnet", "options": {"channels": 2, "stages": 1, "layers": 1}},
        "images": {"dataset": "photos10", "resolution": 16},
        "attacks": [{"name": "gia-o", "descent": {"iterations": 2}}],
        "trials": 1,
    }
    (place.folder / "audit.yaml").write_text(yaml.safe_dump(audit))
    place.gradleak(*arguments)
    assert "<html" in (place.folder / arguments[-1] / "audit.html").read_text()


def audits_example(place: Place, *arguments: str) -> None:
    """A file that docs/audit.md prints: tests/audit/test_audit_docs.py runs it as it is typed."""
    assert f"{arguments[0]}`" in pages()["docs/audit.md"]
    assert "runpy.run_path" in (ROOT / "tests/audit/test_audit_docs.py").read_text(encoding="utf-8")


def planned_before(place: Place, *arguments: str) -> None:
    """`gradleak status`: as typed, after the study was planned."""
    study = arguments[arguments.index("--study") + 1] if "--study" in arguments else "quick"
    kept = place.folder / f"results/{study}/plan.json"
    before = kept.read_text() if kept.exists() else None
    place.gradleak("plan", "--study", study, "--out", str(kept))
    assert "reconstruct_batch" in place.gradleak(*arguments).out
    if before is not None:
        kept.write_text(before)


def reported(place: Place, *arguments: str) -> None:
    """`gradleak report`: as typed, after the claims, whose verdicts it shows."""
    study = arguments[arguments.index("--study-folder") + 1]
    read = ["--results", f"{study}/results.parquet", "--plan", f"{study}/plan.json", "--ledger", "mine.yaml"]
    place.gradleak("claims", *read, "--out", arguments[arguments.index("--figures") + 1])
    place.gradleak(*arguments)
    assert "later-worse" in (place.folder / arguments[-1]).read_text()


def snakemake(place: Place, *arguments: str) -> None:
    """Snakemake knows the options and finds the profile; study and settings are valid. Dry runs: tests/slurm, and
    tests/workflow, which run the pipeline on small studies.
    """
    from snakemake.cli import parse_args

    with contextlib.redirect_stderr(io.StringIO()):
        parser, found = parse_args(list(arguments))
    options = [word for word in arguments if word.startswith("--")]
    assert set(options) <= set(re.findall(r"--[a-z-]+", parser.format_help()))  # none is abbreviated
    given = dict(pair.split("=", 1) for pair in found.config or [])
    settings = {name: yaml.safe_load(value) for name, value in given.items()}
    study = Config.parse(yaml.safe_load((ROOT / "config.yaml").read_text()) | settings, "the command").study
    path = f"workflow/studies/{study}.yaml"
    assert (ROOT / path).exists() or any(path in text for text in pages().values())


def make(place: Place, *arguments: str) -> None:
    """A target of the Makefile; CI runs it, or the last command of its recipe has a rule."""
    target = next((word for word in arguments if "=" not in word), "study")
    assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), target
    recipe = subprocess.run(
        ["make", "--dry-run", "--always-make", "CORES=1", *arguments],
        cwd=place.folder,
        env={name: value for name, value in os.environ.items() if not name.startswith("MAKE")},  # of `make test`
        capture_output=True,
        text=True,
        check=False,
    )
    assert recipe.returncode == 0, recipe.stderr
    if target in CI_TARGETS:
        line, test, command = CI_TARGETS[target]
        assert line in CI.splitlines()
        assert command in (ROOT / test).read_text(encoding="utf-8")
    else:
        run(place, Command("Makefile", recipe.stdout.splitlines()[-1]))


def extend(place: Place, *arguments: str) -> None:
    """Too long to run: the Makefile takes these variables. tests/test_make.py says what is called, and when."""
    assert re.search(r"^extend:", MAKEFILE, re.MULTILINE)
    assert {word.split("=")[0] for word in arguments[1:]} <= set(re.findall(r"\b[A-Z]+\b", MAKEFILE))
    assert 'make("extend"' in (ROOT / "tests/test_make.py").read_text(encoding="utf-8")


def by_ci(place: Place, *arguments: str) -> None:
    """CI runs it: `make test` runs all tests, and the packages of a SLURM cluster are installed before."""
    assert "apt-get install" in CI
    assert "make test" in CI


def installed_by_ci(place: Place, *arguments: str) -> None:
    """CI installs the same packages."""
    (line,) = re.findall(r"apt-get install.*", CI)
    assert set(arguments[1:]) <= set(line.split())


def slurm_tests(place: Place, *arguments: str) -> None:
    """The marker is known, and CI runs these tests as part of all tests."""
    assert arguments == ("-m", "pytest", "-m", "slurm")
    assert re.search(r'^  "slurm: ', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert "pytest.mark.slurm" in (ROOT / "tests/slurm/test_slurm.py").read_text()
    by_ci(place)


def cluster_by_ci(place: Place, *arguments: str) -> None:
    """The script that starts and stops the cluster on which the tests in tests/slurm run in CI."""
    _, command, folder = arguments
    assert command in ("start", "stop")
    assert Path(folder).is_absolute()
    assert f".{command}()" in (ROOT / "tests/slurm/conftest.py").read_text()
    by_ci(place)


def verify(place: Place, *arguments: str) -> None:
    """The options exist, and the files of results/reference are what their checksums say. tests/archive runs it on a
    small archive with its data.
    """
    parsed(place, *arguments)
    place.gradleak("verify", str(ROOT / "results/reference"), "--cells", "0")


def shell(place: Place, *arguments: str) -> None:
    """A program of the system on files that the reader has then; if the first is one of the checkout, it exists."""
    assert all((ROOT / word).exists() for word in arguments[:1] if word.startswith("workflow/"))


def checked(place: Place, *arguments: str) -> None:
    """The checksums of results/reference hold."""
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=ROOT / "results/reference", check=True)


def small(more: str) -> Callable[..., None]:
    """A script as typed, with options that make it small behind those that are typed: the last of an option counts."""

    def script(place: Place, path: str, *arguments: str) -> None:
        assert place.script(path, *arguments, *words(more))

    return script


def against_itself(place: Place, path: str, *arguments: str) -> None:
    """Against another commit, in one short round. A checkout without git has none."""
    if not (ROOT / ".git").exists():
        pytest.skip("no git checkout")
    small("--base HEAD --rows densenet43-0.125-n1-t2 --rounds 1")(place, path, *arguments)


def in_bf16(place: Place, path: str, *arguments: str) -> None:
    """Where the CPU multiplies bfloat16."""
    try:
        check_precision("cpu", "bf16")
    except UserError as error:
        pytest.skip(str(error))
    options = "--dataset photos10 --config config.yaml --case convnet-n4 --trials 2 --iterations 2"
    try:
        small(options)(place, path, *arguments)
    finally:
        prepare_device("cpu", 1, "float32")


def of_reference(place: Place, path: str, *arguments: str) -> None:
    """Of a finished study: the results that are there."""
    assert place.script(path, str(ROOT / "results/reference"))


def peer(place: Place, path: str) -> None:
    """Against the peer framework, which has an environment of its own: it can be imported and has an entry."""
    found: dict[str, object] = {}
    printed(lambda: found.update(runpy.run_path(str(ROOT / path), run_name="imported")), path)
    assert callable(found["main"])


def theory(place: Place, *arguments: str) -> None:
    """Too long to run once more: tests/theory/test_theory_outputs.py runs the same command with the same option."""
    text = (ROOT / "tests/theory/test_theory_outputs.py").read_text()
    assert re.search(rf'invoke\({arguments[0]}, \["{arguments[1]}", ', text)
    assert len(arguments) == 3


def stand_in(place: Place, path: str) -> None:
    """A program of the system on a file that the reader downloads."""
    file = place.folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"weights")
    subprocess.run(["sha256sum", path], check=True, capture_output=True)


#: Pattern of the whole command -> what runs it, with all words after the program.
RULES: dict[str, Callable[..., None]] = {
    r"gradleak --help": as_typed,
    r"gradleak attack --example > cell\.yaml": as_typed,
    r"gradleak attack cell\.yaml --out attack/": one_cell,
    r"gradleak audit --example > audit\.yaml": as_typed,
    r"gradleak audit audit\.yaml --out audit/?": one_audit,
    r"python train\.py": audits_example,
    r"gradleak tune workflow/searches/\S+ --out \S+( --config CONFIG)?": as_typed,
    r"gradleak metrics ref\.png rec\.png": as_typed,
    r"gradleak data show photos10 --out sheet\.png": as_typed,
    r"gradleak plan( --study \w+)?": as_typed,
    r"gradleak plan --study reference --reuse results/reference.*": parsed,  # tests/archive: on a small one
    r"gradleak plan --calibrate": parsed,  # times the machine for some seconds
    r"gradleak status( --study \w+)?": planned_before,
    r"gradleak summary( --study \w+)?": as_typed,
    r"gradleak claims .*": as_typed,
    r"gradleak report .*": reported,
    r"gradleak survey --output \S+": as_typed,
    r"gradleak theory --output \S+": theory,
    r"gradleak verify.*": verify,
    r"gradleak archive .*": parsed,
    r"gradleak [a-z]+( show| list)?": parsed,  # the name of a command in a sentence
    r"snakemake( .*)?": snakemake,
    r"make extend( [A-Z]+=\S+)*": extend,
    r"make( [a-z-]+)?( [A-Z]+=\S+)?": make,
    r"python -m pytest -m slurm": slurm_tests,
    r"python tests/slurm/cluster\.py (start|stop) \S+": cluster_by_ci,
    r"python tests/benchmarks/igsa\.py.*": small(
        f"{TINY_MODEL} --dataset photos10 --config config.yaml --samples 3 --radii 1e-3"
    ),
    r"python tests/benchmarks/post_processing\.py.*": small("--model convnet --bounds 1 --multipliers 0.1"),
    r"python tests/benchmarks/rounds\.py.*": small(
        "--device cpu --models convnet --checkpoints 2 --ways vmap --iterations 1 --pairs 1"
    ),
    r"python tests/benchmarks/local_steps\.py.*": small(
        "--dataset photos10 --config config.yaml --models convnet --rates 0.1 --steps 2 --trials 1 --samples 1"
    ),
    r"python tests/benchmarks/engine\.py.*": against_itself,
    r"python tests/benchmarks/convolutions\.py.*": small("--shapes 2 --precision float32"),
    r"python tests/benchmarks/precision\.py.*": in_bf16,
    r"python tests/benchmarks/whitening\.py.*": small("--dataset photos10 --case n1 --trials 2 --iterations 2"),
    r"python tests/benchmarks/estimates\.py results/quick": of_reference,
    r"python tests/benchmarks/gpu\.py.*": small("--device cpu --small --steps capture"),
    r"python tests/benchmarks/against_breaching\.py": peer,
    r'eval "\$\(.*\)"': lambda place, text: run(place, Command("eval", text[2:-1])),
    r"apt-get install .*": installed_by_ci,
    r"cp \S+ \S+": shell,
    r"sha256sum --check": checked,
    r"sha256sum \S+": stand_in,
}


def rule_of(text: str) -> Callable[..., None] | None:
    return next((rule for pattern, rule in RULES.items() if re.fullmatch(pattern, text)), None)


def run(place: Place, command: Command) -> None:
    rule = rule_of(command.text)
    assert rule is not None, f"{command}: no rule of tests/docs/rules.py covers it"
    rule(place, *words(command.text)[1:])
