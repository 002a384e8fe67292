"""Of a wrong config.toml the database is taken only where the file names it for certain."""

from pathlib import Path

import pytest

from screener.config import ConfigError, load_config
from screener.salvage_config import salvage_config

SERVER = "postgresql+psycopg://x@db/y"
SHIPPED = (
    (Path(__file__).resolve().parents[2] / "config.toml")
    .read_text(encoding="utf-8")
    .replace('\nurl = ""\n\n[queue]', f'\nurl = "{SERVER}"\n\n[queue]')
    .replace('folder = "var"', 'folder = "/srv/screener"')
)
WRONG = "[listener]\nprot = 1\n"
OTHER_NAMES = ["storage]", "(storage)", "#[storage]", "[disk]", "[Storage]", "[listener.storage]", "[[storage", "x = ["]


def write_wrong(folder: Path, text: str) -> Path:
    """Write a config.toml that is wrong, and say where."""
    path = folder / "config.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError):
        load_config(path, {})
    return path


def refuse(folder: Path, text: str) -> None:
    path = write_wrong(folder, text)
    with pytest.raises(ConfigError):
        salvage_config(path)


@pytest.mark.parametrize("header", OTHER_NAMES)
def test_no_folder_is_assumed_where_the_header_above_it_is_another(tmp_path: Path, header: str) -> None:
    refuse(tmp_path, SHIPPED.replace("\n[storage]\n", f"\n{header}\n"))


@pytest.mark.parametrize("header", ["database]", "{database]", "#[database]", "[db]", "[queue.database]", "[store]"])
def test_no_database_is_assumed_where_the_header_above_it_is_another(tmp_path: Path, header: str) -> None:
    refuse(tmp_path, SHIPPED.replace("\n[database]\n", f"\n{header}\n"))


@pytest.mark.parametrize(
    "text",
    [
        f'folder = "/srv"\n{WRONG}',
        f'{WRONG}folder = "/srv"\n',
        f'[storage]\nfolder = "/srv"\n[web]\nenabled = True\n(db)\nurl = "{SERVER}"\n',
        f'[storage]\nfolder = "/srv"\n[db]\nurrl = "{SERVER}"\n',
        '[storage]\nfolder = "/srv"\n[disk]\nfolder = "/srv/new"\n',
        '[storage]\nfolder = "/srv"\n[log]\ndatabase]\n',
        SHIPPED.replace("\nfolder", "\n[older", 1),
        '[disk]\nfoldr = "/srv"\n',
        'disk = {folder = "/srv"}\n',
        "[models]\ndevice = cpu\n",
    ],
)
def test_no_default_is_assumed_where_a_line_may_say_another(tmp_path: Path, text: str) -> None:
    refuse(tmp_path, text)


@pytest.mark.parametrize(
    "wrong",
    [
        SHIPPED.replace("port = 11112", "port = 11112x"),
        SHIPPED.replace('ae_title = "PAROTID"', 'ae_title = """PAROTID"', 1),
        SHIPPED.replace("[web]\n", "[web]\nenabled = True\n"),
        SHIPPED.replace("[retention]\n", "[retnetion]\n"),
        f'{SHIPPED}[[notices.webhooks]]\nname = "a b"\nurl = "https://ris.test/notices"\n',
    ],
)
def test_what_is_wrong_elsewhere_leaves_database_and_disk_known(tmp_path: Path, wrong: str) -> None:
    salvaged = salvage_config(write_wrong(tmp_path, wrong))
    assert (salvaged.storage.folder, salvaged.database.url) == ("/srv/screener", SERVER)


@pytest.mark.parametrize("text", [WRONG, '[listner]\nport = 104\n[models]\nfolder = "/opt/models"\n'])
def test_a_file_that_names_neither_has_them_where_they_are_by_default(tmp_path: Path, text: str) -> None:
    salvaged = salvage_config(write_wrong(tmp_path, text))
    assert (salvaged.storage_folder, salvaged.database.url) == (tmp_path / "var", "")
