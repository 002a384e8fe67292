"""Judge the ultrasound models by cases whose truth is known; figures stay within one source."""
