//! Names in paths.

/// The last component; of a path that ends in slashes the one before.
pub fn base_name(path: &str) -> &str {
    let path = if path.ends_with('/') {
        path.trim_end_matches('/')
    } else {
        path
    };
    path.rfind('/').map_or(path, |slash| &path[slash + 1..])
}

/// The base name of a program's path; empty where the path says where the program was opened, and not what it is
/// called: a descriptor (`/dev/fd/3`), a link of /proc (`/proc/self/exe`), a folder itself (`.`).
pub fn program_name(path: &str) -> &str {
    match base_name(path) {
        "." | ".." => "",
        name if may_be_a_reference(name) && is_a_reference(path) => "",
        name => name,
    }
}

/// Stands before the end of a path whose beginning is not known. No path holds a NUL.
const END: &str = "\0/";

/// The end of a longer path, as [`is_path`] knows it again. It may begin within a letter.
pub fn end_of_a_path(end: &str) -> String {
    format!("{END}{}", end.trim_start_matches('\u{fffd}'))
}

/// Whether `path` is the one that is known as `known`, as a whole or by its end.
pub fn is_path(path: &str, known: &str) -> bool {
    match known.strip_prefix(END) {
        Some(end) => path.ends_with(end),
        None => path == known,
    }
}

/// Whether a path that ends in this component may be a reference: a quick no for almost all.
fn may_be_a_reference(last: &str) -> bool {
    let first = last.bytes().next().unwrap_or(b'.');
    first.is_ascii_digit() || matches!(last, "" | "." | "exe" | "stdin" | "stdout" | "stderr")
}

/// Whether the path leads to an open file or to a process's own executable, whose last component is no file's name.
pub fn is_a_reference(path: &str) -> bool {
    let mut parts = path.rsplit('/').filter(|part| !matches!(*part, "" | "."));
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let Some(last) = parts.next() else { return false };
    let rest: Vec<&str> = parts.take(5).collect();
    match (last, rest.as_slice()) {
        ("stdin" | "stdout" | "stderr", ["dev", ..]) => true,
        (fd, ["fd", "dev", ..]) => is_number(fd),
        (fd, ["fd", process, rest @ ..]) if is_number(fd) => is_a_process(process, rest),
        ("exe", [process, rest @ ..]) => is_a_process(process, rest),
        _ => false,
    }
}

/// Whether the components, innermost first, are those of a process or thread in /proc: `self`, `thread-self`, a
/// number, or a number below `task`.
fn is_a_process(last: &str, before: &[&str]) -> bool {
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit());
    match before {
        ["proc", ..] => is_number || matches!(last, "self" | "thread-self"),
        ["task", _, "proc", ..] => is_number,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_paths_and_paths_without_one() {
        for (path, name) in [
            ("/usr/sbin/nginx", "nginx"),
            ("nginx", "nginx"),
            ("./nginx", "nginx"),
            ("/srv/app/", "app"),
            ("3", "3"),
            ("./3", "3"),
            ("/opt/fd/3", "3"),
            ("exe", "exe"),
            ("/opt/self/exe", "exe"),
            ("/proc/self/cwd/x", "x"),
            ("/dev/fd/3/x.sh", "x.sh"),
            ("/proc/self/fd/3/x.sh", "x.sh"),
            ("/proc/self/root/bin/x", "x"),
            ("/proc/self/exe", ""),
            ("/proc//self/./exe", ""),
            ("/proc/thread-self/exe", ""),
            ("/proc/4711/exe", ""),
            ("/proc/4711/task/4712/exe", ""),
            ("/host/proc/1/exe", ""),
            ("/dev/fd/3", ""),
            ("/dev/fd/63", ""),
            ("/dev/stdin", ""),
            ("/proc/self/fd/3", ""),
            ("/proc/4711/fd/10", ""),
            ("/proc/self/task/1/fd/3", ""),
            ("/proc/thread-self/fd/3", ""),
            ("/dev/fd/x", "x"),
            (".", ""),
            ("./", ""),
            ("..", ""),
            ("/", ""),
            ("", ""),
        ] {
            assert_eq!(program_name(path), name, "{path:?}");
        }
    }

    #[test]
    fn a_path_is_known_by_its_end() {
        let known = end_of_a_path("x/tool.awk");
        assert_eq!(program_name(&known), "tool.awk");
        assert!(is_path("/opt/x/tool.awk", &known));
        assert!(!is_path("/opt/y/tool.awk", &known));
        assert!(!is_path("tool.awk", &known));
        // Half a letter stands at the beginning.
        assert!(is_path(
            "/opt/gr\u{fc}n/tool.awk",
            &end_of_a_path("\u{fffd}n/tool.awk")
        ));
        // The name alone takes all the room that there is.
        assert_eq!(program_name(&end_of_a_path("tool.awk")), "tool.awk");
        assert!(is_path("/opt/tool.awk", "/opt/tool.awk"));
        assert!(!is_path("/opt/x/tool.awk", "x/tool.awk"), "this one is whole");
    }
}
