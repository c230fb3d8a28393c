//! Entry point of the program `wgpt`.

fn main() -> std::process::ExitCode {
    wgpt::cli::main()
}
