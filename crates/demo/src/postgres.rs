//! A PostgreSQL of its own for one demo.

use std::ffi::OsStr;
use std::fs::{DirBuilder, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use data_encoding::HEXLOWER;
use rustix::process::Signal;

use crate::process::{Launch, Stage};
use crate::tools::{find, is_program};
use crate::wait::until;

/// Where Debian and others keep the programs of each version.
const VERSIONS_FOLDER: &str = "/usr/lib/postgresql";

/// PostgreSQL refuses to run as the superuser; this user runs it then.
const USER: &str = "postgres";

/// Name of the database's owner.
const OWNER: &str = "drover";

/// Longest wait until connections are taken.
const START_LIMIT: Duration = Duration::from_secs(30);

/// A running server.
#[derive(Debug)]
pub struct Postgres {
    /// How to connect, password included.
    pub url: String,
}

impl Postgres {
    /// Makes a database cluster in the new folder `folder` and starts its server on `address`. If this is the superuser,
    /// the server runs as the user `postgres`, who may then pass through the folder above.
    ///
    /// # Errors
    ///
    /// If PostgreSQL is not installed, or does not start within 30 seconds.
    pub async fn start(
        stage: &Stage,
        search: &OsStr,
        folder: &Path,
        address: SocketAddr,
    ) -> anyhow::Result<Self> {
        let programs = programs(search).context(
            "PostgreSQL's initdb and postgres are not on this machine (Debian package postgresql)",
        )?;
        DirBuilder::new()
            .mode(0o700)
            .create(folder)
            .with_context(|| format!("folder `{}` cannot be made", folder.display()))?;
        let user = User::choose(search)?;
        let mut secret = [0_u8; 16];
        getrandom::fill(&mut secret)
            .map_err(|error| anyhow::anyhow!("no random password: {error}"))?;
        let password = HEXLOWER.encode(&secret);
        let password_file = folder.join("password");
        write_secret(&password_file, &password)?;
        if let Some(user) = &user {
            user.is_given(folder, &password_file)
                .with_context(|| format!("`{}` cannot be given to {USER}", folder.display()))?;
        }
        let data = folder.join("data");
        let launch = |name: &str, program: PathBuf| {
            match &user {
                Some(user) => user.launch(name, program),
                None => Launch::new(name, program),
            }
            .folder(folder)
            .variable("LC_ALL", "C")
        };
        let initdb = launch("initdb", programs.join("initdb"))
            .arguments([
                "--username",
                OWNER,
                "--auth",
                "scram-sha-256",
                "--encoding",
                "UTF8",
                "--no-sync",
                "--pwfile",
            ])
            .arguments([&password_file])
            .arguments(["--pgdata"])
            .arguments([&data]);
        stage.run_to_end(&initdb).await?;
        let postgres = launch("postgres", programs.join("postgres"))
            .arguments(["-D"])
            .arguments([&data])
            .arguments([
                "-p",
                &address.port().to_string(),
                "-h",
                &address.ip().to_string(),
            ])
            .arguments(["-c", "unix_socket_directories=", "-c", "fsync=off"])
            // The fast stop: SIGTERM would wait for every client.
            .stopped_by(Signal::INT);
        let handle = stage.start(postgres)?;
        let ready = until(
            "PostgreSQL taking connections",
            START_LIMIT,
            Duration::from_millis(50),
            || std::future::ready(is_ready(&data)),
        );
        handle.while_it_lives(ready).await?;
        Ok(Self {
            url: format!("postgres://{OWNER}:{password}@{address}/postgres"),
        })
    }
}

/// A user to run as.
#[derive(Debug)]
struct User {
    uid: u32,
    gid: u32,
    setpriv: PathBuf,
}

impl User {
    /// The user of PostgreSQL if this is the superuser.
    fn choose(search: &OsStr) -> anyhow::Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let passwd =
            std::fs::read_to_string("/etc/passwd").context("`/etc/passwd` cannot be read")?;
        let (uid, gid) = user_ids(&passwd, USER).with_context(|| {
            format!("PostgreSQL cannot run as root and there is no user {USER}")
        })?;
        let setpriv = find("setpriv", search).context(
            "PostgreSQL cannot run as root and there is no setpriv (Debian package util-linux)",
        )?;
        Ok(Some(Self { uid, gid, setpriv }))
    }

    /// Makes `folder` and the file in it the user's, and lets the user get there.
    fn is_given(&self, folder: &Path, file: &Path) -> std::io::Result<()> {
        for path in [folder, file] {
            chown(path, Some(self.uid), Some(self.gid))?;
        }
        match folder.parent() {
            // Passed through, not listed; what is secret beside it is its owner's alone.
            Some(parent) => std::fs::set_permissions(parent, Permissions::from_mode(0o711)),
            None => Ok(()),
        }
    }

    fn launch(&self, name: &str, program: PathBuf) -> Launch {
        Launch::new(name, &self.setpriv)
            .arguments([
                format!("--reuid={}", self.uid),
                format!("--regid={}", self.gid),
            ])
            // A change of user makes the kernel forget this, so it is said again.
            .arguments(["--clear-groups", "--pdeathsig", "TERM", "--"])
            .arguments([program])
    }
}

