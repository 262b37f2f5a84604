"""What an audit runs, keeps and says."""

import sys

import pytest
import torch
from audit_cases import settings
from core_cases import gradleak

from gradleak.audit import run
from gradleak.audit.spec import AuditSpec
from gradleak.audit.write import write_audit
from gradleak.stages.session import Session
from gradleak.study.config import Config

QSGD, TOP = {"name": "qsgd", "bits": 2}, {"name": "top_k", "ratio": 0.9}
KNOWING = [
    {"title": "plain", "name": "gia-o", "descent": {"iterations": 2}},
    {"title": "knowing", "name": "gia-o", "adaptive": True, "knowledge": "wst", "descent": {"iterations": 2}},
    {"title": "prior", "name": "gia-o", "priors": {"bn": 0.1}, "descent": {"iterations": 2}},
]


def files(folder):
    return {
        path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and "provenance" not in path.name
    }


def test_equal_audits_give_equal_bytes_and_a_second_call_attacks_nothing(audited, folder, monkeypatch):
    rows = audited("a", defenses=["none", QSGD])
    audited("b", defenses=["none", QSGD])
    assert files(folder / "a") == files(folder / "b")
    assert len(rows) == 4
    monkeypatch.setattr(run, "attack_family", None)
    before = files(folder / "a")
    (folder / "a" / "audit.html").unlink()
    audited("a", defenses=["none", QSGD])
    assert files(folder / "a") == before
    with pytest.raises(TypeError):  # what is new is attacked
        audited("a", defenses=["none", QSGD, TOP])
    (folder / "own_net.py").write_text((folder / "own_net.py").read_text().replace("sigmoid", "tanh"))
    monkeypatch.delitem(sys.modules, "own_net")
    with pytest.raises(TypeError):  # the same weights, another function
        audited("a", defenses=["none", QSGD])


def test_the_reported_level_is_the_attacks(audited, folder):
    rows = audited(client={"samples": 2, "batch_size": 1}, attacks=KNOWING, defenses=[QSGD, TOP])
    levels = rows.groupby("audit_attack")["attack_level"].unique().map(list).to_dict()
    assert levels == {"plain": [0], "knowing": [3], "prior": [4]}
    spec = AuditSpec.model_validate(settings(attacks=KNOWING))
    assert [attack.level for attack in spec.attacks] == [0, 3, 4]
    page = (folder / "out" / "audit.html").read_text()
    assert "Level 0: plain<" in page
    assert "Level 3: knowing<" in page
    assert "Level 4: prior<" in page
    assert "how the client trains" in page
    assert set(rows["audit_round"]) == {"0"}


def test_what_changes_nothing_is_not_run_twice(audited, folder):
    rows = audited(attacks=KNOWING[:2], defenses=[QSGD, TOP])
    runs = set(zip(rows["audit_defense"], rows["audit_attack"], strict=True))
    quantized, sparse = "Quantization 2-bit", "Sparsification 0.9"
    assert runs == {(quantized, "plain"), (sparse, "plain"), (sparse, "knowing")}
    assert (folder / "out" / "audit.html").read_text().count("as plain: how they differ") == 1


def test_how_many_inferred_labels_are_right_is_said(audited, folder, monkeypatch):
    attack = {"name": "gia-o", "labels": "inferred", "descent": {"iterations": 2}}
    rows = audited("right", attacks=[attack], client={"samples": 2})
    assert set(rows["labels_right"]) == {1.0}
    assert "of the labels" not in (folder / "right/audit.html").read_text()
    monkeypatch.setattr(run, "infer_labels", lambda update: torch.tensor([5, update.num_classes - 1]))
    rows = audited("wrong", attacks=[attack], client={"samples": 2}, trials=3)
    share = rows["labels_right"].mean()
    assert share < 1
    assert (
        f"round 0, none: {share:.0%} of the labels that attacks infer are right"
        in (folder / "wrong/audit.html").read_text()
    )
    assert "labels_right" not in audited("known")


def test_noise_makes_it_harder_and_images_are_the_same(audited):
    noise = {"name": "noise", "multiplier": 1.0}
    attack = {"name": "gia-o", "priors": {"tv": 0.01}, "descent": {"iterations": 80, "lr": 0.3}}
    rows = audited(defenses=["none", noise], attacks=[attack], trials=3)
    by_defense = rows.groupby("audit_defense", sort=False)
    lpips = by_defense["lpips"].mean()
    assert lpips["none"] < 0.2
    assert lpips["Perturbation 1"] > lpips["none"] + 0.1
    drawn = [list(part["image"]) for _, part in by_defense]
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) == 3


def test_own_images_in_a_folder_and_in_the_order_of_the_model(audited, folder):
    from gradleak.data.opening import open_dataset
    from gradleak.data.pictures import to_pil

    photos = open_dataset("photos10", 16, {})
    for index, name in enumerate(["zebra", "ant", "zebra", "cat"]):
        path = folder / "photos" / name / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        to_pil(photos.images("test", [index])[0]).save(path)
    classes = ["zebra", "cat", "ant", *"defghij"]
    rows = audited(
        images={"path": folder / "photos", "resolution": 16, "classes": classes}, client={"samples": 2}, trials=2
    )
    assert sorted(rows["label"]) == [0, 0, 1, 2]
    assert sorted(rows["image"]) == [0, 1, 2, 3]
    assert set(rows["dataset_name"]) == {"photos"}


