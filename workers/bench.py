"""What one worker process works with: settings, store, archive and, loaded once, the models."""

import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from screener.archive import Archive
from screener.config import Config
from screener.store import Store
from screener.study import AlgorithmIdentity

if TYPE_CHECKING:
    from workers.models.candidate_machines import CandidateMachines
    from workers.models.weights import Bundle

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """The networks and machines of the CT queue and who they are."""

    localizer: "Bundle"
    segmenter: "Bundle"
    candidates: "CandidateMachines"
    identity: AlgorithmIdentity


@dataclass(slots=True, kw_only=True)
class Bench:
    """Built once per worker process, after the fork."""

    config: Config
    store: Store
    archive: Archive
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    _models: Models | None = None

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


def load_models(config: Config) -> Models:
    """Load the settings' bundles and name the networks' device in the log, with the reason."""
    # Imported here so that a worker which never screens CT never loads torch.
    import torch

    from screener import __version__
    from workers.models.candidate_machines import load_machines
    from workers.models.device import choose_device
    from workers.models.networks import PREPROCESSING_VERSION
    from workers.models.weights import load_bundle
    from workers.results.identity import make_identity

    if config.models.threads:
        torch.set_num_threads(config.models.threads)
    device, reason = choose_device(config.models.device)
    logger.info("device=%s reason=%r", device, reason)
    localizer = load_bundle(config.models.localizer, device, config.bundles_folder)
    segmenter = load_bundle(config.models.segmenter, device, config.bundles_folder)
    candidates = load_machines(config.models.candidates, config.bundles_folder)
    identity = make_identity(
        weight_digests={bundle.name: bundle.digest for bundle in (localizer, segmenter, candidates)},
        preprocessing_version=PREPROCESSING_VERSION,
        version=__version__,
        device_serial_number=socket.gethostname()[:64],
    )
    logger.info(
        "models localizer=%s/%s segmenter=%s/%s candidates=%s/%s device_uid=%s",
        localizer.name,
        localizer.digest[:12],
        segmenter.name,
        segmenter.digest[:12],
        candidates.name,
        candidates.digest[:12],
        identity.device_uid,
    )
    return Models(localizer=localizer, segmenter=segmenter, candidates=candidates, identity=identity)
