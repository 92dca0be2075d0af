//! Entry point: parses arguments, starts the log, runs the command, prints an error once, sets the exit code.

mod cli;

use std::process::ExitCode;

use clap::Parser;

/// mimalloc: rows take many small allocations on many threads, for which it is fast.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The number of threads of candle's elementwise operations. They spin while they wait, which doubles the time
/// of a training step on two busy cores. Matrix products use rayon's threads in any case.
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
