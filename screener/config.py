"""config.toml as typed settings: the only reader of the file and, with read_secrets.py, of the environment.

An unknown key, a wrong type or a missing secret stops the start and names the
key; a command that uses no secret runs without it. The string below each field
is the sentence above the key in config.toml; a test holds the two together.
"""

import hashlib
import ipaddress
import json
import os
import tomllib
from collections.abc import Collection, Mapping, Sequence
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final, Literal, cast, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    PrivateAttr,
    ValidationError,
    model_validator,
)

from screener.check_ports import Door, list_shared_ports
from screener.describe_allowed import describe_allowed
from screener.describe_toml_error import describe_toml_error
from screener.find_lines import add_lines
from screener.notice_settings import Notices
from screener.read_secrets import MissingSecret, read_secrets
from screener.report_settings import Reports
from screener.section import Port, Positive, Section, TimeOfDay, Window
from screener.study import (
    DEFAULT_GAMMA,
    DEFAULT_MIN_COVERED_SHARE,
    DEFAULT_MIN_MALIGNANCY,
    DEFAULT_MIN_SCORE,
    DEFAULT_US_FINDINGS,
    GAMMAS,
    LEAST_COVERED_SHARE,
    Thresholds,
)
from screener.web_settings import Web

BUNDLES_FOLDER = Path(__file__).resolve().parent.parent / "workers" / "models" / "bundles"
CONFIG_VARIABLE = "SCREENER_CONFIG"


class ConfigError(Exception):
    """The settings cannot be used; each line names a key and what is wrong with it."""


class LoggableError(ConfigError):
    """The settings cannot be used, and a log may hold why: `logged` quotes no value of theirs."""

    def __init__(self, message: str, logged: str = "") -> None:
        """An empty `logged` stands for the message."""
        super().__init__(message)
        self.logged = logged or message


class NoFileError(ConfigError):
    """There is no config.toml where one was named."""


def _is_ae_title(value: str) -> str:
    """PS3.5 6.2: 1 to 16 characters, no backslash, no control character, not only spaces."""
    if (
        not 1 <= len(value) <= 16
        or "\\" in value
        or not value.isprintable()
        or not value.isascii()
        or not value.strip()
    ):
        raise ValueError("an AE title has 1 to 16 printable ASCII characters and no backslash")
    return value


def _is_network(value: str) -> str:
    ipaddress.ip_network(value, strict=False)
    return value


AETitle = Annotated[str, AfterValidator(_is_ae_title)]
Network = Annotated[str, AfterValidator(_is_network)]


def _is_date(value: str) -> str:
    if value:
        date.fromisoformat(value)
    return value


Day = Annotated[str, AfterValidator(_is_date)]


class Peer(Section):
    """One sender."""

    ae_title: AETitle
    """Calling AE title of the sender; "*" stands for any."""
    hosts: list[Network]
    """Addresses or networks (CIDR) the sender may call from."""
    sends_documents: bool = False
    """Whether this sender may also store structured reports and segmentations, kept as documents and never screened."""
    port: Port = 0
    """TCP port at which this sender takes reports on storage commitment; 0 means on the association where it asked."""
    maximum_associations: Annotated[int, Field(ge=0, le=1000)] = 0
    """Associations that one AE title at one address may have open at the same time; 0 means no limit of its own."""

    def admits(self, ae_title: str, host: str) -> bool:
        """True: this entry lets a caller with this AE title and address in."""
        return self.ae_title in {"*", ae_title.strip()} and self.includes(host)

    def includes(self, host: str) -> bool:
        """True: the address is one of this entry's."""
        address = ipaddress.ip_address(host)
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        return any(address in ipaddress.ip_network(network, strict=False) for network in self.hosts)


def _loopback() -> list[Peer]:
    return [Peer(ae_title="*", hosts=["127.0.0.0/8", "::1"])]


