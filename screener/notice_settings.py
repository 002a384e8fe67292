"""The [notices] tables of config.toml: the ways of telling, who is told of what, and when a person is left in peace.

The string below each field is the sentence above the key in config.toml.
"""

import ipaddress
import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal, NamedTuple, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, PrivateAttr, SecretStr, model_validator

from screener.section import Port, Positive, Section, ShortName, Window

SIMPLE_RULE = "notices.email.recipients"
"""The name of the rule that the plain list of addresses stands for: every finding, at once."""
Kind = Literal["ct", "us"]
SideName = Literal["left", "right"]
Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Hl7Name = Annotated[str, Field(pattern=r"^[^|^~\\&\r\n]*$", max_length=180)]
Share = Annotated[float, Field(ge=0, le=1)]


class Address(NamedTuple):
    """Where a notice goes: the name of a channel, and an address or a name that it knows."""

    channel: str
    recipient: str


def is_web_address(value: str) -> str:
    """Give the address back; ValueError unless it is one with https, or of this machine."""
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.password:
        raise ValueError("an address is written like https://host/path, without a user name")
    if parts.scheme == "http" and not _is_this_machine(parts.hostname):
        raise ValueError("only an address of this machine may do without https")
    return value


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_mail_address(value: str) -> str:
    if not re.fullmatch(r"[^@\s]+@[^@\s]+", value):
        raise ValueError("a mail address has one @, and no space")
    return value


WebAddress = Annotated[str, AfterValidator(is_web_address)]
MailAddress = Annotated[str, Field(max_length=254), AfterValidator(_is_mail_address)]


class Email(Section):
    """Telling people by mail."""

    host: str = ""
    """SMTP server; empty means that no mail is sent."""
    port: Port = 25
    """TCP port of the SMTP server."""
    security: Literal["none", "starttls", "tls"] = "none"
    """How the connection is protected: "none", "starttls" or "tls"."""
    username: str = ""
    """User name at the SMTP server; the password is in SCREENER_EMAIL_PASSWORD, or a file named by ..._FILE."""
    sender: str = "parotid-screener@localhost"
    """Address that notices come from."""
    recipients: list[MailAddress] = Field(default_factory=list)
    """Addresses that are told of every finding at once; [[notices.rules]] tell others, or of less."""
    key_image: bool = False
    """Whether mails show the key image: pixels of a patient, and on ultrasound what is burned into them."""
    _password: SecretStr | None = PrivateAttr(default=None)

    @property
    def password(self) -> SecretStr | None:
        """The secret that belongs to `username`; None when no user name is set."""
        return self._password


class Webhook(Section):
    """One web address that takes notices as signed JSON."""

    name: ShortName
    """Short name by which rules and the logs know it; its secret is in SCREENER_WEBHOOK_SECRET_NAME or ..._FILE."""
    url: WebAddress
    """Address that takes the POST; https, unless it is on this machine."""
    _secret: SecretStr | None = PrivateAttr(default=None)

    @property
    def secret(self) -> SecretStr | None:
        """The key of the signature."""
        return self._secret


class Hl7Receiver(Section):
    """One receiver of HL7 v2.5.1 messages (ORU^R01) over MLLP."""

    name: ShortName
    """Short name by which rules and the logs know it."""
    host: str
    """Address of the receiver."""
    port: Port
    """TCP port of the receiver."""
    tls: bool = False
    """Whether the connection is protected by TLS; its certificate is verified."""
    include_patient_identity: bool = False
    """Whether messages name the patient (PID), as an inbox needs; while this is false the receiver cannot be used."""
    sending_application: Hl7Name = "PAROTID"
    """Sending application (MSH-3)."""
    sending_facility: Hl7Name = ""
    """Sending facility (MSH-4)."""
    receiving_application: Hl7Name = ""
    """Receiving application (MSH-5)."""
    receiving_facility: Hl7Name = ""
    """Receiving facility (MSH-6)."""
    processing_id: Literal["P", "T", "D"] = "P"
    """Processing ID (MSH-11): "P" production, "T" training, "D" debugging."""
    ack_timeout_seconds: Positive = 30
    """Seconds that the receiver has to acknowledge a message before it is sent again."""


class AppriseTarget(Section):
    """One destination that the library apprise reaches, such as Teams, Slack or a pager."""

    name: ShortName
    """Short name by which rules and the logs know it; its URL is a secret, in SCREENER_APPRISE_URL_NAME or ..._FILE."""
    _url: SecretStr | None = PrivateAttr(default=None)

    @property
    def url(self) -> SecretStr | None:
        """The apprise URL, which holds credentials."""
        return self._url


