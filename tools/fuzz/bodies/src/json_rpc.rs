//! The control socket: bytes in any pieces become frames, frames become requests or a refusal, and both read back.

use tandem_control::{FrameError, Id, Request, Response, Splitter, encode};

/// Small, so that the limit is reached.
const FRAME_BYTES_MAX: usize = 4096;
/// Sizes of the pieces that the bytes arrive in.
const PIECES: [usize; 3] = [1, 7, usize::MAX];

/// What arrives on a connection.
pub fn run(bytes: &[u8]) {
    let runs = PIECES.map(|size| split(bytes, size));
    assert!(runs.iter().all(|run| *run == runs[0]), "frames depend on how the bytes fell");
    for frame in &runs[0].0 {
        request(frame);
        response(frame);
    }
}

fn split(bytes: &[u8], size: usize) -> (Vec<Vec<u8>>, bool) {
    let mut splitter = Splitter::new(FRAME_BYTES_MAX);
    let mut frames = Vec::new();
    for piece in bytes.chunks(size.min(bytes.len().max(1))) {
        splitter.push(piece);
        loop {
            match splitter.next_frame() {
                Ok(Some(frame)) => {
                    assert!(!frame.is_empty() && frame.len() <= FRAME_BYTES_MAX && !frame.contains(&b'\n'));
                    frames.push(frame);
                }
                Ok(None) => break,
                Err(error) => {
                    assert!(matches!(error, FrameError::TooLong { .. }), "{error}");
                    return (frames, false);
                }
            }
        }
    }
    (frames, true)
}

fn request(frame: &[u8]) {
    match Request::decode(frame) {
        Ok(request) => {
            let mut bytes = encode(&request).expect("a request can be written");
            assert_eq!(bytes.pop(), Some(b'\n'));
            assert_eq!(Request::decode(&bytes).as_ref(), Ok(&request), "a request reads back");
        }
        Err(refused) => {
            let bytes = encode(&refused.clone().response()).expect("a refusal can be written");
            let answer = Response::decode(&bytes).expect("a refusal is an answer");
            assert_eq!(answer.id, refused.id);
            assert!(answer.outcome.is_err());
        }
    }
}

fn response(frame: &[u8]) {
    let Ok(response) = Response::decode(frame) else { return };
    let bytes = encode(&response).expect("a response can be written");
    assert_eq!(Response::decode(&bytes).as_ref(), Ok(&response), "a response reads back");
    let _ = matches!(response.id, Some(Id::Number(_)));
    let _ = response.into_reply::<tandem_control::reply::Status>();
}
