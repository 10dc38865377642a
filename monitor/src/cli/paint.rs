//! The flag of all commands that print text for people.

use clap::{Args as ClapArgs, ColorChoice};

/// How text is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ClapArgs)]
pub struct Paint {
    /// Whether text is coloured [default: auto: on a terminal, unless NO_COLOR is set]
    #[arg(
        long,
        value_enum,
        value_name = "WHEN",
        default_value_t,
        hide_default_value = true
    )]
    pub color: ColorChoice,
}
