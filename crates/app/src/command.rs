//! What can be typed, and what is done for it.

use std::convert::Infallible;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};
use drover_config::{Settings, Source};
use drover_store_sea_orm::MigrateError;
use drover_usecases::{Fault, StoreError};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::application::{self, Application, StartError, connect};
use crate::check;
use crate::client::{self, ClientCommand, ClientOptions};
use crate::exit::Exit;
use crate::keys::KeyError;
use crate::{print, telemetry};

/// The variable that names the settings file.
const CONFIG_VARIABLE: &str = "DROVER_CONFIG";

/// Releases software on fleets of plain servers without dropping a request.
#[derive(Debug, Parser)]
#[command(name = "drover", version, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    client: ClientOptions,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service.
    Serve(File),
    /// Bring the database up to date and exit.
    Migrate(File),
    /// Look at the settings.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print the version.
    Version,
    #[command(flatten)]
    Client(ClientCommand),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Say whether the settings can be used.
    Check(File),
    /// Print the effective settings with their origin; secrets are masked.
    Show(File),
}

#[derive(Debug, Args)]
struct File {
    /// The settings file, TOML; without it, the variable `DROVER_CONFIG` names one.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl File {
    /// The file that was named, as an argument or else as a variable.
    fn path(&self, variables: &[(String, String)]) -> Option<PathBuf> {
        let variable = || {
            let named = variables.iter().find(|(name, _)| name == CONFIG_VARIABLE);
            named.map(|(_, path)| path).filter(|path| !path.is_empty())
        };
        self.config
            .clone()
            .or_else(|| variable().map(PathBuf::from))
    }
}

/// Does what the arguments say. `variables` are those of the process: settings are among them.
pub async fn run(arguments: Vec<OsString>, variables: Vec<(OsString, OsString)>) -> ExitCode {
    let code = act(arguments, variables).await;
    // An answer that did not arrive is no success; a failure keeps its own code.
    match print::lost() {
        Some(reason) => {
            complain(&reason);
            if code == ExitCode::SUCCESS {
                return Exit::OutputLost.into();
            }
            code
        }
        None => code,
    }
}

async fn act(arguments: Vec<OsString>, variables: Vec<(OsString, OsString)>) -> ExitCode {
    let variables: Vec<(String, String)> = variables
        .into_iter()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    if let Err(reason) = client::check_words(&arguments) {
        complain(&reason);
        return ExitCode::from(64);
    }
    let arguments = match Arguments::try_parse_from(&arguments) {
        Ok(arguments) => arguments,
        Err(error) => return untyped(&error, arguments),
    };
    match arguments.command {
        Command::Serve(file) => Box::pin(with_settings(&file, variables, serve))
            .await
            .into(),
        Command::Migrate(file) => with_settings(&file, variables, migrate).await.into(),
        Command::Config(ConfigCommand::Check(file)) => {
            let secrets = secret_files(&file, &variables);
            let look = |settings| async move { check(&settings, &secrets) };
            with_settings(&file, variables, look).await.into()
        }
        Command::Config(ConfigCommand::Show(file)) => show(&file, variables).into(),
        Command::Version => {
            say(&format!("drover {}", env!("CARGO_PKG_VERSION")));
            Exit::Success.into()
        }
        Command::Client(command) => client::run(command, &arguments.client, &variables).await,
    }
}

/// Prints what clap says instead of a command: help or a refusal.
fn untyped(error: &clap::Error, mut arguments: Vec<OsString>) -> ExitCode {
    if !error.use_stderr() {
        print::keep(error.print());
        return ExitCode::SUCCESS;
    }
    let is_unfinished = matches!(
        error.kind(),
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    );
    if is_unfinished {
        // The verbs to choose from are in the help.
        arguments.push("--help".into());
        if let Err(help) = Arguments::try_parse_from(arguments) {
            print::lines_note(&help.render().to_string());
            return ExitCode::from(64);
        }
    }
    let _is_lost = error.print().is_err();
    ExitCode::from(64)
}

async fn with_settings<F>(
    file: &File,
    variables: Vec<(String, String)>,
    act: impl FnOnce(Settings) -> F,
) -> Exit
where
    F: Future<Output = Exit>,
{
    let loaded = read(file, &variables).and_then(|text| {
        let source = text.as_ref().map(|(name, text)| Source { name, text });
        drover_config::load(source, variables).map_err(|error| chain(&error))
    });
    match loaded {
        Ok(settings) => act(settings).await,
        Err(reason) => {
            complain(&reason);
            Exit::Config
        }
    }
}

async fn serve(settings: Settings) -> Exit {
    if let Err(reason) = telemetry::start(&settings.log) {
        complain(&reason);
        return Exit::Config;
    }
    let application = match Application::build(&settings).await {
        Ok(application) => application,
        Err(error) => return refused(&error),
    };
    let (terminate, interrupt) = match (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) {
        (Ok(terminate), Ok(interrupt)) => (terminate, interrupt),
        (Err(error), _) | (_, Err(error)) => {
            complain(&format!("signals cannot be waited for: {error}"));
            return Exit::Failed;
        }
    };
    let (count, signals) = watch::channel(0);
    tokio::select! {
        ended = application.serve(until(signals.clone(), 1)) => match ended {
            Ok(()) => Exit::Success,
            Err(error) => {
                complain(&format!("the service broke off: {error}"));
                Exit::Failed
            }
        },
        () = until(signals, 2) => {
            tracing::warn!("stopped at once by a second signal");
            Exit::Success
        }
        never = count_signals(terminate, interrupt, count) => match never {},
    }
}

