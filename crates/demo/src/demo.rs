//! The demo from its first check to the end of its last process.

use std::ffi::OsString;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::fleet::INSTANCES_MAX;
use crate::process::Stage;
use crate::report::{Findings, Report};
use crate::scene::{Database, Plan, Scene, VERSION_AFTER};
use crate::screen::Screen;
use crate::tools::Tools;
use crate::update::update;

/// What the demo can be asked for.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Write the report to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Where Drover keeps its data
    #[arg(long, value_enum, default_value = "sqlite")]
    pub database: Database,
    /// Break the artifact of one instance, so that the update fails
    #[arg(long)]
    pub fail_update: bool,
    /// Reload HAProxy in the middle of each half, while requests of SECONDS are answered [default: 40]
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "40",
          value_parser = clap::value_parser!(u16).range(1..=600))]
    pub reload: Option<u16>,
    /// Leave everything running after the update until Ctrl-C, and keep the files
    #[arg(long)]
    pub keep: bool,
    /// Instances of the application on each of the three servers
    #[arg(long, value_name = "NUMBER", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=i64::from(INSTANCES_MAX)))]
    pub instances: u8,
    /// Folder of the playbooks
    #[arg(long, value_name = "FOLDER", default_value = "deploy/ansible")]
    pub playbooks: PathBuf,
    /// Folder of the programs drover and drover-agent [default: where this program is]
    #[arg(long, value_name = "FOLDER")]
    pub bin_dir: Option<PathBuf>,
}

/// What the demo needs to know of its process.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// This program.
    pub program: PathBuf,
    /// The value of `PATH`.
    pub search: OsString,
    /// Names of variables that would change how the demo's programs work.
    pub forgotten: Vec<OsString>,
}

/// How a demo ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The update was all that Drover promises.
    Flawless,
    /// It was not, or was not meant to be.
    Flawed,
    /// A signal stopped the demo.
    Interrupted,
}

/// Runs the demo. Whatever way it ends, everything that it started has ended when this returns.
///
/// # Errors
///
/// [`crate::tools::Missing`] if programs are not installed; anything else that keeps the demo from making a report.
pub async fn run(
    options: Options,
    surroundings: Surroundings,
    screen: Screen,
) -> anyhow::Result<Ending> {
    let tools = Tools::find(
        options.bin_dir.as_deref(),
        &surroundings.program,
        &surroundings.search,
    )?;
    let plan = Plan {
        tools,
        search: surroundings.search.clone(),
        playbooks: std::path::absolute(&options.playbooks)
            .context("the folder of playbooks has no path")?,
        database: options.database,
        instances: options.instances,
        fail_update: options.fail_update,
        reload: options
            .reload
            .map(|seconds| Duration::from_secs(seconds.into())),
    };
    plan.check()?;
    let mut signals = Signals::listen()?;
    let mut folder = tempfile::Builder::new()
        .prefix("drover-demo-")
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in(short_folder(std::env::temp_dir()))
        .context("no folder can be made for the demo")?;
    folder.disable_cleanup(options.keep);
    let root = folder.path().to_owned();
    let logs = root.join("logs");
    let stage = Arc::new(Stage::open(logs, surroundings.forgotten, &surroundings.search).await?);
    let (servers, stop) = (TaskTracker::new(), CancellationToken::new());
    let performance = Performance {
        plan,
        json: options.json,
        keep: options.keep,
        root: root.clone(),
        stage: Arc::clone(&stage),
        servers: servers.clone(),
        stop: stop.clone(),
        screen: screen.clone(),
    };
    // In a task of its own: a panic comes out as an error, and the processes are still ended in order.
    let mut playing = TaskTracker::new().spawn(performance.play());
    let ending = tokio::select! {
        ended = &mut playing => ended.context("the demo has a defect").flatten(),
        () = signals.any() => {
            screen.line("\nStopping everything that was started.");
            playing.abort();
            // It no longer has a result; only its end matters.
            playing.await.ok();
            Ok(Ending::Interrupted)
        }
    };
    if options.keep && !matches!(ending, Ok(Ending::Interrupted)) {
        if let Err(error) = &ending {
            screen.line(format!("\n{error:#}"));
        }
        screen.line(format!(
            "Everything goes on until Ctrl-C. Files and logs stay in {}",
            root.display()
        ));
        signals.any().await;
    }
    screen.finish();
    stop.cancel();
    stage.stop().await;
    servers.close();
    servers.wait().await;
    ending
}

/// The part of the demo that can be interrupted.
#[derive(Debug)]
struct Performance {
    plan: Plan,
    json: Option<PathBuf>,
    keep: bool,
    root: PathBuf,
    stage: Arc<Stage>,
    servers: TaskTracker,
    stop: CancellationToken,
    screen: Screen,
}

impl Performance {
    /// Sets the scene, updates it and returns the outcome.
    async fn play(self) -> anyhow::Result<Ending> {
        let Self {
            plan,
            root,
            stage,
            servers,
            stop,
            screen,
            ..
        } = &self;
        let scene = Scene::set(plan, root, stage, servers, stop, screen).await?;
        let (report, findings) = update(&scene, screen).await?;
        screen.finish();
        if let Some(file) = &self.json {
            write_json(&report, file)?;
        }
        let ending = tell(&report, &findings, plan.fail_update, screen);
        if self.keep {
            screen.line(format!("\n{}", scene.visit));
        }
        Ok(ending)
    }
}

/// Prints the report and the verdict.
fn tell(report: &Report, findings: &Findings, fail_update: bool, screen: &Screen) -> Ending {
    screen.line(format!(
        "\nHAProxy during the update\n{}",
        report.timeline_table()
    ));
    screen.line(format!("\n{}", report.table(findings)));
    screen.line(format!("\n{}", report.figures(findings)));
    let complaints = report.complaints(findings, VERSION_AFTER);
    if complaints.is_empty() && !fail_update {
        screen.line("\nUpdated without one failed request.");
        return Ending::Flawless;
    }
    if report.task.status != "completed" {
        screen.line(format!(
            "\nAfter the failed update\n{}",
            report.aftermath(findings)
        ));
    }
    let mut lines = String::from("\nNot a lossless update:");
    for complaint in &complaints {
        lines.extend(["\n  - ", complaint]);
    }
    if complaints.is_empty() {
        lines.push_str("\n  - the update was to fail, and did not");
    }
    screen.line(lines);
    Ending::Flawed
}

fn write_json(report: &Report, file: &Path) -> anyhow::Result<()> {
    let mut text =
        serde_json::to_string_pretty(report).context("the report cannot be written as JSON")?;
    text.push('\n');
    std::fs::write(file, text)
        .with_context(|| format!("the report cannot be written to `{}`", file.display()))
}

/// The signals that stop the demo.
#[derive(Debug)]
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("signals cannot be listened for");
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    /// Waits for the next one.
    async fn any(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}

/// The folder for temporary files, or `/tmp` where its path leaves no room for the sockets of HAProxy and Ansible: the path of
/// a Unix socket ends at 107 bytes.
fn short_folder(folder: PathBuf) -> PathBuf {
    const BYTES_MAX: usize = 40;
    if folder.as_os_str().len() > BYTES_MAX {
        PathBuf::from("/tmp")
    } else {
        folder
    }
}
