//! The program's plan: parse, start logging, dispatch, show an error once, say how it ended.

mod cli;

use std::process::ExitCode;

use clap::Parser;

/// Rows flow through many small allocations on many threads; mimalloc serves those well.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = match cli::Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return cli::terminal::usage(&error),
    };
    env_logger::Builder::new()
        .parse_filters(&arguments.log)
        .init();
    match cli::run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            cli::terminal::error(&error);
            ExitCode::from(cli::exit_code(&error))
        }
    }
}
