//! The text that `lograft dev` prints when all nodes are ready.

use std::ffi::OsStr;
use std::fmt::{self, Write};
use std::path::Path;

use super::pki::Identity;
use crate::output::{Paint, Table};

/// A row of the node table.
#[derive(Clone, Debug)]
pub(crate) struct NodeSummary {
    pub(crate) name: String,
    /// Node id, if it is known.
    pub(crate) id: Option<u64>,
    pub(crate) pid: Option<u32>,
    pub(crate) client: String,
    pub(crate) http: String,
    pub(crate) health: String,
}

/// The nodes, their files, and commands to try.
#[derive(Clone, Debug)]
pub(crate) struct Announcement<'a> {
    pub(crate) data_dir: &'a Path,
    pub(crate) config: &'a Path,
    pub(crate) nodes: &'a [NodeSummary],
    /// How to run this program from a shell.
    pub(crate) program: &'a str,
    /// Users besides the administrator.
    pub(crate) users: &'a [(String, Identity)],
    pub(crate) is_ephemeral: bool,
    /// Certificate files of the administrator, for other clients.
    pub(crate) admin: &'a Identity,
    /// Certificate of the cluster's CA.
    pub(crate) ca: &'a Path,
    pub(crate) paint: Paint,
}

impl fmt::Display for Announcement<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (paint, program) = (self.paint, self.program);
        let mut table = Table::new(&["NODE", ">ID", ">PID", "CLIENT", "HTTP", "HEALTH"]);
        for node in self.nodes {
            table.row([
                node.name.clone(),
                node.id.map_or_else(|| "?".into(), |id| id.to_string()),
                node.pid.map_or_else(|| "-".into(), |pid| pid.to_string()),
                node.client.clone(),
                format!("https://{}", node.http),
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
            "  context  dev (now the current context in {})",
            self.config.display()
        )?;
        for (name, _) in self.users {
            writeln!(
                f,
                "  context  dev-{name} (user/{name}, with the rights of its rules)"
            )?;
        }
        writeln!(f, "\nTry in another terminal:\n")?;
        let factor = self.nodes.len().min(3);
        for command in [
            format!(
                "{program} topic create demo --partitions 3 --replication-factor {factor} --if-not-exists"
            ),
            format!("seq 1 100000 | {program} produce demo"),
            format!("{program} consume demo --from earliest --max 5"),
            format!("{program} cluster status"),
            format!("{program} bench produce --duration 5s"),
        ] {
            writeln!(f, "  {}", paint.strong(command))?;
        }
        if let Some(command) = self.curl() {
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
        let data = if self.is_ephemeral {
            "deletes their data"
        } else {
            "keeps their data"
        };
        write!(f, "\nCtrl-C stops all nodes and {data}.")
    }
}

impl Announcement<'_> {
    /// A request over HTTP that works with the certificates of this cluster.
    fn curl(&self) -> Option<String> {
        let node = self.nodes.first()?;
        let (ca, cert, key) = (
            quote(self.ca),
            quote(&self.admin.cert),
            quote(&self.admin.key),
        );
        let url = format!("https://{}/v1/topics/demo/partitions/0/records", node.http);
        Some(format!(
            "curl --cacert {ca} --cert {cert} --key {key} '{url}?max_records=2'"
        ))
    }
}

/// How this process was started, to print command lines for another terminal on this machine.
#[derive(Clone, Debug)]
pub(crate) struct Invocation<'a> {
    /// Whether `cargo run` started this process.
    pub(crate) by_cargo: bool,
    /// Path of the program.
    pub(crate) exe: &'a Path,
    /// The first word of the command line.
    pub(crate) argv0: &'a OsStr,
    /// `$LOGRAFT_CONFIG`, which may not be set in the other terminal.
    pub(crate) config_env: Option<&'a Path>,
}

impl Invocation<'_> {
    /// The command line up to the subcommand.
    pub(crate) fn command_prefix(&self) -> String {
        let mut prefix = String::new();
        if let Some(path) = self.config_env {
            // Writing to a String does not fail.
            let _ = write!(prefix, "LOGRAFT_CONFIG={} ", quote(path));
        }
        let is_release = self
            .exe
            .parent()
            .is_some_and(|dir| dir.ends_with("release"));
        if self.by_cargo && is_release {
            prefix.push_str("cargo run -q --release --");
        } else if self.by_cargo {
            prefix.push_str("cargo run -q --");
        } else if self.argv0.as_encoded_bytes().contains(&b'/') {
            prefix.push_str(&quote(self.exe));
        } else {
            prefix.push_str(&self.argv0.to_string_lossy());
        }
        prefix
    }
}

/// Quotes a path for a POSIX shell.
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

    fn command_prefix(by_cargo: bool, exe: &str, argv0: &str) -> String {
        let (exe, argv0) = (Path::new(exe), OsStr::new(argv0));
        Invocation {
            by_cargo,
            exe,
            argv0,
            config_env: None,
        }
        .command_prefix()
    }

    #[test]
    fn commands_start_like_this_process_was_started() {
        let built = "/src/target/release/lograft";
        assert_eq!(
            command_prefix(true, built, "target/release/lograft"),
            "cargo run -q --release --"
        );
        assert_eq!(
            command_prefix(true, "/src/target/debug/lograft", "x/y"),
            "cargo run -q --"
        );
        assert_eq!(
            command_prefix(false, built, "./target/release/lograft"),
            built
        );
        assert_eq!(
            command_prefix(false, "/usr/bin/lograft", "lograft"),
            "lograft"
        );
        assert_eq!(
            command_prefix(false, "/my dir/lograft", "/my dir/lograft"),
            "'/my dir/lograft'"
        );
    }

    #[test]
    fn commands_set_the_contexts_file_of_the_environment() {
        let invocation = Invocation {
            by_cargo: false,
            exe: Path::new("/usr/bin/lograft"),
            argv0: OsStr::new("lograft"),
            config_env: Some(Path::new("/tmp/it's.yaml")),
        };
        assert_eq!(
            invocation.command_prefix(),
            "LOGRAFT_CONFIG='/tmp/it'\\''s.yaml' lograft"
        );
    }

    #[test]
    fn a_single_node_gets_one_replica_and_no_kill_command() {
        let node = NodeSummary {
            name: "node-1".into(),
            id: Some(1),
            pid: Some(42),
            client: "127.0.0.1:9400".into(),
            http: "127.0.0.1:9402".into(),
            health: "127.0.0.1:9403".into(),
        };
        let admin = Identity {
            cert: "/d/admin.crt".into(),
            key: "/d/admin key.pem".into(),
        };
        let text = |nodes: &[NodeSummary]| {
            let announcement = Announcement {
                data_dir: Path::new("/d"),
                config: Path::new("/c.yaml"),
                nodes,
                program: "lograft",
                users: &[],
                is_ephemeral: false,
                admin: &admin,
                ca: Path::new("/d/ca.crt"),
                paint: Paint::plain(),
            };
            announcement.to_string()
        };
        let one = text(std::slice::from_ref(&node));
        assert!(one.contains("--replication-factor 1 "), "{one}");
        assert!(!one.contains("kill -9"), "{one}");
        let curl = "curl --cacert /d/ca.crt --cert /d/admin.crt --key '/d/admin key.pem' \
                    'https://127.0.0.1:9402/v1/topics/demo/partitions/0/records?max_records=2'";
        assert!(one.contains(curl), "{one}");
        let two = text(&[node.clone(), node]);
        assert!(two.contains("kill -9 42"), "{two}");
        assert!(
            two.ends_with("Ctrl-C stops all nodes and keeps their data."),
            "{two}"
        );
    }
}
