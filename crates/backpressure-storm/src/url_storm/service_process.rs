//! The processes of the service, where they are on this machine: found by the port that they listen on.

use crate::machine::of_ticks;
use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

/// Most processes that are looked at: a scan that takes longer disturbs the storm.
const MAX_PROCESSES: usize = 5_000;

/// Processes that hold the listening socket of an address; empty where they cannot be found.
#[derive(Debug, Clone, Default)]
pub(crate) struct ServiceProcesses(Vec<u32>);

impl ServiceProcesses {
    pub(crate) fn listening_on(address: SocketAddr) -> Self {
        if !address.ip().to_canonical().is_loopback() {
            return Self::default();
        }
        let inodes = listening_sockets(address.port());
        if inodes.is_empty() {
            return Self::default();
        }
        let own = std::process::id();
        let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        Self(
            pids.filter(|&pid| pid != own)
                .take(MAX_PROCESSES)
                .filter(|&pid| holds(pid, &inodes))
                .collect(),
        )
    }

    pub(crate) fn is_known(&self) -> bool {
        !self.0.is_empty()
    }

    /// CPU time that they have used.
    pub(crate) fn cpu_time(&self) -> Duration {
        self.0
            .iter()
            .filter_map(|pid| cpu_time_of(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?))
            .sum()
    }
}

fn listening_sockets(port: u16) -> BTreeSet<String> {
    let mut inodes = BTreeSet::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let text = fs::read_to_string(table).unwrap_or_default();
        inodes.extend(text.lines().skip(1).filter_map(|line| listener(line, port)));
    }
    inodes
}

/// The inode of a socket that listens on the port, from a line of /proc/net/tcp.
fn listener(line: &str, port: u16) -> Option<String> {
    const LISTEN: &str = "0A";
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let (_, local_port) = fields.get(1)?.rsplit_once(':')?;
    let listens = *fields.get(3)? == LISTEN && u16::from_str_radix(local_port, 16).ok()? == port;
    listens.then(|| format!("socket:[{}]", fields.get(9).unwrap_or(&"")))
}

fn holds(pid: u32, inodes: &BTreeSet<String>) -> bool {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    files
        .filter_map(|file| fs::read_link(file.path()).ok())
        .any(|link| link.to_str().is_some_and(|link| inodes.contains(link)))
}

/// User and system time, from /proc/PID/stat. The name of the command may have spaces and parentheses.
fn cpu_time_of(stat: &str) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times =
        fields.split_ascii_whitespace().skip(11).map_while(|field| field.parse::<u64>().ok());
    Some(of_ticks(times.next()? + times.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_with_parentheses_in_its_name_has_its_cpu_time() {
        let stat = "42 (a (b) c) S 1 42 42 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 1 0";
        assert_eq!(cpu_time_of(stat), Some(Duration::from_secs(2)));
        assert_eq!(cpu_time_of("nonsense"), None);
    }

    #[test]
    fn only_a_socket_that_listens_on_the_port_counts() {
        let line =
            "0: 0100007F:0BB8 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 4711 1";
        assert_eq!(listener(line, 3000).as_deref(), Some("socket:[4711]"));
        assert_eq!(listener(line, 3001), None);
        assert_eq!(listener(&line.replace(" 0A ", " 01 "), 3000), None);
    }
}
