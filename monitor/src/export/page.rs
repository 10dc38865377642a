//! Text for people: lines made of pieces, each with a tone. A page is laid out by display width, wrapped where the terminal
//! is narrow, and coloured where one shows colours.
//!
//! Each piece goes through [`printable`] when it is added, so that a name which somebody else chose moves no cursor and ends no
//! line. Escape sequences for colours are added after that, by [`Page::paint`] alone.

use anstyle::{AnsiColor, Style};
use unicode_width::UnicodeWidthStr;

use crate::shown::printable;

/// How a piece of text stands out where colours are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tone {
    /// Not at all.
    #[default]
    Plain,
    /// What a reader looks for first: names, headings.
    Strong,
    /// What surrounds it.
    Faint,
    /// Well.
    Good,
    /// Failed.
    Bad,
    /// To be looked at: unknown, incomplete, ended otherwise than with exit code 0.
    Warning,
}

impl Tone {
    fn style(self) -> Style {
        match self {
            Self::Plain => Style::new(),
            Self::Strong => Style::new().bold(),
            Self::Faint => Style::new().dimmed(),
            Self::Good => AnsiColor::Green.on_default(),
            Self::Bad => AnsiColor::Red.on_default().bold(),
            Self::Warning => AnsiColor::Yellow.on_default(),
        }
    }
}

/// What text is painted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Look {
    /// Whether colours are shown.
    pub colours: bool,
    /// Columns of the terminal; `None`: lines are as long as they are.
    pub width: Option<usize>,
}

/// Text as it is written: free of code points that would do something to a terminal, but for colours.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Painted(String);

impl Painted {
    /// The text, with its line feeds.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// One more text behind this one.
    pub fn append(&mut self, more: &Self) {
        self.0.push_str(&more.0);
    }
}

/// Columns that `text` takes on a terminal.
pub fn display_width(text: &str) -> usize {
    text.width()
}

/// A piece of a line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Piece {
    tone: Tone,
    text: String,
}

impl Piece {
    /// `text` in this tone, made printable.
    pub fn new(tone: Tone, text: impl AsRef<str>) -> Self {
        Self {
            tone,
            text: printable(text.as_ref()).into_owned(),
        }
    }

    /// Columns that it takes.
    pub fn width(&self) -> usize {
        display_width(&self.text)
    }
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Line {
    pieces: Vec<Piece>,
    /// Where its continuation begins when it is wrapped, columns.
    hang: usize,
}

/// Continuation lines keep this many columns for text, or begin further to the left.
const LEAST_TEXT: usize = 24;
/// Continuation lines begin here where the hanging indentation leaves too little room.
const LEAST_HANG: usize = 4;

impl Line {
    /// A line that begins with `indent` spaces.
    pub fn indented(indent: usize) -> Self {
        let mut line = Self::default();
        line.pad(indent);
        line
    }

    /// Adds text.
    pub fn add(&mut self, tone: Tone, text: impl AsRef<str>) -> &mut Self {
        self.push(Piece::new(tone, text))
    }

    /// Adds a piece.
    pub fn push(&mut self, piece: Piece) -> &mut Self {
        if !piece.text.is_empty() {
            self.pieces.push(piece);
        }
        self
    }

    /// Fills up with spaces to `column`; text that reaches it or beyond is followed by one space.
    pub fn pad(&mut self, column: usize) -> &mut Self {
        let last = self.pieces.last();
        let is_glued = last.is_some_and(|piece| !piece.text.ends_with(' '));
        let spaces = column.saturating_sub(self.width()).max(usize::from(is_glued));
        self.add(Tone::Plain, " ".repeat(spaces))
    }

    /// Its text, piece by piece.
    pub fn pieces(&self) -> impl Iterator<Item = (Tone, &str)> {
        self.pieces.iter().map(|piece| (piece.tone, piece.text.as_str()))
    }

    /// Continuation lines begin where this line ends now.
    pub fn hang(&mut self) -> &mut Self {
        self.hang = self.width();
        self
    }

    /// Columns that it takes.
    pub fn width(&self) -> usize {
        self.pieces.iter().map(Piece::width).sum()
    }

