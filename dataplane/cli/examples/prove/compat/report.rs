//! Phases of a run with their durations and pauses, and what the run could not cover.

use std::time::{Duration, Instant};

/// What was measured so far.
#[derive(Debug, Default)]
pub(super) struct Report {
    phases: Vec<Phase>,
    notes: Vec<String>,
}

#[derive(Debug)]
struct Phase {
    name: String,
    started: Instant,
    seconds: Option<f64>,
    pause: Option<Duration>,
}

impl Report {
    /// Starts a phase.
    pub(super) fn begin(&mut self, name: &str) {
        println!("{name} ...");
        self.phases.push(Phase {
            name: name.to_owned(),
            started: Instant::now(),
            seconds: None,
            pause: None,
        });
    }

    /// Ends the current phase; `pause` is the longest time without an acknowledgement in it.
    pub(super) fn end(&mut self, pause: Option<Duration>) {
        if let Some(phase) = self.phases.last_mut() {
            phase.seconds = Some(phase.started.elapsed().as_secs_f64());
            phase.pause = pause;
        }
    }

    /// Adds a sentence about the run, such as something that it could not cover.
    pub(super) fn note(&mut self, text: String) {
        println!("  {text}");
        self.notes.push(text);
    }

    /// Prints a table of the phases and the notes.
    pub(super) fn print(&self) {
        println!("\n| phase | duration, s | longest pause, s |");
        println!("|---|---|---|");
        for phase in &self.phases {
            let seconds = phase
                .seconds
                .map_or("not finished".to_owned(), |s| format!("{s:.1}"));
            let pause = phase.pause.map_or("-".to_owned(), |pause| {
                format!("{:.2}", pause.as_secs_f64())
            });
            println!("| {} | {seconds} | {pause} |", phase.name);
        }
        println!();
        for note in &self.notes {
            println!("- {note}");
        }
    }
}
