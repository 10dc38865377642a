//! The program that the tests watch. It is copied under the name that a test's pattern matches.

fn main() {
    // argv[0] may be any bytes.
    let args: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect();
    std::process::exit(kevmon_tests::modes::run(&args));
}
