//! A process's command line as far as it is known: what of it is whole, what was cut, and the name that `argv[0]` gives.
//!
//! Every source may know only the beginning of an argument vector: the kernel side sends no more than a bound, and /proc is
//! read no further. So an [`Identity`] keeps whole arguments alone in `argv`, and the known beginning of the one behind them
//! in `cut`. Whoever looks at `argv` never sees half an argument, and whoever must not be wrong asks whether there is more.
//!
//! A program may write over its arguments (setproctitle(3)): the text that /proc then shows is its *title*. It is `argv` like
//! any other, but `argv[0]` of it is a sentence and no path, and what follows it may be padding.

use super::{Identity, interpreter::is_interpreter, paths};

/// An argument vector as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Arguments {
    /// Whole arguments, from the first one on.
    pub whole: Vec<String>,
    /// `None`: there are no others. Else the known beginning of the next one, which may be empty.
    pub cut: Option<String>,
}

impl Arguments {
    /// From the kernel's bytes: arguments separated by NULs. `is_cut`: there is more behind them.
    ///
    /// Empty arguments at the end are left out: a title is padded with NULs, which look the same.
    pub fn parse(bytes: &[u8], is_cut: bool) -> Self {
        if is_cut {
            let end = bytes.iter().rposition(|&byte| byte == 0);
            let (whole, rest) = end.map_or((None, bytes), |nul| (Some(&bytes[..nul]), &bytes[nul + 1..]));
            return Self {
                whole: whole.map_or_else(Vec::new, split),
                cut: Some(text(whole_characters(rest))),
            };
        }
        let end = bytes.iter().rposition(|&byte| byte != 0);
        Self {
            whole: end.map_or_else(Vec::new, |last| split(&bytes[..=last])),
            cut: None,
        }
    }

    /// Nothing is known of it, and it is not known to be empty either.
    pub fn unknown() -> Self {
        Self {
            whole: Vec::new(),
            cut: Some(String::new()),
        }
    }
}

impl Identity {
    /// The command line: the arguments joined by spaces, as far as they are known.
    pub fn cmdline(&self) -> String {
        let mut line = self.argv.join(" ");
        if let Some(cut) = &self.cut {
            if !self.argv.is_empty() {
                line.push(' ');
            }
            line.push_str(cut);
        } else if self.argv.len() == 1 {
            line.truncate(line.trim_end().len()); // some pad a title with spaces
        }
        line
    }

    /// Takes other arguments.
    pub fn set_arguments(&mut self, arguments: Arguments) {
        self.argv = arguments.whole;
        self.cut = arguments.cut;
    }

    /// Nothing is known of its arguments: neither a text, nor that there is none.
    pub fn arguments_are_unknown(&self) -> bool {
        self.argv.is_empty() && self.cut.as_deref() == Some("")
    }

    /// Whether these are its arguments already.
    pub fn has_arguments(&self, arguments: &Arguments) -> bool {
        self.argv == arguments.whole && self.cut == arguments.cut
    }

    /// The names that no title changes: the executable's, the given path's, and `comm`.
    pub fn without_title(&self) -> impl Iterator<Item = &str> {
        [
            self.exe.as_str(),
            paths::program_name(&self.filename),
            self.comm.as_str(),
        ]
        .into_iter()
    }

    /// Whether an interpreter's program has written a title over its arguments: `argv[0]` names no interpreter, and is either
    /// a sentence or all that there is.
    pub(super) fn hides_its_script(&self) -> bool {
        let Some(argv0) = self.argv.first() else {
            return false;
        };
        let name = argv0_name(argv0.strip_prefix('-').unwrap_or(argv0), &self.exe);
        if !is_interpreter(&self.exe) || name.is_empty() || name == self.exe || is_interpreter(name) {
            return false;
        }
        let is_sentence = name.contains(|c: char| c.is_whitespace() || c == ':');
        is_sentence || (self.argv.len() == 1 && self.cut.is_none())
    }