class Listener(Section):
    """The door: C-ECHO and C-STORE."""

    ae_title: AETitle = "PAROTID"
    """AE title under which modalities and the PACS send to the screener."""
    host: str = "127.0.0.1"
    """Address to listen on; "127.0.0.1" is this machine only, "0.0.0.0" every network card."""
    port: Port = 11112
    """TCP port to listen on."""
    processes: Annotated[int, Field(ge=1, le=16)] = 1
    """Processes that receive; 1 means the daemon itself."""
    maximum_associations: Annotated[int, Field(ge=1, le=1000)] = 32
    """Associations open at the same time; the next one is refused for the moment."""
    acse_timeout_seconds: Positive = 30
    """Seconds from a connection to its association request, TLS handshake included, after which it is closed."""
    network_timeout_seconds: Positive = 60
    """Seconds of silence after which an association is closed; a PDU must be whole within as many."""
    dimse_timeout_seconds: Positive = 60
    """Seconds that a message may take, beside one for each KiB of it: ends a sender that trickles."""
    tls_certificate: str = ""
    """File (PEM) with the certificate for DICOM over TLS 1.2 or 1.3, and what leads to its root; empty means no TLS."""
    tls_key: str = ""
    """File (PEM, not encrypted) with the private key of that certificate; both relative to this file."""
    tls_client_ca: str = ""
    """File (PEM) with the authorities whose certificates senders must show; empty means that none is asked for."""
    peers: list[Peer] = Field(default_factory=_loopback)
    """Who may send: one [[listener.peers]] table per sender; all others are refused."""

    @model_validator(mode="after")
    def _tls_is_whole(self) -> "Listener":
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise ValueError("tls_certificate and tls_key belong together: one of them is empty")
        if self.tls_client_ca and not self.tls_certificate:
            raise ValueError("tls_client_ca needs tls_certificate and tls_key")
        return self


class Storage(Section):
    """The disk."""

    folder: str = "var"
    """Folder for received files, results and the embedded database; relative to this file."""
    reserve_mib: Annotated[int, Field(ge=0)] = 2048
    """Free disk space in MiB that is never touched: below it new images are refused with 0xA700."""
    clean_below_mib: Annotated[int, Field(ge=0)] = 4096
    """Free disk space in MiB below which images of finished studies are removed early, oldest first; 0 means never."""


class Database(Section):
    """Where the truth is kept."""

    url: str = ""
    """SQLAlchemy URL, such as "postgresql+psycopg://screener@db/screener"; empty means SQLite in the storage folder."""


class Queue(Section):
    """Who works on what, and for how long."""

    broker: str = ""
    """Celery broker URL, such as "redis://127.0.0.1:6379/0"; empty means a folder, without a server."""
    lease_seconds: Positive = 20
    """Seconds that a worker's claim on a study holds without renewal; after them another worker takes the study."""
    time_limit_seconds: Annotated[int, Field(ge=1)] = 900
    """Seconds after which a study's screening is stopped by force."""
    max_attempts: Annotated[int, Field(ge=1)] = 3
    """Times that a study may kill its worker or end in an unexpected error before a person must look."""
    retry_seconds: Positive = 30
    """Seconds before a study is tried again; each further wait is twice as long."""


class AskedPacs(Section):
    """One PACS that says how many images of a study there are."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$", max_length=64)]
    """Short name that `screener explain` and the logs use."""
    senders: list[AETitle] = Field(default_factory=lambda: ["*"], min_length=1)
    """Calling AE titles of the senders whose studies it holds too; "*" stands for any."""
    ae_title: AETitle
    """Called AE title of the PACS."""
    host: str
    """Address of the PACS."""
    port: Port
    """TCP port of the PACS."""
    whole_studies: bool = True
    """Whether the senders send us every CT or ultrasound series of a study; false counts only those that have begun."""

    def answers_for(self, senders: Collection[str]) -> bool:
        """True: it holds what one of these senders sends."""
        return "*" in self.senders or any(sender.strip() in self.senders for sender in senders)


class Completeness(Section):
    """When a study counts as whole."""

    quiet_seconds: Positive = 60
    """Seconds without a new image after which a study counts as whole, unless slices of it are seen to be missing."""
    max_wait_seconds: Positive = 900
    """Seconds after its first new image at which a study waits no longer, whatever may still be missing."""
    after_max_wait: Literal["go_on", "set_aside"] = "go_on"
    """What becomes of a study that is not whole by then: "go_on" with what has come, or "set_aside"."""
    ask_timeout_seconds: Positive = 10
    """Seconds that a PACS has to answer; one that does not is not waited for."""
    pacs: list[AskedPacs] = Field(default_factory=list)
    """Who is asked how many images there are: one [[completeness.pacs]] table per PACS."""


class Decision(Section):
    """What is flagged."""

    min_voxels: Annotated[int, Field(ge=30)] = 500
    """Smallest mass that is flagged, in voxels of 1 mm^3, at least 30; 500 is a sphere of 9.85 mm."""
    min_probability: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Mass probability from which a voxel belongs to a candidate."""
    gamma: Annotated[int, Field(ge=GAMMAS[0], le=GAMMAS[-1])] = DEFAULT_GAMMA
    """Which machine judges the candidates, 1 to 10: how locally it looks at the samples it was fitted to."""
    min_score: Annotated[float, Field(ge=0, le=1)] = DEFAULT_MIN_SCORE
    """A candidate that scores less is judged not to be a mass; what resembles no sample scores 0.5, 0 takes all."""
    min_covered_share: Annotated[float, Field(ge=LEAST_COVERED_SHARE, le=1)] = DEFAULT_MIN_COVERED_SHARE
    """Least share of a gland, 0.2 to 1, that a scan must cover for the gland to count as assessed."""
    min_malignancy: Annotated[float, Field(gt=0, lt=1)] = DEFAULT_MIN_MALIGNANCY
    """Probability of malignancy from which an ultrasound lesion is called malignant and flagged."""
    us_findings: Literal["report", "decide"] = DEFAULT_US_FINDINGS
    """Whether a reader's findings on ultrasound are shown beside the image ("report") or decide with it ("decide")."""


