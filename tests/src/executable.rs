//! Files that are executed a moment after they were written.
//!
//! The kernel refuses to execute a file that any process has open for writing (ETXTBSY, execve(2)). A test that writes one
//! itself races with every other test of this program: a child forked between its open and its close holds a copy of
//! the descriptor until the child executes. So another process writes the file: no child of this one ever holds it.

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

/// Copies a program; its mode is kept.
pub fn copy(from: impl AsRef<Path>, to: impl AsRef<Path>) {
    let mut command = Command::new("cp");
    command.arg("--preserve=mode").arg(from.as_ref()).arg(to.as_ref());
    let status = command.status();
    assert!(
        status.as_ref().is_ok_and(|status| status.success()),
        "{command:?}: {status:?}"
    );
}

/// Writes a script with mode 755.
pub fn write(path: impl AsRef<Path>, text: &str) {
    let mut command = Command::new("sh");
    command
        .args(["-c", "cat > \"$0\" && chmod 755 \"$0\""])
        .arg(path.as_ref())
        .stdin(Stdio::piped());
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(text.as_bytes()).expect("cat reads its input");
    drop(stdin);
    let status = child.wait().expect("our child");
    assert!(status.success(), "{command:?}: {status}");
}
