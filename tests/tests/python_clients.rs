//! SSH libraries of Python, as scripts of admins use them: a plain command, a probe, a refusal.

#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::path::Path;

use coffre_client_compat::install;
use coffre_client_compat::run::Invocation;
use coffre_tests::{Bed, said};

/// Commands, and what is printed for each: its exit status and standard output.
const COMMANDS: &str =
    r#"[("exit", 0, ""), ("true", 0, ""), ("echo hello", 0, "hello\n"), ("uname -a", 1, "")]"#;

const PARAMIKO: &str = r#"
import os, paramiko
client = paramiko.SSHClient()
client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
client.connect("127.0.0.1", int(os.environ["PORT"]), "root", key_filename=os.environ["KEY"],
               allow_agent=False, look_for_keys=False)
for command, status, said in COMMANDS:
    _, out, err = client.exec_command(command)
    text = out.read().decode()
    words = err.read().decode()
    assert (out.channel.recv_exit_status(), text) == (status, said), (command, text, words)
    assert (words != "") == (status != 0), (command, words)
_, out, _ = client.exec_command("status")
assert "compat" in out.read().decode()
client.close()
print("well")
"#;

const ASYNCSSH: &str = r#"
import asyncio, asyncssh, os
async def main():
    async with asyncssh.connect("127.0.0.1", int(os.environ["PORT"]), username="root",
                                client_keys=[os.environ["KEY"]], known_hosts=None) as client:
        for command, status, said in COMMANDS:
            done = await client.run(command)
            assert (done.exit_status, done.stdout) == (status, said), (command, done)
            assert (done.stderr != "") == (status != 0), (command, done)
        done = await client.run("status")
        assert "compat" in done.stdout
asyncio.run(main())
print("well")
"#;

fn check(script: &str) {
    let Some(python) = install::python() else {
        println!(
            "skipped: the Python libraries are not there; `client-compat install` fetches them"
        );
        return;
    };
    let Some(bed) = Bed::new().unwrap() else {
        return;
    };
    let mut run = Invocation::new(&python, Path::new("/"));
    let script = format!("COMMANDS = {COMMANDS}\n{script}");
    run.args = vec!["-c".into(), script.into()];
    run.env = vec![
        ("PORT".into(), bed.coffre.port().to_string().into()),
        ("KEY".into(), bed.keys.private("client").into()),
        ("HOME".into(), bed.local().into()),
        ("PATH".into(), "/usr/bin:/bin".into()),
    ];
    let outcome = run.run().unwrap();
    assert_eq!(outcome.exit, 0, "{}", said(&outcome));
    assert_eq!(outcome.stdout, b"well\n");
}

#[test]
fn paramiko_logs_in_and_runs_commands() {
    check(PARAMIKO);
}

#[test]
fn asyncssh_logs_in_and_runs_commands() {
    check(ASYNCSSH);
}
