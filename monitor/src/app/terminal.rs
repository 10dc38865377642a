//! What standard output is: whether it shows colours, and how wide it is.

use std::io::IsTerminal;

use clap::ColorChoice;

use crate::export::Look;

/// What text on standard output is painted for.
pub(super) fn look(choice: ColorChoice) -> Look {
    let is_terminal = is_terminal();
    let colours = colours(choice, is_terminal, |name| std::env::var(name).ok());
    Look {
        colours,
        width: is_terminal.then(width).flatten(),
    }
}

/// Whether somebody looks at standard output, rather than a program.
pub(super) fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// The columns of the terminal; `None` where it does not say.
fn width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|&columns| columns > 0)
}

/// `NO_COLOR` counts where it is not empty (https://no-color.org), and a terminal that calls itself dumb shows none.
fn colours(choice: ColorChoice, is_terminal: bool, variable: impl Fn(&str) -> Option<String>) -> bool {
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => {
            let refused = variable("NO_COLOR").is_some_and(|value| !value.is_empty());
            let is_dumb = variable("TERM").is_some_and(|terminal| terminal == "dumb");
            is_terminal && !refused && !is_dumb
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals_unless_somebody_says_otherwise() {
        use ColorChoice::{Always, Auto, Never};
        for (choice, is_terminal, variables, expected) in [
            (Auto, true, &[][..], true),
            (Auto, true, &[("TERM", "xterm"), ("NO_COLOR", "")], true),
            (Auto, true, &[("NO_COLOR", "1")], false),
            (Auto, true, &[("TERM", "dumb")], false),
            (Auto, false, &[], false),
            (Always, false, &[("NO_COLOR", "1")], true),
            (Never, true, &[], false),
        ] {
            let variable = |name: &str| {
                let found = variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            assert_eq!(
                colours(choice, is_terminal, variable),
                expected,
                "{choice:?} {is_terminal} {variables:?}"
            );
        }
    }
}
