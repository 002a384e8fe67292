"""Train the ultrasound classifier: `python -m workers train us-classifier --data DIR --out BUNDLE`.

DIR holds `index.csv`, pictures and outlines (`us_read_cases.py`). The step with the best AUC on the validation part,
the mean of its sources, ships; the test part is not looked at.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from workers.models.us_networks import LESION_CLASSIFIER
from workers.training.fit import Validation, fit
from workers.training.show_progress import start_log
from workers.training.us_draw_samples import draw_for_classifier, sort_for_classifier
from workers.training.us_judge_networks import judge_classifier
from workers.training.us_load_cases import add_us_options, load_cases


def cross_entropy(smoothing: float) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Return the loss of logits (n, 1) and classes (n,), with labels smoothed (Szegedy et al. 2016)."""

    def loss_of(logits: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        targets = classes[:, None].to(logits.dtype) * (1 - smoothing) + smoothing / 2
        return torch.nn.functional.binary_cross_entropy_with_logits(logits, targets)

    return loss_of


def build_parser(program: str, description: str, checkpoint: Path | None) -> argparse.ArgumentParser:
    """Return the command line of whatever trains classifiers; `checkpoint` as in `add_us_options`."""
    parser = argparse.ArgumentParser(
        prog=program, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_us_options(parser, name=LESION_CLASSIFIER, checkpoint=checkpoint, healthy_share=0.15)
    parser.add_argument("--smoothing", type=float, default=0.1, help="of the labels, 0 to 1; default %(default)s")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Read the command line and train; 0 when the bundle is written."""
    checkpoint = Path("cache/us_classifier.ckpt")
    options = build_parser("python -m workers train us-classifier", __doc__ or "", checkpoint).parse_args(argv)
    start_log()
    torch.set_num_threads(options.threads)
    cases = load_cases(options.data, is_fixed=options.fixed)
    urns = sort_for_classifier(cases.train)
    fit(
        LESION_CLASSIFIER,
        lambda rng: draw_for_classifier(urns, rng, side_px=options.side, healthy_share=options.healthy_share),
        cross_entropy(options.smoothing),
        options,
        cases=cases.digest,
        validation=None
        if options.fixed
        else Validation(
            judge=judge_classifier(cases.validation, options.side),
            score="auc",
            every_steps=options.validate_every or cases.steps_of_an_epoch(options.batch),
        ),
        about=cases.describe(),
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
