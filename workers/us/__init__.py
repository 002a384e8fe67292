"""One stage of the ultrasound journey per file."""
