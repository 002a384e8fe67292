"""Judging the CT networks on cases whose truth is known: one step per file, from screening a case to the report."""
