//! What a client may ask of a channel, and that every byte arrives.

use std::io::{Read, Write};
use std::process::Stdio;
use std::time::{Duration, Instant};

use coffre::session::Request;
use russh::Sig;

use crate::bench::{Bench, End, eventually, odd, stderr, stdout};

#[test]
fn output_errors_and_exit_status_reach_the_client() {
    let bench = Bench::new();
    let output = bench.ssh().run("streams");
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(stdout(&output), "to stdout\n");
    assert_eq!(stderr(&output).lines().last(), Some("to stderr"));
    for status in [0, 1, 23, 255] {
        let output = bench.ssh().run(&format!("exit {status}"));
        assert_eq!(output.status.code(), Some(status));
    }
}

#[test]
fn an_interactive_login_works_with_and_without_a_terminal() {
    let bench = Bench::new();
    let output = bench.ssh().run("");
    assert_eq!(stdout(&output), "welcome\nthis is all\n");
    assert_eq!(output.status.code(), Some(0));
    let output = bench.ssh().arg("-tt").run("");
    assert_eq!(stdout(&output), "welcome\r\nthis is all\r\n");
    let output = bench.ssh().arg("-tt").run("exit 0");
    assert_eq!(output.status.code(), Some(0));
    let requests: Vec<_> = bench.sessions.started().into_iter().map(|s| s.1).collect();
    assert_eq!(
        requests,
        [
            Request::Shell,
            Request::Shell,
            Request::Exec(b"exit 0".to_vec())
        ]
    );
}

#[test]
fn a_subsystem_is_a_session_like_others_and_the_environment_is_ignored() {
    let bench = Bench::new();
    let output = bench.ssh().arg("-s").option("SetEnv=LANG=C").run("sftp");
    assert!(stderr(&output).ends_with("no subsystem sftp\n"));
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn forwarding_of_every_kind_is_refused() {
    let bench = Bench::new();
    let output = bench.ssh().arg("-W").arg("127.0.0.1:22").run("");
    assert_eq!(output.status.code(), Some(255));
    assert!(
        stderr(&output).contains("open failed"),
        "{}",
        stderr(&output)
    );
    for forward in [
        "RemoteForward=127.0.0.1:0 127.0.0.1:22",
        "RemoteForward=/tmp/coffre-test.sock /tmp/other.sock",
        "Tunnel=yes",
    ] {
        let output = bench
            .ssh()
            .option("ExitOnForwardFailure=yes")
            .option(forward)
            .run("exit 0");
        assert_ne!(output.status.code(), Some(0), "{forward}");
    }
    // These are wishes only: the session runs without them.
    for wish in ["-A", "-X"] {
        let output = bench.ssh().arg(wish).run("exit 7");
        assert_eq!(output.status.code(), Some(7), "{wish}: {}", stderr(&output));
    }
    let address = bench.address();
    bench.runtime.block_on(async {
        let mut client = odd::connect(address).await;
        assert!(odd::log_in(&mut client, "root", &bench.key, None).await);
        let direct = client.channel_open_direct_tcpip("127.0.0.1", 22, "127.0.0.1", 1);
        assert!(direct.await.is_err());
        let local = client.channel_open_direct_streamlocal("/tmp/socket");
        assert!(local.await.is_err());
        assert!(client.channel_open_x11("127.0.0.1", 1).await.is_err());
        let channel = client.channel_open_session().await.unwrap();
        channel.agent_forward(false).await.unwrap();
        channel
            .request_x11(false, false, "x", "y", 0)
            .await
            .unwrap();
        assert_eq!(odd::exec(&client, "exit 4").await.status, Some(4));
    });
}

#[test]
fn a_channel_has_one_session_and_a_connection_has_several() {
    let bench = Bench::new();
    let address = bench.address();
    bench.runtime.block_on(async {
        let mut client = odd::connect(address).await;
        assert!(odd::log_in(&mut client, "root", &bench.key, None).await);
        let mut held = Vec::new();
        for _ in 0..8 {
            let channel = client.channel_open_session().await.unwrap();
            channel.exec(true, "hold").await.unwrap();
            held.push(channel);
        }
        assert!(client.channel_open_session().await.is_err(), "a ninth");
        held[0].exec(true, "exit 0").await.unwrap();
        assert!(odd::hear(&mut held[0]).await.failed, "a second request");
        for mut channel in held {
            channel.eof().await.unwrap();
            assert_eq!(odd::hear(&mut channel).await.status, Some(0));
        }
        assert_eq!(odd::exec(&client, "exit 4").await.status, Some(4));
    });
    eventually("every session ends", || {
        bench.sessions.ended(End::Exit) == 9
    });
}

#[test]
fn a_session_learns_that_its_client_went() {
    let bench = Bench::new();
    let address = bench.address();
    bench.runtime.block_on(async {
        let mut client = odd::connect(address).await;
        assert!(odd::log_in(&mut client, "root", &bench.key, None).await);
        let closed = client.channel_open_session().await.unwrap();
        closed.exec(true, "hold").await.unwrap();
        closed.close().await.unwrap();
        let mut signalled = client.channel_open_session().await.unwrap();
        signalled.exec(true, "hold").await.unwrap();
        signalled.signal(Sig::USR1).await.unwrap();
        signalled.signal(Sig::TERM).await.unwrap();
        let said = odd::hear(&mut signalled).await;
        assert_eq!(said.signal.as_deref(), Some("TERM"));
    });
    eventually("both sessions end", || {
        bench.sessions.ended(End::Disconnected) == 2
    });

    // A client that is killed, here while it is sending.
    let mut client = bench
        .ssh()
        .ready("hold")
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = client.stdin.take().unwrap();
    input.write_all(&[0; 100_000]).unwrap();
    eventually("it runs", || bench.sessions.started().len() == 3);
    client.kill().unwrap();
    client.wait().unwrap();
    eventually("its session ends", || {
        bench.sessions.ended(End::Disconnected) == 3
    });
    bench.assert_no_task_is_left();
}

#[test]
fn many_small_outputs_arrive_in_order_and_a_large_one_whole() {
    let bench = Bench::new();
    let output = bench.ssh().run("lines 50000");
    let expected: String = (0..50_000).map(|n| format!("{n}\n")).collect();
    assert!(stdout(&output) == expected, "{}", output.stdout.len());
    let output = bench.ssh().run("flood 20000000");
    assert_eq!(output.stdout.len(), 20_000_000);
    assert_eq!(output.status.code(), Some(0));
}

/// Bytes that show where one is missing.
fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes as u64 / 8).flat_map(u64::to_le_bytes).collect()
}

