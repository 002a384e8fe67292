"""The synthetic patient's organs: where they lie, how large they are, how bright they are.

Positions are millimeters about the midpoint between the two parotid glands: x
away from the midline, y toward the back, z toward the head. The sizes are
rounded from the medians of a few dozen adult head and neck CTs; no voxel of
any patient is in here.
"""

import numpy as np

from screener.phantom_canvas import BONE, LEFT_PAROTID, RIGHT_PAROTID, Canvas, Loft, make_ellipsoid, make_tube

# fmt: off
# One height after another reads better than one number a line.
NECK = Loft(
    (
        (-260.0, 0, 45, 185, 120, 78), (-180.0, 0, 45, 180, 85, 76), (-150.0, 0, 50, 165, 62, 70),
        (-130.0, 0, 50, 138, 62, 63), (-115.0, 0, 40, 108, 64, 65), (-100.0, 0, 32, 86, 64, 66),
        (-90.0, 0, 27, 76, 64, 66), (-80.0, 0, 25, 69, 67, 63), (-70.0, 0, 25, 65, 74, 59),
        (-60.0, 0, 25, 65, 84, 56), (-50.0, 0, 24, 66, 101, 54), (-42.0, 0, 23, 69, 112, 54),
        (-30.0, 0, 22, 72, 118, 57),
    ),
    exponent=1.85,
)
HEAD = Loft(
    (
        (-32.0, 0, 22, 70, 115, 55), (-20.0, 0, 22, 73, 118, 60), (-10.0, 0, 22, 76, 117, 67),
        (0.0, 0, 22, 78, 115, 73), (10.0, 0, 22, 79, 112, 79), (20.0, 0, 22, 79, 109, 83), (30.0, 0, 22, 78, 107, 85),
        (40.0, 0, 22, 77, 106, 85), (55.0, 0, 22, 76, 105, 85), (70.0, 0, 22, 76, 108, 85), (90.0, 0, 24, 75, 106, 82),
        (110.0, 0, 24, 69, 95, 75), (128.0, 0, 24, 54, 74, 58), (140.0, 0, 24, 32, 44, 34), (147.0, 0, 24, 6, 8, 6),
    ),
    exponent=2.15,
)
NOSE = Loft(((14.0, 0, -86, 14, 13), (22.0, 0, -88, 13, 19), (34.0, 0, -85, 10, 15), (50.0, 0, -82, 8, 6)))
EAR = Loft(((8.0, 79, 14, 3, 7), (16.0, 82, 17, 3, 13), (40.0, 83, 20, 3.5, 16), (52.0, 81, 20, 3, 7)),
           is_paired=True, angle_degrees=-18)

PAROTID = (
    Loft(
        (
            (-40.0, 56, -1, 2, 3, 3), (-34.0, 56, -1, 5, 7, 7), (-26.0, 57, 1, 8, 11, 11), (-16.0, 58, 2, 11, 14, 14),
            (-6.0, 58.5, 1, 12, 15, 15), (4.0, 59, 0, 12, 15, 15), (14.0, 61, -2, 9.5, 15, 12),
            (23.0, 63, -4, 6, 11, 9), (30.0, 64, -4, 3, 5, 5),
        ),
        exponent=2.3,
        angle_degrees=8,
        is_paired=True,
    ),
    Loft(((-22.0, 60, -16, 2, 7, 5), (-10.0, 63, -20, 3.5, 14, 8), (10.0, 65, -20, 4, 16, 8), (20.0, 66, -17, 2, 8, 6)),
         is_paired=True, angle_degrees=-12),
    Loft(((-20.0, 46, 2, 4, 3), (-8.0, 44, 1, 9, 6), (6.0, 44, 0, 9, 6), (14.0, 47, -1, 4, 3)), is_paired=True),
)
"""Superficial lobe, its tongue over the masseter, and the deep lobe; painted side by side."""

