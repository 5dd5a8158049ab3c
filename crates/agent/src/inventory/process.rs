//! Whether a process lives and since when, from `/proc`. Everything here blocks.

use std::path::Path;

use chrono::{DateTime, SecondsFormat};

/// A living process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: u32,
    /// RFC 3339 UTC in whole seconds; `None` when the boot time is not known.
    pub(super) start_time: Option<String>,
}

/// What is known of a process id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// It lives.
    Alive(Process),
    /// No process has it, or one that has ended and is not waited for yet.
    Gone,
    /// It is that of another program.
    Another { comm: String },
    /// A process has it, and `/proc` does not show which.
    Hidden,
}

/// Whether a process has this id; it may belong to another user.
fn exists(pid: u32) -> bool {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    pid.is_some_and(|pid| {
        !matches!(
            rustix::process::test_kill_process(pid),
            Err(rustix::io::Errno::SRCH)
        )
    })
}

/// The table of processes of this machine.
#[derive(Debug, Clone, Copy)]
pub(super) struct Processes {
    boot_seconds: Option<i64>,
    ticks_per_second: u64,
}

impl Processes {
    pub(super) fn open() -> Self {
        let boot_seconds = std::fs::read_to_string("/proc/stat").ok().and_then(|text| {
            text.lines()
                .find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
        });
        Self {
            boot_seconds,
            ticks_per_second: rustix::param::clock_ticks_per_second().max(1),
        }
    }

    /// What is known of the process `pid`.
    ///
    /// With `name` it must also have that name (of the kernel's `comm`, at most 15 bytes): a pid file that outlived a
    /// reboot may hold the number of another program.
    pub(super) fn find(self, pid: u32, name: Option<&str>) -> Found {
        let stat = std::fs::read(Path::new("/proc").join(pid.to_string()).join("stat"));
        let stat = stat
            .ok()
            .and_then(|stat| ProcessStat::parse(&String::from_utf8_lossy(&stat)));
        match stat {
            Some(stat) if !stat.lives => Found::Gone,
            Some(stat) => match name {
                Some(name) if cut_to_comm(name) != stat.comm => Found::Another { comm: stat.comm },
                Some(_) | None => Found::Alive(Process {
                    pid,
                    start_time: self.start_time(stat.start_ticks),
                }),
            },
            // `/proc` may hide the processes of other users.
            None if exists(pid) => Found::Hidden,
            None => Found::Gone,
        }
    }

    fn start_time(self, start_ticks: u64) -> Option<String> {
        let since_boot = i64::try_from(start_ticks / self.ticks_per_second).ok()?;
        let started = DateTime::from_timestamp(self.boot_seconds?.checked_add(since_boot)?, 0)?;
        Some(started.to_rfc3339_opts(SecondsFormat::Secs, true))
    }
}

/// The kernel keeps 15 bytes of a name.
fn cut_to_comm(name: &str) -> &str {
    const COMM_BYTES_MAX: usize = 15;
    let end = (0..=COMM_BYTES_MAX.min(name.len()))
        .rev()
        .find(|at| name.is_char_boundary(*at))
        .unwrap_or(0);
    name.get(..end).unwrap_or(name)
}

#[derive(Debug, PartialEq, Eq)]
struct ProcessStat {
    comm: String,
    lives: bool,
    start_ticks: u64,
}

impl ProcessStat {
    /// Reads `/proc/<pid>/stat`. The name may hold blanks and parentheses, so it ends at the **last** parenthesis.
    fn parse(text: &str) -> Option<Self> {
        let (before, after) = text.rsplit_once(')')?;
        let (_, comm) = before.split_once('(')?;
        let mut fields = after.split_ascii_whitespace();
        let lives = !matches!(fields.next()?, "Z" | "X" | "x");
        // Field 22 of proc(5); the state, just taken, is field 3.
        let start_ticks = fields.nth(18)?.parse().ok()?;
        Some(Self {
            comm: comm.to_owned(),
            lives,
            start_ticks,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORDED: &str = "1234 (my (odd) app) S 1 1234 1234 0 -1 4194560 100 0 0 0 5 3 0 0 20 0 4 0 987654 1000 200 184";

    #[test]
    fn odd_names_do_not_shift_the_fields() {
        let stat = ProcessStat::parse(RECORDED).unwrap();
        assert_eq!(
            stat,
            ProcessStat {
                comm: "my (odd) app".to_owned(),
                lives: true,
                start_ticks: 987_654
            }
        );
        assert!(
            !ProcessStat::parse(&RECORDED.replace(") S", ") Z"))
                .unwrap()
                .lives
        );
        assert_eq!(ProcessStat::parse("1234 (cut"), None);
    }

    #[test]
    fn this_very_process_is_found_with_a_start_in_the_past() {
        let processes = Processes::open();
        let Found::Alive(own) = processes.find(std::process::id(), None) else {
            panic!("this process lives");
        };
        let started: DateTime<chrono::Utc> = own.start_time.unwrap().parse().unwrap();
        let boot = DateTime::from_timestamp(processes.boot_seconds.unwrap(), 0).unwrap();
        assert!(started >= boot, "{started} before {boot}");
    }

    #[test]
    fn another_program_is_told_from_no_process() {
        let processes = Processes::open();
        let own = processes.find(std::process::id(), Some("no-such-name"));
        assert!(matches!(own, Found::Another { .. }), "{own:?}");
        assert_eq!(processes.find(u32::MAX, None), Found::Gone);
        assert!(exists(std::process::id()) && exists(1) && !exists(u32::MAX));
    }

    #[test]
    fn a_name_is_compared_as_far_as_the_kernel_keeps_it() {
        assert_eq!(cut_to_comm("a-name-of-sixteen"), "a-name-of-sixte");
        assert_eq!(cut_to_comm("java"), "java");
        assert_eq!(cut_to_comm("ääääääää"), "äääääää");
    }

    #[test]
    fn start_times_are_seconds_after_boot() {
        let processes = Processes {
            boot_seconds: Some(1_700_000_000),
            ticks_per_second: 100,
        };
        assert_eq!(
            processes.start_time(987_654).as_deref(),
            Some("2023-11-15T00:57:56Z")
        );
        assert_eq!(
            Processes {
                boot_seconds: None,
                ..processes
            }
            .start_time(1),
            None
        );
    }
}
