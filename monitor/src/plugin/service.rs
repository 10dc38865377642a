//! Service naming: from the name a plugin gives to the id that is stored and the name that is shown.

use super::definition::Naming;

/// The names of a service, from the one in the plugin file to the one that is exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceName {
    /// `service.namespace`, as the plugin gives it.
    pub namespace: String,
    /// The expanded template, untouched: `Strategy₿.M8MulPrc`.
    pub original: String,
    /// The sanitised id: `strategy_m8mulprc`.
    pub id: String,
    /// The template filled without the pattern's anchors: `shop.nginx`, where `original` is `shop.^nginx$`.
    pub plain: String,
    /// What the plugin's file says the service is called; `None` where it does not say.
    pub given: Option<String>,
}

impl ServiceName {
    /// Names the service `original` (the expanded `service_name_template`) of `namespace`.
    pub fn new(namespace: impl Into<String>, original: impl Into<String>) -> Self {
        let original = original.into();
        Self {
            namespace: namespace.into(),
            id: sanitise(&original),
            plain: original.clone(),
            original,
            given: None,
        }
    }

    /// What is sent as `service.name` (semantic conventions 1.44, "Service"): the name that the file gives, in every naming;
    /// without one the plain name with `otel`, and the display name with `instana` and `both`, as existing dashboards
    /// have it.
    pub fn sent(&self, naming: Naming) -> String {
        match (&self.given, naming) {
            (Some(given), _) => given.clone(),
            (None, Naming::Otel) => self.plain.clone(),
            (None, Naming::Instana | Naming::Both) => self.display(),
        }
    }

    /// The name shown to people: the id's words, each capitalised (`Strategy M8mulprc`).
    pub fn display(&self) -> String {
        let mut shown = String::with_capacity(self.id.len());
        for word in self.id.split('_').filter(|word| !word.is_empty()) {
            if !shown.is_empty() {
                shown.push(' ');
            }
            let mut letters = word.chars();
            shown.extend(letters.next().map(|first| first.to_ascii_uppercase()));
            shown.push_str(letters.as_str());
        }
        shown
    }
}

/// What a pattern is called where a name is made of it: without its anchors (`^nginx$`: `nginx`), and, where nothing but a
/// literal is left, without its backslashes (`^my\.app$`: `my.app`). Anchors in a class (`[^a]`) and escaped ones (`\$`) are none.
/// Control characters, which no name may hold, become blanks.
pub fn without_anchors(pattern: &str) -> String {
    let (mut kept, mut literal) = (String::new(), String::new());
    let (mut is_literal, mut in_class) = (true, false);
    let mut letters = pattern.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                // Of the whole text, and of words.
                Some('A' | 'z') if !in_class => {}
                Some('b' | 'B') if !in_class && letters.peek() != Some(&'{') => {}
                Some(escaped) => {
                    kept.extend(['\\', escaped]);
                    literal.push(escaped);
                    is_literal &= escaped.is_ascii_punctuation();
                }
                None => kept.push('\\'),
            },
            '^' | '$' if !in_class => {}
            _ => {
                in_class = match letter {
                    '[' => true,
                    ']' => false,
                    _ => in_class,
                };
                is_literal &= !".*+?()[]{}|".contains(letter);
                kept.push(letter);
                literal.push(letter);
            }
        }
    }
    let name = if is_literal { literal } else { kept };
    name.replace(char::is_control, " ")
}

/// Reduces any text to `[a-z0-9_]`: lower-case, everything else to `_`, runs of `_` collapsed and
/// stripped at both ends, `metric_` in front when it does not begin with a letter; `unknown` when
/// nothing is left.
pub fn sanitise(text: &str) -> String {
    let mut id = String::with_capacity(text.len());
    for letter in text.chars().flat_map(char::to_lowercase) {
        if letter.is_ascii_lowercase() || letter.is_ascii_digit() {
            id.push(letter);
        } else if !id.is_empty() && !id.ends_with('_') {
            id.push('_');
        }
    }
    let id = id.trim_end_matches('_');
    match id.bytes().next() {
        None => "unknown".to_owned(),
        Some(first) if first.is_ascii_lowercase() => id.to_owned(),
        Some(_) => format!("metric_{id}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contracts_table() {
        for (given, id, shown) in [
            ("Strategy₿.M8MulPrc", "strategy_m8mulprc", "Strategy M8mulprc"),
            (
                "MyCompany@WebServer.v2",
                "mycompany_webserver_v2",
                "Mycompany Webserver V2",
            ),
            (
                "Service-Name With Spaces!",
                "service_name_with_spaces",
                "Service Name With Spaces",
            ),
            (
                "123numeric-start",
                "metric_123numeric_start",
                "Metric 123numeric Start",
            ),
            ("__a__b__", "a_b", "A B"),
            ("₿", "unknown", "Unknown"),
            ("", "unknown", "Unknown"),
        ] {
            let service = ServiceName::new("ns", given);
            assert_eq!(service.id, id, "id of {given:?}");
            assert_eq!(service.display(), shown, "display name of {given:?}");
        }
    }

    #[test]
    fn patterns_without_their_anchors() {
        for (pattern, name) in [
            ("nginx", "nginx"),
            ("^nginx$", "nginx"),
            (r"\Anginx\z", "nginx"),
            (r"\bnginx\b", "nginx"),
            (r"^my\.app$", "my.app"),
            (r"^a\+b\$$", "a+b$"),
            (r"^a\\^b$", r"a\b"),
            ("^nginx: worker", "nginx: worker"),
            ("^nginx$|^apache2$", "nginx|apache2"),
            ("^(nginx|apache2)$", "(nginx|apache2)"),
            ("^[^a]b$", "[^a]b"),
            (r"^php-fpm\d\.\d$", r"php-fpm\d\.\d"),
            (r"^web\.[0-9]+$", r"web\.[0-9]+"),
            ("^a\nb\u{1}$", "a b "),
            ("^₿$", "₿"),
            ("^$", ""),
            ("", ""),
        ] {
            assert_eq!(without_anchors(pattern), name, "{pattern:?}");
        }
    }

    #[test]
    fn what_is_sent_by_naming_and_by_what_is_set() {
        let unset = ServiceName {
            plain: "shop.nginx".to_owned(),
            ..ServiceName::new("shop", "shop.^nginx$")
        };
        let set = ServiceName {
            given: Some("Check-out v2".to_owned()),
            ..unset.clone()
        };
        for (service, naming, sent) in [
            (&unset, Naming::Otel, "shop.nginx"),
            (&unset, Naming::Instana, "Shop Nginx"),
            (&unset, Naming::Both, "Shop Nginx"),
            (&set, Naming::Otel, "Check-out v2"),
            (&set, Naming::Instana, "Check-out v2"),
            (&set, Naming::Both, "Check-out v2"),
        ] {
            assert_eq!(service.sent(naming), sent, "{naming:?} {service:?}");
        }
        assert_eq!((&set.id, &set.original), (&unset.id, &unset.original));
    }
}
