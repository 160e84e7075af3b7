//! What happens to the descriptors of the process. Alone in its process, because it counts them
//! and lowers their limit.

#![allow(
    clippy::unwrap_used,
    reason = "a test may end at what it did not expect"
)]

#[path = "ssh/bench.rs"]
mod bench;

use std::fs::File;
use std::io::Read;
use std::net::TcpStream;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bench::{Bench, eventually};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

fn alone() -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn many_connections_one_after_the_other_leave_nothing_behind() {
    let _alone = alone();
    let bench = Bench::new();
    let address = bench.address();
    let one = || {
        bench.runtime.block_on(async {
            let mut client = bench::odd::connect(address).await;
            assert!(bench::odd::log_in(&mut client, "root", &bench.key, None).await);
            assert_eq!(bench::odd::exec(&client, "exit 0").await.status, Some(0));
        });
    };
    one();
    bench.assert_no_task_is_left();
    let before = open_descriptors();
    for _ in 0..200 {
        one();
    }
    bench.assert_no_task_is_left();
    eventually("the descriptors are closed", || {
        open_descriptors() <= before
    });
}

#[test]
fn the_listener_survives_when_there_are_no_descriptors() {
    let _alone = alone();
    let bench = Bench::new();
    let address = bench.address();
    let limit = getrlimit(Resource::Nofile);
    let few = open_descriptors() as u64 + 20;
    let lowered = Rlimit {
        current: Some(few),
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, lowered).unwrap();
    let waiting = {
        let mut held = Vec::new();
        while let Ok(file) = File::open("/dev/null") {
            held.push(file);
        }
        // One for our end; the server has none for its own.
        held.pop();
        let mut waiting = TcpStream::connect(address).unwrap();
        waiting
            .set_read_timeout(Some(Duration::from_millis(700)))
            .unwrap();
        let mut byte = [0];
        assert!(waiting.read(&mut byte).is_err(), "nobody can accept it");
        waiting
    };
    let mut waiting = waiting;
    waiting
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let mut line = [0; 4];
    waiting.read_exact(&mut line).unwrap();
    assert_eq!(&line, b"SSH-", "accepted as soon as there was one");
    setrlimit(Resource::Nofile, limit).unwrap();
    assert!(bench.ssh().run("exit 0").status.success());
}
