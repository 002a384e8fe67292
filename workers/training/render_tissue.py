"""Paint one patient's flesh, bone, air and vessels, and the labeled organs last, in densities drawn for the patient."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from workers.training import render_anatomy as anatomy
from workers.training.render_canvas import (
    BRAIN,
    BRAINSTEM,
    CANAL,
    CORD,
    MANDIBLE,
    PAROTIDS,
    Bytes,
    Canvas,
    Floats,
    Spacing,
    enlarge,
    smooth_noise,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """The densities of one patient, in Hounsfield units, and how much of what there is."""

    fat_hu: float
    muscle_hu: float
    gland_hu: float
    submandibular_hu: float
    vein_hu: float
    artery_hu: float
    brain_hu: float
    cortex_hu: float
    marrow_hu: float
    gland_grain_hu: float
    """Slow change of density within the gland."""
    lobule_fat: float
    """0 for a gland without septa of fat, 1 for many."""
    capsule_mm: float
    """Thickness of the film of fat about glands and muscles."""
    fat_mm: float
    """Beneath the skin of the neck."""
    muscle_size: float
    has_teeth: bool
    has_metal: bool
    has_air_in_mouth: bool


def choose_look(rng: np.random.Generator) -> Look:
    """Draw a patient: fatty or dense glands, lean or stout, before contrast agent or after it."""
    enhanced = rng.random() < 0.6
    gain = rng.uniform(0.4, 1.0) if enhanced else 0.0
    muscle = rng.uniform(40, 65) + 12 * gain
    gland = float(rng.choice((rng.uniform(-70, -20), rng.uniform(-30, 30), rng.uniform(20, 55)), p=(0.3, 0.45, 0.25)))
    gland += gain * rng.uniform(5, 45)
    has_teeth = bool(rng.random() < 0.8)
    return Look(
        fat_hu=float(rng.uniform(-120, -85)),
        muscle_hu=float(muscle),
        gland_hu=float(min(gland, 100)),
        submandibular_hu=float(np.clip(gland + rng.uniform(10, 50), 0, 120)),
        vein_hu=float(rng.uniform(35, 55) + gain * rng.uniform(40, 160)),
        artery_hu=float(rng.uniform(35, 55) + gain * rng.uniform(40, 240)),
        brain_hu=float(rng.uniform(28, 42) + 4 * gain),
        cortex_hu=float(rng.uniform(900, 1600)),
        marrow_hu=float(rng.uniform(80, 550)),
        gland_grain_hu=float(rng.uniform(3, 18)),
        lobule_fat=float(rng.choice((0.0, rng.uniform(0, 1)))),
        capsule_mm=float(rng.uniform(0.2, 2.0)),
        fat_mm=float(rng.choice((rng.uniform(1.5, 4), rng.uniform(3, 8), rng.uniform(7, 16)), p=(0.3, 0.45, 0.25))),
        muscle_size=float(rng.uniform(-1.5, 1.5)),
        has_teeth=has_teeth,
        has_metal=bool(has_teeth and rng.random() < 0.3),
        has_air_in_mouth=bool(rng.random() < 0.4),
    )


def paint_patient(canvas: Canvas, look: Look, labels: Bytes, spacing_mm: Spacing) -> NDArray[np.int64]:
    """Paint the whole of the patient whose organs are `labels` (z, y, x); return the voxels (n, 3) of dental metal."""
    _paint_flesh(canvas, look, labels, spacing_mm)
    _paint_bone(canvas, look, labels, spacing_mm)
    metal = _paint_teeth(canvas, look, labels, spacing_mm) if look.has_teeth else np.empty((0, 3), dtype=np.int64)
    _paint_air(canvas, look)
    _paint_vessels(canvas, look)
    _paint_organs(canvas, look, labels, spacing_mm)
    return metal


def _paint_flesh(canvas: Canvas, look: Look, labels: Bytes, spacing_mm: Spacing) -> None:
    """Skin, fat, and muscle with planes of fat; room for fat about the glands."""
    frame, rng, hu = canvas.frame, canvas.rng, canvas.hu
    shape = labels.shape
    depth = frame.depth_mm
    canvas.paint(anatomy.EAR, rng.uniform(-40, 50), grain_hu=25, least_depth_mm=-30)
    canvas.paint(anatomy.NOSE, 20.0, grain_hu=15, least_depth_mm=-30)
    fat = look.fat_hu + rng.uniform(4, 14) * canvas.grain
    planes = np.abs(smooth_noise(rng, shape, spacing_mm, (45, 14, 14)))
    flesh = look.muscle_hu + rng.uniform(2, 7) * canvas.grain
    patchy = np.clip(0.7 * smooth_noise(rng, shape, spacing_mm, (20, 10, 10)) + rng.uniform(0.0, 0.9), 0, 1)
    width = np.float32(rng.uniform(-0.02, 0.2))
    flesh += np.clip((width - planes) / 0.12 + 0.5, 0, 1) * patchy * (fat - flesh)
    head = np.clip((frame.height_mm - 30) / 15, 0, 1)
    thick = look.fat_mm * (1 - head) + min(look.fat_mm, rng.uniform(2, 5)) * head
    # Thicker at the nape and in the cheeks.
    nape, cheek = rng.uniform(0, 1.2) * look.fat_mm, rng.uniform(2, 10)
    below = np.clip((35 - frame.height_mm) / 15, 0, 1)
    face = below * np.clip((frame.height_mm + 60) / 15, 0, 1)
    extra = nape * np.clip((frame.back_axis - 45) / 20, 0, 1) * below[:, None]
    extra += cheek * np.clip((-25 - frame.back_axis) / 12, 0, 1) * face[:, None]
    beneath = depth - 2.0 - (thick[:, None] + extra).astype(np.float32)[:, :, None]
    beneath += smooth_noise(rng, shape, spacing_mm, (40, 30, 30)) * np.float32(0.25 * look.fat_mm)
    inner = np.clip(beneath + 0.5, 0, 1)
    inside = np.clip(depth + 0.5, 0, 1)
    skin_mm = np.float32(rng.uniform(1.2, 2.2))
    tissue = fat + inner * (flesh - fat)
    tissue = tissue + np.clip(skin_mm - depth + 0.5, 0, 1) * (rng.uniform(-10, 45) - tissue)
    hu += inside * (tissue - hu)

    step = [max(1, round(3 / s)) for s in spacing_mm]
    glands = np.isin(labels[:: step[0], :: step[1], :: step[2]], (*PAROTIDS, 7, 8)).astype(np.float32)
    reach = [rng.uniform(3, 6) / (s * t) for s, t in zip(spacing_mm, step, strict=True)]
    near = ndimage.gaussian_filter(glands, reach)
    near = enlarge(np.pad(near, ((0, 1),) * 3, mode="edge"), shape, [1 / t for t in step])
    share = np.clip((near - rng.uniform(0.06, 0.4)) * 12, 0, 1) * np.clip(depth - 2, 0, 1)
    hu += share * (fat - hu)
    stranded = np.clip(planes * 2 + 0.3, 0, 1).astype(np.float32)
    for space in (*anatomy.FAT_SPACES, anatomy.CHIN_FAT):
        canvas.paint(space, look.fat_hu, grain_hu=12, jitter_mm=2, grow_mm=rng.uniform(-2.5, 2), over=stranded)
    canvas.paint(anatomy.TONGUE, look.muscle_hu - rng.uniform(0, 25), grain_hu=rng.uniform(4, 20))
    strands = rng.choice((6.0, rng.uniform(6, 22)))
    for muscle in anatomy.MUSCLES.values():
        size = look.muscle_size + rng.normal(0, 0.5)
        state = rng.bit_generator.state
        canvas.paint(muscle, look.fat_hu, grain_hu=8, grow_mm=size + look.capsule_mm, over=patchy)
        rng.bit_generator.state = state  # the same place again
        canvas.paint(muscle, look.muscle_hu + rng.normal(0, 3), grain_hu=strands, grow_mm=size)
    canvas.paint(anatomy.LARYNX, rng.uniform(70, 250), grain_hu=50)
    canvas.paint(anatomy.LARYNX, look.muscle_hu - 5, grow_mm=-2.6, jitter_mm=0)
    canvas.paint(anatomy.THYROID, look.artery_hu * 0.6 + 50, grain_hu=8)


def _paint_bone(canvas: Canvas, look: Look, labels: Bytes, spacing_mm: Spacing) -> None:
    """Spine, skull and face."""
    rng, cortex, marrow = canvas.rng, look.cortex_hu * 0.7, look.marrow_hu
    for tube, grain in ((anatomy.VERTEBRA, 60), (anatomy.PILLARS, 100), (anatomy.RING, 80), (anatomy.ATLAS, 80)):
        state = rng.bit_generator.state
        canvas.paint(tube, cortex, grain_hu=grain)
        rng.bit_generator.state = state
        canvas.paint(tube, marrow, grain_hu=grain / 2, grow_mm=-2.2)
    # Discs and the gaps between the spinous processes.
    phase = np.mod(canvas.frame.height_mm + rng.uniform(0, 17), 17.0)
    gap = ((phase < 4.5) & (canvas.frame.height_mm < -28)).astype(np.float32)[:, None, None]
    over = np.broadcast_to(gap, labels.shape)
    canvas.paint(anatomy.VERTEBRA, 90.0, grain_hu=15, grow_mm=0.5, jitter_mm=0.5, over=over)
    canvas.paint(anatomy.RING, look.muscle_hu, grow_mm=0.5, jitter_mm=0.5, over=over)
    canvas.paint(anatomy.SPINOUS, cortex, grain_hu=80, over=1 - over)
    canvas.paint(anatomy.HYOID, cortex * 0.8, grain_hu=80)
    canvas.paint(anatomy.HYOID, look.muscle_hu, grow_mm=-3.0, jitter_mm=0.5)
    canvas.paint(anatomy.MAXILLA, cortex * 0.6, grain_hu=150, least_depth_mm=7)
    canvas.paint(anatomy.MAXILLA, rng.uniform(0, 60), grain_hu=40, grow_mm=-2.5, least_depth_mm=8)
    for tube in (anatomy.ZYGOMA, anatomy.ZYGOMATIC_ARCH):
        canvas.paint(tube, cortex, grain_hu=80, least_depth_mm=3)
    _paint_skull(canvas, look, labels, spacing_mm)
    canvas.paint(anatomy.ORBIT, cortex, grow_mm=2.0, jitter_mm=0.5, least_depth_mm=4)
    canvas.paint(anatomy.ORBIT, look.fat_hu, grain_hu=12, jitter_mm=0.5, least_depth_mm=3)
    for tube in anatomy.SKULL_BASE:
        canvas.paint(tube, cortex, grain_hu=200)
    state = rng.bit_generator.state
    canvas.paint(anatomy.MASTOID, cortex, grain_hu=120, least_depth_mm=4)
    rng.bit_generator.state = state
    cells = np.clip(smooth_noise(rng, labels.shape, spacing_mm, (4, 4, 4)) + rng.uniform(-0.6, 0.8), 0, 1)
    rng.bit_generator.state = state
    canvas.paint(anatomy.MASTOID, -850.0, grow_mm=-2.0, over=cells, least_depth_mm=5)


def _paint_skull(canvas: Canvas, look: Look, labels: Bytes, spacing_mm: Spacing) -> None:
    """A shell of two tables and diploe about the brain, with fluid within it."""
    rng = canvas.rng
    if not (labels == BRAIN).any():
        return
    step = [max(1, round(2.5 / s)) for s in spacing_mm]
    coarse = np.isin(labels[:: step[0], :: step[1], :: step[2]], (BRAIN, BRAINSTEM))
    sampling = [s * t for s, t in zip(spacing_mm, step, strict=True)]
    # Brain goes on above a scan that ends within it.
    coarse = np.pad(coarse, ((0, 1), (0, 1), (0, 1)), mode="edge")
    apart = ndimage.distance_transform_edt(~coarse, sampling=sampling).astype(np.float32)
    apart -= ndimage.distance_transform_edt(coarse, sampling=sampling).astype(np.float32)
    apart = ndimage.gaussian_filter(apart, [2.0 / s for s in sampling])
    apart = enlarge(apart, labels.shape, [1 / t for t in step])
    thick = np.float32(rng.uniform(3.5, 7)) + smooth_noise(rng, labels.shape, spacing_mm, (40, 40, 40)) * np.float32(
        0.8
    )
    inner = np.float32(rng.uniform(1, 3))
    beneath = np.clip(canvas.frame.depth_mm - 2.5, 0, 1)
    shell = np.clip(apart - inner + 0.5, 0, 1) * np.clip(inner + thick - apart + 0.5, 0, 1) * beneath
    middle = np.clip(1.2 - np.abs(apart - inner - thick / 2) / (thick * 0.3), 0, 1)
    bone = look.cortex_hu * 0.9 + middle * np.float32(look.marrow_hu - look.cortex_hu * 0.9) * np.float32(
        rng.uniform(0.3, 0.9)
    )
    canvas.hu += shell * (bone - canvas.hu)
    fluid = np.clip(inner - apart + 0.5, 0, 1) * beneath
    canvas.hu += fluid * (rng.uniform(5, 20) - canvas.hu)


def _paint_teeth(canvas: Canvas, look: Look, labels: Bytes, spacing_mm: Spacing) -> NDArray[np.int64]:
    """Set teeth upon the front of the mandible and above them; return the voxels (n, 3) of metal."""
    rng, frame = canvas.rng, canvas.frame
    front = np.flatnonzero((frame.height_mm > -40) & (frame.height_mm < 0))
    metal = []
    if not len(front):
        return np.empty((0, 3), dtype=np.int64)
    jaw = labels[front] == MANDIBLE
    z, y, x = np.nonzero(jaw)
    lateral, back = frame.lateral_mm[front][jaw], frame.back_mm[front][jaw]
    angle = np.arctan2(lateral, -(back + 44))
    for tooth in np.arange(-7, 8) * 0.22:
        here = (np.abs(angle - tooth) < 0.11) & (back < -34)
        if here.sum() < 5 or rng.random() < 0.12:
            continue
        top = int(np.quantile(z[here], 0.98))
        rim = here & (z >= top - max(1, round(6 / spacing_mm[0])))
        cy, cx = float(y[rim].mean()), float(x[rim].mean())
        low = top + int(front[0]) - round(4 / spacing_mm[0])
        high = top + int(front[0]) + round(17 / spacing_mm[0])
        is_metal = look.has_metal and rng.random() < 0.3
        radius = rng.uniform(3.0, 4.5)
        part = (
            slice(max(low, 0), max(high, 1)),
            *(slice(max(int(c - 8 / s), 0), int(c + 8 / s) + 1) for c, s in zip((cy, cx), spacing_mm[1:], strict=True)),
        )
        dy = (np.arange(*part[1].indices(labels.shape[1])) - cy)[None, :, None] * spacing_mm[1]
        dx = (np.arange(*part[2].indices(labels.shape[2])) - cx)[None, None, :] * spacing_mm[2]
        share = np.clip(radius - np.hypot(dy, dx) + 0.5, 0, 1) * np.clip(frame.depth_mm[part] - 5, 0, 1)
        canvas.hu[part] += share * ((3000 if is_metal else rng.uniform(1500, 2400)) - canvas.hu[part])
        if is_metal:
            metal.append([min(top + int(front[0]) + 2, len(labels) - 1), round(cy), round(cx)])
    return np.array(metal, dtype=np.int64).reshape(-1, 3)


def _paint_air(canvas: Canvas, look: Look) -> None:
    rng = canvas.rng
    wide = rng.uniform(-1.5, 2)
    state = rng.bit_generator.state
    canvas.paint(anatomy.AIRWAY, look.muscle_hu, grain_hu=6, grow_mm=wide + 2.5)
    rng.bit_generator.state = state
    canvas.paint(anatomy.AIRWAY, -990.0, grow_mm=wide)
    if look.has_air_in_mouth:
        canvas.paint(anatomy.MOUTH_AIR, -990.0, grow_mm=rng.uniform(-6, 0), least_depth_mm=10)
    for cavity in anatomy.SINUSES:
        filled = rng.random() < 0.12
        canvas.paint(cavity, 25.0 if filled else -980.0, grow_mm=rng.uniform(-2, 1), least_depth_mm=7)
    for partition in anatomy.TURBINATES:
        canvas.paint(partition, 50.0, grain_hu=20, jitter_mm=1, least_depth_mm=7)
    canvas.paint(anatomy.EAR_CANAL, -950.0, least_depth_mm=-5)


def _paint_vessels(canvas: Canvas, look: Look) -> None:
    rng = canvas.rng
    for name, vessel in anatomy.VESSELS.items():
        if rng.random() < 0.9:
            hu = look.artery_hu if "carotid" in name or name == "vertebral" else look.vein_hu
            canvas.paint(vessel, hu, jitter_mm=2, grow_mm=rng.normal(0, 0.5))


def _paint_organs(canvas: Canvas, look: Look, labels: Bytes, spacing_mm: Spacing) -> None:
    """Paint the labeled organs, the parotids last, each exactly where its label is."""
    rng, hu = canvas.rng, canvas.hu
    simple = {
        CANAL: (rng.uniform(5, 30), 5.0),
        BRAIN: (look.brain_hu, 4.0),
        BRAINSTEM: (look.brain_hu - 2, 3.0),
        CORD: (look.brain_hu + 3, 3.0),
        12: (-830.0, 30.0),
        13: (-830.0, 30.0),
        14: (300.0, 150.0),
        15: (300.0, 150.0),
        10: (12.0, 3.0),
        11: (12.0, 3.0),
    }
    whole = ndimage.find_objects(labels, max_label=15)
    for label, (level, grain) in simple.items():
        if whole[label - 1] is not None:
            window, share = _soft_mask(labels, label, whole[label - 1], spacing_mm)
            hu[window] += share * (level + grain * canvas.grain[window] - hu[window])
    if whole[MANDIBLE - 1] is not None:
        window, share = _soft_mask(labels, MANDIBLE, whole[MANDIBLE - 1], spacing_mm)
        core = ndimage.gaussian_filter(share, [1.6 / s for s in spacing_mm])
        marrow = np.clip((core - 0.72) * 8, 0, 1)
        bone = look.cortex_hu + 80 * canvas.grain[window]
        bone += marrow * (look.marrow_hu + 60 * canvas.grain[window] - bone)
        hu[window] += share * (bone - hu[window])
    for label in (7, 8, *PAROTIDS):
        if whole[label - 1] is None:
            continue
        window, share = _soft_mask(labels, label, whole[label - 1], spacing_mm)
        _paint_gland(canvas, look, window, share, spacing_mm, is_parotid=label in PAROTIDS)
    glands = np.isin(labels, PAROTIDS).astype(np.float32)
    canvas.paint(anatomy.RETROMANDIBULAR_VEIN, look.vein_hu, jitter_mm=1.5, grow_mm=rng.uniform(-1, 0.8), over=glands)


def _paint_gland(
    canvas: Canvas, look: Look, window: tuple[slice, ...], share: Floats, spacing_mm: Spacing, *, is_parotid: bool
) -> None:
    """Paint one gland with its film of fat, its slow changes, and septa of fat between its lobules."""
    rng, hu = canvas.rng, canvas.hu
    film = np.clip(ndimage.gaussian_filter(share, [look.capsule_mm / s for s in spacing_mm]) * 6 - 0.5, 0, 1)
    film *= np.clip(200 - hu[window], 0, 1) * np.clip(hu[window] + 300, 0, 1) * np.float32(rng.uniform(0.3, 1))
    hu[window] += film * (look.fat_hu - hu[window])
    level = (look.gland_hu if is_parotid else look.submandibular_hu) + rng.normal(0, 4)
    slow = smooth_noise(rng, share.shape, spacing_mm, (20, 16, 16))
    values = np.float32(level) + np.float32(0.6 * look.gland_grain_hu) * (slow + canvas.grain[window])
    if is_parotid and look.lobule_fat:
        septa = np.abs(smooth_noise(rng, share.shape, spacing_mm, (9, 6, 6)))
        amount = np.clip((0.3 * look.lobule_fat - septa) / 0.25 + 0.5, 0, 1) * np.float32(rng.uniform(0.3, 0.8))
        values += amount * (look.fat_hu - values)
    hu[window] += share * (values - hu[window])


def _soft_mask(
    labels: Bytes, label: int, inner: tuple[slice, ...], spacing_mm: Spacing
) -> tuple[tuple[slice, ...], Floats]:
    """Return a window about the organ and each voxel's share in it; more than half exactly where it is labeled."""
    window = tuple(slice(max(s.start - 4, 0), s.stop + 4) for s in inner)
    mask = labels[window] == label
    blurred = ndimage.gaussian_filter(mask.astype(np.float32), [0.4, *(0.7 / s for s in spacing_mm[1:])], truncate=3)
    share = np.clip((blurred - 0.5) * 1.6 + 0.5, 0, 1)
    return window, np.where(mask, np.maximum(share, 0.55), np.minimum(share, 0.45)).astype(np.float32)
