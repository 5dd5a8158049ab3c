//! An ephemeral PostgreSQL for tests.
//!
//! [`database`] hands out a database of its own on one server that every test of a run shares, also
//! between processes (nextest starts one per test). Each process holds a shared lock on a file of the
//! server for as long as it lives; a watchdog stops the server once no process has held it for five
//! seconds, however the last process ended. [`Cluster::private`] is a server for one test alone.
//!
//! PostgreSQL must be installed; that it is missing is a failure, not a reason to skip.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, parent_id};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, UNIX_EPOCH};

/// How much a server does to survive a power failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Nothing: tests do not pull plugs.
    Fast,
    /// What PostgreSQL does by itself: for measurements.
    Durable,
}

/// A running server, stopped when it is dropped and when this process ends.
#[derive(Debug)]
pub struct Cluster {
    directory: PathBuf,
    durability: Durability,
    is_private: bool,
    // Held for its lock.
    _hold: File,
}

/// A database of its own; dropped with this value.
#[derive(Debug)]
pub struct Database {
    socket: PathBuf,
    name: String,
}

static SHARED: OnceLock<Cluster> = OnceLock::new();
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A database of its own on the server of this test run, as `prepare` left it: `prepare` gets the URL
/// of an empty database once per run, fills it (and closes its connections), and each call gets a copy.
pub async fn database(prepare: impl AsyncFnOnce(&str)) -> Database {
    let cluster = SHARED.get_or_init(Cluster::shared);
    let template = format!("template_{}", build());
    let lock = lock_file(&cluster.directory.join("template"));
    lock.lock().expect("the template's lock file can be locked");
    let ready = cluster.directory.join(&template);
    if !ready.exists() {
        // Left behind by a test that failed to prepare it.
        cluster.sql(&format!("DROP DATABASE IF EXISTS {template} WITH (FORCE)"));
        cluster.sql(&format!("CREATE DATABASE {template}"));
        prepare(&url(&cluster.socket(), &template)).await;
        fs::write(&ready, []).expect("the server's directory can be written");
    }
    drop(lock);
    cluster.copy(&template)
}

// Which build of the test asks: another build may prepare its databases differently.
fn build() -> String {
    let program = std::env::current_exe()
        .and_then(fs::metadata)
        .expect("the test program can be found");
    let at = program
        .modified()
        .ok()
        .and_then(|at| at.duration_since(UNIX_EPOCH).ok())
        .unwrap_or_default();
    format!("{}_{}", program.ino(), at.as_micros())
}

impl Database {
    /// Where it is.
    #[must_use]
    pub fn url(&self) -> String {
        url(&self.socket, &self.name)
    }

    /// What the server answers to a statement: a line per row, columns separated by `|`. Past every store,
    /// so that a test can look at what a store says nothing about.
    #[must_use]
    pub fn ask(&self, statement: &str) -> String {
        let mut psql = psql_in(&self.socket, &self.name, statement);
        let output = psql.args(["-A", "-t"]).output();
        let output = output.unwrap_or_else(|error| panic!("psql cannot be started: {error}"));
        assert!(
            output.status.success(),
            "`{statement}` failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned()
    }

    /// Whether the server takes connections to this database now.
    #[must_use]
    pub fn is_reachable(&self) -> bool {
        let user = b"user\0postgres\0database\0";
        let (version, end): (&[u8], &[u8]) = (&[0, 3, 0, 0], &[0, 0]);
        let words = [version, user, self.name.as_bytes(), end].concat();
        let length = u32::try_from(words.len() + 4).expect("a name is short");
        let asked =
            UnixStream::connect(self.socket.join(".s.PGSQL.5432")).and_then(|mut stream| {
                stream.set_read_timeout(Some(Duration::from_secs(1)))?;
                stream.write_all(&length.to_be_bytes())?;
                stream.write_all(&words)?;
                let mut answer = [0];
                stream.read_exact(&mut answer)?;
                Ok(answer == *b"R")
            });
        asked.unwrap_or(false)
    }
}

fn url(socket: &Path, name: &str) -> String {
    format!(
        "postgres://postgres@localhost/{name}?host={}",
        socket.display()
    )
}

impl Drop for Database {
    fn drop(&mut self) {
        // The server may have been stopped by the test; then its databases are gone with it.
        let statement = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        drop(psql(&self.socket, &statement).output());
    }
}

impl Cluster {
    /// A server for one test alone.
    #[must_use]
    pub fn private(durability: Durability) -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self::join(
            &format!("private-{}-{number}", std::process::id()),
            durability,
            true,
        )
    }