    /// This line alone, as it is written.
    pub fn paint(&self, look: Look) -> Painted {
        let mut text = String::new();
        self.paint_to(&mut text, look);
        Painted(text)
    }

    fn paint_to(&self, text: &mut String, look: Look) {
        match look.width {
            Some(width) if self.width() > width => {
                for row in self.wrapped(width) {
                    write_row(text, &row, look.colours);
                }
            }
            _ => write_row(text, &self.pieces, look.colours),
        }
    }

    /// The line as several, each of which fits `width` unless one of its words does not.
    fn wrapped(&self, width: usize) -> Vec<Vec<Piece>> {
        let hang = if self.hang + LEAST_TEXT <= width {
            self.hang
        } else {
            LEAST_HANG
        };
        let mut rows: Vec<Vec<Piece>> = vec![Vec::new()];
        let (mut used, mut has_words) = (0, false);
        for piece in &self.pieces {
            for word in piece.text.split_inclusive(' ') {
                let needed = display_width(word.trim_end());
                if has_words && needed > 0 && used + needed > width {
                    rows.push(vec![Piece::new(Tone::Plain, " ".repeat(hang))]);
                    used = hang;
                    has_words = false;
                }
                if needed == 0 && !has_words && rows.len() > 1 {
                    continue;
                }
                if let Some(row) = rows.last_mut() {
                    append(row, piece.tone, word);
                }
                used += display_width(word);
                has_words |= needed > 0;
            }
        }
        rows
    }
}

fn append(row: &mut Vec<Piece>, tone: Tone, text: &str) {
    match row.last_mut() {
        Some(last) if last.tone == tone => last.text.push_str(text),
        _ => row.push(Piece {
            tone,
            text: text.to_owned(),
        }),
    }
}

fn write_row(text: &mut String, row: &[Piece], colours: bool) {
    let last = row.iter().rposition(|piece| !piece.text.trim_end().is_empty());
    for (index, piece) in row.iter().enumerate().take(last.map_or(0, |last| last + 1)) {
        let shown = if Some(index) == last {
            piece.text.trim_end()
        } else {
            &piece.text
        };
        if colours && piece.tone != Tone::Plain {
            let style = piece.tone.style();
            text.push_str(&format!("{style}{shown}{style:#}"));
        } else {
            text.push_str(shown);
        }
    }
    text.push('\n');
}

/// Lines in their order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    lines: Vec<Line>,
}

impl Page {
    /// Adds a line.
    pub fn push(&mut self, line: Line) {
        self.lines.push(line);
    }

    /// Adds a line of one piece, whose continuation is indented.
    pub fn line(&mut self, indent: usize, tone: Tone, text: impl AsRef<str>) {
        let mut line = Line::indented(indent);
        line.hang = indent + 2;
        line.add(tone, text);
        self.push(line);
    }

    /// Adds an empty line, unless there is nothing above it.
    pub fn gap(&mut self) {
        if !self.lines.is_empty() {
            self.lines.push(Line::default());
        }
    }

    /// The text as it is written.
    pub fn paint(&self, look: Look) -> Painted {
        let mut text = String::new();
        for line in &self.lines {
            line.paint_to(&mut text, look);
        }
        Painted(text)
    }
}

/// A column of a table.
#[derive(Debug, Clone, Copy)]
pub struct Column<'a> {
    /// Stands above it.
    pub title: &'a str,
    /// Cells end at one column, as numbers do.
    pub is_right: bool,
}

/// Cells wider than this stand out of their column rather than widening it for all rows.
const WIDEST: usize = 40;

/// A table. The last column takes what room is left, and hangs where it is wrapped. A column without any cell is left out.
#[derive(Debug, Clone)]
pub struct Table<'a> {
    columns: Vec<Column<'a>>,
    rows: Vec<Vec<Piece>>,
}