MUSCLES = (
    # Semispinalis and splenius, trapezius, levator and scalenes.
    Loft(((-170.0, 42, 92, 34, 20), (-130.0, 32, 76, 28, 20), (-100.0, 26, 64, 23, 18), (-80.0, 23, 58, 21, 17),
          (-60.0, 21, 55, 20, 16), (-40.0, 21, 55, 19.5, 15), (-20.0, 22, 60, 20, 14), (0.0, 22, 72, 18, 10)),
         exponent=2.4, is_paired=True),
    Loft(((-170.0, 80, 92, 52, 11), (-140.0, 68, 86, 40, 9), (-110.0, 46, 76, 24, 7), (-80.0, 27, 68, 14, 5),
          (-50.0, 22, 69, 10, 3)), is_paired=True, angle_degrees=-14),
    Loft(((-150.0, 46, 66, 12, 16), (-110.0, 42, 44, 11, 16), (-80.0, 38, 34, 9, 14), (-50.0, 36, 32, 8, 12),
          (-20.0, 34, 33, 6, 9), (-8.0, 34, 33, 3, 4)), is_paired=True),
    # Longus colli, sternocleidomastoid, digastric.
    Loft(((-130.0, 8, 20, 7, 3.5), (-90.0, 8, 4, 7, 3.5), (-40.0, 8, -2, 7, 3.5), (0.0, 8, -1, 6, 3)), is_paired=True),
    Loft(((-140.0, 14, 12, 7, 5), (-125.0, 22, 6, 9, 6), (-100.0, 32, 2, 8, 10), (-80.0, 40, 5, 7.5, 13),
          (-60.0, 47, 11, 7.5, 15), (-40.0, 53, 18, 7.5, 15), (-20.0, 58, 26, 7, 13), (0.0, 61, 29, 6, 10),
          (12.0, 62, 30, 4.5, 7)), is_paired=True, angle_degrees=-22),
    Loft(((-30.0, 44, 8, 4, 5), (-10.0, 46, 16, 4.5, 6), (4.0, 49, 20, 4, 5)), is_paired=True),
    # Masseter, medial and lateral pterygoid, temporalis.
    Loft(((-26.0, 52, -22, 3, 7), (-16.0, 54, -26, 6, 13), (0.0, 53.5, -31, 6.5, 17), (12.0, 57, -32, 5, 13),
          (22.0, 61, -34, 3, 8)), is_paired=True, angle_degrees=-20),
    Loft(((-24.0, 38, -20, 4, 8), (0.0, 32, -21, 5.5, 12), (18.0, 26, -22, 4.5, 10)),
          is_paired=True, angle_degrees=-22),
    Loft(((12.0, 35, -15, 6, 9), (24.0, 36, -14, 8, 12), (33.0, 36, -12, 5, 8)), is_paired=True),
    Loft(((14.0, 52, -40, 3, 7), (30.0, 55, -40, 7, 16), (42.0, 55, -38, 7, 20), (52.0, 56, -36, 5, 22),
          (70.0, 65, -12, 4, 26), (90.0, 66, 0, 2, 20)), is_paired=True, angle_degrees=-20),
)
SHOULDER = Loft(((-260.0, 0, 70, 150, 70, 45), (-160.0, 0, 68, 148, 66, 40), (-130.0, 0, 62, 110, 48, 38),
                 (-110.0, 0, 50, 60, 45, 40)))

