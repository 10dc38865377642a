//! Which key does what.

use ratatui::crossterm::event::{
    Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, MouseEvent, MouseEventKind,
};

use super::state::Mode;

/// What a key asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    None,
    Quit,
    Suspend,
    Up,
    Down,
    PageUp,
    PageDown,
    First,
    Last,
    /// A click on this row of the table; on the selected one it expands or collapses.
    Row(usize),
    /// Expands or collapses the group.
    Toggle,
    Expand,
    Collapse,
    /// Expands all groups, or collapses them where all are expanded.
    ToggleAll,
    Sort {
        back: bool,
    },
    Reverse,
    /// So many frames of a recording further on, or back.
    Step(isize),
    Pause,
    /// Shows the events, or not.
    Events,
    Help,
    /// Back to commands: the filter stays as it is, the help goes.
    EndMode,
    BeginFilter,
    Letter(char),
    Delete,
    /// Shows everything again.
    ClearFilter,
}

/// The keys, for the help.
pub(super) const HELP: [(&str, &str); 14] = [
    ("Up Down j k", "select a row"),
    ("PgUp PgDn Home End", "select a row further away"),
    ("Enter Right Left", "expand or collapse a group's processes"),
    ("e", "expand or collapse all groups"),
    ("s S", "sort by the next column, or the one before"),
    ("r", "reverse the order"),
    ("/", "show only rows whose name or pid matches a pattern"),
    ("Esc", "show all rows again"),
    ("Space p", "pause, and go on"),
    (", . < >", "in a recording: a step back or on, or ten of them"),
    ("v", "show or hide the events"),
    ("? h", "this help"),
    ("Ctrl-Z", "suspend"),
    ("q Ctrl-C", "quit"),
];

/// What an event of the terminal asks for. `table` is the line that the first row of the table is on.
pub(super) fn action(event: &Event, mode: Mode, table: usize) -> Action {
    match event {
        Event::Key(key) if key.kind != KeyEventKind::Release => of_key(*key, mode),
        Event::Mouse(mouse) => of_mouse(*mouse, table),
        _ => Action::None,
    }
}

fn of_key(key: KeyEvent, mode: Mode) -> Action {
    let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
    match (key.code, mode) {
        (KeyCode::Char('c'), _) if is_control => Action::Quit,
        (KeyCode::Char('z'), _) if is_control => Action::Suspend,
        (_, Mode::Help) => Action::EndMode,
        (KeyCode::Enter, Mode::Filter) => Action::EndMode,
        (KeyCode::Esc, _) => Action::ClearFilter,
        (KeyCode::Backspace, Mode::Filter) => Action::Delete,
        (KeyCode::Char('u'), Mode::Filter) if is_control => Action::ClearFilter,
        (KeyCode::Char(_), _) if is_control || key.modifiers.contains(KeyModifiers::ALT) => Action::None,
        (KeyCode::Char(letter), Mode::Filter) => Action::Letter(letter),
        (KeyCode::Up, _) => Action::Up,
        (KeyCode::Down, _) => Action::Down,
        (KeyCode::PageUp, _) => Action::PageUp,
        (KeyCode::PageDown, _) => Action::PageDown,
        (_, Mode::Filter) => Action::None,
        (code, Mode::Commands) => of_command(code),
    }
}

fn of_command(code: KeyCode) -> Action {
    match code {
        KeyCode::Char('q') => Action::Quit,
        KeyCode::Char('k') => Action::Up,
        KeyCode::Char('j') => Action::Down,
        KeyCode::Home | KeyCode::Char('g') => Action::First,
        KeyCode::End | KeyCode::Char('G') => Action::Last,
        KeyCode::Enter => Action::Toggle,
        KeyCode::Right | KeyCode::Char('l') => Action::Expand,
        KeyCode::Left => Action::Collapse,
        KeyCode::Char('e') => Action::ToggleAll,
        KeyCode::Char('s') => Action::Sort { back: false },
        KeyCode::Char('S') => Action::Sort { back: true },
        KeyCode::Char('r') => Action::Reverse,
        KeyCode::Char('/') => Action::BeginFilter,
        KeyCode::Char(' ' | 'p') => Action::Pause,
        KeyCode::Char(',') => Action::Step(-1),
        KeyCode::Char('.') => Action::Step(1),
        KeyCode::Char('<') => Action::Step(-10),
        KeyCode::Char('>') => Action::Step(10),
        KeyCode::Char('v') => Action::Events,
        KeyCode::Char('?' | 'h') | KeyCode::F(1) => Action::Help,
        _ => Action::None,
    }
}

