//! Shell completion scripts.

use std::fs;
use std::process::Command;

use crate::support::TestHome;

#[test]
fn every_shell_has_a_script() {
    let home = TestHome::new();
    for (shell, text) in [
        ("bash", "complete -F _lograft"),
        ("zsh", "#compdef lograft"),
        ("fish", "complete -c lograft"),
        ("powershell", "Register-ArgumentCompleter"),
        ("elvish", "edit:completion:arg-completer[lograft]"),
    ] {
        let script = home.run(&["completion", shell]).ok();
        assert!(script.contains(text), "{shell}: {script}");
        for name in [
            "decommission",
            "dump",
            "keep-partitions",
            "regex",
            "by-duration",
        ] {
            assert!(script.contains(name), "{shell} lacks {name}: {script}");
        }
    }
}

#[test]
fn an_unknown_shell_is_rejected() {
    let finished = TestHome::new().run(&["completion", "csh"]);
    assert_eq!(finished.code, Some(2), "{}", finished.stderr);
    assert!(finished.stderr.contains("bash"), "{}", finished.stderr);
}

#[test]
fn bash_parses_the_script() {
    let home = TestHome::new();
    let script = home.path("lograft.bash");
    fs::write(&script, home.run(&["completion", "bash"]).ok_bytes()).unwrap();
    let Ok(output) = Command::new("bash").arg("-n").arg(&script).output() else {
        // This machine has no bash.
        return;
    };
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.is_empty(), "{stderr}");
}