FAT_SPACES = (
    Loft(((-48.0, 55, 3, 6, 8), (-30.0, 57, 2, 12, 16), (0.0, 60, 1, 17, 22), (20.0, 62, 0, 15, 20),
          (38.0, 64, -4, 8, 12)),
         is_paired=True),  # around the parotid
    Loft(((-125.0, 50, 30, 18, 14), (-80.0, 51, 30, 9, 13), (-40.0, 50, 36, 8, 8), (-25.0, 50, 38, 4, 5)),
         is_paired=True),  # posterior triangle
    Loft(((-120.0, 24, 6, 9, 10), (-60.0, 31, 2, 9, 12), (0.0, 31, 4, 7, 9)), is_paired=True),  # carotid space
    Loft(((-18.0, 26, -8, 5, 8), (18.0, 26, -9, 7, 10)), is_paired=True),  # parapharyngeal
    Loft(((-8.0, 44, -50, 8, 10), (12.0, 45, -50, 9, 14), (26.0, 46, -46, 7, 9)), is_paired=True),  # buccal
    Loft(((-60.0, 32, -32, 9, 14), (-36.0, 33, -36, 10, 18), (-22.0, 33, -32, 7, 12)), is_paired=True),  # submandibular
    Loft(((-66.0, 0, -44, 16, 6), (-52.0, 0, -58, 20, 9), (-44.0, 0, -68, 14, 6))),  # submental
)

SKULL = Loft(
    (
        (-4.0, 0, 68, 20, 8, 10), (2.0, 0, 63, 44, 20, 26), (10.0, 0, 52, 57, 36, 44), (20.0, 0, 45, 64, 42, 55),
        (30.0, 0, 38, 68, 42, 63), (40.0, 0, 30, 70, 60, 71), (50.0, 0, 25, 70, 80, 76), (62.0, 0, 24, 70, 98, 77),
        (80.0, 0, 24, 70, 101, 77), (100.0, 0, 24, 67, 94, 72), (120.0, 0, 24, 53, 76, 58), (134.0, 0, 24, 33, 48, 36),
        (142.0, 0, 24, 8, 10, 8),
    ),
    exponent=2.15,
)
BRAIN = Loft((*((z + 4.0, *row) for z, *row in SKULL.table[1:7]), *SKULL.table[7:-2], (133.0, 0, 24, 28, 42, 30)),
             exponent=2.15)

MANDIBLE = Loft(((-46.0, 0, -30, 30, 50, 12), (-38.0, 0, -22, 43, 63, 12), (-28.0, 0, -18, 50, 67, 12),
                 (-10.0, 0, -15, 52, 68, 12), (-6.0, 0, -15, 51, 67, 12)), exponent=1.85)
MANDIBLE_BACK_MM = ((-46.0, -68.0), (-40.0, -56.0), (-30.0, -34.0), (-22.0, -20.0), (-6.0, -18.0))
"""Height, and how far back the body of the mandible reaches there."""
MOUTH = Loft(((-47.0, 0, -27, 25, 43, 12), (-38.0, 0, -19, 35, 54, 16), (-28.0, 0, -16, 41, 57, 16),
              (-10.0, 0, -14, 42, 57, 16), (2.0, 0, -14, 38, 54, 14), (6.0, 0, -14, 30, 46, 12)), exponent=1.85)
RAMUS = (
    Loft(((-27.0, 45, -24, 3, 6), (-20.0, 45, -25, 4, 11), (-8.0, 43.5, -26, 4.6, 15), (4.0, 43, -25, 4.2, 15),
          (14.0, 46, -20, 3.6, 14), (21.0, 48, -16, 3.2, 14)), is_paired=True, angle_degrees=-22),
    Loft(((20.0, 50, -6, 5, 5), (27.0, 51, -4, 8.5, 4.8), (33.0, 51, -4, 7, 3.5)), is_paired=True, angle_degrees=15),
    Loft(((20.0, 46, -29, 2.6, 6), (32.0, 48, -31, 2, 3)), is_paired=True),
)

CORD_Y_MM = ((-260.0, 95.0), (-160.0, 66.0), (-130.0, 52.0), (-110.0, 41.0), (-80.0, 31.0), (-60.0, 27.0),
(-40.0, 25.0),
             (0.0, 25.0), (20.0, 27.0))
