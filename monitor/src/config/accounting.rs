//! `[accounting]`: how usage is told.

use std::str::FromStr;

use super::finding::quoted;

/// When dying threads tell their processes' totals (`[accounting] exact_ends`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExactEnds {
    /// Once more than 1 % of all ends stayed without final totals.
    #[default]
    Auto,
    /// From the start.
    Always,
    /// Never: each end waits for its parent.
    Never,
}

impl FromStr for ExactEnds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "always" => Ok(Self::Always),
            "never" => Ok(Self::Never),
            _ => Err(format!("{} is none of auto, always and never", quoted(text))),
        }
    }
}
