//! Runs another program with a deadline and a bound on what it may say.

use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// The program is not there, or the machine is out of something.
    #[error("cannot run {program}: {source}")]
    Start {
        /// What was to be run.
        program: String,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// It took too long and was ended.
    #[error("it did not end within {} s", deadline.as_secs())]
    Deadline {
        /// How long it had.
        deadline: Duration,
    },
    /// It said more than it may.
    #[error("it wrote more than {most} bytes")]
    TooLong {
        /// How much it may say.
        most: u64,
    },
}

/// How it ended and what it said on standard output.
#[derive(Debug)]
pub struct Outcome {
    /// How it ended.
    pub status: ExitStatus,
    /// What it said.
    pub output: Vec<u8>,
}

/// How often the end is looked for.
const POLL: Duration = Duration::from_millis(5);

/// Runs `command` with `input` on standard input; it is killed when `deadline` has passed.
///
/// # Errors
/// [`ChildError`]. A program that ran and failed is an [`Outcome`].
pub fn run(
    command: &mut Command,
    input: Vec<u8>,
    deadline: Duration,
    most: u64,
) -> Result<Outcome, ChildError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|source| ChildError::Start { program, source })?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    // Both ends at once: a program that writes before it has read everything must not wait for us. The threads end
    // with the pipes, which end with the program.
    thread::spawn(move || {
        if let Some(mut stdin) = stdin {
            // A program that has stopped reading has its reasons; its status tells.
            let _ = stdin.write_all(&input);
        }
    });
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut output = Vec::new();
        if let Some(stdout) = stdout {
            // What came before an error is still worth having.
            let _ = stdout.take(most + 1).read_to_end(&mut output);
        }
        // Nobody listens once the deadline has passed.
        let _ = sender.send(output);
    });
    let end = Instant::now() + deadline;
    let result = wait(&mut child, &receiver, end, deadline, most);
    if result.is_err() {
        // It may have ended by itself in between.
        let _ = child.kill();
        let _ = child.wait();
    }
    result
}

fn wait(
    child: &mut Child,
    output: &mpsc::Receiver<Vec<u8>>,
    end: Instant,
    deadline: Duration,
    most: u64,
) -> Result<Outcome, ChildError> {
    let late = || ChildError::Deadline { deadline };
    let output = output.recv_timeout(end.saturating_duration_since(Instant::now())).map_err(|_| late())?;
    if output.len() as u64 > most {
        return Err(ChildError::TooLong { most });
    }
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(Outcome { status, output }),
            Ok(None) if Instant::now() < end => thread::sleep(POLL),
            _ => return Err(late()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn what_goes_in_comes_out() {
        let input = vec![b'x'; 300_000];
        let outcome = run(&mut shell("cat"), input.clone(), Duration::from_secs(60), 300_000).unwrap();
        assert!(outcome.status.success());
        assert_eq!(outcome.output, input);
    }

    #[test]
    fn one_byte_too_many_is_refused() {
        let error = run(&mut shell("cat"), vec![b'x'; 11], Duration::from_secs(60), 10).unwrap_err();
        assert!(matches!(error, ChildError::TooLong { most: 10 }));
    }

    #[test]
    fn a_program_that_does_not_end_is_ended() {
        let error =
            run(&mut shell("exec sleep 3600"), Vec::new(), Duration::from_millis(50), 10).unwrap_err();
        assert!(matches!(error, ChildError::Deadline { .. }), "{error}");
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = run(&mut Command::new("/no/such"), Vec::new(), Duration::from_secs(1), 1).unwrap_err();
        assert!(error.to_string().contains("/no/such"));
    }
}
