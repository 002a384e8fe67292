"""What is said of the ultrasound models' lessons comes from the bundles in use."""

import json
import shutil
from pathlib import Path

from screener.config import make_config
from workers.bench import load_ultrasound_models
from workers.models.bundle_files import BUNDLES_DIR
from workers.training.us_describe_bundle import tell_learned_from


def test_what_the_models_learned_from_is_told_of_those_that_decide(tmp_path: Path) -> None:
    """A hospital's own bundle says what it learned from, in place of what ours did; one that is silent is named."""
    shutil.copytree(BUNDLES_DIR / "us_lesion_classifier", tmp_path / "ours")
    shutil.copytree(BUNDLES_DIR / "us_lesion_segmenter", tmp_path / "us_lesion_segmenter")
    models = {"folder": str(tmp_path), "us_segmenter": "us_lesion_segmenter", "us_classifier": "ours", "device": "cpu"}
    config = make_config({"models": models}, base=tmp_path, environment={})
    shipped = load_ultrasound_models(config).identity.learned_from
    assert shipped == (
        "The ultrasound models learned from lesions of the breast, lesions of the thyroid and parotid and "
        "submandibular glands without tumor: from no parotid tumor."
    )
    path = tmp_path / "ours" / "configs" / "metadata.json"
    metadata = json.loads(path.read_text(encoding="utf-8"))
    start = {"sources": ["clinic"], "start": "us_lesion_classifier", "start_learned_from": metadata["learned_from"]}
    path.write_text(json.dumps(metadata | {"learned_from": tell_learned_from(start)}), encoding="utf-8")
    told = load_ultrasound_models(config).identity.learned_from
    assert "the segmenter from lesions of the breast, " in told
    assert "the classifier from cases of the source clinic, starting from weights that learned from lesions of" in told
    del metadata["learned_from"]
    path.write_text(json.dumps(metadata), encoding="utf-8")
    assert "the classifier from what is not recorded" in load_ultrasound_models(config).identity.learned_from


def test_without_recorded_sources_nothing_is_claimed() -> None:
    assert tell_learned_from(None) == tell_learned_from({"sources": []}) == ""
    assert tell_learned_from({"sources": ["busi"]}) == "lesions of the breast: from no parotid tumor"
    mixed = tell_learned_from({"sources": ["busi", "clinic"]})
    assert mixed == "lesions of the breast and cases of the source clinic"