impl<'a> Table<'a> {
    /// A table with these columns.
    pub fn new(columns: &[Column<'a>]) -> Self {
        Self {
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row: a cell for each column.
    pub fn row(&mut self, cells: Vec<Piece>) {
        self.rows.push(cells);
    }

    /// Puts it on a page, indented.
    pub fn put(self, page: &mut Page, indent: usize) {
        let kept: Vec<usize> = (0..self.columns.len())
            .filter(|&at| {
                self.rows
                    .iter()
                    .any(|row| row.get(at).is_some_and(|cell| !cell.text.is_empty()))
            })
            .collect();
        let widths: Vec<usize> = kept.iter().map(|&at| self.width(at)).collect();
        let heading: Vec<Piece> = self
            .columns
            .iter()
            .map(|column| Piece::new(Tone::Faint, column.title))
            .collect();
        for row in std::iter::once(&heading).chain(&self.rows) {
            let mut line = Line::indented(indent);
            let mut end = indent;
            for (place, (&at, &width)) in kept.iter().zip(&widths).enumerate() {
                let cell = row.get(at).cloned().unwrap_or_default();
                let is_last = place + 1 == kept.len();
                if self.columns.get(at).is_some_and(|column| column.is_right) {
                    line.pad((end + width).saturating_sub(cell.width()));
                }
                if is_last {
                    line.hang();
                }
                line.push(cell);
                end += width + 2;
                if !is_last {
                    line.pad(end);
                }
            }
            page.push(line);
        }
    }

    fn width(&self, at: usize) -> usize {
        let title = self
            .columns
            .get(at)
            .map_or(0, |column| display_width(column.title));
        let cells = self
            .rows
            .iter()
            .filter_map(|row| row.get(at))
            .map(Piece::width)
            .filter(|&width| width <= WIDEST);
        cells.max().unwrap_or(0).max(title)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(width: usize) -> Look {
        Look {
            colours: false,
            width: Some(width),
        }
    }

    #[test]
    fn widths_are_those_of_a_terminal() {
        for (text, width) in [("abc", 3), ("日本", 4), ("é", 1), ("e\u{301}", 1), ("🦀", 2)] {
            assert_eq!(display_width(text), width, "{text}");
        }
    }

    #[test]
    fn long_lines_hang_and_words_stay_whole() {
        let mut line = Line::indented(2);
        line.add(Tone::Faint, "label").pad(10).hang();
        line.add(Tone::Plain, "one two three four five six seven eight");
        let narrow = line.paint(plain(36));
        assert_eq!(
            narrow.as_str(),
            "  label   one two three four five\n          six seven eight\n"
        );
        let narrower = line.paint(plain(20));
        assert_eq!(
            narrower.as_str(),
            "  label   one two\n    three four five\n    six seven eight\n"
        );
        assert_eq!(line.paint(Look::default()).as_str().lines().count(), 1);
    }

    #[test]
    fn colours_are_added_where_they_are_shown_and_names_add_none() {
        let mut page = Page::default();
        page.line(0, Tone::Bad, "a\u{1b}[31mb");
        assert_eq!(page.paint(Look::default()).as_str(), "a\\u{1b}[31mb\n");
        let coloured = page.paint(Look {
            colours: true,
            width: None,
        });
        assert_eq!(coloured.as_str(), "\u{1b}[1m\u{1b}[31ma\\u{1b}[31mb\u{1b}[0m\n");
    }

    #[test]
    fn columns_stand_below_their_titles() {
        let mut table = Table::new(&[
            Column {
                title: "PID",
                is_right: true,
            },
            Column {
                title: "NONE",
                is_right: false,
            },
            Column {
                title: "NAME",
                is_right: false,
            },
            Column {
                title: "WHAT",
                is_right: false,
            },
        ]);
        for (pid, name) in [("7", "日本"), ("4321", "app"), ("1", &"x".repeat(50))] {
            let cells = [pid, "", name, "runs"];
            table.row(cells.map(|cell| Piece::new(Tone::Plain, cell)).to_vec());
        }
        let mut page = Page::default();
        table.put(&mut page, 1);
        let long = "x".repeat(50);
        assert_eq!(
            page.paint(Look::default()).as_str(),
            format!("  PID  NAME  WHAT\n    7  日本  runs\n 4321  app   runs\n    1  {long} runs\n")
        );
    }
}
