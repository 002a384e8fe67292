"""Small made-up ultrasound cases: speckle with a dark lesion, larger where it is malignant."""

import csv

import numpy as np
from PIL import Image

SHAPE = (48, 64)


def draw_case(rng, radius):
    """Return gray and lesion (rows, columns); without a lesion where `radius` is 0."""
    rows, columns = np.indices(SHAPE)
    center = rng.uniform((18, 20), (30, 44))
    lesion = (rows - center[0]) ** 2 + (columns - center[1]) ** 2 < radius**2
    gray = np.where(lesion, 40, 150) + rng.normal(0, 20, SHAPE)
    return gray.clip(0, 255).astype(np.uint8), lesion


def write_row(folder, rng, name, label, *, group, source="ours", radius=None):
    """Write one case's files and return its row."""
    radius = {"malignant": 12, "benign": 6}.get(label, 0) if radius is None else radius
    gray, lesion = draw_case(rng, radius)
    Image.fromarray(gray).save(folder / f"{name}.png")
    if radius:
        Image.fromarray(lesion.astype(np.uint8) * 255).save(folder / f"{name}_mask.png")
    return {"id": name, "source": source, "label": label, "group": group, "has_lesion_mask": str(int(radius > 0))}


def write_index(folder, rows):
    with (folder / "index.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["id", "source", "organ", "label", "group", "has_lesion_mask"])
        writer.writeheader()
        writer.writerows(rows)


def write_folder(folder, count=36, source="ours", *, seed=3):
    """Write `count` cases, benign, malignant and normal in turn, two of a group."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    labels = ("benign", "malignant", "normal")
    rows = [
        write_row(folder, rng, f"case_{n:03}", labels[n % 3], group=f"g{n % 3}_{n // 6}", source=source)
        for n in range(count)
    ]
    write_index(folder, rows)
    return folder
