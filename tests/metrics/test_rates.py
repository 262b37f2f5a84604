import pandas as pd
import pytest

from gradleak.metrics.rates import batch_reconstruction_rate, leaked, worst_sample_reconstruction_rate


def frame(cells):
    """Rows from {cell: {image: one flag per restart}}: 1 leaks, 0 does not."""
    rows = [
        {"cell_id": cell, "restart": restart, "image": image, "psnr": 10 + 15 * flag, "lpips": 0.05}
        for cell, images in cells.items()
        for image, flags in images.items()
        for restart, flag in enumerate(flags)
    ]
    return pd.DataFrame(rows)


def test_indicator_needs_both_and_is_strict():
    psnr = pd.Series([18.1, 18.0, 30.0, 30.0])
    lpips = pd.Series([0.09, 0.05, 0.1, 0.2])
    assert leaked(psnr, lpips).tolist() == [True, False, False, False]
    assert leaked(psnr, lpips, tau1=17, tau2=0.15).tolist() == [True, True, True, False]


def test_rates_of_hand_made_cells():
    data = frame({"b": {7: [1, 0, 0, 0], 8: [1, 1, 1, 0], 9: [0, 0, 0, 0]}, "a": {3: [0, 1, 0, 1]}})
    brr, wsrr = batch_reconstruction_rate(data), worst_sample_reconstruction_rate(data)
    assert brr.to_dict() == pytest.approx({"a": 0.5, "b": 4 / 12})
    assert wsrr.to_dict() == pytest.approx({"a": 0.5, "b": 0.75})
    shuffled = data.sample(frac=1, random_state=0)
    assert worst_sample_reconstruction_rate(shuffled).to_dict() == wsrr.to_dict()


def test_one_success_in_a_thousand_is_the_published_last_column():
    # Table 5, GIA-L at N = 100 with 10 initialisations: BRR 0.10 %, WSRR 8.75 %.
    data = frame({"x": {image: [int(image == restart == 4) for restart in range(10)] for image in range(100)}})
    assert batch_reconstruction_rate(data)["x"] == pytest.approx(0.001)
    assert worst_sample_reconstruction_rate(data)["x"] == pytest.approx(0.1)


def test_thresholds_are_passed_on():
    data = frame({"x": {0: [1], 1: [0]}})
    assert batch_reconstruction_rate(data, tau1=5)["x"] == 1
    assert worst_sample_reconstruction_rate(data, tau2=0.01)["x"] == 0


@pytest.mark.parametrize("rate", [batch_reconstruction_rate, worst_sample_reconstruction_rate])
def test_incomplete_frames_are_refused(rate):
    data = frame({"x": {0: [1, 0], 1: [0, 0]}})
    with pytest.raises(ValueError, match="cell x lacks an image"):
        rate(data.drop(index=1))
    with pytest.raises(ValueError, match="more than once"):
        rate(pd.concat([data, data.tail(1)]))
    with pytest.raises(ValueError, match="missing"):
        rate(data.assign(lpips=float("nan")))