class Models(Section):
    """The networks."""

    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    """Where the networks run: "auto" (CUDA when present), "cpu", "cuda" or "cuda:1"."""
    folder: str = ""
    """Folder with the model bundles; empty means those that ship with the screener."""
    localizer: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")] = "parotid_localizer"
    """Bundle that finds the two parotid glands."""
    segmenter: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")] = "parotid_mass_segmenter"
    """Bundle that segments masses inside a gland."""
    candidates: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")] = "parotid_candidates"
    """Bundle that judges whether a candidate is a mass."""
    us_segmenter: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]*$")] = "us_lesion_segmenter"
    """Bundle that outlines a lesion on ultrasound; empty: ultrasound studies are set aside."""
    us_classifier: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]*$")] = "us_lesion_classifier"
    """Bundle that tells malignant from benign on ultrasound; empty: ultrasound studies are set aside."""
    us_decides: Literal["image", "fusion"] = "image"
    """Whose probability of malignancy counts: "image" (us_classifier) or "fusion" (us_fusion, with it)."""
    us_fusion: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]*$")] = ""
    """Bundle that fuses radiomics, deep features and the image model's score; needed where us_decides is "fusion"."""
    us_nomogram: str = ""
    """File (JSON) with the weights of a reader's findings, relative to config.toml; empty: odds ratios as published."""
    threads: Annotated[int, Field(ge=0)] = 0
    """Threads of the processor used by one worker; 0 leaves the choice to the library."""

    @model_validator(mode="after")
    def _fusion_is_named(self) -> "Models":
        if self.us_decides == "fusion" and not self.us_fusion:
            raise ValueError('us_decides = "fusion" needs us_fusion, the name of a bundle')
        return self


class Destination(Section):
    """One PACS that receives results."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$", max_length=64)]
    """Short name that `screener explain` and the logs use."""
    ae_title: AETitle
    """Called AE title of the PACS."""
    host: str
    """Address of the PACS."""
    port: Port
    """TCP port of the PACS."""
    confirm: Literal["find", "commitment", "none"] = "find"
    """How the PACS says that it holds the results: "find" (C-FIND), "commitment" or "none" (it is not asked)."""


class Results(Section):
    """Sending SEG and SR."""

    ae_title: AETitle = "PAROTID"
    """AE title under which the screener sends its results."""
    retry_seconds: Positive = 30
    """Seconds before a failed delivery is tried again; each further wait is twice as long."""
    max_retry_seconds: Positive = 3600
    """Longest wait in seconds between two tries of a delivery."""
    give_up_hours: Positive = 72
    """Hours after which a delivery that never succeeded is given up and the study is marked failed."""
    confirm_seconds: Annotated[float, Field(ge=0)] = 5
    """Seconds between a PACS's Success and the first question whether it holds the results."""
    destinations: list[Destination] = Field(default_factory=list)
    """Where SEG and SR go: one [[results.destinations]] table per PACS."""

    @model_validator(mode="after")
    def _names_differ(self) -> "Results":
        names = [destination.name for destination in self.destinations]
        if len(names) != len(set(names)):
            raise ValueError("two destinations have the same name")
        return self


