//! The processes of the demo: started, kept alive where asked, and all ended again by their ids.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, WaitOptions};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long a process has to end after it was asked to; then it is killed.
const END_LIMIT: Duration = Duration::from_secs(5);

/// Pause before a process that ended is started again, as systemd's default.
const RESTART_PAUSE: Duration = Duration::from_millis(100);

/// How often orphans that ended are looked for.
const ORPHAN_LOOK: Duration = Duration::from_millis(250);

/// Ids of the children that tokio waits for. All other children of this process are orphans that it adopted; this is
/// a fact about the whole process, so there is one list for all stages.
static AWAITED: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// Longest time spent on ending what the demo's processes left behind.
const ORPHANS_LIMIT: Duration = Duration::from_secs(15);

/// A process to start.
#[derive(Debug, Clone)]
pub struct Launch {
    name: String,
    program: PathBuf,
    arguments: Vec<OsString>,
    variables: Vec<(String, OsString)>,
    folder: Option<PathBuf>,
    restart: bool,
    stop_signal: Signal,
}

impl Launch {
    /// `program` without arguments, called `name` in logs and messages.
    #[must_use]
    pub fn new(name: impl Into<String>, program: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            program: program.into(),
            arguments: Vec::new(),
            variables: Vec::new(),
            folder: None,
            restart: false,
            stop_signal: Signal::TERM,
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn arguments<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets a variable of the environment.
    #[must_use]
    pub fn variable(mut self, name: impl Into<String>, value: impl Into<OsString>) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// Sets the working folder.
    #[must_use]
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Starts the process again whenever it ends, as systemd does with `Restart=always`.
    #[must_use]
    pub const fn restarted(mut self) -> Self {
        self.restart = true;
        self
    }

    /// Ends the process by `signal` instead of SIGTERM.
    #[must_use]
    pub const fn stopped_by(mut self, signal: Signal) -> Self {
        self.stop_signal = signal;
        self
    }
}

/// What is known of a started process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It runs; `starts` counts from 1.
    Running {
        /// How often it was started.
        starts: u32,
    },
    /// It ended by itself, in the words of its exit status.
    Ended {
        /// Such as `exit status: 1`.
        how: String,
    },
}

/// A started process, to ask how it is.
#[derive(Debug, Clone)]
pub struct Handle {
    name: String,
    log: PathBuf,
    state: watch::Receiver<State>,
}

impl Handle {
    /// How the process is at the moment.
    #[must_use]
    pub fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// Where its output goes.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Waits for `ready`, but not longer than the process lives.
    ///
    /// # Errors
    ///
    /// The error of `ready`, or that the process ended; both with the last lines of its log.
    pub async fn while_it_lives<T>(
        &self,
        ready: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        let mut state = self.state.clone();
        let ended = async {
            let how = match state
                .wait_for(|state| matches!(state, State::Ended { .. }))
                .await
                .as_deref()
            {
                Ok(State::Ended { how }) => how.clone(),
                Ok(State::Running { .. }) | Err(_) => "nobody watches it any more".to_owned(),
            };
            anyhow::anyhow!("{} ended ({how})", self.name)
        };
        let result = tokio::select! {
            result = ready => result,
            error = ended => Err(error),
        };
        result.map_err(|error| {
            anyhow::anyhow!(
                "{error:#}\nThe log of {} ends with:\n{}",
                self.name,
                tail(&self.log, 20)
            )
        })
    }
}

/// The last `lines` lines of a log, or why there are none.
#[must_use]
pub fn tail(log: &Path, lines: usize) -> String {
    match std::fs::read(log) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let all: Vec<&str> = text.lines().collect();
            let skipped = all.len().saturating_sub(lines);
            all.into_iter()
                .skip(skipped)
                .flat_map(|line| {
                    [
                        "    ", line, "
",
                    ]
                })
                .collect()
        }
        Err(error) => format!("    (`{}` cannot be read: {error})\n", log.display()),
    }
}

/// Everything that runs for the demo, in the order of its start.
///
/// Whatever a process leaves behind when it ends becomes a child of this process and is ended too. A stage that is
/// dropped without [`Stage::stop`] kills what it started.
#[derive(Debug)]
pub struct Stage {
    shared: Arc<Shared>,
    performers: Mutex<Vec<Performer>>,
    tracker: TaskTracker,
    closed: CancellationToken,
}