    /// Whether there may be a name in the part of the arguments that is not known: `argv[0]` itself, or the script that an
    /// interpreter runs. Asked of whatever finds a script by trying what could come next.
    pub fn names_are_open(&self) -> bool {
        const NEXT: &str = "kevmon-next-argument";
        let Some(cut) = &self.cut else { return false };
        if self.argv.is_empty() {
            return true;
        }
        let mut continued = Self {
            cut: None,
            ..self.clone()
        };
        if cut.starts_with('-') {
            continued.argv.push(cut.clone());
        }
        // Two: the first one may be an option's value.
        continued.argv.extend([NEXT.to_owned(), NEXT.to_owned()]);
        continued.names().any(|name| name == NEXT)
    }
}

/// The name in `argv[0]` of a process whose executable is `exe`: the last part of a path, or a whole title, without the
/// folder of the program that it begins with.
///
/// A title is told from a path by what paths do not look like: a first word with a colon (`nginx: worker process /x`), a word
/// that begins with `/` or `-` behind the first (`foo -c /etc/foo`), or blanks without any slash before them.
///
/// Empty where the path is a reference to an open file or to the process itself (`/proc/self/exe`), which names nothing.
pub(super) fn argv0_name<'a>(argv0: &'a str, exe: &str) -> &'a str {
    if !argv0.bytes().any(|byte| byte.is_ascii_whitespace()) {
        return paths::program_name(argv0); // all but always
    }
    let text = argv0.trim_end();
    let last = paths::program_name(text);
    let Some(blank) = text.find(|c: char| c.is_ascii_whitespace()) else {
        return last;
    };
    let (first, rest) = text.split_at(blank);
    let begins_as_title = first.ends_with(':')
        || (rest.split_whitespace().any(|word| word.starts_with(['/', '-']))
            && (last != exe || paths::base_name(first) == exe || !first.contains('/')));
    if !begins_as_title && (last == exe || first.contains('/')) {
        return last;
    }
    first.rfind('/').map_or(text, |slash| &text[slash + 1..])
}

/// The arguments between NULs.
fn split(bytes: &[u8]) -> Vec<String> {
    let mut whole = Vec::with_capacity(bytes.iter().filter(|&&byte| byte == 0).count() + 1);
    whole.extend(bytes.split(|&byte| byte == 0).map(text));
    whole
}

/// Without the beginning of a character whose end was cut off.
fn whole_characters(bytes: &[u8]) -> &[u8] {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => &bytes[..error.valid_up_to()],
        // Something else that is not UTF-8 stands before; a cut character behind it is at most three bytes.
        _ => bytes,
    }
}

