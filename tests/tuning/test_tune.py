"""A whole search with a real attack: what wins, what is recorded, resuming, and images that nobody else uses."""

import copy
import json

import pytest
import torch
import yaml
from core_cases import gradleak
from tuning_cases import SEARCH, search_of

from gradleak.data.opening import open_dataset
from gradleak.data.roles import PublicImages, TuningImages
from gradleak.errors import UserError
from gradleak.stages.session import Session, silent
from gradleak.study.config import Config
from gradleak.tuning.evaluation import Evaluator, tuning_clients
from gradleak.tuning.record import tune

GOOD, BAD, BROKEN = 0.1, 1e-5, 1e38


@pytest.fixture
def config(cache):
    return Config.parse({"device": "cpu", "cache": str(cache)}, "here")


def run(folder, config, progress=silent, **changes):
    out = folder / "found.yaml"
    words = tune(search_of(folder, **changes), config, out, folder / "auxiliary", Session(progress=progress))
    return yaml.safe_load(out.read_text()), words


def test_the_better_rate_wins_and_all_evidence_is_recorded(tmp_path, cache):
    (tmp_path / "search.yaml").write_text(yaml.safe_dump(SEARCH, sort_keys=False))
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"device": "cpu", "cache": str(cache)}))
    out = tmp_path / "found.yaml"
    ran = gradleak("tune", tmp_path / "search.yaml", "--out", out, "--config", tmp_path / "config.yaml")
    assert ran.code == 0, ran.err
    assert f"descent.lr {GOOD}" in ran.out
    content = yaml.safe_load(out.read_text())
    assert list(content) == ["attack", "search", "result", "candidates", "provenance"]
    assert content["attack"].keys() == {"name", "priors", "descent"}
    assert content["attack"]["name"] == "gia-o"
    assert content["attack"]["descent"] == {"lr": GOOD}
    assert content["search"]["cell"] == SEARCH["cell"]
    assert content["search"]["keep"] == 0.5

    rows = content["candidates"]
    assert [row["candidate"] for row in rows] == [0, 1, 2, 3]
    assert rows[0]["settings"] == {"descent.lr": BAD, "priors.tv": 0.001}
    assert sorted(row["status"] for row in rows) == ["complete", "complete", "pruned", "pruned"]
    assert [len(row["lpips"]) for row in rows] == [2 if row["status"] == "complete" else 1 for row in rows]
    first = {lr: [row["lpips"][0] for row in rows if row["settings"]["descent.lr"] == lr] for lr in (GOOD, BAD)}
    assert max(first[GOOD]) < min(first[BAD])

    winner, (start, own) = content["result"]["winner"], content["result"]["start"]
    best = rows[winner["candidate"]]
    assert winner["search_lpips"] == best["lpips"][-1] == min(r["lpips"][-1] for r in rows if r["status"] == "complete")
    assert content["attack"]["priors"] == {"tv": best["settings"]["priors.tv"]}
    assert [start["candidate"], own["candidate"]] == [0, 1]
    assert winner["validation_lpips"]["n"] == start["validation_lpips"]["n"] == 4
    assert winner["validation_lpips"]["mean"] < start["validation_lpips"]["mean"]
    assert winner["validation_lpips"]["mean"] != winner["search_lpips"]
    assert content["provenance"].keys() >= {"device", "python", "versions", "commit", "data", "seconds", "finished"}
    assert "optuna" in content["provenance"]["versions"]
    assert not (tmp_path / "found.yaml.state.json").exists()


def test_a_killed_search_goes_on_and_ends_with_the_same_result(tmp_path, config):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir(), broken.mkdir()
    expected, words = run(whole, config, generations=2)
    steps = []

    def killed(label, total):
        steps.append(label.rsplit(",", 1)[0])
        if len(steps) == 4:
            raise KeyboardInterrupt
        return lambda iterations: None

    with pytest.raises(KeyboardInterrupt):
        run(broken, config, killed, generations=2)
    assert not (broken / "found.yaml").exists()
    kept = json.loads((broken / "found.yaml.state.json").read_text())
    assert list(kept["steps"]) == ["generation 1, rung 1", "generation 1, rung 2", "generation 2, rung 1"]
    with pytest.raises(UserError, match=r"state\.json: belongs to another search"):
        run(broken, config, generations=2, seed=9)
    found, again = run(broken, config, killed, generations=2)
    assert steps[3:] == ["generation 2, rung 2", "generation 2, rung 2", "validation"]
    assert again.split(" -> ")[0] == words.split(" -> ")[0]
    assert found.pop("provenance").keys() == expected.pop("provenance").keys()
    assert found == expected


