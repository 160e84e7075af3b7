//! `coffre serve`

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use super::{Context, Exit, complain, fail};
use crate::daemon::serve::{ServeError, prepare, serve};
use crate::syscalls::heap;

/// Threads for waiting and for heavy work: a due snapshot may wait for hours on one of them, and
/// all tenants may have one due in the same second.
const BLOCKING_THREADS: usize = 4096;

pub(super) fn run(context: &Context) -> Exit {
    log_to_stderr();
    heap::keep_what_is_used_again();
    // Before there is a second thread: what is given up here is given up by all.
    let prepared = match prepare(&context.config) {
        Ok(prepared) => prepared,
        Err(error) => return failed(error),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(e) => return fail(format_args!("cannot start: {e}")),
    };
    let served = runtime.block_on(serve(prepared));
    // A thread that waits for a session, or is in the middle of a system call, is not waited for:
    // whatever it was at, the next start sweeps.
    runtime.shutdown_background();
    match served {
        Ok(()) => Exit::Done,
        Err(error) => failed(error),
    }
}

fn failed(error: ServeError) -> Exit {
    match error {
        ServeError::Config(found) => {
            complain(&found);
            Exit::Config
        }
        ServeError::Unfit(_) => {
            fail(error);
            Exit::Config
        }
        error => fail(error),
    }
}

/// `RUST_LOG` chooses what is logged, as everywhere (`debug`, `coffre=debug`, …); `info` is the
/// default. The SSH library logs what unauthenticated peers say, so it is cut down to its errors
/// whatever is chosen.
fn log_to_stderr() {
    let filter = std::env::var("RUST_LOG").unwrap_or_default();
    let filter = EnvFilter::try_new(&filter)
        .ok()
        .filter(|_| !filter.is_empty())
        .unwrap_or_else(|| EnvFilter::new("info"))
        .add_directive(
            "russh=error"
                .parse()
                .expect("this directive is well-formed"),
        );
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
}
