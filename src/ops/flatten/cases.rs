//! Cases of flattening.

use super::Flatten;
use crate::ops::Draw;
use crate::ops::case::Case;

/// All cases.
pub fn cases(_: &mut Draw) -> Vec<Case> {
    vec![Case::gradient("flatten", &[&[2, 6, 6, 4]], |_| Ok(Flatten))]
}
