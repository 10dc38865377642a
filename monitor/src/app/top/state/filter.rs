//! Which rows are shown: those whose name, or pid, a pattern matches.

use regex::{Regex, RegexBuilder};

/// Bytes that a compiled pattern may take.
const SIZE: usize = 1 << 20;
/// Letters of a pattern at most.
const LONGEST: usize = 200;

/// What is typed, and what it matches.
#[derive(Debug, Default)]
pub(in crate::app::top) struct Filter {
    text: String,
    /// Of the last text that was a pattern; `None`: everything is shown.
    pattern: Option<Regex>,
    /// The text is no pattern.
    is_faulty: bool,
}

impl Filter {
    /// As it was typed.
    pub(in crate::app::top) fn text(&self) -> &str {
        &self.text
    }

    /// The text is no pattern, and the one before still filters.
    pub(in crate::app::top) fn is_faulty(&self) -> bool {
        self.is_faulty
    }

    /// Rows are left out.
    pub(in crate::app::top) fn is_set(&self) -> bool {
        self.pattern.is_some()
    }

    pub(super) fn push(&mut self, letter: char) {
        if self.text.chars().count() < LONGEST && !letter.is_control() {
            self.text.push(letter);
            self.settle();
        }
    }

    pub(super) fn pop(&mut self) {
        self.text.pop();
        self.settle();
    }

    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.settle();
    }

    fn settle(&mut self) {
        let pattern = RegexBuilder::new(&self.text)
            .case_insensitive(true)
            .size_limit(SIZE)
            .build();
        self.is_faulty = pattern.is_err();
        if let Ok(pattern) = pattern {
            self.pattern = Some(pattern).filter(|_| !self.text.is_empty());
        }
    }

    pub(super) fn lets(&self, name: &str) -> bool {
        self.pattern.as_ref().is_none_or(|pattern| pattern.is_match(name))
    }

    pub(super) fn lets_process(&self, name: &str, pid: u32) -> bool {
        self.lets(name) || self.lets(&pid.to_string())
    }
}