#[derive(Debug)]
struct Performer {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Stage {
    /// An empty stage that keeps the logs in `logs`. Processes do not inherit the variables named in `forgotten`.
    ///
    /// # Errors
    ///
    /// If the folder cannot be made or this system has no subreapers.
    pub async fn open(
        logs: PathBuf,
        forgotten: Vec<OsString>,
        search: &OsStr,
    ) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&logs)
            .with_context(|| format!("folder `{}` cannot be made", logs.display()))?;
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
            .context("orphaned processes cannot be adopted")?;
        let mut shared = Shared {
            logs,
            forgotten,
            death_signal: None,
        };
        let probe =
            Launch::new("setpriv", "setpriv").arguments(["--pdeathsig", "TERM", "--", "true"]);
        if let Some(setpriv) = crate::tools::find("setpriv", search)
            && shared
                .run_to_end(&Launch {
                    program: setpriv.clone(),
                    ..probe
                })
                .await
                .is_ok()
        {
            shared.death_signal = Some(setpriv);
        }
        let stage = Self {
            shared: Arc::new(shared),
            performers: Mutex::default(),
            tracker: TaskTracker::new(),
            closed: CancellationToken::new(),
        };
        stage.tracker.spawn(bury(stage.closed.clone()));
        Ok(stage)
    }

    /// Starts a process in a process group of its own.
    ///
    /// # Errors
    ///
    /// If it cannot be started even once.
    pub fn start(&self, launch: Launch) -> anyhow::Result<Handle> {
        let child = self.shared.spawn(&launch)?;
        let (sender, state) = watch::channel(State::Running { starts: 1 });
        let handle = Handle {
            name: launch.name.clone(),
            log: self.shared.log(&launch.name),
            state,
        };
        let stop = CancellationToken::new();
        let task = self.tracker.spawn(supervise(
            child,
            launch,
            Arc::clone(&self.shared),
            stop.clone(),
            sender,
        ));
        lock(&self.performers).push(Performer { stop, task });
        Ok(handle)
    }

    /// Runs a process to its end, for at most a minute.
    ///
    /// # Errors
    ///
    /// If it cannot be started, does not end or ends with anything but success; with the last lines of its log.
    pub async fn run_to_end(&self, launch: &Launch) -> anyhow::Result<()> {
        self.shared.run_to_end(launch).await
    }

    /// Ends all processes in the reverse order of their start, then what they left behind. Takes at most
    /// 5 seconds for each that does not listen.
    pub async fn stop(&self) {
        loop {
            // Bound to a name so that the lock is not held while the process ends.
            let last = lock(&self.performers).pop();
            let Some(Performer { stop, task }) = last else {
                break;
            };
            stop.cancel();
            // A supervisor that panicked has dropped its child, which killed it.
            task.await.ok();
        }
        self.closed.cancel();
        self.tracker.close();
        self.tracker.wait().await;
        end_orphans().await;
    }
}

/// What the supervisors need.
#[derive(Debug)]
struct Shared {
    logs: PathBuf,
    forgotten: Vec<OsString>,
    /// `setpriv`, where it can make a process end together with this one.
    death_signal: Option<PathBuf>,
}

impl Shared {
    fn log(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.log"))
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "starting the processes of the demo is the job of this module"
    )]
    fn spawn(&self, launch: &Launch) -> anyhow::Result<Child> {
        let path = self.log(&launch.name);
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("log `{}` cannot be opened", path.display()))?;
        let errors = log.try_clone().context("log cannot be opened twice")?;
        let mut command = if let Some(setpriv) = &self.death_signal {
            let mut command = Command::new(setpriv);
            command
                .args(["--pdeathsig", "TERM", "--"])
                .arg(&launch.program);
            command
        } else {
            Command::new(&launch.program)
        };
        for name in &self.forgotten {
            command.env_remove(name);
        }
        command
            .args(&launch.arguments)
            .envs(launch.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .process_group(0)
            .kill_on_drop(true);
        if let Some(folder) = &launch.folder {
            command.current_dir(folder);
        }
        // Held over the start: a child that ends at once must not be taken for an orphan.
        let mut awaited = lock(&AWAITED);
        let child = command.spawn().with_context(|| {
            format!(
                "{} cannot be started from `{}`",
                launch.name,
                launch.program.display()
            )
        })?;
        awaited.extend(pid(&child).map(|pid| pid.as_raw_nonzero().get()));
        Ok(child)
    }

    async fn run_to_end(&self, launch: &Launch) -> anyhow::Result<()> {
        let mut child = self.spawn(launch)?;
        let id = pid(&child);
        let ended = timeout(Duration::from_mins(1), child.wait()).await;
        if ended.is_err() {
            end(&mut child, launch.stop_signal).await;
        }
        forget(id);
        let status: ExitStatus = ended
            .with_context(|| format!("{} did not end within a minute", launch.name))?
            .with_context(|| format!("{} cannot be waited for", launch.name))?;
        anyhow::ensure!(
            status.success(),
            "{} failed ({status}):\n{}",
            launch.name,
            tail(&self.log(&launch.name), 20)
        );
        Ok(())
    }
}

