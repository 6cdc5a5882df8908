//! The command: arguments, logging, the runtime, signals, the exit code. Everything else is in the library.

use std::{
    future::poll_fn,
    io::{self, IsTerminal},
    process::ExitCode,
    task::Poll,
    time::Duration,
};

use anyhow::Context as _;
use clap::Parser;
use pinhole::{agent, cli, cli::Cli, config, config::Config, log, reload::Again, tasks};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::warn;

/// For what still runs when the agent has stopped.
const LEFT_OVER: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let arguments = Cli::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pinhole: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Cli) -> anyhow::Result<()> {
    // A person who asks for something wants the answer alone.
    let usual = if arguments.command.is_some() { "warn" } else { "info" };
    let log = log::start(arguments.run.log.as_deref().unwrap_or(usual)).context("--log")?;
    for (variable, nearest) in config::unknown_variables(&Cli::variables()) {
        let meant = nearest.map(|name| format!("; did you mean {name}?")).unwrap_or_default();
        warn!("the environment variable {variable} means nothing to pinhole{meant}");
    }
    if let Some(command) = &arguments.command {
        return Ok(cli::run(command, &arguments.run)?);
    }
    let config = Config::load(&arguments.run)?;
    rustls::crypto::ring::default_provider().install_default().map_err(|_| {
        anyhow::anyhow!("another TLS provider was installed before: this is a fault in pinhole")
    })?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("pinhole-io")
        .enable_all()
        .build()?;
    let ended = runtime.block_on(async {
        let stop = stop_signals()?;
        // A terminal that closes ends what was started in it, as it always did.
        let hangup = if io::stdin().is_terminal() { None } else { Some(signal(SignalKind::hangup())?) };
        let run = arguments.run.clone();
        let again = Again { reread: Box::new(move || Config::load(&run)), hangup };
        agent::run(config, again, log, stop).await
    });
    // A driver that never answers holds its thread, and shall not hold the agent.
    runtime.shutdown_timeout(LEFT_OVER);
    ended
}

/// Ends with the first SIGTERM or SIGINT. A second one ends the process at once.
fn stop_signals() -> io::Result<impl Future<Output = ()>> {
    let mut signals = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
    Ok(async move {
        any(&mut signals).await;
        tasks::spawn("second signal", async move {
            any(&mut signals).await;
            std::process::exit(130);
        });
    })
}

async fn any(signals: &mut [Signal]) {
    poll_fn(|cx| {
        if signals.iter_mut().any(|signal| signal.poll_recv(cx).is_ready()) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}