def test_the_page_and_the_results_say_how_the_client_trains(audited, folder):
    client = {"samples": 2, "batch_size": 1, "shuffle": True, "momentum": 0.9, "weight_decay": 0.01}
    rows = audited(client=client, attacks=KNOWING[:2])
    assert {key: rows[f"client_{key}"].unique().tolist() for key in client} == {k: [v] for k, v in client.items()}
    text = "shares 2 local steps of SGD with momentum 0.9 and weight decay 0.01 on shuffled mini-batches (FedAvg)"
    assert text in (folder / "out" / "audit.html").read_text()
    adam = audited("adam", client={"samples": 2, "batch_size": 1, "optimizer": "adam"}, attacks=KNOWING[:2])
    assert adam["objective"].notna().all()
    assert "shares 2 local steps of Adam (FedAvg)" in (folder / "adam" / "audit.html").read_text()


def test_the_printed_example_is_a_valid_audit(folder):
    import yaml

    spec = AuditSpec.model_validate(yaml.safe_load(gradleak("audit", "--example").out))
    default = AuditSpec.model_validate({"model": {"import": "a:b"}, "images": {"dataset": "photos10"}}).attacks
    assert [attack.title for attack in spec.attacks] == [attack.title for attack in default]
    assert [attack.level for attack in spec.attacks] == [attack.level for attack in default] == [1, 1, 1, 3]
    for ours, printed in zip(default, spec.attacks, strict=True):
        fewer = ours.config.descent.model_copy(update={"iterations": 400})
        assert printed.config == ours.config.model_copy(update={"descent": fewer})
    assert [attack.config.whitening is None for attack in default] == [True, True, False, False]
    assert spec.stand_in(spec.attacks[3], ()) is spec.attacks[2]  # nothing to know
    multi = AuditSpec.model_validate(settings(attacks=None, client={"samples": 2, "batch_size": 1}))
    assert multi.attacks[-1].config.knowledge == "wst"
    between = next(attack for attack in multi.attacks if attack.config.surrogate is not None)
    assert between.level == 1
    assert between.config.whitening is not None
    assert multi.stand_in(between, ()) is between


def test_an_attack_without_a_title_says_what_it_does():
    whitening, surrogate = {"power": 0.1}, {"alpha": 0.5}
    ways = [{}, {"whitening": whitening}, {"whitening": whitening, "surrogate": surrogate, "adaptive": True}]
    spec = AuditSpec.model_validate(settings(attacks=[{"name": "gia-o", **way} for way in ways]))
    assert [attack.title for attack in spec.attacks] == [
        "GIA-O",
        "GIA-O, whitened",
        "GIA-O, surrogate, whitened, knows post-processing",
    ]


def test_iterations_of_all_attacks_are_counted(folder, cache):
    """Each run counts as many iterations as were announced, on the fast way and on the general one."""
    descent = {"iterations": 3}
    whitened = {"name": "gia-o", "whitening": {}, "descent": descent}
    attacks = [{"name": "gia-o", "descent": descent}, whitened, {**whitened, "adaptive": True, "title": "adaptive"}]
    for kind in ("plain", "twice"):
        announced, counted = [], []

        def progress(label, total, announced=announced, counted=counted):
            announced.append(total)
            return counted.append

        model = {"import": "own_net:Net", "options": {"kind": kind}}
        spec = AuditSpec.model_validate(settings(model=model, attacks=attacks, defenses=["none", TOP]))
        write_audit(spec, folder, Config(cache=cache, device="cpu"), folder / kind, Session(progress=progress))
        assert announced == [5 * 3]  # the adaptive attack is another one after sparsification only
        assert sum(counted) == 5 * 3


def test_a_surrogate_point_is_run_only_where_there_is_a_way_to_the_model_received(audited):
    attacks = [
        {"title": "plain", "name": "gia-o", "descent": {"iterations": 20}},
        {"title": "between", "name": "gia-o", "surrogate": {"alpha": "learned"}, "descent": {"iterations": 20}},
    ]
    rows = audited(attacks=attacks)
    assert set(rows["audit_attack"]) == {"plain"}
    rows = audited("steps", attacks=attacks, client={"samples": 1, "epochs": 4, "lr": 0.1})
    assert set(rows["audit_attack"]) == {"plain", "between"}
    points = rows.set_index("audit_attack")["surrogate_alpha"]
    assert points["between"].between(0, 1).all()
    assert (points["between"] != 0.5).any()  # where it began
    assert points["plain"].isna().all()
    assert rows["update_cosine"].between(-1, 1).all()
    assert (rows["client_loss_after"] < rows["client_loss_before"]).all()
