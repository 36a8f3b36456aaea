//! A switch that answers from a closure, and the real binary run against it.

// Each test binary uses its own part of this module.
#![allow(dead_code)]

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use serde::Serialize;
use serde_json::Value;
use tandem_control::{Call, ErrorObject, Request, Response, Splitter, encode};

/// What a fake switch answers to one call.
pub(crate) type Answer = Result<Value, ErrorObject>;

/// The answer that carries `reply`.
pub(crate) fn reply(reply: impl Serialize) -> Answer {
    Ok(serde_json::to_value(reply).unwrap())
}

/// A control socket in a folder of its own; gone with the value.
pub(crate) struct Switch {
    folder: tempfile::TempDir,
    asked: Arc<Mutex<Vec<Call>>>,
}

impl Switch {
    /// Listens and answers every request with `answer`, one connection after the other.
    pub(crate) fn start(answer: impl Fn(&Call) -> Answer + Send + 'static) -> Switch {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        Switch::raw(asked, move |stream| {
            let mut splitter = Splitter::default();
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = stream.read(&mut buffer) {
                splitter.push(&buffer[..read]);
                while let Some(frame) = splitter.next_frame().unwrap() {
                    let request = Request::decode(&frame).unwrap();
                    log.lock().unwrap().push(request.call.clone());
                    let outcome = answer(&request.call);
                    let response = Response { id: Some(request.id), outcome };
                    // The client may have left; the next connection tells.
                    let _ = stream.write_all(&encode(&response).unwrap());
                }
            }
        })
    }

    /// Answers the first request of every connection with `bytes` and closes it.
    pub(crate) fn babbling(bytes: &'static [u8]) -> Switch {
        Switch::raw(Arc::default(), move |stream| {
            let mut buffer = [0; 4096];
            let _ = stream.read(&mut buffer);
            let _ = stream.write_all(bytes);
        })
    }

    fn raw(
        asked: Arc<Mutex<Vec<Call>>>,
        serve: impl Fn(&mut std::os::unix::net::UnixStream) + Send + 'static,
    ) -> Switch {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("tandem")).unwrap();
        let listener = UnixListener::bind(folder.path().join("tandem/control.sock")).unwrap();
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                serve(&mut stream);
            }
        });
        Switch { folder, asked }
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("tandem/control.sock")
    }

    /// The folder above `tandem/control.sock`; files of a test may go there too.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A file with `text`; its path.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Runs `tandem` against this switch.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        let socket = self.socket();
        let mut all = vec!["--socket", socket.to_str().unwrap()];
        all.extend(arguments);
        run(&all)
    }

    /// Everything it was asked so far.
    pub(crate) fn asked(&self) -> Vec<Call> {
        self.asked.lock().unwrap().clone()
    }
}

/// How a run of `tandem` ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// The output as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// Ended with `code` and said `words` on the standard error.
    #[track_caller]
    pub(crate) fn failed(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        for word in words {
            assert!(self.err.contains(word), "{word:?} is missing in {self:?}");
        }
    }

    /// Ended with 0 and said nothing on the standard error.
    #[track_caller]
    pub(crate) fn fine(self) -> Ran {
        assert_eq!((self.code, self.err.as_str()), (0, ""), "{self:?}");
        self
    }
}

/// The binary with an environment that has no switch and a fixed time zone.
pub(crate) fn tandem() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tandem"));
    command.env_remove("TANDEM_SOCKET").env_remove("XDG_RUNTIME_DIR").env("TZ", "UTC").stdin(Stdio::null());
    command
}

/// Runs `tandem`.
pub(crate) fn run(arguments: &[&str]) -> Ran {
    finish(tandem().args(arguments))
}

/// Runs a prepared command.
pub(crate) fn finish(command: &mut Command) -> Ran {
    let done = command.output().unwrap();
    Ran {
        code: done.status.code().unwrap_or(-1),
        out: String::from_utf8(done.stdout).unwrap(),
        err: String::from_utf8(done.stderr).unwrap(),
    }
}
