//! Cases of flattening.

use super::Flatten;
use crate::ops::case::Case;

/// All cases.
pub fn cases() -> Vec<Case> {
    vec![Case::gradient("flatten", &[&[2, 6, 6, 4]], |_| Ok(Flatten))]
}
