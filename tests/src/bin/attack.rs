//! What a hostile collector tries, by name: `attack state=FILE header=FILE …` prints a line `attack.NAME 1` for what it could
//! do, and 0 for what it could not. Run without any confinement, it can do everything.

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    kevmon_tests::attacks::run(&args);
}
