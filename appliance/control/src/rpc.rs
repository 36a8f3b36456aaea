//! JSON-RPC 2.0 around a [`Call`] and its reply.
//!
//! Every request has an id and gets one response; batches and notifications are refused. Responses come in the order of
//! the requests of a connection.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{ErrorCode, ErrorObject};
use crate::request::Call;

/// The only version there is.
const VERSION: &str = "2.0";

/// What a response is matched to its request by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Id {
    /// What `tandem` sends.
    Number(u64),
    /// What other clients may send.
    Text(String),
}

/// A request.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Comes back in the response.
    pub id: Id,
    /// The verb.
    pub call: Call,
}

/// A frame that is no request the switch can serve; answer with [`Refused::response`] and go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The id, when it could be read.
    pub id: Option<Id>,
    /// Why.
    pub error: ErrorObject,
}

impl Refused {
    /// The response that tells the client.
    pub fn response(self) -> Response {
        Response { id: self.id, outcome: Err(self.error) }
    }
}

impl Serialize for Request {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Wire<'a> {
            jsonrpc: &'static str,
            id: &'a Id,
            #[serde(flatten)]
            call: &'a Call,
        }
        Wire { jsonrpc: VERSION, id: &self.id, call: &self.call }.serialize(serializer)
    }
}

impl Request {
    /// Reads one frame.
    ///
    /// # Errors
    /// [`Refused`] with the code that fits: not JSON, no request, no such verb, a bad parameter.
    pub fn decode(frame: &[u8]) -> Result<Request, Refused> {
        let value: Value = serde_json::from_slice(frame).map_err(|error| Refused {
            id: None,
            error: ErrorObject::new(ErrorCode::Parse, format!("the request is not JSON: {error}")),
        })?;
        let Value::Object(mut object) = value else {
            return Err(invalid(None, "the request is not an object; batches are not served"));
        };
        let id = take_id(&mut object)?;
        if object.get("jsonrpc").and_then(Value::as_str) != Some(VERSION) {
            return Err(invalid(Some(id), "jsonrpc is not \"2.0\""));
        }
        let Some(Value::String(method)) = object.remove("method") else {
            return Err(invalid(Some(id), "method is missing or not a string"));
        };
        match Call::from_parts(&method, object.remove("params")) {
            Ok(call) => Ok(Request { id, call }),
            Err(error) => Err(Refused { id: Some(id), error }),
        }
    }
}

fn take_id(object: &mut Map<String, Value>) -> Result<Id, Refused> {
    let id = object.remove("id").and_then(|id| serde_json::from_value(id).ok());
    id.ok_or_else(|| invalid(None, "id is missing or neither a whole number nor a string"))
}

fn invalid(id: Option<Id>, message: &str) -> Refused {
    Refused { id, error: ErrorObject::new(ErrorCode::InvalidRequest, message) }
}

/// A response.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    /// Of the request; `None` when it could not be read.
    pub id: Option<Id>,
    /// The reply of the verb, or why there is none.
    pub outcome: Result<Value, ErrorObject>,
}

/// A frame that is no response: the other side does not speak this protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer is not understood: {reason}")]
pub struct BadResponse {
    /// What is wrong with it.
    pub reason: String,
}

impl Response {
    /// The response that carries `reply`; a reply that cannot be written becomes an internal error.
    pub fn ok<R: Serialize>(id: Id, reply: &R) -> Response {
        let outcome = serde_json::to_value(reply)
            .map_err(|error| ErrorObject::new(ErrorCode::Internal, format!("the reply could not be written: {error}")));
        Response { id: Some(id), outcome }
    }

    /// The response that carries an error.
    pub fn error(id: Id, error: ErrorObject) -> Response {
        Response { id: Some(id), outcome: Err(error) }
    }

