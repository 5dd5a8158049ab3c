//! The binary `drover-agent`: flags and file to settings, then serving until SIGTERM.

use std::io::{IsTerminal as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use drover_agent::{Agent, Choices, SettingsError};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Reports what runs on this server and sets servers of its HAProxy ready, draining or in maintenance.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// YAML file with the keys of the flags below; a flag wins over the file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address to listen on [default: 127.0.0.1:11011]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Name of this server in the inventory [default: the host name]
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
    /// Address of this server in the inventory [default: the address listened on]
    #[arg(long, value_name = "ADDRESS")]
    server_ip: Option<IpAddr>,
    /// Folder of application descriptions, one *.yml per application
    #[arg(long, value_name = "FOLDER")]
    apps_dir: Option<PathBuf>,
    /// Runtime socket of an HAProxy: NAME=/path or NAME=ipv4@host:port; may be repeated
    #[arg(long, value_name = "NAME=SOCKET", value_parser = instance)]
    haproxy: Vec<(String, String)>,
    /// Master socket of an HAProxy named above (its option -S), to see old workers; may be repeated
    #[arg(long, value_name = "NAME=SOCKET", value_parser = instance)]
    haproxy_master: Vec<(String, String)>,
    /// Unix socket of the Docker daemon
    #[arg(long, value_name = "PATH")]
    docker_socket: Option<PathBuf>,
    /// D-Bus system bus that systemd is asked on about units, unix:path=/PATH [default: the standard one]
    #[arg(long, value_name = "ADDRESS")]
    system_bus: Option<String>,
    /// File whose first line is the bearer token that all routes but /ping then ask for
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// What to log, such as `info` or `drover_agent=debug`
    #[arg(
        long,
        env = "DROVER_AGENT_LOG",
        default_value = "info",
        value_name = "FILTER"
    )]
    log: EnvFilter,
}

fn instance(text: &str) -> Result<(String, String), &'static str> {
    let (name, socket) = text
        .split_once('=')
        .ok_or("write NAME=SOCKET, such as default=/run/haproxy/admin.sock")?;
    Ok((name.to_owned(), socket.to_owned()))
}

/// `EX_CONFIG` of sysexits: the same start would fail the same way.
const UNUSABLE_SETTINGS: u8 = 78;

#[tokio::main]
async fn main() -> ExitCode {
    let Err(error) = run(Arguments::parse()).await else {
        return ExitCode::SUCCESS;
    };
    // Nothing more can be done if not even standard error takes the reason.
    writeln!(std::io::stderr(), "drover-agent: {error:#}").ok();
    if error.is::<SettingsError>() {
        ExitCode::from(UNUSABLE_SETTINGS)
    } else {
        ExitCode::FAILURE
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(arguments.log)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let file = arguments
        .config
        .as_deref()
        .map(Choices::read)
        .transpose()?
        .unwrap_or_default();
    let flags = Choices {
        listen: arguments.listen,
        server_name: arguments.server_name,
        server_ip: arguments.server_ip,
        apps_dir: arguments.apps_dir,
        haproxy: arguments.haproxy.into_iter().collect(),
        haproxy_master: arguments.haproxy_master.into_iter().collect(),
        docker_socket: arguments.docker_socket,
        system_bus: arguments.system_bus,
        token_file: arguments.token_file,
    };
    let mut terminate =
        signal(SignalKind::terminate()).context("SIGTERM cannot be listened for")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be listened for")?;
    let agent = Agent::bind(file.overridden_by(flags).settle()?).await?;
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("told to stop; open requests are finished first");
    };
    agent.serve(stop).await?;
    Ok(())
}