/// Bytes that should be UTF-8.
fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(), // all but always, and cheaper to find out than to mend
        Err(_) => String::from_utf8_lossy(bytes).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_whole_or_said_to_be_cut() {
        for (bytes, is_cut, whole, cut) in [
            (&b""[..], false, vec![], None),
            (b"a\0", false, vec!["a"], None),
            (b"a\0\0b\0", false, vec!["a", "", "b"], None),
            (b"a\0b\0\0\0\0", false, vec!["a", "b"], None),
            (b"nginx: worker\0\0\0\0\0", false, vec!["nginx: worker"], None),
            (b"title without an end", false, vec!["title without an end"], None),
            (b"\0\0", false, vec![], None),
            (b"", true, vec![], Some("")),
            (b"abc", true, vec![], Some("abc")),
            (b"a\0bc", true, vec!["a"], Some("bc")),
            (b"a\0b\0", true, vec!["a", "b"], Some("")),
            (b"a\0\0", true, vec!["a", ""], Some("")),
            (b"\0", true, vec![""], Some("")),
            (b"\0\0", true, vec!["", ""], Some("")),
            (b"\0b", true, vec![""], Some("b")),
            (b"a\0gr\xc3\xbc", true, vec!["a"], Some("gr\u{fc}")),
            (b"a\0gr\xc3", true, vec!["a"], Some("gr")),
            (b"a\0\xffx", true, vec!["a"], Some("\u{fffd}x")),
        ] {
            let parsed = Arguments::parse(bytes, is_cut);
            assert_eq!(
                (parsed.whole, parsed.cut.as_deref()),
                (whole.into_iter().map(str::to_owned).collect(), cut),
                "{bytes:?} {is_cut}"
            );
        }
    }

    #[test]
    fn a_command_line_is_what_is_known_of_it() {
        for (argv, cut, line) in [
            (&["a", "b"][..], None, "a b"),
            (&["a", "b"], Some("c"), "a b c"),
            (&["a"], Some(""), "a "),
            (&[], Some("abc"), "abc"),
            (&["a title, padded   "], None, "a title, padded"),
            (&["a", "b "], None, "a b "),
            (&[], None, ""),
        ] {
            let identity = identity("x", argv, cut);
            assert_eq!(identity.cmdline(), line, "{identity:?}");
        }
    }

    fn identity(exe: &str, argv: &[&str], cut: Option<&str>) -> Identity {
        Identity {
            exe: exe.into(),
            argv: argv.iter().map(|&argument| argument.into()).collect(),
            cut: cut.map(str::to_owned),
            ..Identity::default()
        }
    }

    #[test]
    fn a_name_may_be_in_what_was_cut() {
        for (exe, argv, cut, open) in [
            ("nginx", &["nginx"][..], None, false),
            ("nginx", &["nginx"], Some("-g"), false),
            ("nginx", &[], Some("/a/very/long/pa"), true),
            ("bash", &["bash", "-c"], Some("a long program te"), false),
            (
                "bash",
                &["bash", "/opt/backup.sh"],
                Some("arguments of it"),
                false,
            ),
            ("bash", &["bash"], Some("/opt/very/lon"), true),
            ("bash", &["bash"], Some("-c"), false),
            ("python3.11", &["python3", "-u"], Some(""), true),
            ("perl", &["perl", "-e"], Some("print 1"), false),
        ] {
            assert_eq!(
                identity(exe, argv, cut).names_are_open(),
                open,
                "{exe} {argv:?} {cut:?}"
            );
        }
    }

    #[test]
    fn a_title_is_a_name_as_a_whole_and_a_path_by_its_end() {
        for (argv0, exe, name) in [
            ("/usr/sbin/nginx", "nginx", "nginx"),
            ("./app", "app", "app"),
            ("-bash", "bash", "-bash"),
            ("nginx: worker process", "nginx", "nginx: worker process"),
            ("nginx: worker process /x", "nginx", "nginx: worker process /x"),
            (
                "nginx: master process /usr/sbin/nginx",
                "nginx",
                "nginx: master process /usr/sbin/nginx",
            ),
            (
                "nginx: master process /usr/sbin/nginx -g daemon off;",
                "nginx",
                "nginx: master process /usr/sbin/nginx -g daemon off;",
            ),
            ("postgres: checkpointer ", "postgres", "postgres: checkpointer"),
            (
                "postgres: shop db 10.0.0.1(4711) idle",
                "postgres",
                "postgres: shop db 10.0.0.1(4711) idle",
            ),
            (
                "sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups",
                "sshd",
                "sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups",
            ),
            ("php-fpm: pool www/a", "php-fpm8.2", "php-fpm: pool www/a"),
            ("/usr/sbin/foo -c /etc/foo.conf", "foo", "foo -c /etc/foo.conf"),
            ("/opt/shop.pl --conf /x", "perl", "shop.pl --conf /x"),
            ("/usr/sbin/nginx: worker /x", "nginx", "nginx: worker /x"),
            (
                "uWSGI master /usr/bin/uwsgi",
                "uwsgi",
                "uWSGI master /usr/bin/uwsgi",
            ),
            ("shop worker a/b", "perl", "shop worker a/b"),
            // Paths with blanks in them.
            ("/opt/My App/bin/app", "app", "app"),
            ("/opt/My App - v2/app", "app", "app"),
            ("My App/app", "app", "app"),
            ("/opt/My App/other", "app", "other"),
            ("", "app", ""),
        ] {
            assert_eq!(argv0_name(argv0, exe), name, "{argv0:?} of {exe}");
        }
    }
}