    /// Reads one frame.
    ///
    /// # Errors
    /// [`BadResponse`] when it is not a response of JSON-RPC 2.0.
    pub fn decode(frame: &[u8]) -> Result<Response, BadResponse> {
        #[derive(Deserialize)]
        struct Wire {
            #[serde(default)]
            jsonrpc: String,
            #[serde(default)]
            id: Option<Id>,
            #[serde(default, deserialize_with = "present")]
            result: Option<Value>,
            #[serde(default)]
            error: Option<ErrorObject>,
        }
        // A null result is a result.
        fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
            Value::deserialize(deserializer).map(Some)
        }
        let bad = |reason: String| BadResponse { reason };
        let wire: Wire = serde_json::from_slice(frame).map_err(|error| bad(error.to_string()))?;
        if wire.jsonrpc != VERSION {
            return Err(bad("jsonrpc is not \"2.0\"".to_owned()));
        }
        let outcome = match (wire.result, wire.error) {
            (Some(result), None) => Ok(result),
            (None, Some(error)) => Err(error),
            (Some(_), Some(_)) => return Err(bad("it has both a result and an error".to_owned())),
            (None, None) => return Err(bad("it has neither a result nor an error".to_owned())),
        };
        Ok(Response { id: wire.id, outcome })
    }

    /// The reply of the verb.
    ///
    /// # Errors
    /// The error of the response, or [`ErrorCode::Internal`] for a reply of another form.
    pub fn into_reply<R: DeserializeOwned>(self) -> Result<R, ErrorObject> {
        serde_path_to_error::deserialize(self.outcome?).map_err(|error| {
            ErrorObject::new(ErrorCode::Internal, format!("the reply of the switch is not understood: {error}"))
        })
    }
}

impl Serialize for Response {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Wire<'a> {
            jsonrpc: &'static str,
            id: &'a Option<Id>,
            #[serde(skip_serializing_if = "Option::is_none")]
            result: Option<&'a Value>,
            #[serde(skip_serializing_if = "Option::is_none")]
            error: Option<&'a ErrorObject>,
        }
        Wire { jsonrpc: VERSION, id: &self.id, result: self.outcome.as_ref().ok(), error: self.outcome.as_ref().err() }
            .serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{CallsShow, Status};
    use crate::value::CallId;

    fn refused(frame: &str) -> (Option<Id>, ErrorCode) {
        let refused = Request::decode(frame.as_bytes()).unwrap_err();
        (refused.id, refused.error.kind())
    }

    #[test]
    fn a_request_as_it_is_on_the_wire() {
        let request = Request { id: Id::Number(7), call: CallsShow { call: CallId(42) }.into() };
        let text = serde_json::to_string(&request).unwrap();
        assert_eq!(text, r#"{"jsonrpc":"2.0","id":7,"method":"calls.show","params":{"call":42}}"#);
        assert_eq!(Request::decode(text.as_bytes()).unwrap(), request);
    }

    #[test]
    fn a_request_of_another_client() {
        let request = Request::decode(br#"{"jsonrpc":"2.0","id":"x","method":"status"}"#).unwrap();
        assert_eq!(request, Request { id: Id::Text("x".to_owned()), call: Status {}.into() });
    }

    #[test]
    fn each_way_to_be_no_request_has_its_code() {
        let one = Some(Id::Number(1));
        assert_eq!(refused("{"), (None, ErrorCode::Parse));
        assert_eq!(refused("[]"), (None, ErrorCode::InvalidRequest));
        assert_eq!(refused(r#"{"jsonrpc":"2.0","method":"status"}"#), (None, ErrorCode::InvalidRequest));
        assert_eq!(refused(r#"{"id":1,"method":"status"}"#), (one.clone(), ErrorCode::InvalidRequest));
        assert_eq!(refused(r#"{"jsonrpc":"2.0","id":1}"#), (one.clone(), ErrorCode::InvalidRequest));
        assert_eq!(refused(r#"{"jsonrpc":"2.0","id":1,"method":"x"}"#), (one.clone(), ErrorCode::MethodNotFound));
        let bad = r#"{"jsonrpc":"2.0","id":1,"method":"calls.show","params":[]}"#;
        assert_eq!(refused(bad), (one, ErrorCode::InvalidParams));
    }

    #[test]
    fn a_response_has_a_result_or_an_error() {
        let ok = Response::ok(Id::Number(1), &Option::<u8>::None);
        let text = serde_json::to_string(&ok).unwrap();
        assert_eq!(text, r#"{"jsonrpc":"2.0","id":1,"result":null}"#);
        assert_eq!(Response::decode(text.as_bytes()).unwrap(), ok);

        let error = Response::error(Id::Number(1), ErrorObject::new(ErrorCode::Refused, "no"));
        let text = serde_json::to_string(&error).unwrap();
        assert_eq!(text, r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32002,"message":"no"}}"#);
        assert_eq!(Response::decode(text.as_bytes()).unwrap(), error);

        for bad in ["{}", r#"{"jsonrpc":"2.0","id":1}"#, r#"{"jsonrpc":"1.0","result":1}"#, "HTTP/1.1 200 OK"] {
            assert!(Response::decode(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
