"""What one worker process works with: settings, store, archive and, loaded once, the models."""

import logging
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from screener.archive import Archive
from screener.config import Config
from screener.store import Store
from screener.study import MODEL_NAME_CT, AlgorithmIdentity
from screener.us_study import MODEL_NAME_US
from workers.us.nomogram import PUBLISHED, Nomogram, load_nomogram

if TYPE_CHECKING:
    import torch

    from workers.models.candidate_machines import CandidateMachines
    from workers.models.fusion_machine import FusionMachine
    from workers.models.us_weights import UsNetwork
    from workers.models.weights import Bundle

    _Bundle = Bundle | UsNetwork | CandidateMachines | FusionMachine

NOT_RECORDED = "what is not recorded"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """The networks and machines of the CT queue and who they are."""

    localizer: "Bundle"
    segmenter: "Bundle"
    candidates: "CandidateMachines"
    identity: AlgorithmIdentity


@dataclass(frozen=True, slots=True, kw_only=True)
class UltrasoundModels:
    """The networks of the ultrasound queue and who they are."""

    segmenter: "UsNetwork"
    classifier: "UsNetwork"
    identity: AlgorithmIdentity
    nomogram: Nomogram = PUBLISHED
    """What a reader's findings weigh."""
    fusion: "FusionMachine | None" = None
    """Where it decides; None where the classifier does."""


@dataclass(slots=True, kw_only=True)
class Bench:
    """Built once per worker process, after the fork."""

    config: Config
    store: Store
    archive: Archive
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    _models: Models | None = None
    _ultrasound_models: UltrasoundModels | None = None

    @property
    def lease(self) -> timedelta:
        """How long a claim holds without renewal."""
        return timedelta(seconds=self.config.queue.lease_seconds)

    def models(self) -> Models:
        """The networks, loaded at the first call; torch is imported here, after the fork.

        Raises NeedsPerson where a bundle cannot be loaded.
        """
        if self._models is None:
            self._models = load_models(self.config)
        return self._models

    def ultrasound_models(self) -> UltrasoundModels | None:
        """The ultrasound networks, loaded at the first call; None where the settings name none.

        Raises NeedsPerson where a bundle cannot be loaded.
        """
        settings = self.config.models
        if self._ultrasound_models is None and settings.us_segmenter and settings.us_classifier:
            self._ultrasound_models = load_ultrasound_models(self.config)
        return self._ultrasound_models


def load_models(config: Config) -> Models:
    """Load the settings' bundles and name the networks' device in the log, with the reason."""
    # Imported here so that a worker which never screens CT never loads torch.
    from workers.models.candidate_machines import load_machines
    from workers.models.networks import PREPROCESSING_VERSION
    from workers.models.weights import load_bundle

    device = _prepare_device(config)
    localizer = load_bundle(config.models.localizer, device, config.bundles_folder)
    segmenter = load_bundle(config.models.segmenter, device, config.bundles_folder)
    candidates = load_machines(config.models.candidates, config.bundles_folder)
    bundles: dict[str, _Bundle] = {"localizer": localizer, "segmenter": segmenter, "candidates": candidates}
    identity = _identify(bundles, PREPROCESSING_VERSION, MODEL_NAME_CT)
    return Models(localizer=localizer, segmenter=segmenter, candidates=candidates, identity=identity)


def load_ultrasound_models(config: Config) -> UltrasoundModels:
    """Load the settings' ultrasound bundles, as `load_models` does those for CT."""
    from workers.models.us_image import US_PREPROCESSING_VERSION
    from workers.models.us_networks import LESION_CLASSIFIER, LESION_SEGMENTER
    from workers.models.us_weights import load_us_bundle

    device = _prepare_device(config)
    folder = config.bundles_folder
    segmenter = load_us_bundle(config.models.us_segmenter, device, folder, kind=LESION_SEGMENTER)
    classifier = load_us_bundle(config.models.us_classifier, device, folder, kind=LESION_CLASSIFIER)
    bundles: dict[str, UsNetwork | FusionMachine] = {"segmenter": segmenter, "classifier": classifier}
    fusion = _load_fusion(config, classifier) if config.models.us_decides == "fusion" else None
    if fusion is not None:
        bundles["fusion"] = fusion
    learned_from = tell_lessons({word: bundle.learned_from for word, bundle in bundles.items()})
    identity = replace(_identify(bundles, US_PREPROCESSING_VERSION, MODEL_NAME_US), learned_from=learned_from)
    path = config.us_nomogram_file
    nomogram = PUBLISHED if path is None else load_nomogram(path)
    judge = fusion or classifier
    nomogram.must_fit(judge.name, judge.digest)
    return UltrasoundModels(
        segmenter=segmenter, classifier=classifier, identity=identity, nomogram=nomogram, fusion=fusion
    )


def _load_fusion(config: Config, classifier: "UsNetwork") -> "FusionMachine":
    """Load the fusion; NeedsPerson where it was fitted beside another classifier."""
    from workers.models.fusion_machine import load_fusion
    from workers.us.measure_radiomics import RADIOMICS_VERSION

    fusion = load_fusion(config.models.us_fusion, RADIOMICS_VERSION, config.bundles_folder)
    fusion.must_fit(classifier)
    return fusion


def _prepare_device(config: Config) -> "torch.device":
    """Choose the networks' device and their threads as the settings say."""
    import torch

    from workers.models.device import choose_device

    if config.models.threads:
        torch.set_num_threads(config.models.threads)
    device, reason = choose_device(config.models.device)
    logger.info("device=%s reason=%r", device, reason)
    return device


def tell_lessons(lessons: Mapping[str, str]) -> str:
    """Say what the ultrasound models learned from; `lessons` by the word that the settings use."""
    told = set(lessons.values())
    if len(told) == 1:
        (lesson,) = told
        return f"The ultrasound models learned from {lesson or NOT_RECORDED}."
    each = "; ".join(f"the {word} from {lesson or NOT_RECORDED}" for word, lesson in lessons.items())
    return f"Of the ultrasound models learned {each}."


def _identify(bundles: Mapping[str, "_Bundle"], preprocessing_version: str, model_name: str) -> AlgorithmIdentity:
    """Say who the models are, also in the log; `bundles` by the word that the settings use."""
    from screener import __version__
    from workers.results.identity import make_identity

    identity = make_identity(
        weight_digests={bundle.name: bundle.digest for bundle in bundles.values()},
        preprocessing_version=preprocessing_version,
        version=__version__,
        device_serial_number=socket.gethostname()[:64],
        model_name=model_name,
    )
    named = " ".join(f"{word}={bundle.name}/{bundle.digest[:12]}" for word, bundle in bundles.items())
    logger.info("models %s device_uid=%s", named, identity.device_uid)
    return identity
