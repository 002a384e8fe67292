"""The stages that read files, as a process of its own: one object a line comes in, what became of it goes out.

`python tests/chaos/fuzz_reader.py FOLDER`, FOLDER holding the sound slices of
a series. Each line of standard input is a JSON object with the file's path and
the UIDs of its row; each line of standard output says how every stage ended.
Whatever is no outcome is a crash, as it would be in a worker; so is much
memory, and a volume whose other slices or places are not those of the series.
"""

import ctypes
import gc
import json
import resource
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
from pydicom import Dataset
from pydicom.uid import CTImageStorage

from screener.find_gaps import find_gaps
from screener.logs import describe_error
from screener.outcomes import Outcome
from screener.read_file import read_file
from screener.read_place import read_place
from screener.study import Instance, Volume
from tests.chaos.fuzz_seeds import SERIES, make_slices
from workers.ct.decode_slice import SliceDecoder, reading
from workers.ct.list_frames import ENHANCED_CT
from workers.ct.load_volume import load_volume
from workers.ct.select_series import choose_stack, select_series

MOST_BYTES = 3 << 30
"""Of addresses: what wants more fails, and is a crash."""
MOST_GROWTH_KIB = 256 << 10
"""That one object may take at its peak, on top of what the process had."""
TOLERANCE_MM = 0.01
FIRST_FRAMES = 3
"""Of a multi-frame image the first few are decoded."""


def main() -> int:
    """Read until standard input ends."""
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    sound = [_describe(path, path.stem, CTImageStorage) for path in sorted(Path(sys.argv[1]).glob("*.dcm"))]
    whole = _load_whole()
    libc = ctypes.CDLL("libc.so.6")
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        one = _describe(Path(request["path"]), request["sop_instance_uid"], request["sop_class_uid"])
        Path("/proc/self/clear_refs").write_text("5")  # proc(5): the peak is counted from here
        before_kib = _memory_kib("VmRSS")
        endings = dict(_read(one, sound, whole))
        growth_kib = _memory_kib("VmHWM") - before_kib
        if growth_kib > MOST_GROWTH_KIB:
            endings["memory"] = f"CRASH {growth_kib >> 10} MiB at the peak"
        gc.collect()
        libc.malloc_trim(0)  # malloc_trim(3): what the allocator keeps to use again is no leak
        print(json.dumps({"endings": endings, "memory_kib": _memory_kib("VmRSS")}), flush=True)
    return 0


def _load_whole() -> Volume:
    """The series as it was before a slice was spoiled."""
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for ds in make_slices():
            paths.append(Path(folder) / f"{ds.SOPInstanceUID}.dcm")
            ds.save_as(paths[-1], enforce_file_format=True)
        return load_volume([_describe(path, path.stem, CTImageStorage) for path in paths], SERIES)


def _describe(path: Path, sop_instance_uid: str, sop_class_uid: str) -> Instance:
    return Instance(
        sop_instance_uid=sop_instance_uid,
        sop_class_uid=sop_class_uid,
        series_instance_uid=SERIES,
        path=path,
        sha256="",
    )


def _read(one: Instance, sound: list[Instance], whole: Volume) -> Iterator[tuple[str, str]]:
    series = [*sound, one]
    yield "place", _ending(lambda: find_gaps([read_place(image.path, SERIES) for image in series]))
    yield "selection", _ending(lambda: select_series([one]))
    yield "selection beside others", _ending(lambda: select_series(series))
    yield "decoder", _ending(lambda: _decode(one))
    yield "volume", _ending(lambda: _compare(load_volume(series, SERIES), whole, one))


def _compare(volume: Volume, whole: Volume, one: Instance) -> None:
    """Raise AssertionError where slices that nobody touched have other values or places than in the whole series."""
    places = {uid: index for index, uid in enumerate(whole.sop_instance_uids) if uid != one.sop_instance_uid}
    kept = [index for index, uid in enumerate(volume.sop_instance_uids) if uid in places]
    for index in kept:
        there = places[volume.sop_instance_uids[index]]
        assert np.array_equal(volume.hu[index], whole.hu[there]), f"slice {there} has other values"
        off_mm = volume.affine @ [0, 0, index, 1] - whole.affine @ [0, 0, there, 1]
        assert np.abs(off_mm).max() < TOLERANCE_MM, f"slice {there} lies {np.abs(off_mm).max():.2f} mm off"
    if kept:
        assert np.allclose(volume.affine[:3, :2], whole.affine[:3, :2], atol=TOLERANCE_MM), "rows or columns lie off"


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


def _memory_kib(name: str) -> int:
    """A line of /proc/self/status (proc(5)): VmRSS, resident now, or VmHWM, at the peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1])


if __name__ == "__main__":
    sys.exit(main())
