"""The clinical model of the ultrasound queue: what a reader's findings tell by themselves and with the image."""
