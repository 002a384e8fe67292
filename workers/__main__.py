"""`python -m workers QUEUE`: one worker for one queue; other words train, judge and verify its models."""

import argparse
import importlib
import os
import signal
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Final

from screener.config import CONFIG_VARIABLE
from screener.journey import Queue
from screener.outcomes import Outcome

WATCH_SECONDS = 1.0
STOP_SECONDS = 100.0
"""Less than what deploy/ gives a worker to stop before it is killed."""

TRAIN: Final = {
    "ct-localizer": "workers.training.train_localizer",
    "ct-segmenter": "workers.training.train_segmenter",
    "ct-candidates": "workers.training.train_candidates",
    "us-segmenter": "workers.training.us_train_segmenter",
    "us-classifier": "workers.training.us_train_classifier",
    "us-fusion": "workers.training.fusion.train_fusion",
    "us-nomogram": "workers.training.nomogram",
    "us-clinical": "workers.training.clinical.train_clinical",
}
COMMANDS: Final = {
    "evaluate": "workers.training.evaluate",
    "synthesize": "workers.training.synthesize_cases",
    "bundle": "workers.training.check_bundle",
}
"""Word to the module whose `main(argv)` takes the words after it."""
_HELP: Final = """\
other commands:
  train ct-localizer|ct-segmenter|ct-candidates   train a model on folders of cases
  train us-segmenter|us-classifier                train an ultrasound network on folders of cases
  train us-fusion                                 fit radiomics, deep features and the image model's score together
  train us-nomogram CASES --out FILE              fit the weights of a reader's findings on your own cases
  train us-clinical CASES --out FILE --report DIR compare models of a reader's findings, with and without the image
  evaluate ct|us CASES --report DIR               judge the models by cases and write a report
  synthesize DATA OUT                             put synthetic masses into cases
  bundle check DIR                                verify a model bundle
  bundle record DIR SUMMARY_JSON                  keep an evaluation's figures with the weights that it judged
  bundle average OUT DIR DIR                      write a bundle that answers with the mean of several CT networks
Each has --help, and needs the training extra.
"""
_NO_TRAINING: Final = """\
This command needs the packages of the training extra, and {name} is not installed:
  pip install '.[worker,train]' -c constraints.txt
"""


def main(argv: list[str] | None = None) -> None:
    """Start a worker and stay until it is told to stop, or run another command and exit with its status."""
    words = sys.argv[1:] if argv is None else argv
    if words[:1] == ["train"]:
        parser = argparse.ArgumentParser(prog="python -m workers train", epilog="Each model has --help.")
        parser.add_argument("model", choices=sorted(TRAIN))
        model = parser.parse_args(words[1:2]).model
        raise SystemExit(_run(TRAIN[model], words[2:]))
    if words and words[0] in COMMANDS:
        raise SystemExit(_run(COMMANDS[words[0]], words[1:]))
    parser = argparse.ArgumentParser(
        prog="python -m workers",
        description=__doc__,
        epilog=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("queue", choices=[queue.value for queue in Queue], help="the queue to work on")
    parser.add_argument("--config", type=Path, help="config.toml; otherwise SCREENER_CONFIG, then ./config.toml")
    parser.add_argument("--parent", type=int, help="stop when the process with this number is no longer the parent")
    parser.add_argument(
        "--stop-seconds",
        type=float,
        default=STOP_SECONDS,
        help="told to stop, let the study in hand finish for so long; then put it back (default: %(default)g)",
    )
    options = parser.parse_args(words)
    if options.config is not None:
        os.environ[CONFIG_VARIABLE] = str(options.config.resolve())
    if options.parent is not None:
        threading.Thread(target=_stop_with_parent, args=(options.parent,), daemon=True).start()
    _work(options.queue, options.stop_seconds)


def _run(module: str, words: list[str]) -> int:
    """Run the command in `module` and return its status: 1 with the reason, 2 where the training extra is missing."""
    try:
        return int(importlib.import_module(module).main(words))
    except ModuleNotFoundError as missing:
        if missing.name is None or missing.name.partition(".")[0] in {"screener", "workers"}:
            raise
        sys.stderr.write(_NO_TRAINING.format(name=missing.name))
        return 2
    except Outcome as outcome:
        sys.stderr.write(f"{outcome.reason}\n")
        return 1


def _work(queue: str, stop_seconds: float) -> None:
    """Be a worker of `queue`: prefork, one child."""
    from celery.platforms import SecurityWarning

    warnings.filterwarnings("ignore", category=SecurityWarning)  # inside a container there is often only root
    from workers.app import app
    from workers.stop_in_order import arrange_stop

    arrange_stop(stop_seconds)
    app.worker_main(
        [
            "--quiet",
            "worker",
            f"--queues={queue}",
            "--concurrency=1",
            "--pool=prefork",
            f"--hostname={queue}@%h",
            "--without-gossip",
            "--without-mingle",
            "--without-heartbeat",
            "--loglevel=WARNING",
        ]
    )


def _stop_with_parent(parent: int) -> None:
    """A daemon that was killed must not leave a worker behind that holds the accelerator."""
    while os.getppid() == parent:
        time.sleep(WATCH_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
