"""Judge whether anything would start with settings that read well: the bundles and certificates that they name."""

from screener.config import Config, ConfigError, check_bundles, read_text
from screener.find_lines import add_lines
from screener.tls import FileClosedError, make_listener_tls, make_openid_tls, make_reports_tls, make_web_tls


def check_start(config: Config) -> None:
    """Raise ConfigError, with the line of the key, where a file that the settings name would stop a start."""
    try:
        check_bundles(config)
        make_listener_tls(config)
        make_reports_tls(config)
        make_web_tls(config)
        make_openid_tls(config)
    except FileClosedError as error:
        raise FileClosedError(_place(error, config)) from None
    except ConfigError as error:
        raise ConfigError(_place(error, config)) from None


def describe_failing_start(config: Config) -> str:
    """Say what would stop a start; empty where nothing would, or where only the daemon may look."""
    try:
        check_start(config)
    except (FileClosedError, PermissionError):
        return ""
    except ConfigError as error:
        return str(error)
    return ""


def _place(error: ConfigError, config: Config) -> str:
    return add_lines(str(error), read_text(config.file)) if config.file else str(error)
