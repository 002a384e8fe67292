"""The daemon of the parotid screener: everything but the accelerator."""

IMPLEMENTATION_CLASS_UID = "2.25.171792741697570419851620480643191791044"
"""Names this program in associations and file meta information (PS3.7 D.3.3.2, PS3.10 7.1)."""
IMPLEMENTATION_VERSION_NAME = "PAROTID_SCREENER"

__version__ = "0.1.0"
"""The first heading of CHANGELOG.md; a test holds the two together."""
