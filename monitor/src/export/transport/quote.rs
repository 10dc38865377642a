//! Quotes what a receiver says: bounded, with unsafe code points escaped, without the secrets it was sent.

use http::HeaderMap;

use crate::shown;

/// Longest quotation, bytes.
const LONGEST: usize = 512;

/// Shortest word of a header's value that is taken for a secret by itself (`Basic` and `Bearer` are none).
const SHORTEST_SECRET: usize = 8;

/// Words that must not be quoted, longest first.
#[derive(Clone, Default)]
pub(super) struct Quote {
    secrets: Vec<String>,
}

impl Quote {
    /// Keeps the values of `headers` out of every quotation.
    pub(super) fn without(headers: &HeaderMap) -> Self {
        let mut secrets = Vec::new();
        for value in headers.values() {
            let value = String::from_utf8_lossy(value.as_bytes());
            let words = value
                .split_whitespace()
                .filter(|word| word.len() >= SHORTEST_SECRET);
            secrets.extend(words.map(str::to_owned));
            if value.len() > 2 {
                secrets.push(value.into_owned());
            }
        }
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.dedup();
        Self { secrets }
    }

    /// `text` as it may be shown.
    pub(super) fn text(&self, text: &str) -> String {
        let mut text = text.trim().to_owned();
        for secret in &self.secrets {
            if text.contains(secret.as_str()) {
                text = text.replace(secret.as_str(), "***");
            }
        }
        let mut quoted = String::new();
        for c in text.chars() {
            let before = quoted.len();
            if shown::is_unsafe(c) {
                quoted.extend(shown::escape(c));
            } else {
                quoted.push(c);
            }
            if quoted.len() > LONGEST - '…'.len_utf8() {
                quoted.truncate(before);
                quoted.push('…');
                break;
            }
        }
        quoted
    }

    /// The same of bytes, which may be no text at all.
    pub(super) fn bytes(&self, bytes: &[u8]) -> String {
        self.text(&String::from_utf8_lossy(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotations_are_bounded_and_harmless() {
        let quote = Quote::default();
        for (text, expected) in [
            ("plain", "plain".to_owned()),
            (" two\nlines\n", "two\\nlines".to_owned()),
            ("\u{1b}[31mred", "\\u{1b}[31mred".to_owned()),
            ("ü", "ü".to_owned()),
            (&"x".repeat(509), "x".repeat(509)),
            (&"x".repeat(600), format!("{}…", "x".repeat(509))),
            (
                &"\n".repeat(600).replace('\n', "a\n"),
                format!("{}…", "a\\n".repeat(169) + "a"),
            ),
        ] {
            let quoted = quote.text(text);
            assert!(quoted.len() <= LONGEST, "{} bytes", quoted.len());
            assert_eq!(quoted, expected, "{text:?}");
        }
        assert_eq!(quote.bytes(b"\xff\xfe"), "\u{fffd}\u{fffd}");
    }

    #[test]
    fn quotations_do_nothing_to_a_terminal() {
        for letter in shown::tests::all() {
            let quoted = Quote::default().text(&format!("a{letter}b"));
            assert!(!quoted.chars().any(shown::is_unsafe), "{letter:?}: {quoted}");
            assert!(quoted.starts_with("a\\") && quoted.ends_with('b'), "{quoted}");
        }
    }

    #[test]
    fn what_a_receiver_echoes_is_not_shown() {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", "Bearer secret-token-1".parse().unwrap());
        headers.insert("x-key", "abc".parse().unwrap());
        let quote = Quote::without(&headers);
        for (text, expected) in [
            ("no Bearer secret-token-1 here", "no *** here"),
            ("token 'secret-token-1'", "token '***'"),
            ("Bearer what?", "Bearer what?"),
            ("key=abc", "key=***"),
        ] {
            assert_eq!(quote.text(text), expected);
        }
        let long = format!("{}secret-token-1", "x".repeat(500));
        assert!(!quote.text(&long).contains("secret"), "cut after it is taken out");
    }
}