"""Height, and where the spinal cord lies there."""
AIRWAY = (
    # Trachea and larynx, throat, nasopharynx.
    Loft(((-260.0, 0, 40, 9.5, 9), (-160.0, 0, 22, 9.5, 9), (-130.0, 0, 6, 9, 8.5), (-110.0, 0, -6, 8.5, 8.5),
          (-92.0, 0, -17, 8, 9), (-80.0, 0, -20, 6, 10), (-72.0, 0, -21, 3.5, 10), (-66.0, 0, -19, 8, 9),
          (-56.0, 0, -16, 14, 6.5), (-46.0, 0, -15, 14, 6.5), (-30.0, 0, -13, 11, 5.5), (-12.0, 0, -12, 10, 5),
          (4.0, 0, -13, 11, 5.5), (14.0, 0, -18, 11, 8), (26.0, 0, -24, 11, 9), (32.0, 0, -28, 8, 5)), exponent=2.2),
)
LARYNX = Loft(((-90.0, 0, -15, 13, 13), (-78.0, 0, -19, 17, 19, 14), (-64.0, 0, -18, 18, 20, 12)), exponent=1.7)
HYOID = Loft(((-60.0, 0, -22, 19, 21, 14), (-54.0, 0, -22, 19, 21, 14)), exponent=1.8)
THYROID = Loft(((-116.0, 14, -4, 6, 8), (-100.0, 16, -8, 7.5, 11), (-84.0, 17, -10, 5, 8)), is_paired=True)
LUNG = Loft(((-260.0, 88, 50, 70, 95, 55), (-180.0, 78, 52, 52, 70, 48), (-150.0, 68, 52, 32, 36, 30),
             (-136.0, 60, 52, 8, 8)),
            is_paired=True)
CLAVICLE = Loft(((-150.0, 20, 4, 12, 7), (-138.0, 50, 10, 26, 6), (-128.0, 85, 28, 30, 6)),
                is_paired=True, angle_degrees=25)
VESSELS = (
    Loft(((-160.0, 18, 18, 4, 4), (-110.0, 22, 2, 3.5, 3.5), (-50.0, 28, 2, 4, 4), (20.0, 26, 3, 2.8, 2.8)),
          is_paired=True),
    Loft(((-130.0, 30, 12, 6, 6), (-80.0, 33, 8, 6, 7), (0.0, 34, 9, 4.5, 5.5), (24.0, 32, 10, 3.5, 4)),
          is_paired=True),
    Loft(((-110.0, 46, 22, 2.2, 2.2), (-60.0, 57, 14, 2.2, 2.2), (-34.0, 61, 12, 2, 2)), is_paired=True),
)
RETROMANDIBULAR_VEIN = Loft(((-30.0, 55, 3, 2.4, 2.4), (22.0, 54, -4, 2.4, 2.4)), is_paired=True)

MAXILLA = Loft(((-3.0, 0, -46, 27, 34, 16), (6.0, 0, -48, 36, 34, 20), (24.0, 0, -50, 41, 30, 22),
                (44.0, 0, -52, 38, 26, 20)),
               exponent=2.3)
ZYGOMA = Loft(((18.0, 44, -60, 4, 5), (28.0, 48, -60, 8, 5), (40.0, 48, -58, 7, 5), (58.0, 50, -54, 3, 5)),
              is_paired=True, angle_degrees=35)
ZYGOMATIC_ARCH = Loft(((27.0, 62, -34, 1.8, 22), (34.0, 63, -32, 1.8, 22)), is_paired=True, angle_degrees=-17)
ORBIT = Loft(((41.0, 31, -62, 6, 8), (47.0, 31, -58, 15, 17, 18), (62.0, 31, -58, 15, 17, 18), (69.0, 31, -62, 6, 8)),
             is_paired=True, angle_degrees=-18)
MASTOID = Loft(((-9.0, 57, 20, 3, 4), (2.0, 58, 22, 7, 9), (14.0, 60, 22, 9.5, 13), (28.0, 61, 20, 10, 14),
                (38.0, 62, 20, 8, 12)), is_paired=True)
