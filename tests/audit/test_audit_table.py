"""The verdict follows its rule, and says which number it is about."""

import pandas as pd
import pytest
from audit_cases import settings

from gradleak.audit.spec import AuditSpec
from gradleak.audit.table import entries, verdicts
from gradleak.audit.words import verdict_words

ATTACKS = [{"title": "A", "name": "gia-o"}, {"title": "B", "name": "gia-o", "priors": {"tv": 1.0}}]
NONE, QSGD = "none", "Quantization 2-bit"


def judged(values):
    """Verdicts on invented LPIPS by defense, attack and round; one image per trial."""
    rows = [
        {
            "audit_defense": defense,
            "audit_attack": attack,
            "audit_round": number,
            "attack_level": 1,
            "trial": trial,
            "chosen": chosen,
            "lpips": value if chosen else 0.0,
            "psnr": 20.0,
        }
        for (defense, attack, number), lpips in values.items()
        for trial, value in enumerate(lpips)
        for chosen in (True, False)  # a restart that the objective did not pick, and that would change every verdict
    ]
    spec = AuditSpec.model_validate(settings(defenses=["none", {"name": "qsgd", "bits": 2}], attacks=ATTACKS))
    frame = pd.DataFrame(rows)
    return {verdict.defense: verdict for verdict in verdicts(spec, entries(frame), frame)}


def every(none_a, none_b, qsgd_a, qsgd_b):
    return {(NONE, "A", "0"): none_a, (NONE, "B", "0"): none_b, (QSGD, "A", "0"): qsgd_a, (QSGD, "B", "0"): qsgd_b}


def test_the_best_attack_decides():
    found = judged(every([0.5] * 5, [0.02, 0.04, 0.06, 0.08, 0.1], [0.3] * 5, [0.2] * 5))
    assert (found[NONE].outcome, found[NONE].best.attack) == ("leaks", "B")
    assert found[NONE].best.recognised == 4
    assert found[NONE].best.brr == pytest.approx(0.8)
    assert (found[QSGD].outcome, found[QSGD].best.attack) == ("no leak found", "B")
    assert found[QSGD].gain[0] == pytest.approx(0.14)
    low, high = found[QSGD].gain[1:]
    assert 0.1 < low < 0.14 < high < 0.18
    assert "This is no proof." in verdict_words(found[QSGD])
    assert "no proof" not in verdict_words(found[NONE])


def test_one_image_of_any_attack_is_a_leak_in_part():
    found = judged(every([0.01] * 5, [0.01] * 5, [0.2] * 5, [0.09, 0.5, 0.5, 0.5, 0.5]))
    assert found[QSGD].outcome == "leaks in part"
    assert (found[QSGD].best.attack, found[QSGD].worst.attack) == ("A", "B")
    assert "Closest image 0.090 (B (level 1), round 0)" in verdict_words(found[QSGD])


def test_the_riskiest_round_decides():
    values = every([0.3] * 5, [0.3] * 5, [0.3] * 5, [0.3] * 5)
    found = judged(values | {(NONE, "A", "9"): [0.05] * 5})
    assert (found[NONE].outcome, found[NONE].best.round) == ("leaks", "9")


def test_few_trials_have_no_interval():
    found = judged(every([0.3] * 4, [0.3] * 4, [0.4] * 4, [0.4] * 4))
    assert "[" not in verdict_words(found[QSGD])
    assert "+0.100" in verdict_words(found[QSGD])
