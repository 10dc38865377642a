//! Command lines, by the grammars of interpreters.

use crate::process::{Arguments, Identity, executable_name, interpreter};

/// Reads `input` as the name of an executable, and the arguments behind it, separated by NULs. The first byte's lowest bit says
/// that there are more arguments.
pub(super) fn arguments(input: &[u8]) {
    let Some((first, input)) = input.split_first() else {
        return;
    };
    let is_cut = first & 1 != 0;
    let (exe, bytes) = match input.iter().position(|byte| *byte == 0) {
        Some(end) => (&input[..end], &input[end + 1..]),
        None => (input, &[][..]),
    };
    let exe = String::from_utf8_lossy(exe);
    let arguments = Arguments::parse(bytes, is_cut);
    assert_eq!(arguments.cut.is_some(), is_cut);
    let mut identity = Identity {
        exe: executable_name(&exe).to_owned(),
        comm: exe.chars().take(15).collect(),
        ..Identity::default()
    };
    identity.set_arguments(arguments.clone());
    assert!(identity.has_arguments(&arguments));
    if !is_cut {
        // What the kernel would have for these arguments is read as the same.
        let written = arguments.whole.join("\0").into_bytes();
        assert_eq!(Arguments::parse(&written, false), arguments);
    }
    let runs = interpreter::runs(&identity.exe, &identity.argv);
    if let Some(runs) = runs {
        let name = runs.name();
        let is_of_an_argument = |argument: &String| argument.contains(name);
        assert!(
            name.is_empty() || identity.argv.iter().any(is_of_an_argument),
            "{name:?} is in no argument of {identity:?}"
        );
    }
    let names: Vec<&str> = identity.names().collect();
    assert!(!names.contains(&""), "{identity:?}");
    for (at, name) in names.iter().enumerate() {
        assert!(!names[..at].contains(name), "{name:?} is twice in {names:?}");
    }
    assert!(identity.name().len() <= input.len() * 3 + 15);
    let _shown = identity.cmdline();
}
