"""Debian's Orthanc as the hospital's PACS, started for a test on free loopback ports."""

import json
import subprocess
import time
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from pydicom import Dataset, dcmread

from tests.peers.ports import free_port, wait_for_port
from tests.peers.require import require


class Orthanc:
    """A PACS with a DICOM port and a REST interface."""

    def __init__(self, folder: Path, modalities: dict[str, tuple[str, str, int]] | None = None) -> None:
        """`modalities`: name to (AE title, host, port) of those that Orthanc may send to."""
        self.ae_title = "ORTHANC"
        self.dicom_port, self.http_port = free_port(), free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        settings = {
            "Name": "hospital",
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "DicomAet": self.ae_title,
            "DicomPort": self.dicom_port,
            "HttpPort": self.http_port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomModalities": {name: list(place) for name, place in (modalities or {}).items()},
            "Plugins": [],
        }
        (folder / "orthanc.json").write_text(json.dumps(settings))

    def start(self) -> "Orthanc":
        with (self._folder / "orthanc.out").open("ab") as output:
            command = [require("Orthanc"), str(self._folder / "orthanc.json")]
            self._process = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            wait_for_port(self.http_port)
            wait_for_port(self.dicom_port)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=20)
            self._process = None

    def ask(self, path: str, body: object = None) -> Any:
        """GET a REST path, or POST `body` as JSON to it."""
        data = None if body is None else json.dumps(body).encode()
        request = Request(f"http://127.0.0.1:{self.http_port}{path}", data=data)
        with urlopen(request, timeout=60) as answer:  # noqa: S310
            return json.loads(answer.read() or b"null")

    def delete(self, path: str) -> None:
        """DELETE a REST path, such as an instance's."""
        request = Request(f"http://127.0.0.1:{self.http_port}{path}", method="DELETE")
        urlopen(request, timeout=60).close()  # noqa: S310

    def instances(self, study_instance_uid: str, modality: str) -> list[str]:
        """Orthanc's identifiers of a study's instances of one modality."""
        query = {"StudyInstanceUID": study_instance_uid, "Modality": modality}
        series = self.ask("/tools/find", {"Level": "Series", "Query": query})
        return [instance for one in series for instance in self.ask(f"/series/{one}")["Instances"]]

    def file(self, instance: str) -> bytes:
        """The whole file of an instance, as it was received."""
        with urlopen(f"http://127.0.0.1:{self.http_port}/instances/{instance}/file", timeout=60) as answer:
            content: bytes = answer.read()
        return content

    def wait_for(self, study_instance_uid: str, modality: str, count: int = 1, seconds: float = 120) -> list[Dataset]:
        """The data sets of one modality, once there are `count`."""
        deadline = time.monotonic() + seconds
        while len(found := self.instances(study_instance_uid, modality)) < count:
            assert time.monotonic() < deadline, f"{len(found)} of {count} {modality} instances in the PACS"
            time.sleep(0.2)
        return [dcmread(BytesIO(self.file(instance))) for instance in found]
