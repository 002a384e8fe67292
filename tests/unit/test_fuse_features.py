"""Where the settings let the fusion decide, its probability counts, and what it cannot measure is not assessed."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch

pytest.importorskip("mirp")
pytest.importorskip("skimage")

from screener.channels.message import compose_message
from screener.channels.webhook import _describe_notice
from screener.channels.write_oru import _observe
from screener.config import ConfigError, check_bundles, make_config
from screener.explain import describe_study
from screener.outcomes import NeedsPerson
from screener.us_study import FUSION, Answer, Finding
from tests.unit.test_screen_us import START, Clinic, a_lesion, models_with
from workers.bench import load_ultrasound_models
from workers.models.fusion_machine import (
    COMPONENT,
    IMAGE,
    Components,
    Fusion,
    FusionMachine,
    Linear,
    Standard,
    build_backbone,
)
from workers.results.encode_us_sr import BY_FUSION
from workers.us import fuse_features as module
from workers.us.fuse_features import fuse_features


def a_machine(features: tuple[str, ...], weights: list[float], bias: float = 0.0) -> FusionMachine:
    """A fusion that adds up its features."""
    components = sum(name.startswith(COMPONENT) for name in features)
    torch.manual_seed(3)
    fusion = Fusion(
        features=features,
        components=Components(mean=np.zeros(1280), axes=np.ones((components, 1280))),
        standard=Standard(mean=np.zeros(len(features)), deviation=np.ones(len(features))),
        classifier=Linear(weights=np.array(weights), bias=bias),
        slope=1.0,
        intercept=0.0,
    )
    return FusionMachine(
        name="us_fusion", version="0", digest="1" * 64, fusion=fusion, side_px=64, image_model_digest="0" * 64,
        backbone=build_backbone().eval() if components else None,
    )  # fmt: skip


def quick_radiomics(_lesion):
    return {"shape_solidity": 0.9, "lesion_stat_mean": 80.0}


def test_all_three_kinds_of_features_count(monkeypatch) -> None:
    monkeypatch.setattr(module, "measure_radiomics", quick_radiomics)
    lesion = a_lesion()
    assert fuse_features(lesion, 0.5, a_machine(("shape_solidity",), [1.0])) == pytest.approx(1 / (1 + np.exp(-0.9)))
    heard = a_machine((IMAGE,), [1.0])
    assert fuse_features(lesion, 0.3, heard) == pytest.approx(0.3)
    assert 0 < fuse_features(lesion, 0.0, heard) < 0.05
    assert fuse_features(lesion, 1.0, heard) > 0.95
    deep = a_machine((f"{COMPONENT}7",), [1.0])
    pooled = module._pool(lesion, deep)
    wanted = np.clip(pooled.sum(), -4, 4)
    assert fuse_features(lesion, 0.5, deep) == pytest.approx(1 / (1 + np.exp(-wanted)), abs=1e-6)
    assert abs(pooled).sum() > 0


def test_the_real_features_are_those_that_a_bundle_names() -> None:
    machine = a_machine(("lesion_stat_mean", "ring_stat_mean", "shape_axis_ratio", "behind_to_all"), [0.01] * 4)
    answer = fuse_features(a_lesion(), 0.5, machine)
    assert answer is not None
    assert 0 < answer < 1


def test_a_lesion_that_cannot_be_measured_has_no_probability(monkeypatch) -> None:
    monkeypatch.setattr(module, "measure_radiomics", lambda _: None)
    assert fuse_features(a_lesion(), 0.9, a_machine((IMAGE,), [1.0])) is None


@pytest.fixture
def open_clinic(tmp_path):
    clinics = []

    def make(models) -> Clinic:
        clinics.append(Clinic(tmp_path, 60, models))
        return clinics[-1]

    yield make
    for clinic in clinics:
        clinic.store.engine.dispose()


def test_the_fused_probability_decides_where_there_is_a_fusion(open_clinic, monkeypatch) -> None:
    monkeypatch.setattr(module, "measure_radiomics", quick_radiomics)
    models = replace(models_with(2.0), fusion=a_machine((IMAGE, "shape_solidity"), [1.0, -4.0]))
    clinic = open_clinic(models)
    report = clinic.screen()
    lesion = report.runs[0].lesion
    assert lesion.answer is Answer.BENIGN
    assert lesion.is_by_fusion
    assert f"by {FUSION}, below the threshold" in lesion.reason
    assert f"by {FUSION}, below the threshold" in describe_study(report)
    assert BY_FUSION in comments_of(pydicom.dcmread(clinic.result(report, "sr")))
    assert lesion.probability == pytest.approx(1 / (1 + np.exp(3.6 - 2.0)), abs=0.01)


def test_a_study_whose_radiomics_cannot_be_measured_is_not_assessable(open_clinic, monkeypatch) -> None:
    monkeypatch.setattr(module, "measure_radiomics", lambda _: None)
    run = open_clinic(replace(models_with(2.0), fusion=a_machine((IMAGE,), [1.0]))).screen().runs[0]
    assert run.lesion.answer is Answer.NOT_ASSESSABLE
    assert run.lesion.probability is None
    assert not run.is_flagged
    assert f"could not be classified: {FUSION} could not measure it" in run.lesion.reason
    assert run.lesion.is_by_fusion


def test_a_notice_of_the_fusion_names_it_on_every_channel_and_one_of_the_image_does_not(
    open_clinic, monkeypatch
) -> None:
    monkeypatch.setattr(module, "measure_radiomics", quick_radiomics)
    clinic = open_clinic(replace(models_with(2.0), fusion=a_machine((IMAGE, "shape_solidity"), [1.0, 4.0])))
    report = clinic.screen()
    assert report.runs[0].is_flagged
    (notice,) = clinic.store.owed_notices(START + timedelta(hours=1))
    alone = replace(notice, lesion=replace(notice.lesion, is_by_fusion=False))
    for told, is_named in ((notice, True), (alone, False)):
        text = compose_message(told).text
        assert (f"  by {FUSION}, not by the image model alone" in text) == is_named
        assert max(map(len, text.splitlines())) <= 100
        observed = " ".join(one.value for one in _observe(told, []))
        assert (FUSION in observed) == is_named
        assert _describe_notice(told, compose_message(told))["lesion"]["is_by_fusion"] is is_named


def test_beside_a_readers_findings_the_fusion_is_named_in_place_of_the_image(open_clinic, monkeypatch) -> None:
    monkeypatch.setattr(module, "measure_radiomics", quick_radiomics)
    clinic = open_clinic(replace(models_with(2.0), fusion=a_machine((IMAGE, "shape_solidity"), [1.0, -1.0])))
    known = {Finding.IRREGULAR_SHAPE: True, Finding.POORLY_DEFINED_MARGIN: True, Finding.POSTERIOR_ENHANCEMENT: False}
    assert clinic.store.enter_findings(1, known, entered_by="dr.gray", now=START)
    report = clinic.screen()
    assert "by the fusion and a reader's findings" in describe_study(report)
    comments = comments_of(pydicom.dcmread(clinic.result(report, "sr")))
    assert "The fusion alone decided; a reader's findings decided nothing." in comments
    assert "by the image" not in describe_study(report)


def comments_of(sr: pydicom.Dataset) -> list[str]:
    """Every text of a structured report."""
    return [str(element.value) for element in sr.iterall() if element.keyword == "TextValue"]


def test_a_fusion_beside_another_classifier_than_its_own_is_refused() -> None:
    classifier = models_with(0.0).classifier
    a_machine((IMAGE,), [1.0]).must_fit(classifier)
    with pytest.raises(NeedsPerson, match="another classifier"):
        a_machine((IMAGE,), [1.0]).must_fit(replace(classifier, digest="2" * 64))
    a_machine(("shape_solidity",), [1.0]).must_fit(replace(classifier, digest="2" * 64))


def test_the_settings_name_the_fusion_that_decides(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="us_decides"):
        make_config({"models": {"us_decides": "fusion"}}, base=tmp_path, environment={})
    config = make_config(
        {"models": {"us_decides": "fusion", "us_fusion": "none_such"}}, base=tmp_path, environment={}
    )  # fmt: skip
    with pytest.raises(ConfigError, match=r"models\.us_fusion: there is no bundle none_such"):
        check_bundles(config)


def test_the_shipped_fusion_fits_the_shipped_classifier_and_makes_other_results(tmp_path: Path) -> None:
    named = {"us_segmenter": "us_lesion_segmenter", "us_classifier": "us_lesion_classifier", "device": "cpu"}
    image = load_ultrasound_models(make_config({"models": named}, base=tmp_path, environment={}))
    asked = {"us_decides": "fusion", "us_fusion": "us_fusion"}
    fused = load_ultrasound_models(make_config({"models": named | asked}, base=tmp_path, environment={}))
    assert image.fusion is None
    assert fused.fusion is not None
    assert fused.identity.device_uid != image.identity.device_uid
    assert fuse_features(a_lesion(), 0.9, fused.fusion) != fuse_features(a_lesion(), 0.1, fused.fusion)
