//! Who is at the other end of the control socket.

use std::io;
use std::os::unix::net::UnixStream;

use tandem_rating::record::Actor;

/// Where login names are. Users of a directory service have no line there and go by their number.
const PASSWD: &str = "/etc/passwd";

/// The kernel's word for the peer: who may connect was decided by it from the mode of the socket (owner and group); this
/// is for the record. The process may have changed its user since it connected.
pub(super) fn actor(stream: &UnixStream) -> io::Result<Actor> {
    let peer = rustix::net::sockopt::socket_peercred(stream)?;
    let uid = peer.uid.as_raw();
    let passwd = std::fs::read_to_string(PASSWD).unwrap_or_default();
    let user = name(&passwd, uid).map_or_else(|| format!("uid {uid}"), str::to_owned);
    Ok(Actor { uid: Some(uid), user, pid: Some(peer.pid.as_raw_nonzero().get()) })
}

/// The login name of `uid` in the text of a passwd file.
fn name(passwd: &str, uid: u32) -> Option<&str> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid) && !name.is_empty()).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_name_is_found_by_its_number() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\nann:x:1000:1000::/home/ann:/bin/sh\n";
        assert_eq!((name(passwd, 0), name(passwd, 1000), name(passwd, 7)), (Some("root"), Some("ann"), None));
    }
}
