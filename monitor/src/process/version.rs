//! Names without the versions in them: an upgrade leaves a program the same.

use std::borrow::Cow;

/// What may stand behind a version's numbers, in lower case; the longer of two that begin alike comes first.
const QUALIFIERS: [&str; 14] = [
    "snapshot", "release", "final", "alpha", "beta", "build", "post", "dev", "pre", "rc", "cr", "ga", "m",
    "b",
];

/// `app-1.2` is `app`, `shop-1.3-SNAPSHOT.jar` is `shop.jar`, and `app_v1.2-linux` is `app-linux`. A number without a dot is
/// no version (`worker-1`), and neither is one at the beginning of a name.
pub(super) fn without_version(name: &str) -> Cow<'_, str> {
    let bytes = name.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if !bytes[at].is_ascii_digit() {
            at += 1;
            continue;
        }
        let (end, has_dot) = numbers(bytes, at);
        let end_of_all = qualified(bytes, end);
        let begins = begin(bytes, at);
        let is_over = bytes
            .get(end_of_all)
            .is_none_or(|next| !next.is_ascii_alphanumeric());
        if has_dot && is_over && begins > 0 {
            return Cow::Owned(format!("{}{}", &name[..begins], &name[end_of_all..]));
        }
        at = end;
    }
    Cow::Borrowed(name)
}

/// Where the numbers that begin at `at` end, and whether there are several with dots between them.
fn numbers(bytes: &[u8], mut at: usize) -> (usize, bool) {
    let mut has_dot = false;
    loop {
        while bytes.get(at).is_some_and(u8::is_ascii_digit) {
            at += 1;
        }
        if bytes.get(at) != Some(&b'.') || !bytes.get(at + 1).is_some_and(u8::is_ascii_digit) {
            return (at, has_dot);
        }
        has_dot = true;
        at += 1;
    }
}

/// Where the version whose numbers begin at `at` begins: with a `v`, and with what parts it from the name.
fn begin(bytes: &[u8], at: usize) -> usize {
    let parts = |index: usize| {
        index
            .checked_sub(1)
            .filter(|&at| matches!(bytes[at], b'-' | b'_' | b'.'))
    };
    let letter = at.checked_sub(1).filter(|&at| matches!(bytes[at], b'v' | b'V'));
    letter.and_then(parts).or_else(|| parts(at)).unwrap_or(at)
}

/// Where it ends: behind qualifiers and their numbers.
fn qualified(bytes: &[u8], mut end: usize) -> usize {
    loop {
        let parted = usize::from(
            bytes
                .get(end)
                .is_some_and(|byte| matches!(byte, b'-' | b'_' | b'.' | b'+' | b'~')),
        );
        let rest = &bytes[end + parted..];
        let begins = |qualifier: &&&str| {
            rest.get(..qualifier.len())
                .is_some_and(|begins| begins.eq_ignore_ascii_case(qualifier.as_bytes()))
        };
        let Some(qualifier) = QUALIFIERS.iter().find(begins) else {
            return end;
        };
        let mut behind = qualifier.len();
        if rest.get(behind) == Some(&b'.') && rest.get(behind + 1).is_some_and(u8::is_ascii_digit) {
            behind += 1;
        }
        while rest.get(behind).is_some_and(u8::is_ascii_digit) {
            behind += 1;
        }
        if rest.get(behind).is_some_and(u8::is_ascii_alphabetic) {
            return end; // another word
        }
        end += parted + behind;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_in_names() {
        for (name, without) in [
            ("app-1.2", "app"),
            ("php-fpm8.1", "php-fpm"),
            ("shop-1.2.jar", "shop.jar"),
            ("Shop-2.0.dll", "Shop.dll"),
            ("shop-1.2.3-SNAPSHOT.jar", "shop.jar"),
            ("shop-1.2.0.RELEASE.jar", "shop.jar"),
            ("shop-2.0-rc.1.jar", "shop.jar"),
            ("shop-2.0rc1.jar", "shop.jar"),
            ("shop-2.0-M3.jar", "shop.jar"),
            ("shop-2.0+build7.jar", "shop.jar"),
            ("shop_v1.2.py", "shop.py"),
            ("shop-v1.2-all.jar", "shop-all.jar"),
            ("shop-1.2-web.jar", "shop-web.jar"),
            ("app-1.2-linux-amd64", "app-linux-amd64"),
            ("server.1.2.js", "server.js"),
            ("log4j-2.17-core.jar", "log4j-core.jar"),
            ("caf\u{e9}-1.2", "caf\u{e9}"),
            // No versions.
            ("worker-1", "worker-1"),
            ("app1", "app1"),
            ("a.py", "a.py"),
            ("1.2.jar", "1.2.jar"),
            ("v1.2", "v"),
            ("10.0.0.1.sh", "10.0.0.1.sh"),
            ("app-1.2x", "app-1.2x"),
            ("app-1.2-mail", "app-mail"),
            ("app-1.", "app-1."),
            ("", ""),
        ] {
            assert_eq!(without_version(name), without, "{name}");
        }
    }
}