    fn shared() -> Self {
        // nextest names the run in a variable; under `cargo test` the run is the parent process.
        #[expect(
            clippy::disallowed_methods,
            reason = "no configuration: the name of the run that this process is a part of"
        )]
        let run =
            std::env::var("NEXTEST_RUN_ID").unwrap_or_else(|_| format!("run-{}", parent_id()));
        Self::join(&run, Durability::Fast, false)
    }

    // Joins the server called `name`, or starts it.
    fn join(name: &str, durability: Durability, is_private: bool) -> Self {
        let user = fs::metadata("/proc/self").expect("/proc is mounted").uid();
        // The path of the server's socket ends at 107 bytes.
        let temporary = std::env::temp_dir();
        let is_short = temporary.as_os_str().len() <= 40;
        let directory = if is_short { temporary } else { "/tmp".into() }
            .join(format!("drover-testkit-{user}"))
            .join(name);
        let hold = hold(&directory);
        let cluster = Self {
            directory,
            durability,
            is_private,
            _hold: hold,
        };
        let lock = lock_file(&cluster.directory.join("start"));
        lock.lock().expect("the server's lock file can be locked");
        if !cluster.directory.join("ready").exists() {
            cluster.create();
            cluster.start();
            fs::write(cluster.directory.join("ready"), [])
                .expect("the server's directory can be written");
        }
        cluster
    }

    /// An empty database of its own.
    #[must_use]
    pub fn database(&self, name: &str) -> Database {
        self.sql(&format!("CREATE DATABASE {name}"));
        Database {
            socket: self.socket(),
            name: name.to_owned(),
        }
    }

    fn copy(&self, template: &str) -> Database {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{}_{number}", std::process::id());
        self.sql(&format!(
            "CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY"
        ));
        Database {
            socket: self.socket(),
            name,
        }
    }

    /// Starts the server again after [`Cluster::stop`]; returns when it takes connections.
    pub fn start(&self) {
        let mut options = format!(
            "-k {} -c listen_addresses= -c max_connections=300",
            self.socket().display()
        );
        options.push_str(match self.durability {
            Durability::Fast => {
                " -c shared_buffers=64MB -c fsync=off -c synchronous_commit=off -c full_page_writes=off"
            }
            // As much memory as a small server of its own would be given.
            Durability::Durable => " -c shared_buffers=1GB -c max_wal_size=4GB",
        });
        let log = self.socket().join("log");
        let mut start = as_owner("pg_ctl");
        start
            .arg("-D")
            .arg(self.data())
            .arg("-l")
            .arg(log)
            .arg("-o")
            .arg(options)
            .args(["-w", "-t", "60", "start"]);
        run(&mut start);
    }

    /// Stops the server; open connections are cut.
    pub fn stop(&self) {
        self.stop_in_mode("fast");
    }

    /// Has the server break off as in a crash: nothing is finished, nothing written back, and the next
    /// [`Cluster::start`] recovers from the log.
    pub fn break_off(&self) {
        self.stop_in_mode("immediate");
    }

    fn stop_in_mode(&self, mode: &str) {
        run(as_owner("pg_ctl")
            .arg("-D")
            .arg(self.data())
            .args(["-w", "-m", mode, "stop"]));
    }

    fn create(&self) {
        watch(&self.directory);
        fs::create_dir_all(self.socket()).expect("the server's directory can be written");
        fs::create_dir_all(self.data()).expect("the server's directory can be written");
        if let Some(owner) = owner() {
            for directory in [self.socket(), self.data()] {
                chown(directory, Some(owner), None).expect("root may give directories away");
            }
        }
        let mut create = as_owner("initdb");
        create.arg("-D").arg(self.data()).args([
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
            "--no-sync",
        ]);
        run(&mut create);
    }

    fn sql(&self, statement: &str) {
        run(&mut psql(&self.socket(), statement));
    }

    fn socket(&self) -> PathBuf {
        self.directory.join("socket")
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.is_private {
            let mut stop = as_owner("pg_ctl");
            drop(
                stop.arg("-D")
                    .arg(self.data())
                    .args(["-w", "-m", "immediate", "stop"])
                    .output(),
            );
            drop(fs::remove_dir_all(&self.directory));
        }
    }
}