/// User and group number of `user` in the text of `/etc/passwd`.
fn user_ids(passwd: &str, user: &str) -> Option<(u32, u32)> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let is_wanted = fields.next() == Some(user);
        let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
        is_wanted.then_some((uid, gid))
    })
}

/// The folder that has both programs: the newest version of Debian's, else one of `search`.
fn programs(search: &OsStr) -> Option<PathBuf> {
    let version = |folder: &Path| -> Option<u32> { folder.file_name()?.to_str()?.parse().ok() };
    let mut versions: Vec<PathBuf> = std::fs::read_dir(VERSIONS_FOLDER)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    versions.sort_by_key(|folder| std::cmp::Reverse(version(folder)));
    versions
        .into_iter()
        .map(|folder| folder.join("bin"))
        .chain(std::env::split_paths(search))
        .chain(["/usr/local/bin".into()])
        .find(|folder| {
            ["initdb", "postgres"]
                .iter()
                .all(|name| is_program(&folder.join(name)))
        })
}

/// Whether the server says that it takes connections, in the place that `pg_ctl` looks at too.
fn is_ready(data: &Path) -> anyhow::Result<()> {
    let file = data.join("postmaster.pid");
    let text = std::fs::read_to_string(&file)
        .with_context(|| format!("`{}` cannot be read", file.display()))?;
    let status = text.lines().nth(7).unwrap_or_default().trim();
    anyhow::ensure!(status == "ready", "the server is `{status}`");
    Ok(())
}

/// Writes a file that only its owner can read.
///
/// # Errors
///
/// If it exists or cannot be written.
pub fn write_secret(file: &Path, secret: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
        .and_then(|mut opened| writeln!(opened, "{secret}"))
        .with_context(|| format!("`{}` cannot be written", file.display()))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::address::{Addresses, loopback};

    #[test]
    fn user_numbers_are_found_by_the_whole_name() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\npostgres2:x:7:8::/:/bin/sh\npostgres:x:101:104:P,,,:/var:/bin/sh\n";
        assert_eq!(user_ids(passwd, "postgres"), Some((101, 104)));
        assert_eq!(user_ids(passwd, "post"), None);
        assert_eq!(user_ids("postgres:x:many:1::", "postgres"), None);
    }

    #[tokio::test]
    async fn a_server_starts_and_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let search = OsString::from("/usr/local/bin:/usr/bin:/bin");
        let stage = Stage::open(root.path().join("logs"), Vec::new(), &search)
            .await
            .unwrap();
        let address = Addresses::new().unwrap().free(loopback(1)).unwrap();
        let folder = root.path().join("postgres");
        let postgres = Postgres::start(&stage, &search, &folder, address)
            .await
            .unwrap();
        assert!(
            postgres.url.starts_with("postgres://drover:"),
            "the address is not for Drover"
        );
        tokio::net::TcpStream::connect(address).await.unwrap();
        stage.stop().await;
        assert!(
            tokio::net::TcpStream::connect(address).await.is_err(),
            "it still takes connections"
        );
        assert!(
            !folder.join("data/postmaster.pid").exists(),
            "it was killed, not stopped"
        );
    }
}