class _Addressed(Section):
    """A table that names addresses."""

    name: ShortName
    """Short name that `screener notices` uses."""
    emails: list[MailAddress] = Field(default_factory=list)
    """Mail addresses."""
    webhooks: list[ShortName] = Field(default_factory=list)
    """Names of [[notices.webhooks]]."""
    hl7: list[ShortName] = Field(default_factory=list)
    """Names of [[notices.hl7]]."""
    apprise: list[ShortName] = Field(default_factory=list)
    """Names of [[notices.apprise]]."""

    @property
    def addresses(self) -> list[Address]:
        """Every address of this table, in its order, each once."""
        lists = (("email", self.emails), ("webhook", self.webhooks), ("hl7", self.hl7), ("apprise", self.apprise))
        return list(dict.fromkeys(Address(channel, name) for channel, names in lists for name in names))


class Rule(_Addressed):
    """Who is told of which findings, when and how soon."""

    name: ShortName
    """Short name that `screener notices` and `escalate_to` use."""
    kinds: Annotated[list[Kind], Field(min_length=1, default_factory=lambda: list(get_args(Kind)))]
    """Kinds of study: "ct", "us" (ultrasound)."""
    sides: Annotated[list[SideName], Field(min_length=1, default_factory=lambda: list(get_args(SideName)))]
    """The patient's sides on which a mass is told; ultrasound tells no side and is taken whichever are named."""
    min_voxels: Annotated[int, Field(ge=0)] = 0
    """Smallest mass on CT that is told, in voxels of 1 mm^3; 0 takes all that are flagged."""
    min_diameter_mm: Annotated[float, Field(ge=0)] = 0
    """Least longest diameter in mm; a lesion on a picture without calibration has none and is taken."""
    min_probability: Share = 0
    """Least probability: of malignancy on ultrasound, the highest mass probability on CT."""
    institutions: list[str] = Field(default_factory=list)
    """Patterns such as "*NORTH*" of Institution Name (0008,0080), in any case; empty takes all."""
    departments: list[str] = Field(default_factory=list)
    """Patterns of Institutional Department Name (0008,1040) or Requesting Service (0032,1033); empty takes all."""
    wards: list[str] = Field(default_factory=list)
    """Patterns of Current Patient Location (0038,0300); empty takes all."""
    stations: list[str] = Field(default_factory=list)
    """Patterns of Station Name (0008,1010); empty takes all."""
    takes_unnamed_places: bool = True
    """Whether a study whose images leave such an element empty is taken all the same, as many scanners do."""
    hours: Window = "00:00-24:00"
    """Local time at which a finding must be made for this rule to take it; "00:00-24:00" is always."""
    days: list[Weekday] = Field(default_factory=list)
    """Days on which those hours begin: "mon", "tue", "wed", "thu", "fri", "sat", "sun"; empty takes all."""
    otherwise: bool = False
    """Whether this rule takes only what no other rule, and no plain list of addresses, takes."""
    urgency: Literal["now", "digest"] = "now"
    """"now" tells each finding by itself, "digest" in one message a day, at `pull.digest_at`."""
    escalate_after_minutes: Annotated[float, Field(ge=0)] = 0
    """Minutes after which `escalate_to` is told if nobody has acknowledged the finding; 0 means never."""
    escalate_to: str = ""
    """Name of the rule whose addresses are told then, whatever its own conditions; it may escalate further."""

    @model_validator(mode="after")
    def _is_whole(self) -> "Rule":
        if not self.addresses:
            raise ValueError("a rule names nobody: emails, webhooks, hl7 and apprise are all empty")
        if bool(self.escalate_after_minutes) != bool(self.escalate_to):
            raise ValueError("escalate_after_minutes and escalate_to belong together: one of them is missing")
        return self

    @property
    def escalate_seconds(self) -> int | None:
        """Seconds until the next step; None where there is none."""
        return round(self.escalate_after_minutes * 60) if self.escalate_to else None


class Person(_Addressed):
    """When a person is left in peace; the addresses are those by which rules reach the person."""

    quiet_hours: Window | Literal[""] = ""
    """Local time in which notices wait, such as "22:00-06:00"; empty means that there is none."""
    quiet_days: list[Weekday] = Field(default_factory=list)
    """Days on which notices wait from midnight to midnight."""
    quiet_min_voxels: Annotated[int, Field(ge=0)] = 0
    """Size in voxels from which a mass on CT breaks the quiet; 0: none does."""
    quiet_min_probability: Share = 0
    """Probability of malignancy from which an ultrasound lesion breaks the quiet; 0: none does."""
    quiet_lets_escalations_pass: bool = True
    """Whether a finding that nobody has acknowledged, passed on by `escalate_to`, breaks the quiet and the limit."""
    daily_limit: Annotated[int, Field(ge=0)] = 0
    """Findings told one by one from midnight to midnight; further ones go into the next digest; 0 means no limit."""