// Takes the shared lock that keeps the server alive. The watchdog moves the directory away while it
// holds the lock alone: a lock on a file that is no longer there is worth nothing.
fn hold(directory: &Path) -> File {
    loop {
        fs::create_dir_all(directory).expect("the folder for temporary files can be written");
        let path = directory.join("users");
        let file = match File::options().create(true).append(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => panic!("{} cannot be opened: {error}", path.display()),
        };
        file.lock_shared()
            .expect("the server's lock file can be locked");
        let locked = file.metadata().map(|metadata| metadata.ino()).ok();
        if locked.is_some() && fs::metadata(&path).map(|metadata| metadata.ino()).ok() == locked {
            return file;
        }
    }
}

fn lock_file(path: &Path) -> File {
    File::options()
        .create(true)
        .append(true)
        .open(path)
        .expect("the server's directory can be written")
}

// Starts the watchdog of a server: a process of its own that outlives this one.
fn watch(directory: &Path) {
    const SCRIPT: &str = r#"
        exec 9<"$1/users" || exit 1
        (
            idle=0
            while sleep 1; do
                if flock --exclusive --nonblock 9; then
                    idle=$((idle + 1))
                    [ "$idle" -lt 5 ] || break
                    flock --unlock 9
                else
                    idle=0
                fi
            done
            if server=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null); then
                kill -QUIT "$server"
                waited=0
                while kill -0 "$server" 2>/dev/null && [ "$waited" -lt 100 ]; do
                    sleep 0.1
                    waited=$((waited + 1))
                done
            fi
            # Out of the way first: the next server may use the name while this one is removed.
            mv "$1" "$1.gone" && rm -rf "$1.gone"
        ) &
    "#;
    let mut shell = command(Path::new("/bin/sh"));
    shell
        .args(["-c", SCRIPT, "drover-testkit-watchdog"])
        .arg(directory)
        .process_group(0);
    run(&mut shell);
}

fn psql(socket: &Path, statement: &str) -> Command {
    psql_in(socket, "postgres", statement)
}

fn psql_in(socket: &Path, database: &str, statement: &str) -> Command {
    let mut psql = command(&tool("psql"));
    psql.arg("-h").arg(socket).args([
        "-U",
        "postgres",
        "-d",
        database,
        "-X",
        "-q",
        "-v",
        "ON_ERROR_STOP=1",
        "-c",
        statement,
    ]);
    psql
}

// PostgreSQL refuses to run as root: then it runs as the user `postgres`.
fn as_owner(name: &str) -> Command {
    let program = tool(name);
    if owner().is_none() {
        return command(&program);
    }
    let mut command = command(Path::new("setpriv"));
    command
        .args([
            "--reuid=postgres",
            "--regid=postgres",
            "--init-groups",
            "--",
        ])
        .arg(program)
        .current_dir("/");
    command
}

// The user `postgres`, when this is root.
fn owner() -> Option<u32> {
    if fs::metadata("/proc/self").expect("/proc is mounted").uid() != 0 {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").expect("/etc/passwd is readable");
    let line = users.lines().find(|line| line.starts_with("postgres:"));
    let user = line.and_then(|line| line.split(':').nth(2)?.parse().ok());
    Some(user.expect("the user `postgres` must exist: apt-get install postgresql"))
}

fn tool(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.push("/usr/local/bin".into());
    let mut releases: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .map(|entries| {
            entries
                .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
                .collect()
        })
        .unwrap_or_default();
    releases.sort();
    folders.extend(releases.into_iter().rev());
    let found = folders
        .into_iter()
        .map(|folder| folder.join(name))
        .find(|program| program.is_file());
    found.unwrap_or_else(|| {
        panic!(
            "`{name}` is not installed; the PostgreSQL tests need it: apt-get install postgresql"
        )
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "the ephemeral server is a process"
)]
fn command(program: &Path) -> Command {
    Command::new(program)
}

// Without pipes: what it starts would hold them open for ever.
fn run(command: &mut Command) {
    let log = tempfile::tempfile().expect("the folder for temporary files can be written");
    let output = log.try_clone().expect("a file can be cloned");
    let errors = log.try_clone().expect("a file can be cloned");
    let status = command
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .status();
    let status = status.unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}"));
    assert!(
        status.success(),
        "{command:?} ended with {status}: {}",
        read_back(log)
    );
}

fn read_back(mut log: File) -> String {
    let mut text = String::new();
    let read = log.rewind().and_then(|()| log.read_to_string(&mut text));
    read.map_or_else(
        |error| format!("its output is not readable: {error}"),
        |_| text,
    )
}