fn of_mouse(mouse: MouseEvent, table: usize) -> Action {
    match mouse.kind {
        MouseEventKind::ScrollUp => Action::Up,
        MouseEventKind::ScrollDown => Action::Down,
        MouseEventKind::Down(_) => match usize::from(mouse.row).checked_sub(table) {
            Some(row) => Action::Row(row),
            None => Action::None,
        },
        _ => Action::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(code: KeyCode, modifiers: KeyModifiers, mode: Mode) -> Action {
        action(&Event::Key(KeyEvent::new(code, modifiers)), mode, 0)
    }

    #[test]
    fn a_key_means_what_the_mode_says() {
        let none = KeyModifiers::NONE;
        for (code, commands, filter, help) in [
            (
                KeyCode::Char('q'),
                Action::Quit,
                Action::Letter('q'),
                Action::EndMode,
            ),
            (
                KeyCode::Char(' '),
                Action::Pause,
                Action::Letter(' '),
                Action::EndMode,
            ),
            (KeyCode::Enter, Action::Toggle, Action::EndMode, Action::EndMode),
            (
                KeyCode::Esc,
                Action::ClearFilter,
                Action::ClearFilter,
                Action::EndMode,
            ),
            (KeyCode::Backspace, Action::None, Action::Delete, Action::EndMode),
            (KeyCode::Up, Action::Up, Action::Up, Action::EndMode),
        ] {
            assert_eq!(key(code, none, Mode::Commands), commands, "{code:?}");
            assert_eq!(key(code, none, Mode::Filter), filter, "{code:?}");
            assert_eq!(key(code, none, Mode::Help), help, "{code:?}");
        }
        for mode in [Mode::Commands, Mode::Filter, Mode::Help] {
            let control = KeyModifiers::CONTROL;
            assert_eq!(key(KeyCode::Char('c'), control, mode), Action::Quit);
            assert_eq!(key(KeyCode::Char('z'), control, mode), Action::Suspend);
        }
        let with_alt = key(KeyCode::Char('q'), KeyModifiers::ALT, Mode::Commands);
        assert_eq!(with_alt, Action::None);
    }

    #[test]
    fn every_key_of_the_help_does_something() {
        for key in HELP.iter().flat_map(|(keys, _)| keys.split(' ')) {
            let (code, modifiers) = match key {
                "Up" => (KeyCode::Up, KeyModifiers::NONE),
                "Down" => (KeyCode::Down, KeyModifiers::NONE),
                "Left" => (KeyCode::Left, KeyModifiers::NONE),
                "Right" => (KeyCode::Right, KeyModifiers::NONE),
                "PgUp" => (KeyCode::PageUp, KeyModifiers::NONE),
                "PgDn" => (KeyCode::PageDown, KeyModifiers::NONE),
                "Home" => (KeyCode::Home, KeyModifiers::NONE),
                "End" => (KeyCode::End, KeyModifiers::NONE),
                "Enter" => (KeyCode::Enter, KeyModifiers::NONE),
                "Esc" => (KeyCode::Esc, KeyModifiers::NONE),
                "Space" => (KeyCode::Char(' '), KeyModifiers::NONE),
                "Ctrl-Z" => (KeyCode::Char('z'), KeyModifiers::CONTROL),
                "Ctrl-C" => (KeyCode::Char('c'), KeyModifiers::CONTROL),
                letter => {
                    assert_eq!(letter.chars().count(), 1, "{letter}");
                    (KeyCode::Char(letter.chars().next().unwrap()), KeyModifiers::NONE)
                }
            };
            let action = of_key(KeyEvent::new(code, modifiers), Mode::Commands);
            assert_ne!(action, Action::None, "{key}");
        }
    }

    #[test]
    fn a_click_is_on_a_row_of_the_table() {
        let click = |row| {
            let kind = MouseEventKind::Down(ratatui::crossterm::event::MouseButton::Left);
            let mouse = MouseEvent {
                kind,
                column: 3,
                row,
                modifiers: KeyModifiers::NONE,
            };
            action(&Event::Mouse(mouse), Mode::Commands, 3)
        };
        assert_eq!((click(2), click(5)), (Action::None, Action::Row(2)));
    }
}