SKULL_BASE = (
    Loft(
        ((16.0, 42, 8, 16, 5), (28.0, 38, 5, 28, 9), (40.0, 40, 5, 24, 6)), is_paired=True, angle_degrees=22
    ),  # petrous
    Loft(
        ((6.0, 0, 4, 10, 5), (20.0, 0, -2, 14, 7), (36.0, 0, -10, 17, 10), (50.0, 0, -20, 18, 14))
    ),  # clivus, sphenoid
    Loft(((4.0, 18, 10, 6, 8), (14.0, 20, 12, 8, 9)), is_paired=True),  # occipital condyles
    Loft(((8.0, 17, -28, 1.6, 7), (26.0, 19, -26, 1.8, 8)), is_paired=True),  # pterygoid plates
    Loft(((-14.0, 42, 4, 1.6, 1.6), (20.0, 46, 12, 2.2, 2.2)), is_paired=True),  # styloid
    MASTOID,
)
BRAINSTEM = Loft(((8.0, 0, 27, 8, 8), (30.0, 0, 26, 12, 10), (52.0, 0, 24, 14, 12)))
FACE_CAVITIES = (
    Loft(
        ((9.0, 25, -54, 6, 8, 8), (22.0, 25, -55, 12, 14, 15), (36.0, 24, -55, 11, 13, 14), (43.0, 23, -55, 5, 7)),
        exponent=2.4,
        is_paired=True,
    ),  # maxillary sinuses
    Loft(((8.0, 0, -58, 12, 20, 24), (26.0, 0, -60, 11, 26, 30), (42.0, 0, -58, 8, 22, 26))),  # nose
    Loft(((42.0, 0, -52, 11, 20, 22), (58.0, 0, -50, 10, 20, 20))),  # ethmoid
    Loft(((38.0, 0, -22, 9, 8), (50.0, 0, -22, 10, 9))),  # sphenoid
    Loft(((24.0, 74, 4, 12, 3.2), (30.0, 74, 4, 12, 3.2)), is_paired=True),  # ear canal
)
TURBINATES = (
    Loft(((8.0, 0, -58, 1.3, 22), (42.0, 0, -56, 1.3, 22))),
    Loft(((12.0, 7, -56, 2.4, 16), (24.0, 7, -56, 2.6, 17)), is_paired=True, angle_degrees=8),
    Loft(((28.0, 6, -54, 1.8, 13), (38.0, 5, -54, 1.8, 12)), is_paired=True),
    Loft(((42.0, 5, -52, 0.9, 18), (58.0, 5, -52, 0.9, 18)), is_paired=True),
)
# fmt: on


def paint_patient(canvas: Canvas, random: np.random.Generator) -> None:
    """Paint a whole head and neck from the skin inward; `random` varies fat, contrast medium and glands."""
    fat_mm, contrast_hu = random.uniform(3.5, 7.0), random.uniform(0.0, 130.0)
    muscle_hu, fat_hu = random.uniform(48.0, 66.0), random.uniform(-112.0, -95.0)
    canvas.paint(EAR, 10.0, roughness_hu=40.0)
    canvas.paint(NOSE, 20.0)
    for hu, inset_mm, roughness_hu in ((20.0, 0.0, 0.0), (fat_hu, 2.0, 8.0), (muscle_hu, 2.0 + fat_mm, 8.0)):
        canvas.paint(NECK, hu, inset_mm=inset_mm, roughness_hu=roughness_hu)
        canvas.paint(HEAD, hu, inset_mm=inset_mm, roughness_hu=roughness_hu)
    _paint_soft_tissue(canvas, muscle_hu, fat_hu)
    _paint_glands(canvas, random)
    for muscle in MUSCLES:
        canvas.paint(muscle, fat_hu, inset_mm=-1.2, owners=None)
        canvas.paint(muscle, muscle_hu, roughness_hu=8.0)
    _paint_mandible(canvas, muscle_hu)
    _paint_head(canvas, fat_hu)
    _paint_spine(canvas)
    _paint_airway(canvas, muscle_hu)
    _paint_vessels(canvas, contrast_hu)


