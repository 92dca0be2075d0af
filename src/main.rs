//! Entry point: parses arguments, starts the log, runs the command, prints an error once, sets the exit code.

mod cli;

use std::process::ExitCode;

use clap::Parser;

/// Rows flow through many small allocations on many threads; mimalloc serves those well.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// candle spreads each elementwise step over threads that spin while they wait: on two busy cores that
/// doubles what a training step costs. Products are spread by rayon all the same.
const CANDLE_THREADS: &str = "CANDLE_NUM_THREADS";

fn main() -> ExitCode {
    if std::env::var_os(CANDLE_THREADS).is_none() {
        #[expect(unsafe_code, reason = "it is read when candle first computes")]
        // SAFETY: no other thread runs yet.
        unsafe {
            std::env::set_var(CANDLE_THREADS, "1");
        }
    }
    let arguments = match cli::Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return cli::terminal::clap_error(&error),
    };
    cli::log::init(arguments.log.clone());
    match cli::run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            cli::terminal::error(&error);
            ExitCode::from(cli::exit_code(&error))
        }
    }
}
