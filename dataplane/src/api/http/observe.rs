//! Counts and times requests by their route.

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::Method;
use tokio::time::Instant;

use super::parts::HttpApi;

/// The route of requests that have none.
const UNMATCHED: &str = "unmatched";

pub(super) async fn observe(State(api): State<HttpApi>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let method = method_label(request.method());
    let response = next.run(request).await;
    let route = route.as_ref().map_or(UNMATCHED, MatchedPath::as_str);
    let class = match response.status().as_u16() / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    };
    let metrics = &api.metrics().http;
    let labels = [method, route, class];
    metrics.requests.with_label_values(&labels).inc();
    metrics
        .seconds
        .with_label_values(&[method, route])
        .observe(started.elapsed().as_secs_f64());
    response
}

/// A client may send any method: those that no route has share a label.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}
