//! A setting's value, whatever its type.

use std::fmt;

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Scalar {
    Text(String),
    Int(i64),
    /// Finite.
    Float(f64),
    Flag(bool),
}

/// What a setting's values have to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum ScalarType {
    #[default]
    Text,
    Int,
    Float,
    Flag,
}

impl ScalarType {
    pub(crate) const WORDS: &[&str] = &["string", "int", "float", "bool"];

    pub(crate) fn named(word: &str) -> Self {
        match word {
            "int" => Self::Int,
            "float" => Self::Float,
            "bool" => Self::Flag,
            _ => Self::Text,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Text => "a string",
            Self::Int => "an integer",
            Self::Float => "a number",
            Self::Flag => "true or false",
        }
    }

    /// `value` as this type: an integer is a number, and the text of a command line is whatever it can be read as.
    ///
    /// # Errors
    /// "What is wrong; what to do".
    pub(crate) fn convert(self, value: &Scalar) -> Result<Scalar, String> {
        let converted = match (self, value) {
            (Self::Text, Scalar::Text(_))
            | (Self::Int, Scalar::Int(_))
            | (Self::Float, Scalar::Float(_))
            | (Self::Flag, Scalar::Flag(_)) => Some(value.clone()),
            #[expect(clippy::cast_precision_loss, reason = "a number that large is meant roughly")]
            (Self::Float, Scalar::Int(number)) => Some(Scalar::Float(*number as f64)),
            (Self::Int, Scalar::Float(number)) if number.fract() == 0.0 && number.abs() < 9e15 => {
                #[expect(clippy::cast_possible_truncation, reason = "it is whole and small enough")]
                let whole = *number as i64;
                Some(Scalar::Int(whole))
            }
            (Self::Text, other) => Some(Scalar::Text(other.to_string())),
            (Self::Int, Scalar::Text(text)) => text.trim().parse().ok().map(Scalar::Int),
            (Self::Float, Scalar::Text(text)) => {
                let number = text.trim().parse::<f64>().ok();
                number.filter(|number| number.is_finite()).map(Scalar::Float)
            }
            (Self::Flag, Scalar::Text(text)) => text.trim().parse().ok().map(Scalar::Flag),
            _ => None,
        };
        converted.ok_or_else(|| format!("{value} is not {}; write one", self.word()))
    }
}

impl Scalar {
    /// As a number, where it is one.
    pub(crate) fn number(&self) -> Option<f64> {
        match self {
            #[expect(clippy::cast_precision_loss, reason = "for comparison with bounds")]
            Self::Int(number) => Some(*number as f64),
            Self::Float(number) => Some(*number),
            Self::Text(_) | Self::Flag(_) => None,
        }
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Int(number) => write!(f, "{number}"),
            Self::Float(number) => write!(f, "{number}"),
            Self::Flag(flag) => write!(f, "{flag}"),
        }
    }
}