/// Sends `sent` through a session, reads 1 MiB of what comes back, stops for `pause`, and reads on.
fn through(bench: &Bench, request: &str, sent: &[u8], pause: Duration) -> Vec<u8> {
    let mut client = bench
        .ssh()
        .ready(request)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = client.stdin.take().unwrap();
    let mut output = client.stdout.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || input.write_all(sent).unwrap());
        let mut received = vec![0; 1 << 20];
        output.read_exact(&mut received).unwrap();
        std::thread::sleep(pause);
        output.read_to_end(&mut received).unwrap();
        assert_eq!(client.wait().unwrap().code(), Some(0));
        received
    })
}

#[test]
fn a_client_that_stops_reading_gets_every_byte() {
    let bench = Bench::new();
    let sent = pattern(64 << 20);
    let begin = Instant::now();
    let received = through(&bench, "echo", &sent, Duration::from_secs(5));
    assert!(received == sent, "{} of {}", received.len(), sent.len());
    assert!(begin.elapsed() < Duration::from_secs(60));
}

#[test]
fn a_session_that_is_slow_to_read_loses_nothing() {
    let bench = Bench::new();
    // More than the queue and the window take together, so the connection stands still.
    let sent = pattern(40 << 20);
    let received = through(&bench, "echo after 3", &sent, Duration::from_secs(2));
    assert!(received == sent, "{} of {}", received.len(), sent.len());
}

#[test]
fn keys_are_exchanged_anew_in_the_middle_of_a_two_way_stream() {
    let bench = Bench::new();
    let sent = pattern(24 << 20);
    let mut client = bench
        .ssh()
        .option("RekeyLimit=2M")
        .ready("echo")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = client.stdin.take().unwrap();
    let mut output = client.stdout.take().unwrap();
    let received = std::thread::scope(|scope| {
        scope.spawn(|| {
            input.write_all(&sent).unwrap();
            drop(input);
        });
        let mut received = Vec::new();
        output.read_to_end(&mut received).unwrap();
        received
    });
    assert!(received == sent, "{} of {}", received.len(), sent.len());
    assert_eq!(client.wait().unwrap().code(), Some(0));
}

/// Takes two minutes, of which it waits for all.
#[test]
fn a_client_that_stands_still_is_found_and_given_up() {
    let bench = Bench::new();
    let mut client = bench
        .ssh()
        .ready("hold")
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    eventually("its session runs", || bench.sessions.started().len() == 1);
    // Its kernel still answers: only SSH's own signs of life tell.
    let process = rustix::process::Pid::from_child(&client);
    rustix::process::kill_process(process, rustix::process::Signal::STOP).unwrap();
    let begin = Instant::now();
    while bench.sessions.ended(End::Disconnected) == 0 {
        assert!(begin.elapsed() < Duration::from_secs(180));
        std::thread::sleep(Duration::from_millis(200));
    }
    eprintln!("given up after {:?}", begin.elapsed());
    client.kill().unwrap();
    client.wait().unwrap();
}
