//! What `lograft dev` says: what stands, and what to type next.

use std::ffi::OsStr;
use std::fmt::{self, Write};
use std::path::Path;

use crate::output::{Paint, Table};

/// A node as it stands when all are ready.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    pub(crate) name: String,
    /// As the cluster numbered it; nothing while it is not known.
    pub(crate) id: Option<u64>,
    pub(crate) pid: Option<u32>,
    pub(crate) client: String,
    pub(crate) health: String,
}

/// All that is announced.
#[derive(Clone, Debug)]
pub(crate) struct Announcement<'a> {
    pub(crate) data_dir: &'a Path,
    pub(crate) config: &'a Path,
    pub(crate) nodes: &'a [Standing],
    /// How to call this program from a shell.
    pub(crate) call: &'a str,
    pub(crate) is_ephemeral: bool,
    pub(crate) paint: Paint,
}

impl fmt::Display for Announcement<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (paint, call) = (self.paint, self.call);
        let mut table = Table::new(&["NODE", ">ID", ">PID", "CLIENT", "HEALTH"]);
        for node in self.nodes {
            table.row([
                node.name.clone(),
                node.id.map_or_else(|| "?".into(), |id| id.to_string()),
                node.pid.map_or_else(|| "-".into(), |pid| pid.to_string()),
                node.client.clone(),
                format!("http://{}/metrics", node.health),
            ]);
        }
        f.write_str(&table.render(paint, 2))?;
        let dir = self.data_dir.display();
        writeln!(f)?;
        writeln!(f, "  data     {dir}")?;
        writeln!(f, "  logs     {dir}/logs")?;
        writeln!(
            f,
            "  context  dev, now the current one in {}",
            self.config.display()
        )?;
        writeln!(f, "\nIn another terminal:\n")?;
        let factor = self.nodes.len().min(3);
        for command in [
            format!(
                "{call} topic create demo --partitions 3 --replication-factor {factor} --if-not-exists"
            ),
            format!("seq 1 100000 | {call} produce demo"),
            format!("{call} consume demo --from earliest --max 5"),
            format!("{call} cluster status"),
            format!("{call} bench produce --duration 5s"),
        ] {
            writeln!(f, "  {}", paint.strong(command))?;
        }
        if let Some(pid) = self
            .nodes
            .last()
            .and_then(|node| node.pid)
            .filter(|_| factor > 1)
        {
            writeln!(f, "  {}", paint.strong(format!("kill -9 {pid}")))?;
        }
        let fate = if self.is_ephemeral {
            "and removes their data"
        } else {
            "; the data stays"
        };
        let blank = if self.is_ephemeral { " " } else { "" };
        write!(f, "\nCtrl-C stops all nodes{blank}{fate}.")
    }
}

/// How this process was called, for a command line in another terminal of the same machine.
#[derive(Clone, Debug)]
pub(crate) struct Calling<'a> {
    /// Whether `cargo run` started it.
    pub(crate) by_cargo: bool,
    /// The program's own file.
    pub(crate) exe: &'a Path,
    /// The first word of the command line.
    pub(crate) argv0: &'a OsStr,
    /// `$LOGRAFT_CONFIG`, which the other terminal may lack.
    pub(crate) config_env: Option<&'a Path>,
}

impl Calling<'_> {
    /// The words before the subcommand.
    pub(crate) fn words(&self) -> String {
        let mut words = String::new();
        if let Some(path) = self.config_env {
            // Writing to a String does not fail.
            let _ = write!(words, "LOGRAFT_CONFIG={} ", quote(path));
        }
        let release = self
            .exe
            .parent()
            .is_some_and(|dir| dir.ends_with("release"));
        if self.by_cargo && release {
            words.push_str("cargo run -q --release --");
        } else if self.by_cargo {
            words.push_str("cargo run -q --");
        } else if self.argv0.as_encoded_bytes().contains(&b'/') {
            words.push_str(&quote(self.exe));
        } else {
            words.push_str(&self.argv0.to_string_lossy());
        }
        words
    }
}

/// A path as one word of a POSIX shell.
fn quote(path: &Path) -> String {
    let text = path.to_string_lossy();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.into_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(by_cargo: bool, exe: &str, argv0: &str) -> String {
        let (exe, argv0) = (Path::new(exe), OsStr::new(argv0));
        Calling {
            by_cargo,
            exe,
            argv0,
            config_env: None,
        }
        .words()
    }

    #[test]
    fn commands_begin_as_this_process_was_called() {
        let built = "/src/target/release/lograft";
        assert_eq!(
            words(true, built, "target/release/lograft"),
            "cargo run -q --release --"
        );
        assert_eq!(
            words(true, "/src/target/debug/lograft", "x/y"),
            "cargo run -q --"
        );
        assert_eq!(words(false, built, "./target/release/lograft"), built);
        assert_eq!(words(false, "/usr/bin/lograft", "lograft"), "lograft");
        assert_eq!(
            words(false, "/my dir/lograft", "/my dir/lograft"),
            "'/my dir/lograft'"
        );
    }

    #[test]
    fn a_contexts_file_of_its_own_is_named_in_each_command() {
        let calling = Calling {
            by_cargo: false,
            exe: Path::new("/usr/bin/lograft"),
            argv0: OsStr::new("lograft"),
            config_env: Some(Path::new("/tmp/it's.yaml")),
        };
        assert_eq!(
            calling.words(),
            "LOGRAFT_CONFIG='/tmp/it'\\''s.yaml' lograft"
        );
    }

    #[test]
    fn one_node_is_not_offered_for_killing_and_gets_one_replica() {
        let node = Standing {
            name: "node-1".into(),
            id: Some(1),
            pid: Some(42),
            client: "127.0.0.1:9400".into(),
            health: "127.0.0.1:9403".into(),
        };
        let text = |nodes: &[Standing]| {
            let announcement = Announcement {
                data_dir: Path::new("/d"),
                config: Path::new("/c.yaml"),
                nodes,
                call: "lograft",
                is_ephemeral: false,
                paint: Paint::plain(),
            };
            announcement.to_string()
        };
        let one = text(std::slice::from_ref(&node));
        assert!(one.contains("--replication-factor 1 "), "{one}");
        assert!(!one.contains("kill -9"), "{one}");
        let two = text(&[node.clone(), node]);
        assert!(two.contains("kill -9 42"), "{two}");
        assert!(
            two.ends_with("Ctrl-C stops all nodes; the data stays."),
            "{two}"
        );
    }
}
