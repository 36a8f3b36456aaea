//! One connection to the switch, one question at a time.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tandem_control::socket::{SOCKET_DEMO, SOCKET_ENV, candidates};
use tandem_control::{Call, ExitCode, Id, Request, Response, Splitter, Verb, encode};

use crate::failure::Failure;

/// How long the switch may take. An import of a million rows is given 60 s (rates.md 5); the rest is for its transport.
const REPLY_TIMEOUT: Duration = Duration::from_secs(90);
/// Bytes of one read: a page of CDRs in a few reads.
const READ_BYTES: usize = 256 * 1024;

/// Where the switch is looked for; connects when first asked.
pub(crate) struct Client {
    paths: Vec<PathBuf>,
    link: Option<Link>,
    next_id: u64,
}

struct Link {
    path: PathBuf,
    stream: UnixStream,
    splitter: Splitter,
}

impl Client {
    /// A client of the socket at `option`, else of the environment's, else of the well-known ones.
    pub(crate) fn new(option: Option<PathBuf>) -> Client {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Client { paths: candidates(option, variable(SOCKET_ENV), variable("XDG_RUNTIME_DIR")), link: None, next_id: 1 }
    }

    /// A client of the same switch with a connection of its own.
    pub(crate) fn sibling(&self) -> Client {
        Client { paths: self.paths.clone(), link: None, next_id: 1 }
    }

    /// Asks and waits for the reply of the verb.
    pub(crate) fn ask<V: Verb + Into<Call>>(&mut self, params: V) -> Result<V::Reply, Failure> {
        let id = Id::Number(self.next_id);
        self.next_id += 1;
        let request = Request { id: id.clone(), call: params.into() };
        let frame = encode(&request).map_err(|error| Failure::bad(format!("the request cannot be sent: {error}")))?;
        let response = self.link()?.exchange(&frame)?;
        if response.id.as_ref().is_some_and(|got| *got != id) {
            return Err(Failure::new(ExitCode::Failed, "the switch answered another request"));
        }
        Ok(response.into_reply()?)
    }

    fn link(&mut self) -> Result<&mut Link, Failure> {
        let link = match self.link.take() {
            Some(link) => link,
            None => connect(&self.paths)?,
        };
        Ok(self.link.insert(link))
    }
}

impl Link {
    fn exchange(&mut self, frame: &[u8]) -> Result<Response, Failure> {
        // A switch that refuses a frame half way answers and closes: the answer is worth more than the broken pipe.
        let sent = self.stream.write_all(frame);
        match (self.receive(), sent) {
            (Ok(response), _) => Ok(response),
            (Err(_), Err(error)) => Err(self.lost(&error)),
            (Err(failure), Ok(())) => Err(failure),
        }
    }

    fn receive(&mut self) -> Result<Response, Failure> {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let frame = self.splitter.next_frame().map_err(|error| self.failed(&error.to_string()))?;
            if let Some(frame) = frame {
                return Response::decode(&frame).map_err(|error| self.failed(&error.to_string()));
            }
            let read = match self.stream.read(&mut buffer) {
                Ok(0) => return Err(self.lost(&io::Error::from(ErrorKind::UnexpectedEof))),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.lost(&error)),
            };
            self.splitter.push(&buffer[..read]);
        }
    }

    fn lost(&self, error: &io::Error) -> Failure {
        let reason = match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                format!("it did not answer within {} s", REPLY_TIMEOUT.as_secs())
            }
            ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => {
                "it closed the connection before it answered".to_owned()
            }
            _ => error.to_string(),
        };
        self.failed(&reason)
    }

    fn failed(&self, reason: &str) -> Failure {
        Failure::new(ExitCode::Failed, format!("no answer from the switch at {}: {reason}", self.path.display()))
    }
}

/// Connects to the first path where a switch listens. Only a path without a listener leads to the next one: whoever may
/// not talk to the switch of this machine did not mean another.
fn connect(paths: &[PathBuf]) -> Result<Link, Failure> {
    let mut tried = String::new();
    for path in paths {
        let error = match connect_one(path) {
            Ok(stream) => return Ok(Link { path: path.clone(), stream, splitter: Splitter::default() }),
            Err(error) => error,
        };
        let reason = match error.kind() {
            ErrorKind::NotFound => "no such file".to_owned(),
            ErrorKind::ConnectionRefused => "nobody listens".to_owned(),
            ErrorKind::PermissionDenied => {
                return Err(Failure::new(
                    ExitCode::Unreachable,
                    format!("no permission to talk to the switch at {}: {error}; try sudo", path.display()),
                ));
            }
            _ => error.to_string(),
        };
        let comma = if tried.is_empty() { "" } else { ", " };
        // Writing to a String cannot fail.
        let _ = write!(tried, "{comma}{} ({reason})", path.display());
    }
    Err(Failure::new(
        ExitCode::Unreachable,
        format!(
            "no switch answers at {tried}; start it with `tandemd --config FILE` or `tools/demo --serve`, or name its \
             socket with --socket PATH"
        ),
    ))
}

fn connect_one(path: &Path) -> io::Result<UnixStream> {
    if path == Path::new(SOCKET_DEMO) {
        check_owner(path)?;
    }
    let stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(REPLY_TIMEOUT))?;
    stream.set_write_timeout(Some(REPLY_TIMEOUT))?;
    Ok(stream)
}

/// Anyone may create the demo's path first; rates and payments go only to a switch of root or of this user.
fn check_owner(path: &Path) -> io::Result<()> {
    let owner = std::fs::metadata(path)?.uid();
    let own = std::fs::metadata("/proc/self")?.uid();
    if owner == 0 || owner == own {
        return Ok(());
    }
    Err(io::Error::other(format!("the socket belongs to user {owner}, not to you")))
}