def _paint_soft_tissue(canvas: Canvas, muscle_hu: float, fat_hu: float) -> None:
    canvas.paint(SHOULDER, muscle_hu, roughness_hu=10.0)
    for space in FAT_SPACES:
        canvas.paint(space, fat_hu + 5.0, roughness_hu=12.0)


def _paint_glands(canvas: Canvas, random: np.random.Generator) -> None:
    """Parotids between fat and muscle, as fatty as `random` says; submandibular glands denser."""
    gland_hu = random.uniform(-45.0, 12.0)
    growth_mm = random.uniform(-1.0, 1.0)
    for lobe in PAROTID:
        canvas.paint(lobe, gland_hu, roughness_hu=18.0, inset_mm=-growth_mm, owners=(RIGHT_PAROTID, LEFT_PAROTID))
    submandibular = make_ellipsoid(31, -36, -40, 9, 15, 16, angle_degrees=-25)
    canvas.paint(submandibular, gland_hu + 35.0, roughness_hu=10.0)


def _paint_mandible(canvas: Canvas, muscle_hu: float) -> None:
    heights, backs = np.array(MANDIBLE_BACK_MM).T
    back = np.interp(canvas.z_mm, heights, backs).astype(np.float32)
    canvas.paint(MANDIBLE, 1150.0, roughness_hu=60.0, front_of_mm=back, owners=(BONE, BONE))
    canvas.paint(MANDIBLE, 450.0, roughness_hu=120.0, inset_mm=3.0, front_of_mm=back - 2.5, owners=(BONE, BONE))
    canvas.paint(MOUTH, muscle_hu, roughness_hu=12.0, front_of_mm=back + 6.0)
    for part in RAMUS:
        canvas.paint(part, 1100.0, owners=(BONE, BONE))
        canvas.paint(part, 550.0, roughness_hu=120.0, inset_mm=2.2, owners=(BONE, BONE))


def _paint_head(canvas: Canvas, fat_hu: float) -> None:
    """Skull, brain, and the face with its sinuses, orbits and teeth."""
    bone = (BONE, BONE)
    canvas.paint(MAXILLA, 500.0, roughness_hu=120.0, owners=bone)
    canvas.paint(MAXILLA, 60.0, roughness_hu=30.0, inset_mm=3.0)
    canvas.paint(ZYGOMA, 900.0, owners=bone)
    canvas.paint(ZYGOMATIC_ARCH, 850.0, owners=bone)
    canvas.paint(ORBIT, 600.0, inset_mm=-2.0, owners=bone)
    canvas.paint(SKULL, 1050.0, roughness_hu=100.0, owners=bone)
    canvas.paint(SKULL, 650.0, roughness_hu=150.0, inset_mm=2.2, owners=bone)
    canvas.paint(BRAIN, 36.0, roughness_hu=4.0, inset_mm=6.0)
    for part in SKULL_BASE:
        canvas.paint(part, 850.0, roughness_hu=200.0, owners=bone)
    canvas.paint(MASTOID, -150.0, roughness_hu=400.0, inset_mm=3.0, owners=bone)
    canvas.paint(BRAINSTEM, 34.0, roughness_hu=4.0)
    canvas.paint(ORBIT, fat_hu, roughness_hu=10.0)
    canvas.paint(make_ellipsoid(31, -66, 55, 12, 12, 12), 12.0)
    canvas.paint(make_ellipsoid(31, -73, 55, 4.5, 2, 4.5), 80.0)
    canvas.paint(Loft(((54.0, 25, -46, 2, 10), (57.0, 25, -46, 2, 10)), is_paired=True, angle_degrees=-25), 40.0)
    for cavity in FACE_CAVITIES:
        canvas.paint(cavity, -950.0, roughness_hu=40.0)
    for partition in TURBINATES:
        canvas.paint(partition, 50.0)
    for tooth in range(8):
        turn = np.radians(6.0 + 10.5 * tooth)
        x, y = 26.0 * np.sin(turn), -44.0 - 32.0 * np.cos(turn)
        canvas.paint(make_tube(x, y, 3.6, -18.0, -7.5), 1900.0, owners=bone)
        canvas.paint(make_tube(x, y - 2.0, 3.6, -7.0, 3.0), 1900.0, owners=bone)


