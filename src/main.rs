//! The program's door.

fn main() -> std::process::ExitCode {
    wgpt::cli::main()
}
