//! A container's seccomp filter: `filtered ERRNO CALL… -- PROGRAM ARGUMENT…` runs the program, for which these system
//! calls fail with this error.

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    kevmon_tests::filtered::run(&args);
}
