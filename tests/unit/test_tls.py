"""DICOM over TLS: who may come in, by which version, and what stops the start."""

import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import CTImageStorage
from pynetdicom import AE
from pynetdicom.association import Association

from screener.config import ConfigError, make_config
from screener.tls import make_listener_tls
from tests.peers.certificates import Certificate, make_certificate
from tests.peers.door import Door, open_door
from tests.peers.hospital import wait_until
from tests.peers.raw_peer import ACCEPT, RawPeer, associate_request
from tests.peers.require import require
from tests.peers.scanner import make_ct

AUTHORITIES = ("ca", "stranger")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Certificate]:
    """`door` and `scanner` signed by `ca`; `stranger` signed by nobody; `late` as `scanner`, but by `stranger`."""
    folder = tmp_path_factory.mktemp("certificates")
    made = {name: make_certificate(folder, name) for name in AUTHORITIES}
    for name, authority in (("door", "ca"), ("scanner", "ca"), ("late", "stranger")):
        made[name] = make_certificate(folder, name, signed_by=made[authority])
    return made


def serving(certificates: dict[str, Certificate], **listener: str) -> ssl.SSLContext:
    door = certificates["door"]
    tables = {"listener": {"tls_certificate": str(door.certificate), "tls_key": str(door.key)} | listener}
    context = make_listener_tls(make_config(tables, base=Path("/"), environment={}))
    assert context is not None
    return context


@pytest.fixture
def door(certificates: dict[str, Certificate], tmp_path: Path) -> Iterator[Door]:
    """A door over TLS that asks for no certificate."""
    with open_door(tmp_path, tls=serving(certificates)) as door:
        yield door


@pytest.fixture
def strict_door(certificates: dict[str, Certificate], tmp_path: Path) -> Iterator[Door]:
    """A door over TLS that asks for one."""
    context = serving(certificates, tls_client_ca=str(certificates["ca"].certificate))
    with open_door(tmp_path, tls=context) as door:
        yield door


def calling(
    certificates: dict[str, Certificate], own: str = "", version: ssl.TLSVersion | None = None
) -> ssl.SSLContext:
    """What a modality has: trust in `ca`, perhaps a certificate of its `own`, perhaps one version only."""
    context = ssl.create_default_context(cafile=str(certificates["ca"].certificate))
    if own:
        context.load_cert_chain(*certificates[own])
    if version is not None:
        if version < ssl.TLSVersion.TLSv1_2:
            context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = version
    return context


def associate(door: Door, context: ssl.SSLContext | None) -> Association:
    ae = AE("SCANNER")
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 60
    ae.add_requested_context("1.2.840.10008.1.1")
    tls: Any = (context, "localhost") if context else None
    return ae.associate("127.0.0.1", door.listener.port, ae_title="PAROTID", tls_args=tls)


def echoes(door: Door, context: ssl.SSLContext) -> bool:
    assoc = associate(door, context)
    if not assoc.is_established:
        return False
    status = assoc.send_c_echo().get("Status")
    assoc.release()
    return status == 0


def is_let_in(door: Door, context: ssl.SSLContext) -> bool:
    """Shake hands and ask for an association, without a library that would leave the refused socket open."""
    try:
        with (
            socket.create_connection(("127.0.0.1", door.listener.port), timeout=120) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as sock,
        ):
            peer = RawPeer(sock)
            peer.send(associate_request())
            return peer.read_pdu()[0] == ACCEPT
    except (ssl.SSLError, ConnectionError):
        return False


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_living_versions_are_spoken(
    door: Door, certificates: dict[str, Certificate], version: ssl.TLSVersion
) -> None:
    assert echoes(door, calling(certificates, version=version))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the versions that this test is about
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_the_dead_versions_are_refused(
    door: Door, certificates: dict[str, Certificate], version: ssl.TLSVersion, caplog: pytest.LogCaptureFixture
) -> None:
    assert not is_let_in(door, calling(certificates, version=version))
    wait_until(lambda: "no TLS" in caplog.text, 60, "the refusal is logged")  # by the listener's own thread
    assert echoes(door, calling(certificates))


