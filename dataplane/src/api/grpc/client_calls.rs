//! What holds for every call of the client port, whichever service has it: its head is that of a
//! gRPC call, it ends at its deadline, and an error has a reason of ours, whoever made it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use hyper::body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};
use tonic::service::Routes;
use tonic::{Code, Status};

use super::library_errors::{explained, has_reason, malformed, too_late};
use crate::error::ApiError;

/// The media type of gRPC.
const GRPC: &str = "application/grpc";
/// Header with the time that a call may take.
const GRPC_TIMEOUT: &str = "grpc-timeout";
/// Most digits of such a time.
const TIMEOUT_DIGITS: usize = 8;

/// Services whose calls end at their deadlines, and whose errors all have a reason.
pub(crate) fn with_reasons(routes: Routes) -> Routes {
    Routes::from(routes.into_axum_router().layer(from_fn(answer)))
}

async fn answer(request: Request, next: Next) -> Response {
    if let Some(refusal) = refuse_head(&request) {
        return refusal;
    }
    let uri = request.uri().clone();
    let until = timeout_of(request.headers()).map(|after| Instant::now() + after);
    let response = match until {
        None => next.run(request).await,
        Some(until) => match timeout_at(until, next.run(request)).await {
            Ok(response) => response,
            Err(_) => return refusal(StatusCode::OK, too_late()),
        },
    };
    let (mut head, body) = response.into_parts();
    explain(&mut head.headers, &uri);
    let deadline = until.map(|until| Box::pin(sleep_until(until)));
    let body = ReasonedBody {
        body,
        uri,
        deadline,
    };
    Response::from_parts(head, Body::new(body))
}

/// Refuses a request that is not one of gRPC (PROTOCOL-HTTP2.md of gRPC). The library does not.
fn refuse_head(request: &Request) -> Option<Response> {
    if request.method() != Method::POST {
        let mut refused = refusal(StatusCode::METHOD_NOT_ALLOWED, bad_head("method", "POST"));
        let post = HeaderValue::from_static("POST");
        refused.headers_mut().insert(ALLOW, post);
        return Some(refused);
    }
    let kind = request.headers().get(CONTENT_TYPE);
    let rest = kind.and_then(|kind| kind.to_str().ok()?.strip_prefix(GRPC));
    let is_grpc = rest.is_some_and(|rest| {
        let codec = rest.split(';').next().unwrap_or_default().trim_end();
        matches!(codec, "" | "+proto")
    });
    if is_grpc {
        return None;
    }
    let error = bad_head("content-type", GRPC);
    Some(refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, error))
}

fn bad_head(field: &'static str, bound: &'static str) -> ApiError {
    malformed(&format!("{field} must be {bound}"))
        .with("field", field)
        .with("bound", bound)
}

/// An answer without a body. A client that does not speak gRPC sees the status of HTTP.
fn refusal(status: StatusCode, error: ApiError) -> Response {
    let mut response: Response = Status::from(error).into_http();
    *response.status_mut() = status;
    response
}

/// The time that a call may take, from its start; none if the client sets none, or one that is not
/// of the form that gRPC gives it.
fn timeout_of(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(GRPC_TIMEOUT)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let is_number = digits.len() <= TIMEOUT_DIGITS && digits.bytes().all(|b| b.is_ascii_digit());
    let number: u64 = digits.parse().ok().filter(|_| is_number)?;
    Some(match unit {
        "H" => Duration::from_hours(number),
        "M" => Duration::from_mins(number),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

/// Gives the status in these headers or trailers a reason, if it is an error without one.
fn explain(headers: &mut HeaderMap, uri: &Uri) {
    if headers
        .get(Status::GRPC_STATUS)
        .is_none_or(|code| code == "0")
    {
        return;
    }
    let Some(status) = Status::from_header_map(headers) else {
        return;
    };
    if status.code() == Code::Ok || has_reason(&status) {
        return;
    }
    headers.remove(Status::GRPC_MESSAGE);
    put(headers, explained(&status, uri.path()));
}

/// Puts an error into headers or trailers.
fn put(headers: &mut HeaderMap, error: ApiError) {
    let status: Response = Status::from(error).into_http();
    let (head, _) = status.into_parts();
    for (name, value) in &head.headers {
        if name != CONTENT_TYPE {
            headers.insert(name, value.clone());
        }
    }
}

/// The body of an answer. Its trailers get a reason, and it ends at the deadline of its call: the
/// client of a stream that has given it up may not have the time to say so.
struct ReasonedBody {
    body: Body,
    uri: Uri,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl HttpBody for ReasonedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        // First: a stream that always has a next frame ends too.
        if let ended @ Poll::Ready(_) = this.poll_deadline(cx) {
            return ended;
        }
        let next = ready!(Pin::new(&mut this.body).poll_frame(cx));
        let with_reason = |frame: Frame<Bytes>| match frame.into_trailers() {
            Ok(mut trailers) => {
                explain(&mut trailers, &this.uri);
                Frame::trailers(trailers)
            }
            Err(data) => data,
        };
        Poll::Ready(next.map(|frame| frame.map(with_reason)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl ReasonedBody {
    /// The end of a stream whose deadline has passed.
    fn poll_deadline(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(deadline) = &mut self.deadline else {
            return Poll::Pending;
        };
        ready!(deadline.as_mut().poll(cx));
        self.deadline = None;
        // Ends the work of the call.
        self.body = Body::empty();
        let mut trailers = HeaderMap::new();
        put(&mut trailers, too_late());
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_have_the_form_of_grpc() {
        let timeout = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(GRPC_TIMEOUT, HeaderValue::from_static(text));
            timeout_of(&headers)
        };
        assert_eq!(timeout("3H"), Some(Duration::from_hours(3)));
        assert_eq!(timeout("3M"), Some(Duration::from_mins(3)));
        assert_eq!(timeout("99999999S"), Some(Duration::from_secs(99_999_999)));
        assert_eq!(timeout("82m"), Some(Duration::from_millis(82)));
        assert_eq!(timeout("0u"), Some(Duration::ZERO));
        assert_eq!(timeout("5n"), Some(Duration::from_nanos(5)));
        for other in ["", "S", "5", "5s", "-5S", "+5S", "999999999S", "5 S"] {
            assert_eq!(timeout(other), None, "{other:?}");
        }
        assert_eq!(timeout_of(&HeaderMap::new()), None);
    }

    #[test]
    fn the_media_type_of_grpc_may_name_its_codec() {
        let checked = |kind: Option<&str>| {
            let mut request = Request::new(Body::empty());
            *request.method_mut() = Method::POST;
            if let Some(kind) = kind {
                let kind = HeaderValue::from_str(kind).unwrap();
                request.headers_mut().insert(CONTENT_TYPE, kind);
            }
            refuse_head(&request).is_none()
        };
        for kind in [GRPC, "application/grpc+proto", "application/grpc; x=y"] {
            assert!(checked(Some(kind)), "{kind}");
        }
        assert!(!checked(None));
        for kind in [
            "",
            "application/json",
            "application/grpc+json",
            "application/grpc-web",
            "application/grpcx",
        ] {
            assert!(!checked(Some(kind)), "{kind}");
        }
    }
}