fn forget(pid: Option<Pid>) {
    if let Some(pid) = pid {
        lock(&AWAITED).remove(&pid.as_raw_nonzero().get());
    }
}

async fn supervise(
    mut child: Child,
    launch: Launch,
    shared: Arc<Shared>,
    stop: CancellationToken,
    state: watch::Sender<State>,
) {
    let mut starts = 1;
    loop {
        let id = pid(&child);
        let how = tokio::select! {
            ended = child.wait() => match ended {
                Ok(status) => status.to_string(),
                Err(error) => error.to_string(),
            },
            () = stop.cancelled() => {
                end(&mut child, launch.stop_signal).await;
                forget(id);
                return;
            }
        };
        forget(id);
        state.send_replace(State::Ended { how });
        if !launch.restart {
            return;
        }
        child = loop {
            tokio::select! {
                () = sleep(RESTART_PAUSE) => {}
                () = stop.cancelled() => return,
            }
            match shared.spawn(&launch) {
                Ok(child) => break child,
                Err(error) => {
                    let how = format!("{error:#}");
                    state.send_replace(State::Ended { how });
                }
            }
        };
        starts += 1;
        state.send_replace(State::Running { starts });
    }
}

/// Asks the process to end, waits, and kills its group if it does not.
async fn end(child: &mut Child, signal: Signal) {
    let Some(id) = pid(child) else {
        return;
    };
    // An error means that it has ended, which the wait shows.
    rustix::process::kill_process(id, signal).ok();
    if timeout(END_LIMIT, child.wait()).await.is_err() {
        rustix::process::kill_process_group(id, Signal::KILL).ok();
        child.wait().await.ok();
    }
}

/// Reaps orphans that ended: no other process waits for them, and their ids would look alive.
async fn bury(closed: CancellationToken) {
    loop {
        tokio::select! {
            () = sleep(ORPHAN_LOOK) => {}
            () = closed.cancelled() => return,
        }
        orphans_alive();
    }
}

/// Ends every child that is left, and the children that these leave in turn.
async fn end_orphans() {
    let began = Instant::now();
    loop {
        let left = orphans_alive();
        if left.is_empty() || began.elapsed() > ORPHANS_LIMIT {
            return;
        }
        let signal = if began.elapsed() < END_LIMIT {
            Signal::TERM
        } else {
            Signal::KILL
        };
        for child in left {
            rustix::process::kill_process(child, signal).ok();
        }
        sleep(ORPHAN_LOOK).await;
    }
}

/// Reaps the orphans that ended and gives those that live.
fn orphans_alive() -> Vec<Pid> {
    let awaited = lock(&AWAITED);
    let mut orphans = children();
    orphans.retain(|child| {
        !awaited.contains(&child.as_raw_nonzero().get())
            && matches!(
                rustix::process::waitpid(Some(*child), WaitOptions::NOHANG),
                Ok(None)
            )
    });
    orphans
}

/// The children of this process, dead ones included, from `/proc`.
fn children() -> Vec<Pid> {
    let parent = std::process::id().to_string();
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| {
            let id: i32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            // The name of the program may hold blanks and parentheses; the state and the parent follow it.
            let (_, after) = stat.rsplit_once(')')?;
            let is_child = after.split_ascii_whitespace().nth(1) == Some(&parent);
            is_child.then(|| Pid::from_raw(id)).flatten()
        })
        .collect()
}