class Retention(Section):
    """What is kept for how long; studies in flight, and failed ones that no person has discarded, are always kept."""

    received_days: Annotated[float, Field(ge=0)] = 90
    """Days that received files of a study are kept once it is over, and refused ones; 0 keeps them for ever."""
    results_days: Annotated[float, Field(ge=0)] = 0
    """Days that the results of a study are kept once it is done or set aside; 0 keeps them for ever."""
    history_days: Annotated[float, Field(ge=0)] = 0
    """Days that a study is remembered once it is over and all its files are gone; 0 keeps its story for ever."""


class Source(Section):
    """One PACS that past studies are fetched from."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$", max_length=64)]
    """Short name that `screener backfill` and the logs use."""
    ae_title: AETitle
    """Called AE title of the PACS."""
    host: str
    """Address of the PACS."""
    port: Port
    """TCP port of the PACS."""
    how: Literal["get", "move"] = "get"
    """How images come: "get" on our connection (C-GET), "move" to our listener, which must admit the PACS (C-MOVE)."""
    modalities: list[str] = Field(default_factory=lambda: ["CT"], min_length=1)
    """Modalities that are fetched, series by series."""
    study_descriptions: list[str] = Field(default_factory=list)
    """Patterns such as "*NECK*", one of which a study's description must match, in any case; empty takes all."""
    body_parts: list[str] = Field(default_factory=list)
    """Body parts, one of which a series must name: "HEAD" also takes "HEADNECK"; empty takes all."""
    takes_unnamed_body_parts: bool = True
    """Whether a series that names no body part is taken all the same, as many scanners name none."""
    station_names: list[str] = Field(default_factory=list)
    """Station names (0008,1010) of the scanners whose series are taken; empty takes all."""
    from_date: Day = ""
    """First study date fetched unasked, such as "2019-01-01"; empty leaves it to `screener backfill`."""
    to_date: Day = ""
    """Last study date fetched unasked; empty goes on to yesterday, night after night."""


class Pull(Section):
    """The night list: past studies, fetched a few at a time."""

    window: Window = "22:00-06:00"
    """Local time in which past studies are searched for and fetched; "00:00-24:00" is always."""
    studies_per_hour: Annotated[int, Field(ge=1)] = 60
    """Most studies asked for within an hour."""
    studies_per_night: Annotated[int, Field(ge=1)] = 300
    """Most studies asked for from one opening of the window to the next."""
    studies_in_flight: Annotated[int, Field(ge=1)] = 4
    """Most past studies that are fetched or wait for their screening at the same time."""
    max_attempts: Annotated[int, Field(ge=1)] = 5
    """Times that a study is asked for before it goes on with what has come, or is given up."""
    retry_seconds: Positive = 60
    """Seconds before a study or a PACS that failed is asked again; each further wait is twice as long."""
    timeout_seconds: Positive = 120
    """Seconds of silence after which a PACS counts as away."""
    digest_at: TimeOfDay = "06:30"
    """Local time from which the findings in past studies are told, in one message a day for each recipient."""
    sources: list[Source] = Field(default_factory=list)
    """Where past studies come from: one [[pull.sources]] table per PACS."""

    @model_validator(mode="after")
    def _names_differ(self) -> "Pull":
        names = [source.name for source in self.sources]
        if len(names) != len(set(names)):
            raise ValueError("two sources have the same name")
        return self


class Log(Section):
    """What is logged."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Least important lines that are logged: "DEBUG", "INFO", "WARNING" or "ERROR"."""


