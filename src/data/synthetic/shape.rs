//! The ten shapes, as exact integer point-in-shape tests.

/// Half the side of a shape's own square, in shape units.
pub(super) const UNIT: i64 = 1024;

/// One of the ten classes; the discriminant is the label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Arrow,
    Bars,
    Checker,
    Crescent,
    Cross,
    Disc,
    Ring,
    Square,
    Star,
    Triangle,
}

impl Shape {
    /// Every shape, in label order (alphabetical by name).
    pub(super) const ALL: [Shape; 10] = [
        Shape::Arrow,
        Shape::Bars,
        Shape::Checker,
        Shape::Crescent,
        Shape::Cross,
        Shape::Disc,
        Shape::Ring,
        Shape::Square,
        Shape::Star,
        Shape::Triangle,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Shape::Arrow => "arrow",
            Shape::Bars => "bars",
            Shape::Checker => "checker",
            Shape::Crescent => "crescent",
            Shape::Cross => "cross",
            Shape::Disc => "disc",
            Shape::Ring => "ring",
            Shape::Square => "square",
            Shape::Star => "star",
            Shape::Triangle => "triangle",
        }
    }

    /// Whether the point `(u, v)`, in shape units with v downwards, is covered.
    pub(super) fn covers(self, u: i64, v: i64) -> bool {
        let in_box = |half: i64| u.abs() <= half && v.abs() <= half;
        match self {
            Shape::Arrow => in_polygon(&ARROW, u, v),
            // Three upright bars with gaps of the same width.
            Shape::Bars => in_box(900) && ((u + 900) / 360) % 2 == 0,
            Shape::Checker => in_box(900) && ((u + 900) / 601 + (v + 900) / 601) % 2 == 0,
            Shape::Crescent => in_circle(u, v, 1000) && !in_circle(u - 480, v, 820),
            Shape::Cross => in_box(980) && (u.abs() <= 320 || v.abs() <= 320),
            Shape::Disc => in_circle(u, v, 940),
            Shape::Ring => in_circle(u, v, 1000) && !in_circle(u, v, 580),
            Shape::Square => in_box(820),
            Shape::Star => in_polygon(&STAR, u, v),
            Shape::Triangle => in_polygon(&TRIANGLE, u, v),
        }
    }
}

fn in_circle(u: i64, v: i64, radius: i64) -> bool {
    u * u + v * v <= radius * radius
}

/// Even-odd rule, with the crossing compared by cross product so that no
/// division and no rounding takes part.
fn in_polygon(corners: &[(i64, i64)], u: i64, v: i64) -> bool {
    let mut inside = false;
    let mut previous = corners[corners.len() - 1];
    for &corner in corners {
        let ((x0, y0), (x1, y1)) = (previous, corner);
        if (y0 > v) != (y1 > v) {
            let side = (u - x0) * (y1 - y0) - (x1 - x0) * (v - y0);
            if (side < 0) == (y1 > y0) {
                inside = !inside;
            }
        }
        previous = corner;
    }
    inside
}

const ARROW: [(i64, i64); 7] =
    [(1000, 0), (200, -880), (200, -300), (-1000, -300), (-1000, 300), (200, 300), (200, 880)];

const TRIANGLE: [(i64, i64); 3] = [(0, -1000), (960, 800), (-960, 800)];

/// Five points: outer radius 1080, inner radius 440.
const STAR: [(i64, i64); 10] = [
    (0, -1080),
    (259, -356),
    (1027, -334),
    (418, 136),
    (635, 874),
    (0, 440),
    (-635, 874),
    (-418, 136),
    (-1027, -334),
    (-259, -356),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_follow_the_labels() {
        let names: Vec<&str> = Shape::ALL.iter().map(|s| s.name()).collect();
        assert!(names.is_sorted());
        for (label, shape) in Shape::ALL.iter().enumerate() {
            assert_eq!(*shape as usize, label);
        }
    }

    #[test]
    fn polygons_cover_their_inside_only() {
        assert!(Shape::Triangle.covers(0, 0));
        assert!(Shape::Triangle.covers(0, -900));
        assert!(!Shape::Triangle.covers(-900, -900));
        assert!(Shape::Star.covers(0, 0));
        assert!(!Shape::Star.covers(0, 700), "the notch between the legs");
        assert!(Shape::Arrow.covers(-900, 0) && !Shape::Arrow.covers(-900, 400));
    }

    #[test]
    fn holes_are_holes() {
        assert!(!Shape::Ring.covers(0, 0) && Shape::Ring.covers(800, 0));
        assert!(!Shape::Crescent.covers(300, 0) && Shape::Crescent.covers(-800, 0));
        assert!(Shape::Bars.covers(-800, 0) && !Shape::Bars.covers(-400, 0));
    }

    /// No two shapes may share most of their area, or they would not be
    /// distinguishable at 32×32.
    #[test]
    fn every_pair_differs_in_a_good_part_of_its_area() {
        let grid = || (-1080..=1080).step_by(40);
        let points: Vec<(i64, i64)> = grid().flat_map(|v| grid().map(move |u| (u, v))).collect();
        for (i, a) in Shape::ALL.iter().enumerate() {
            for b in &Shape::ALL[i + 1..] {
                let (mut either, mut both) = (0, 0);
                for &(u, v) in &points {
                    let (in_a, in_b) = (a.covers(u, v), b.covers(u, v));
                    either += usize::from(in_a || in_b);
                    both += usize::from(in_a && in_b);
                }
                let overlap = both as f64 / either as f64;
                assert!(overlap < 0.85, "{a:?} and {b:?} overlap by {overlap:.2}");
            }
        }
    }
}