def test_a_damaged_state_is_one_clear_line(tmp_path, config):
    (tmp_path / "found.yaml.state.json").write_text("{")
    with pytest.raises(UserError, match="not the state of a search"):
        run(tmp_path, config)


def test_a_failing_candidate_neither_ends_the_search_nor_harms_its_group(tmp_path, config):
    attack = copy.deepcopy(SEARCH["cell"]["attack"])
    attack["descent"]["box"] = False
    space = {"descent.lr": {"choice": [GOOD, BROKEN]}}
    changes = {"cell__attack": attack, "space": space, "start": [{"descent.lr": BROKEN}, {}], "candidates": 2}
    content, _ = run(tmp_path, config, **changes)
    failed, fine = content["candidates"]
    assert (failed["status"], failed["lpips"]) == ("failed", [None])
    assert (fine["status"], len(fine["lpips"])) == ("complete", 2)
    assert content["attack"]["descent"]["lr"] == GOOD
    assert content["result"]["start"][0]["validation_lpips"] is None
    assert content["result"]["start"][0]["search_lpips"] is None
    alone, _ = run(tmp_path, config, **changes | {"start": [{}], "space": {"descent.lr": {"choice": [GOOD]}}})
    assert alone["candidates"][0]["lpips"] == pytest.approx(fine["lpips"], abs=1e-5)


def test_any_other_error_ends_the_search(tmp_path, config, monkeypatch):
    from gradleak.attacks.base import ATTACKS

    def run_out(attack, trials, context):
        raise RuntimeError("something else")

    monkeypatch.setattr(ATTACKS["gia-o"], "run", run_out)
    with pytest.raises(RuntimeError, match="something else"):
        run(tmp_path, config)


def test_the_images_are_for_tuning_only_and_those_of_the_validation_are_fresh(tmp_path, config):
    search = search_of(tmp_path, trials={"count": 3, "first": 1})
    clients = tuning_clients(search, config, Session())
    used = [image.numpy().tobytes() for client in clients for image in client.images]
    assert len(used) == len(set(used)) == 12
    dataset = open_dataset("photos10", 16, {})
    tuning, public = TuningImages(dataset), PublicImages(dataset)
    assert used == [image.numpy().tobytes() for image in tuning.images(range(1, 13))]
    others = torch.cat([dataset.images("test", range(dataset.size("test"))), public.images(range(public.size))])
    assert not set(used) & {image.numpy().tobytes() for image in others}
    assert len({client.seed for client in clients}) == 6


def test_the_adversary_sees_no_more_than_the_cell_grants(tmp_path, config):
    client = tuning_clients(search_of(tmp_path), config, Session())[0]
    assert client.update.training is None
    assert client.update.labels is not None
    granted = tuning_clients(search_of(tmp_path, cell__knowledge_level=3), config, Session())[0]
    assert granted.update.training is not None
    attack = SEARCH["cell"]["attack"] | {"labels": "inferred"}
    assert tuning_clients(search_of(tmp_path, cell__attack=attack), config, Session())[0].update.labels is None


def test_too_few_tuning_images_are_a_clear_line(tmp_path, config):
    with pytest.raises(UserError, match=r"trials: 2 x 99 clients .* of 2 images from 5 on need 401 tuning images"):
        tuning_clients(search_of(tmp_path, trials={"count": 99, "first": 5}), config, Session())


def test_scores_are_those_of_the_restart_with_the_lowest_objective(tmp_path, config, monkeypatch):
    from gradleak.attacks.base import ATTACKS, Reconstruction

    search = search_of(tmp_path)
    clients = tuning_clients(search, config, Session())[:1]
    truth = clients[0].images

    def run_known(attack, trials, context):
        images = torch.stack([torch.zeros_like(truth), truth.flip(0)])[None]  # in another order, too
        return Reconstruction(images, torch.tensor([[2.0, 1.0]]), torch.ones(1, 2))

    monkeypatch.setattr(ATTACKS["gia-o"], "run", run_known)
    (scores,) = Evaluator(config, tmp_path, Session())({7: search.attack({})}, clients, "x").values()
    assert scores == pytest.approx([0.0, 0.0], abs=1e-6)
