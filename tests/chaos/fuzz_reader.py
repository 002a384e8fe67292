"""The stages that read files, as a process of its own: one object a line comes in, what became of it goes out.

`python tests/chaos/fuzz_reader.py FOLDER`, FOLDER holding the sound slices of
a series. Each line of standard input is a JSON object with the file's path and
the UIDs of its row; each line of standard output says how every stage ended.
Whatever is no outcome is a crash, as it would be in a worker.
"""

import json
import resource
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pydicom import Dataset
from pydicom.uid import CTImageStorage

from screener.find_gaps import find_gaps
from screener.logs import describe_error
from screener.outcomes import Outcome
from screener.read_place import read_place
from screener.study import Instance
from tests.chaos.fuzz_seeds import SERIES
from workers.ct.decode_slice import SliceDecoder, reading
from workers.ct.list_frames import ENHANCED_CT
from workers.ct.load_volume import load_volume
from workers.ct.read_file import read_file
from workers.ct.select_series import choose_stack, select_series

MOST_BYTES = 3 << 30
"""Of addresses: what wants more fails, and is a crash."""
FIRST_FRAMES = 3
"""Of a multi-frame image the first few are decoded."""


def main() -> int:
    """Read until standard input ends."""
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    sound = [_describe(path, path.stem, CTImageStorage) for path in sorted(Path(sys.argv[1]).glob("*.dcm"))]
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        one = _describe(Path(request["path"]), request["sop_instance_uid"], request["sop_class_uid"])
        print(json.dumps({"endings": dict(_read(one, sound)), "memory_kib": _memory_kib()}), flush=True)
    return 0


def _describe(path: Path, sop_instance_uid: str, sop_class_uid: str) -> Instance:
    return Instance(
        sop_instance_uid=sop_instance_uid,
        sop_class_uid=sop_class_uid,
        series_instance_uid=SERIES,
        path=path,
        sha256="",
    )


def _read(one: Instance, sound: list[Instance]) -> Iterator[tuple[str, str]]:
    series = [*sound, one]
    yield "place", _ending(lambda: find_gaps([read_place(image.path, SERIES) for image in series]))
    yield "selection", _ending(lambda: select_series([one]))
    yield "selection beside others", _ending(lambda: select_series(series))
    yield "decoder", _ending(lambda: _decode(one))
    yield "volume", _ending(lambda: load_volume(series, SERIES))


def _decode(one: Instance) -> None:
    """Ask the decoder for what the header claims, as the loader does once it has found it plausible."""
    decoder = SliceDecoder()
    if one.sop_class_uid in ENHANCED_CT:
        for frame in choose_stack([one])[:FIRST_FRAMES]:
            decoder.decode(one, _shape_of(one, frame.header), frame.number)
        return
    with reading(one):
        ds = read_file(one.path, with_pixels=False, keywords=["Rows", "Columns"])
    decoder.decode(one, _shape_of(one, ds))


def _shape_of(one: Instance, header: Dataset) -> tuple[int, int]:
    with reading(one):
        return int(header.get("Rows") or 0), int(header.get("Columns") or 0)


def _ending(read: Callable[[], object]) -> str:
    try:
        read()
    except Outcome as outcome:
        return f"{type(outcome).__name__} {outcome.code}"
    except Exception as error:  # noqa: BLE001 - the edge: this is what is looked for
        return f"CRASH {describe_error(error)}"
    return "read"


def _memory_kib() -> int:
    """Resident, now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() // 1024


if __name__ == "__main__":
    sys.exit(main())
