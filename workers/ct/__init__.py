"""One stage of the CT journey per file."""
