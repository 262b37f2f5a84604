"""What each defense leaves of an update: direction, length, bytes, epsilon; and seconds of one thread for all that.

python tests/benchmarks/post_processing.py --model resnet18 --bounds 0.5 0.01 --multipliers 0.05 0.25
"""

import argparse
import time
from typing import Any

import torch
from pydantic import TypeAdapter

from gradleak.data.opening import open_dataset
from gradleak.federated.client import local_update
from gradleak.models.base import build_model, set_bn_mode
from gradleak.post_processing.chain import Chain, apply_chain, strength
from gradleak.post_processing.privacy import local_epsilon
from gradleak.post_processing.vectors import flat
from gradleak.specs import ClientSpec, ModelSpec

SAMPLES = 10  # of the victim in Appx. B.III; one mini-batch, one epoch


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--bounds", type=float, nargs="*", default=[0.5, 0.01])
    parser.add_argument("--multipliers", type=float, nargs="*", default=[0.05, 0.25])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    update = victim_update(arguments.model)
    before = flat(update)
    print(f"{arguments.model}: {len(before):,} numbers, norm {before.norm():.3g}, {4 * len(before):,} bytes\n")
    print("| post-processing | strength | cosine | norm | bytes | share of fp32 | epsilon | seconds |")
    print("|---|---|---|---|---|---|---|---|")
    for steps in settings(arguments.bounds, arguments.multipliers):
        chain = TypeAdapter(Chain).validate_python(steps)
        begun = time.process_time()
        sent = apply_chain(chain, update, torch.Generator().manual_seed(0))
        bits, seconds = sent.bits, time.process_time() - begun
        after = flat(sent.update)
        cosine = torch.nn.functional.cosine_similarity(before.double(), after.double(), dim=0)
        epsilon = local_epsilon(chain)
        print(
            f"| {described(steps)} | {strength(chain)} | {cosine:.3f} | {after.norm():.3g} | {bits // 8:,} "
            f"| {bits / 32 / len(before):.2%} | {'none' if epsilon is None else f'{epsilon:.4g}'} | {seconds:.2f} |"
        )


def victim_update(name: str) -> dict[str, torch.Tensor]:
    """The update of ten photographs under the untrained model, BN in evaluation mode."""
    data = open_dataset("photos10", 32, {})
    options: dict[str, Any] = {"stem": "cifar"} if name.startswith("resnet") else {}
    model = build_model(ModelSpec(name=name, options=options), 10, 32, data.mean, data.std)
    set_bn_mode(model, "eval")
    victims = range(SAMPLES)
    return local_update(model, data.images("test", victims), data.labels("test", victims), ClientSpec(samples=SAMPLES))


def settings(bounds: list[float], multipliers: list[float]) -> list[list[dict[str, Any]]]:
    """Chains of Appx. C.III, and variants of QSGD."""
    qsgd = [[{"name": "qsgd", "bits": bits}] for bits in (1, 2, 3, 4)]
    variants = [[{"name": "qsgd", "bits": 2, **more}] for more in ({"norm": "max"}, {"bucket": None})]
    sparse = [[{"name": "top_k", "ratio": ratio}] for ratio in (0.6, 0.7, 0.8, 0.9, 0.95)]
    clips = [{"name": "clip", "bound": bound} for bound in bounds]
    noises = [{"name": "noise", "multiplier": multiplier} for multiplier in multipliers]
    scaled = [[clip, {**noise, "scale": clip["bound"]}] for clip in clips for noise in noises]
    both = [[clip, noise] for clip in clips for noise in noises]
    singles = [[step] for step in [*clips, *noises]]
    return [[], *qsgd, *variants, [{"name": "signsgd"}], *sparse, *singles, *both, *scaled]


def described(steps: list[dict[str, Any]]) -> str:
    """Names, with the settings that the strength does not tell."""
    shown = ("norm", "bucket", "scale")
    parts = []
    for step in steps:
        more = ", ".join(f"{key} {step[key]}" for key in shown if key in step)
        parts.append(f"`{step['name']}`" + (f" ({more})" if more else ""))
    return ", ".join(parts) or "none"


if __name__ == "__main__":
    main()