def _paint_spine(canvas: Canvas) -> None:
    """Vertebrae every 17 mm below the axis, the canal and the cord, all along the neck's curve."""
    z = canvas.z_mm
    phase = np.mod(-z - 16.0, 17.0)
    disc = ((phase > 12.5) & (z < -30.0)).astype(np.float32)
    heights, cord_y = np.array(CORD_Y_MM).T
    knots = [float(h) for h in heights if h <= -20.0]
    bone = (BONE, BONE)

    def along(x: float, y: float, a: float, b: float, top: float, *, is_paired: bool = False) -> Loft:
        levels = [*(h for h in knots if h < top), top]
        return Loft(
            tuple((h, x, float(np.interp(h, heights, cord_y)) + y, a, b) for h in levels), 2.3, is_paired=is_paired
        )

    body, pillar = along(0, -17, 13.5, 9, -6.0), along(19, -4, 7, 8.5, 6.0, is_paired=True)
    canvas.paint(body, 650.0 - 520.0 * disc, roughness_hu=60.0, owners=bone)
    canvas.paint(body, 320.0 - 220.0 * disc, roughness_hu=60.0, inset_mm=2.2, owners=bone)
    canvas.paint(pillar, 700.0, roughness_hu=100.0, owners=bone)
    canvas.paint(pillar, 420.0, roughness_hu=100.0, inset_mm=2.5, owners=bone)
    canvas.paint(along(0, 2, 16, 14, 6.0), 600.0 - 300.0 * disc, roughness_hu=60.0, owners=bone)
    spinous = along(0, 22, 3.2, 11, -18.0)
    canvas.paint(spinous, np.where(phase < 9.0, 550.0, 60.0).astype(np.float32), owners=bone)
    canvas.paint(Loft(((-8.0, 0, 7, 20, 4), (6.0, 0, 7, 18, 4))), 700.0, owners=bone)
    canvas.paint(Loft(((-20.0, 0, 12, 6, 5), (8.0, 0, 12, 4.5, 4.5))), 750.0, owners=bone)
    canvas.paint(along(0, 1, 11.5, 8.5, 16.0), 12.0)
    canvas.paint(along(0, 0, 6.5, 5, 16.0), 40.0)


def _paint_airway(canvas: Canvas, muscle_hu: float) -> None:
    canvas.paint(LARYNX, 190.0, roughness_hu=60.0)
    canvas.paint(LARYNX, muscle_hu, inset_mm=2.6)
    canvas.paint(HYOID, 500.0, owners=(BONE, BONE))
    canvas.paint(HYOID, muscle_hu, inset_mm=3.0)
    canvas.paint(THYROID, 105.0, roughness_hu=10.0)
    canvas.paint(LUNG, -850.0, roughness_hu=30.0)
    canvas.paint(CLAVICLE, 700.0, owners=(BONE, BONE))
    for part in AIRWAY:
        canvas.paint(part, muscle_hu, inset_mm=-3.0)
        canvas.paint(part, -990.0)


def _paint_vessels(canvas: Canvas, contrast_hu: float) -> None:
    """Carotids, jugulars and the retromandibular vein; brighter where contrast medium was given."""
    for vessel in VESSELS:
        canvas.paint(vessel, 45.0 + contrast_hu)
    canvas.paint(RETROMANDIBULAR_VEIN, 45.0 + 0.8 * contrast_hu, owners=None)