fn pid(child: &Child) -> Option<Pid> {
    Pid::from_raw(i32::try_from(child.id()?).ok()?)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::until;

    async fn stage() -> (tempfile::TempDir, Stage) {
        let folder = tempfile::tempdir().unwrap();
        let search = OsString::from("/usr/local/bin:/usr/bin:/bin");
        let stage = Stage::open(folder.path().join("logs"), Vec::new(), &search)
            .await
            .unwrap();
        (folder, stage)
    }

    fn shell(name: &str, script: &str) -> Launch {
        Launch::new(name, "/bin/sh").arguments(["-c", script])
    }

    async fn eventually(handle: &Handle, wanted: impl Fn(&State) -> bool + Send + Sync) -> State {
        until(
            "the awaited state",
            Duration::from_secs(10),
            Duration::from_millis(10),
            async || {
                let state = handle.state();
                anyhow::ensure!(wanted(&state), "{state:?}");
                Ok(state)
            },
        )
        .await
        .unwrap()
    }

    fn lives(pid: &str) -> bool {
        std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()))
            .is_ok_and(|stat| !stat.contains(") Z "))
    }

    async fn written(handle: &Handle) -> String {
        until(
            "output",
            Duration::from_secs(10),
            Duration::from_millis(10),
            async || {
                let text = std::fs::read_to_string(handle.log())?;
                anyhow::ensure!(text.ends_with('\n'), "only {text:?}");
                Ok(text)
            },
        )
        .await
        .unwrap()
    }

    #[tokio::test]
    async fn a_process_that_ends_is_started_again_only_where_asked() {
        let (_folder, stage) = stage().await;
        let again = stage.start(shell("again", "exit 3").restarted()).unwrap();
        let once = stage.start(shell("once", "exit 3")).unwrap();
        eventually(&again, |state| {
            matches!(state, State::Running { starts: 3.. })
        })
        .await;
        let ended = State::Ended {
            how: "exit status: 3".to_owned(),
        };
        eventually(&once, |state| *state == ended).await;
        stage.stop().await;
    }

    #[tokio::test]
    async fn a_stop_ends_what_runs_and_what_it_left_behind() {
        let (_folder, stage) = stage().await;
        let plain = stage
            .start(shell("plain", "echo $$; exec sleep 600"))
            .unwrap();
        let kept = stage
            .start(shell("kept", "echo $$; exec sleep 600").restarted())
            .unwrap();
        // setsid and the exit of its parent make an orphan that no process group holds.
        let leaver = stage
            .start(shell(
                "leaver",
                "setsid sh -c 'echo $$; exec sleep 600' & wait",
            ))
            .unwrap();
        let mut pids = Vec::new();
        for handle in [&plain, &kept, &leaver] {
            pids.push(written(handle).await);
        }
        assert!(pids.iter().all(|pid| lives(pid)), "{pids:?}");
        stage.stop().await;
        assert!(!pids.iter().any(|pid| lives(pid)), "{pids:?}");
    }

    #[tokio::test]
    async fn a_variable_can_be_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let search = OsString::from("/usr/bin:/bin");
        let stage = Stage::open(folder.path().to_owned(), vec!["PATH".into()], &search)
            .await
            .unwrap();
        let handle = stage
            .start(Launch::new("env", "/usr/bin/env").variable("KEPT", "yes"))
            .unwrap();
        let text = written(&handle).await;
        // The text is not shown: it is the environment of the test's user.
        assert!(text.lines().any(|line| line == "KEPT=yes"));
        assert!(!text.lines().any(|line| line.starts_with("PATH=")));
        stage.stop().await;
    }

    #[tokio::test]
    async fn a_death_while_waiting_is_told_with_the_log() {
        let (_folder, stage) = stage().await;
        let handle = stage
            .start(shell("mortal", "echo no such port; exit 69"))
            .unwrap();
        let error = handle
            .while_it_lives(std::future::pending::<anyhow::Result<()>>())
            .await
            .unwrap_err();
        let text = format!("{error:#}");
        assert!(
            text.contains("no such port") && text.contains("exit status: 69"),
            "{text}"
        );
        stage.stop().await;
    }

    #[tokio::test]
    async fn a_program_that_fails_or_is_not_there_is_an_error() {
        let (_folder, stage) = stage().await;
        stage.run_to_end(&shell("good", "true")).await.unwrap();
        let error = stage
            .run_to_end(&shell("bad", "echo broken; exit 1"))
            .await
            .unwrap_err();
        assert!(error.to_string().contains("broken"), "{error}");
        assert!(
            stage
                .run_to_end(&Launch::new("none", "/no/such/program"))
                .await
                .is_err()
        );
        stage.stop().await;
    }
}