class Config(Section):
    """All settings of the screener."""

    listener: Listener = Field(default_factory=Listener)
    """The door: C-ECHO and C-STORE."""
    storage: Storage = Field(default_factory=Storage)
    """The disk."""
    database: Database = Field(default_factory=Database)
    """Where the truth is kept."""
    queue: Queue = Field(default_factory=Queue)
    """Who works on what, and for how long."""
    completeness: Completeness = Field(default_factory=Completeness)
    """When a study counts as whole."""
    decision: Decision = Field(default_factory=Decision)
    """What is flagged."""
    models: Models = Field(default_factory=Models)
    """The networks."""
    results: Results = Field(default_factory=Results)
    """Sending SEG and SR."""
    retention: Retention = Field(default_factory=Retention)
    """What is kept for how long."""
    notices: Notices = Field(default_factory=Notices)
    """Telling people."""
    reports: Reports = Field(default_factory=Reports)
    """Radiology reports by HL7: whether they mention what is found."""
    pull: Pull = Field(default_factory=Pull)
    """The night list: past studies, fetched a few at a time."""
    web: Web = Field(default_factory=Web)
    """The pages: worklist, cases and the state of the system."""
    log: Log = Field(default_factory=Log)
    """What is logged."""
    _base: Path = PrivateAttr(default_factory=Path.cwd)
    _file: Path | None = PrivateAttr(default=None)
    _missing_secrets: tuple[MissingSecret, ...] = PrivateAttr(default=())

    @property
    def file(self) -> Path | None:
        """Absolute path of the config.toml that the settings were read from; None where it was none."""
        return self._file

    @property
    def missing_secrets(self) -> tuple[MissingSecret, ...]:
        """The secrets that the settings call for and that are not set here; none where they had to be."""
        return self._missing_secrets

    def resolve(self, path: str) -> Path:
        """Absolute path of a file that the settings name relative to config.toml."""
        return (self._base / path).resolve()

    @property
    def storage_folder(self) -> Path:
        """Absolute path of `[storage] folder`."""
        return (self._base / self.storage.folder).resolve()

    @property
    def database_url(self) -> str:
        """`[database] url`, or the embedded SQLite file."""
        return self.database.url or f"sqlite:///{self.storage_folder / 'screener.sqlite'}"

    @property
    def broker_url(self) -> str:
        """`[queue] broker`, or the embedded folder transport."""
        return self.queue.broker or "screenerfolder://localhost"

    @property
    def bundles_folder(self) -> Path:
        """`[models] folder`, or the bundles that ship."""
        return (self._base / self.models.folder).resolve() if self.models.folder else BUNDLES_FOLDER

    @property
    def us_nomogram_file(self) -> Path | None:
        """`[models] us_nomogram`; None for the published odds ratios."""
        return self.resolve(self.models.us_nomogram) if self.models.us_nomogram else None

    @property
    def broker_folder(self) -> Path:
        """Where the embedded broker keeps its messages; unused when `[queue] broker` names a server."""
        return self.storage_folder / "broker"

    def celery_settings(self) -> dict[str, Any]:
        """What the daemon and the workers tell Celery: JSON only, one hint at a time, late acknowledgment."""
        settings: dict[str, Any] = {
            "broker_url": self.broker_url,
            "broker_connection_retry_on_startup": True,
            "task_serializer": "json",
            "result_serializer": "json",
            "accept_content": ["json"],
            "task_ignore_result": True,
            "task_acks_late": True,
            "task_time_limit": self.queue.time_limit_seconds,
            "worker_prefetch_multiplier": 1,
            "worker_proc_alive_timeout": 300,  # the models are loaded before a child says that it is up
            "worker_enable_remote_control": False,
            "worker_send_task_events": False,
            "worker_hijack_root_logger": False,
        }
        if self.queue.broker:
            # longer than the hard time limit, or a running study would be delivered a second time
            settings["broker_transport_options"] = {"visibility_timeout": self.queue.time_limit_seconds + 600}
        else:
            settings["broker_transport_options"] = {
                "data_folder_in": str(self.broker_folder / "messages"),
                "data_folder_out": str(self.broker_folder / "messages"),
                "polling_interval": 0.2,
            }
        return settings

    def thresholds(self) -> Thresholds:
        """The decision settings with their revision: a digest that changes with any of them."""
        settings = json.dumps(self.decision.model_dump(), sort_keys=True)
        return Thresholds(
            min_voxels=self.decision.min_voxels,
            min_probability=self.decision.min_probability,
            config_revision=hashlib.sha256(settings.encode()).hexdigest()[:12],
            gamma=self.decision.gamma,
            min_score=self.decision.min_score,
            min_covered_share=self.decision.min_covered_share,
            min_malignancy=self.decision.min_malignancy,
            us_findings=self.decision.us_findings,
        )


def load_config(path: Path, environment: Mapping[str, str] = os.environ, *, needs_secrets: bool = True) -> Config:
    """Read `path`; raise ConfigError with one line per wrong key, which names the line of the file.

    Without `needs_secrets` a secret that the environment lacks is no error: it is among `missing_secrets`.
    """
    return parse_config(read_text(path), path, environment, needs_secrets=needs_secrets)


