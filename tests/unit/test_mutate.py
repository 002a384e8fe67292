"""What the fuzz program spoils, and that it spoils it in the same way again."""

import random
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread

from screener.archive import encode_file_meta
from screener.read_header import read_header
from tests.chaos.fuzz_seeds import INSTANCE, SERIES, Seed, deflate, make_seeds, name_uid
from tests.chaos.mutate import join, mutate, nest, split


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> list[Seed]:
    return make_seeds(tmp_path_factory.mktemp("seeds"))


def test_every_seed_is_sound_and_can_be_put_together_again(seeds: list[Seed], tmp_path: Path) -> None:
    for number, seed in enumerate(seeds):
        one = seed.numbered(number, per_study=1)
        assert join(split(one.data_set, one.encoding), one.encoding) == one.data_set, one.name
        encoded = deflate(one.data_set) if one.encoding.is_deflated else one.data_set
        header = read_header(BytesIO(encoded), one.transfer_syntax_uid)
        assert header.sop_instance_uid == name_uid(INSTANCE, number)
        assert header.series_instance_uid == name_uid(SERIES, number)
        assert not header.is_truncated
        path = tmp_path / "one.dcm"
        meta = encode_file_meta(one.sop_class_uid, header.sop_instance_uid, one.transfer_syntax_uid, "SCANNER")
        path.write_bytes(meta + encoded)
        assert dcmread(path).pixel_array.size > 0, one.name


def test_seeds_hold_every_way_of_encoding_there_is_an_encoder_for(seeds: list[Seed]) -> None:
    names = {seed.name for seed in seeds}
    assert {"implicit", "big endian", "deflated", "enhanced", "rle", "jpeg-ls", "j2k", "jpeg lossless"} <= names


def test_the_same_number_is_spoiled_in_the_same_way(seeds: list[Seed]) -> None:
    def spoil(number: int) -> bytes:
        rng = random.Random(number)  # noqa: S311 - chance, not a secret
        return mutate(rng.choice(seeds), seeds[0], rng).data_set

    first = [spoil(number) for number in range(40)]
    assert [spoil(number) for number in range(40)] == first
    assert len(set(first)) > 35


@pytest.mark.parametrize("is_defined", [True, False])
def test_nested_sequences_are_as_deep_as_asked_for(*, is_defined: bool) -> None:
    assert nest(7, is_defined=is_defined).count(b"SQ") == 7
