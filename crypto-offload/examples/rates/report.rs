//! One line per figure, for a person and a script alike, and their sum.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

/// What a ratio is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
    /// There is none: the figure is for the reader.
    None,
}

/// Prints `figure NAME VALUE UNIT goal OP VALUE met`, or `short`.
pub(crate) fn figure(name: &str, value: f64, unit: &str, goal: Goal) {
    let (wanted, met) = match goal {
        Goal::AtLeast(goal) => (format!(" goal >= {goal}"), Some(value >= goal)),
        Goal::AtMost(goal) => (format!(" goal <= {goal}"), Some(value <= goal)),
        Goal::None => (String::new(), None),
    };
    let verdict = met.map_or("", |met| if met { " met" } else { " short" });
    println!("figure {name} {value:.2} {unit}{wanted}{verdict}");
}

/// Says loudly what has no figure in this run, and why.
pub(crate) fn not_measured(name: &str, why: &str) {
    println!("not measured: {name}: {why}");
}

/// What came of the parts so far.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    met: usize,
    /// The lines of what was not met, and of what was not measured.
    short: Vec<String>,
    missing: Vec<String>,
}

impl Tally {
    /// Runs this program again for one part, in a process of its own, and hands its lines on.
    pub(crate) fn run(&mut self, part: &str, name: &str) -> std::io::Result<()> {
        let this = std::env::current_exe()?;
        // A library from another distribution may want the C library from there too.
        let loader = std::env::var("GATEWAYD_LOADER").unwrap_or_default();
        let mut words = loader.split_whitespace();
        let mut command = words.next().map_or_else(
            || Command::new(&this),
            |program| {
                let mut command = Command::new(program);
                command.args(words).arg(&this);
                command
            },
        );
        let mut child = command.args([part, name]).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take();
        for line in output.into_iter().flat_map(|output| BufReader::new(output).lines()) {
            let line = line?;
            println!("{line}");
            match () {
                () if line.starts_with("not measured") => self.missing.push(line),
                () if line.ends_with(" met") => self.met += 1,
                () if line.ends_with(" short") => self.short.push(line),
                () => {}
            }
        }
        if !child.wait()?.success() {
            self.missing.push(format!("not measured: {part} {name}: it ended with an error"));
        }
        Ok(())
    }

    /// The sum, with every line that somebody should look at.
    pub(crate) fn print(&self) {
        println!("# {} goals met, {} short, {} not measured", self.met, self.short.len(), self.missing.len());
        self.short.iter().chain(&self.missing).for_each(|line| println!("# ! {line}"));
    }
}