async fn count_signals(
    mut terminate: Signal,
    mut interrupt: Signal,
    count: watch::Sender<u32>,
) -> Infallible {
    loop {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        count.send_modify(|count| *count += 1);
    }
}

async fn until(mut signals: watch::Receiver<u32>, wanted: u32) {
    if signals.wait_for(|count| *count >= wanted).await.is_err() {
        // The handler is gone: there will be no signal.
        std::future::pending::<()>().await;
    }
}

async fn migrate(settings: Settings) -> Exit {
    let migrated = async {
        let store = connect(&settings).await?;
        store.migrate().await?;
        store.migration_status().await.map_err(StartError::from)
    };
    match migrated.await {
        Ok(status) => {
            say(&format!(
                "the database is up to date: {} steps",
                status.applied.len()
            ));
            Exit::Success
        }
        Err(error) => refused(&error),
    }
}

fn check(settings: &Settings, secrets: &[(String, PathBuf)]) -> Exit {
    if let Err(error) = application::check(settings) {
        return refused(&error);
    }
    let findings = check::look(settings, secrets);
    for finding in &findings {
        let kind = if finding.is_fatal { "" } else { "warning: " };
        complain(&format!("{kind}{}", finding.sentence));
    }
    if findings.iter().any(|finding| finding.is_fatal) {
        return Exit::Config;
    }
    say("the settings can be used");
    Exit::Success
}

/// The files of secrets that the settings name, by key.
fn secret_files(file: &File, variables: &[(String, String)]) -> Vec<(String, PathBuf)> {
    let text = read(file, variables).ok().flatten();
    let source = text.as_ref().map(|(name, text)| Source { name, text });
    let shown = drover_config::describe(source, variables.iter().cloned()).unwrap_or_default();
    shown
        .into_iter()
        .filter(|setting| {
            setting.key.ends_with("_file") && !setting.key.ends_with("known_hosts_file")
        })
        .map(|setting| (setting.key, PathBuf::from(setting.value)))
        .collect()
}

fn show(file: &File, variables: Vec<(String, String)>) -> Exit {
    let described = read(file, &variables).and_then(|text| {
        let source = text.as_ref().map(|(name, text)| Source { name, text });
        drover_config::describe(source, variables).map_err(|error| chain(&error))
    });
    match described {
        Ok(settings) => {
            for setting in settings {
                say(&setting.line());
            }
            Exit::Success
        }
        Err(reason) => {
            complain(&reason);
            Exit::Config
        }
    }
}

fn read(file: &File, variables: &[(String, String)]) -> Result<Option<(String, String)>, String> {
    let Some(path) = file.path(variables) else {
        return Ok(None);
    };
    let name = path.display().to_string();
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some((name, text))),
        Err(error) => Err(format!(
            "the settings file `{name}` cannot be read: {error}"
        )),
    }
}

fn refused(error: &StartError) -> Exit {
    complain(&chain(error));
    exit_of(error)
}

// By its cause, not by the step that met it: what passes must be restarted, and a unit does not restart 78.
fn exit_of(error: &StartError) -> Exit {
    match error {
        StartError::Database { .. } | StartError::Client { .. } => Exit::Unavailable,
        StartError::Open(source) if source.may_pass() => Exit::Unavailable,
        StartError::Listen { source, .. } | StartError::Folder { source, .. } => exit_of_io(source),
        StartError::Migrate(MigrateError::Busy(_)) => Exit::MigrationBusy,
        StartError::Migrate(MigrateError::Store(source) | MigrateError::Step(source))
        | StartError::Key(KeyError::Store(source)) => exit_of_store(source),
        StartError::Key(KeyError::Random(_)) => Exit::Failed,
        StartError::Open(_)
        | StartError::Migrate(MigrateError::NewerSchema { .. })
        | StartError::Settings { .. }
        | StartError::Engine(_)
        | StartError::Kind(_)
        | StartError::Key(KeyError::NoKey) => Exit::Config,
    }
}

fn exit_of_store(error: &StoreError) -> Exit {
    match error.fault() {
        Fault::Transient => Exit::Unavailable,
        Fault::Permanent | Fault::Defect => Exit::Failed,
    }
}

fn exit_of_io(error: &std::io::Error) -> Exit {
    use std::io::ErrorKind;

    // Waiting gives this user no other right, and does not make a path another one.
    let stays = [
        ErrorKind::PermissionDenied,
        ErrorKind::InvalidInput,
        ErrorKind::InvalidFilename,
        ErrorKind::NotADirectory,
        ErrorKind::AlreadyExists,
    ];
    if stays.contains(&error.kind()) {
        Exit::Config
    } else {
        Exit::Unavailable
    }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(current) = cause {
        let more = current.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = current.source();
    }
    text
}

fn say(text: &str) {
    print::line(text);
}

fn complain(text: &str) {
    print::note(&format!("drover: {text}"));
}