def read_text(path: Path) -> str:
    """The text of a config.toml; ConfigError where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise NoFileError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from None


def parse_config(
    text: str, path: Path, environment: Mapping[str, str] = os.environ, *, needs_secrets: bool = True
) -> Config:
    """Check `text`, which lies at `path` or is about to; ConfigError as `load_config` raises it."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        described = f"{path}: {describe_toml_error(error, text)}"
        raise LoggableError(described, logged=f"{path}: {error}") from None
    try:
        config = make_config(tables, base=path.resolve().parent, environment=environment, needs_secrets=needs_secrets)
    except ConfigError as error:
        raise ConfigError(add_lines(str(error), text)) from None
    config._file = path.absolute()
    return config


def make_config(
    tables: Mapping[str, Any], *, base: Path, environment: Mapping[str, str], needs_secrets: bool = True
) -> Config:
    """Check `tables` as read from a config.toml that lies in `base`."""
    try:
        config = Config.model_validate(tables)
    except ValidationError as error:
        raise ConfigError("\n".join(_sentence(item) for item in error.errors(include_url=False))) from None
    shared = list(list_shared_ports(_list_doors(config)))
    if shared:
        raise ConfigError("\n".join(shared))
    config._base = base
    config._missing_secrets = tuple(read_secrets(config.notices, config.web.openid, environment))
    if needs_secrets and config._missing_secrets:
        raise ConfigError("\n".join(secret.refusal for secret in config._missing_secrets))
    return config


def _list_doors(config: Config) -> list[Door]:
    """What `screener run` opens under these settings."""
    optional = (("reports", config.reports), ("web", config.web))
    doors = [Door(table, section.host, section.port) for table, section in optional if section.enabled]
    return [Door("listener", config.listener.host, config.listener.port), *doors]


def change_decision(config: Config, changes: Mapping[str, Any]) -> Config:
    """The settings with other values for some keys of [decision]; ConfigError with one line per wrong key."""
    try:
        tables = {"decision": config.decision.model_dump() | dict(changes)}
        decision = Config.model_validate(tables).decision
    except ValidationError as error:
        raise ConfigError("\n".join(_sentence(item) for item in error.errors(include_url=False))) from None
    return config.model_copy(update={"decision": decision})


def check_bundles(config: Config) -> None:
    """Raise ConfigError where a model bundle that the settings name is not there."""
    for key in ("localizer", "segmenter", "candidates", "us_segmenter", "us_classifier", "us_fusion"):
        name = getattr(config.models, key)
        if name and not (config.bundles_folder / name / "configs" / "metadata.json").is_file():
            raise ConfigError(f"models.{key}: there is no bundle {name} in {config.bundles_folder}")
    if config.us_nomogram_file is not None and not config.us_nomogram_file.is_file():
        raise ConfigError(f"models.us_nomogram: there is no file {config.us_nomogram_file}")


def find_config(environment: Mapping[str, str] = os.environ) -> Path:
    """The file a worker reads: SCREENER_CONFIG, or config.toml in the working directory."""
    return Path(environment.get(CONFIG_VARIABLE, "config.toml"))


_SAY_MORE: Final = {"value_error", "string_pattern_mismatch", "string_too_long", "string_too_short"}
"""Kinds of errors whose own words tell more than what a key may hold."""


def _sentence(item: Any) -> str:
    key = ".".join(str(part) for part in item["loc"]) or "config.toml"
    if item["type"] == "extra_forbidden":
        close = get_close_matches(str(item["loc"][-1]), _list_keys(item["loc"][:-1]), n=1)
        return f"{key}: unknown key" + (f", did you mean {close[0]}?" if close else "")
    if item["type"] == "list_type" and isinstance(item["input"], dict):
        return f"{key}: write [[{key}]]"
    if item["type"] == "missing":
        return f"{key}: this key is required"
    allowed = "" if item["type"] in _SAY_MORE else describe_allowed(Config, item["loc"])
    if allowed:
        return f"{key}: {item['input']!r} is not allowed, only {allowed}"
    said = f"{key}: {item['msg'].removeprefix('Value error, ')}"
    return said if isinstance(item["input"], dict) else f"{said}, got {item['input']!r}"


def _list_keys(place: Sequence[str | int]) -> list[str]:
    """The keys of the table at `place`; the numbers of a list's tables in it count for nothing."""
    table: type[BaseModel] = Config
    for key in place:
        if isinstance(key, str):
            kind = table.model_fields[key].annotation
            table = cast("type[BaseModel]", next(iter(get_args(kind)), kind))
    return list(table.model_fields)