class Notices(Section):
    """Telling people."""

    link: str = ""
    """Address of the case page that a notice links to, "{study}" standing for our study number; empty means no link."""
    include_patient_identity: bool = False
    """Whether notices name the patient (name, ID, accession number); false unless your mail is as safe as your PACS."""
    retry_seconds: Positive = 30
    """Seconds before a failed notice is tried again; each further wait is twice as long."""
    max_retry_seconds: Positive = 900
    """Longest wait in seconds between two tries of a notice."""
    acknowledge_days: Positive = 14
    """Days for which the link that acknowledges a finding works."""
    mentioned_in_report: Literal["now", "digest"] = "now"
    """When a finding is told that the radiology report mentions beyond doubt: "now" as any other, or "digest"."""
    email: Email = Field(default_factory=Email)
    """Telling people by mail."""
    webhooks: list[Webhook] = Field(default_factory=list)
    """Web addresses that take notices as signed JSON: one [[notices.webhooks]] table each."""
    hl7: list[Hl7Receiver] = Field(default_factory=list)
    """Receivers of HL7 messages, such as an EHR inbox: one [[notices.hl7]] table each."""
    apprise: list[AppriseTarget] = Field(default_factory=list)
    """Whatever the library apprise reaches (Teams, Slack, pagers): one [[notices.apprise]] table each."""
    rules: list[Rule] = Field(default_factory=list)
    """Who is told of which findings: one [[notices.rules]] table each; every rule that takes a finding tells it."""
    people: list[Person] = Field(default_factory=list)
    """When a person is left in peace: one [[notices.people]] table each."""

    @model_validator(mode="after")
    def _names_fit(self) -> "Notices":
        for what, named in (
            ("webhooks", self.webhooks), ("hl7 receivers", self.hl7), ("apprise destinations", self.apprise),
            ("rules", self.rules), ("people", self.people),
        ):  # fmt: skip
            # as the variables that hold their secrets are named
            _must_differ([entry.name.upper().replace("-", "_") for entry in named], f"two {what} have the same name")
        self._check_addresses()
        _must_differ([address for person in self.people for address in person.addresses], "two people share an address")
        _check_escalations(self.rules)
        return self

    def _check_addresses(self) -> None:
        known = {
            "webhook": {entry.name for entry in self.webhooks},
            "hl7": {entry.name for entry in self.hl7},
            "apprise": {entry.name for entry in self.apprise},
        }
        tables: list[_Addressed] = [*self.rules, *self.people]
        for table in tables:
            for channel, recipient in table.addresses:
                if channel == "email":
                    if not self.email.host and isinstance(table, Rule):
                        raise ValueError(f"{table.name} tells by mail, but notices.email.host is empty")
                elif recipient not in known[channel]:
                    raise ValueError(f"{table.name} names {recipient}, which no {channel} table has as its name")
        for receiver in self.hl7:
            if not receiver.include_patient_identity and any(
                Address("hl7", receiver.name) in rule.addresses for rule in self.rules
            ):
                raise ValueError(f"the hl7 receiver {receiver.name} needs include_patient_identity = true to be used")

    @property
    def simple_addresses(self) -> list[Address]:
        """Those of the plain list, `notices.email.recipients`."""
        return [Address("email", address) for address in self.email.recipients] if self.email.host else []

    @property
    def all_addresses(self) -> list[Address]:
        """Every address that a notice may go to, each once."""
        of_rules = (address for rule in self.rules for address in rule.addresses)
        return list(dict.fromkeys((*self.simple_addresses, *of_rules)))

    def find_rule(self, name: str) -> Rule | None:
        """The rule of this name; None where the settings have none (any more)."""
        return next((rule for rule in self.rules if rule.name == name), None)

    def find_person(self, address: Address) -> Person | None:
        """Whose address it is; None where nothing was said of it."""
        return next((person for person in self.people if address in person.addresses), None)


def _must_differ(values: Sequence[object], sentence: str) -> None:
    if len(values) != len(set(values)):
        raise ValueError(sentence)


def _check_escalations(rules: Sequence[Rule]) -> None:
    """Refuse a step to a rule that is not there, and steps that lead back to where they began."""
    following = {rule.name: rule.escalate_to for rule in rules}
    for rule in rules:
        if rule.escalate_to and rule.escalate_to not in following:
            raise ValueError(f"rule {rule.name} escalates to {rule.escalate_to}, which is no rule")
        if rule.name in set(_steps_from(rule.name, following)):
            raise ValueError(f"rule {rule.name} escalates in a circle")


def _steps_from(name: str, following: dict[str, str]) -> Iterator[str]:
    """Yield the steps after `name`, at most as many as there are rules."""
    for _ in following:
        name = following.get(name, "")
        if not name:
            return
        yield name