def test_a_caller_without_tls_is_refused(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_connection(("127.0.0.1", door.listener.port), timeout=120) as plain:
        RawPeer(plain).send(associate_request())
        try:
            answer = plain.recv(1)
        except ConnectionError:
            answer = b""
    assert answer != bytes([ACCEPT])
    wait_until(lambda: "no TLS host=127.0.0.1" in caplog.text, 60, "the refusal is logged")


def test_a_certificate_that_leads_to_the_authority_opens_the_strict_door(
    strict_door: Door, certificates: dict[str, Certificate]
) -> None:
    assert echoes(strict_door, calling(certificates, "scanner"))


@pytest.mark.parametrize("own", ["", "late", "stranger"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_caller_without_such_a_certificate_is_refused(
    strict_door: Door,
    certificates: dict[str, Certificate],
    own: str,
    version: ssl.TLSVersion,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert not is_let_in(strict_door, calling(certificates, own, version))
    lacks = "its certificate is not of an authority in tls_client_ca" if own else "it showed no certificate"
    wait_until(lambda: f"connection refused: {lacks} host=127.0.0.1" in caplog.text, 60, "the refusal is logged")
    assert "no TLS" not in caplog.text


@pytest.mark.parametrize("own", ["scanner", ""])
def test_dcmtk_stores_over_tls(
    strict_door: Door, certificates: dict[str, Certificate], tmp_path: Path, own: str
) -> None:
    storescu = require("storescu")
    ds = make_ct(Rows=256, Columns=256, PixelData=bytes(range(256)) * 512)
    ds.save_as(tmp_path / "sent.dcm", enforce_file_format=True)
    certificate, key = certificates[own or "stranger"]
    command = [storescu, "+tls", str(key), str(certificate), "+cf", str(certificates["ca"].certificate)]
    command += ["-aec", "PAROTID", "localhost", str(strict_door.listener.port), str(tmp_path / "sent.dcm")]
    sent = subprocess.run(command, check=False, capture_output=True, timeout=120)
    assert (sent.returncode == 0) == bool(own)
    assert list(strict_door.rows()) == ([ds.SOPInstanceUID] if own else [])


def test_dcmtk_echoes_over_tls_without_a_certificate_of_its_own(door: Door) -> None:
    command = [require("echoscu"), "+tla", "-ic", "-aec", "PAROTID", "localhost", str(door.listener.port)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)


def test_dcmtk_echoes_over_tls_with_a_certificate(strict_door: Door, certificates: dict[str, Certificate]) -> None:
    certificate, key = certificates["scanner"]
    command = [require("echoscu"), "+tls", str(key), str(certificate), "+cf", str(certificates["ca"].certificate)]
    command += ["-aec", "PAROTID", "localhost", str(strict_door.listener.port)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)


def test_an_instance_of_many_pdus_comes_whole_over_tls(door: Door, certificates: dict[str, Certificate]) -> None:
    ds = make_ct(Rows=512, Columns=512, PixelData=bytes(range(256)) * 2048)
    ae = AE("SCANNER")
    ae.add_requested_context(CTImageStorage)
    assoc = ae.associate(
        "127.0.0.1", door.listener.port, ae_title="PAROTID", tls_args=(calling(certificates), "localhost")
    )
    assert assoc.send_c_store(ds).Status == 0
    assoc.release()
    assert list(door.rows()) == [ds.SOPInstanceUID]


def complaint(tmp_path: Path, **listener: str) -> str:
    with pytest.raises(ConfigError) as caught:
        make_listener_tls(make_config({"listener": listener}, base=tmp_path, environment={}))
    return str(caught.value)


def test_paths_are_relative_to_the_settings(certificates: dict[str, Certificate], tmp_path: Path) -> None:
    for source, name in zip(certificates["door"], ("door.pem", "door.key"), strict=True):
        shutil.copy(source, tmp_path / name)
    tables = {"listener": {"tls_certificate": "door.pem", "tls_key": "door.key"}}
    assert make_listener_tls(make_config(tables, base=tmp_path, environment={})) is not None


def test_without_a_certificate_there_is_no_tls() -> None:
    assert make_listener_tls(make_config({}, base=Path("/"), environment={})) is None


def test_half_of_the_settings_stops_the_start(tmp_path: Path) -> None:
    assert "tls_key" in complaint(tmp_path, tls_certificate="door.pem")
    assert "tls_certificate" in complaint(tmp_path, tls_key="door.key")
    assert "tls_client_ca" in complaint(tmp_path, tls_client_ca="ca.pem")


def test_a_file_that_is_not_there_is_named(certificates: dict[str, Certificate], tmp_path: Path) -> None:
    certificate, key = map(str, certificates["door"])
    assert complaint(tmp_path, tls_certificate="absent.pem", tls_key=key).startswith("listener.tls_certificate: ")
    assert complaint(tmp_path, tls_certificate=certificate, tls_key="absent").startswith("listener.tls_key: ")
    told = complaint(tmp_path, tls_certificate=certificate, tls_key=key, tls_client_ca="absent")
    assert told.startswith("listener.tls_client_ca: ")
    assert "No such file" in told


def test_files_that_do_not_belong_together_stop_the_start(certificates: dict[str, Certificate], tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no certificate")
    certificate, key = map(str, certificates["door"])
    other = str(certificates["scanner"].key)
    for wrong in ({"tls_certificate": certificate, "tls_key": other}, {"tls_certificate": "text", "tls_key": key}):
        assert "no certificate with its private key" in complaint(tmp_path, **wrong)
    told = complaint(tmp_path, tls_certificate=certificate, tls_key=key, tls_client_ca="text")
    assert "no certificate in PEM format" in told


def test_an_encrypted_key_stops_the_start_and_asks_nobody(certificates: dict[str, Certificate], tmp_path: Path) -> None:
    command = [require("openssl"), "pkey", "-in", str(certificates["door"].key), "-aes256", "-passout", "pass:x"]
    subprocess.run([*command, "-out", str(tmp_path / "encrypted.key")], check=True, capture_output=True)
    told = complaint(tmp_path, tls_certificate=str(certificates["door"].certificate), tls_key="encrypted.key")
    assert "encrypted" in told
