"""Decode a text that does not say how it is written."""


def decode_text(data: bytes) -> str:
    """Decode UTF-8, and what is none as Windows writes it in western Europe."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")
