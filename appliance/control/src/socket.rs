//! Where the control socket is looked for.

use std::path::PathBuf;

/// Environment variable with the path of the socket.
pub const SOCKET_ENV: &str = "TANDEM_SOCKET";
/// Where an installed switch listens.
pub const SOCKET_SYSTEM: &str = "/run/tandem/control.sock";
/// Below `XDG_RUNTIME_DIR`: where a switch started by an ordinary user listens.
pub const SOCKET_USER: &str = "tandem/control.sock";
/// Where `tools/demo` listens, so that `tandem` reaches it without further options.
pub const SOCKET_DEMO: &str = "/tmp/tandem-demo/control.sock";

/// The paths to try, in order. A path that was asked for, by option or environment, is the only one: falling back to
/// another switch could change the wrong one.
pub fn candidates(option: Option<PathBuf>, env: Option<PathBuf>, runtime_dir: Option<PathBuf>) -> Vec<PathBuf> {
    if let Some(path) = option.or(env) {
        return vec![path];
    }
    let mut paths = vec![PathBuf::from(SOCKET_SYSTEM)];
    paths.extend(runtime_dir.map(|dir| dir.join(SOCKET_USER)));
    paths.push(PathBuf::from(SOCKET_DEMO));
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_stands_alone() {
        let paths = candidates(Some("a".into()), Some("b".into()), Some("c".into()));
        assert_eq!(paths, [PathBuf::from("a")]);
        assert_eq!(candidates(None, Some("b".into()), None), [PathBuf::from("b")]);
    }

    #[test]
    fn otherwise_system_user_demo() {
        let paths = candidates(None, None, Some("/run/user/7".into()));
        assert_eq!(paths, [SOCKET_SYSTEM, "/run/user/7/tandem/control.sock", SOCKET_DEMO].map(PathBuf::from));
    }
}
