"""The statistics that an evaluation reports, for CT and ultrasound alike.

Each function names its published source, refuses what it cannot answer with a ValueError in one sentence, and says
in its docstring what ties, constant scores and a single kind of case come to. Several images of one patient are no
independent cases: DeLong, NRI, IDI and Hosmer-Lemeshow want one row per patient; for others resample the patients
(estimate_intervals.py).
"""
