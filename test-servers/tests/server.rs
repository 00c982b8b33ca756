//! The servers are what the tests of faults take them for.

use std::io::Read as _;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use jobstore_test_servers::{Kind, Server};

fn takes_connections(server: &Server) -> bool {
    TcpStream::connect(("127.0.0.1", server.port())).is_ok()
}

fn processes_in(directory: &str) -> usize {
    let processes = std::fs::read_dir("/proc").expect("reads").flatten();
    let lines = processes.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines
        .filter(|line| String::from_utf8_lossy(line).contains(directory))
        .count()
}

fn check(kind: Kind) {
    let mut server = Server::of(kind).start().expect("starts");
    let (url, directory) = (server.url(), server.directory().to_owned());
    assert!(takes_connections(&server));
    server.kill().expect("is killed");
    assert!(!takes_connections(&server));
    server.restart().expect("recovers");
    assert!(takes_connections(&server));
    server.restart().expect("stops and starts");
    assert_eq!(server.url(), url);
    server.stop().expect("stops");
    assert!(!takes_connections(&server));
    server.restart().expect("starts");
    drop(server);
    assert!(!directory.exists());
    assert_eq!(processes_in(&directory.display().to_string()), 0);
}

#[test]
fn a_postgresql_server_is_killed_restarted_and_leaves_nothing() {
    check(Kind::Postgres);
}

#[test]
fn a_mariadb_server_is_killed_restarted_and_leaves_nothing() {
    check(Kind::MariaDb);
}

#[test]
fn a_program_tells_its_version() {
    for kind in Kind::ALL {
        let version = kind.version().expect("is installed");
        assert!(version.contains('.') && !version.contains('/'), "{version}");
    }
}

#[test]
fn servers_have_ports_of_their_own_below_those_of_clients() {
    let servers =
        [Kind::Postgres, Kind::MariaDb].map(|kind| Server::of(kind).start().expect("starts"));
    assert_ne!(servers[0].port(), servers[1].port());
    let client = TcpStream::connect(("127.0.0.1", servers[0].port())).expect("connects");
    let client = client.local_addr().expect("has an address").port();
    assert!(servers.iter().all(|server| server.port() < client));
}

#[test]
fn a_server_that_does_not_start_says_why() {
    let error = Server::postgres().with("no_such_setting", "1").start();
    let error = error.expect_err("is refused").to_string();
    assert!(error.contains("no_such_setting"), "{error}");
    let error = Server::mariadb().with("no-such-setting", "1").start();
    let error = error.expect_err("is refused").to_string();
    assert!(error.contains("no-such-setting"), "{error}");
}

/// Run by the next test in a process of its own, which is killed.
#[test]
#[ignore = "is a part of the next test"]
fn start_servers_and_wait() {
    let servers =
        [Kind::Postgres, Kind::MariaDb].map(|kind| Server::of(kind).start().expect("starts"));
    for server in &servers {
        println!("\nserver {}", server.directory().display());
    }
    loop {
        std::thread::park();
    }
}

#[test]
fn servers_end_with_the_process_that_started_them_however_it_ends() {
    let mut tests = Command::new(std::env::current_exe().expect("is there"))
        .args([
            "--ignored",
            "--exact",
            "--nocapture",
            "start_servers_and_wait",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut text = String::new();
    let mut stdout = tests.stdout.take().expect("is piped");
    while text.matches("server /").count() < 2 || !text.ends_with('\n') {
        let mut byte = [0];
        stdout.read_exact(&mut byte).expect("servers start");
        text.push(char::from(byte[0]));
    }
    let directories: Vec<PathBuf> = text
        .lines()
        .filter_map(|line| line.strip_prefix("server "))
        .map(PathBuf::from)
        .collect();
    let left = || {
        let of = |directory: &PathBuf| {
            usize::from(directory.exists()) + processes_in(&directory.display().to_string())
        };
        directories.iter().map(of).sum::<usize>()
    };
    // Two servers, their watchdogs and their directories.
    assert!(left() >= 6);
    tests.kill().expect("is killed");
    tests.wait().expect("ends");
    let start = Instant::now();
    while left() > 0 {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "{} things are left",
            left()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}
